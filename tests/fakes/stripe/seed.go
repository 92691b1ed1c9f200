// Data to read: made from a number, the same every time.

package stripe

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Seeds is how many objects of each kind Seed makes.
type Seeds struct {
	Customers, Products, Prices, Subscriptions, Invoices, Charges int
}

// Seed fills an empty server. Times lie in the year before the server's clock;
// many objects share a second. Text has twins in case and accents, and empty values
// are frequent.
func (s *Server) Seed(seed uint64, n Seeds) {
	rnd := rand.New(rand.NewPCG(seed, 7))
	newest := s.now().Add(-time.Hour).Unix()
	when := func() int64 { return newest - rnd.Int64N(3600)*8760 }
	pick := func(list ...string) any { // an empty one is null
		if v := list[rnd.IntN(len(list))]; v != "" {
			return v
		}
		return nil
	}
	metadata := func() map[string]any {
		m := map[string]any{}
		if rnd.IntN(3) > 0 {
			m["order"] = fmt.Sprintf("o-%d", rnd.IntN(50))
		}
		if rnd.IntN(4) == 0 {
			m["note"] = []string{"Ärger", "arger", "a \"b\" \\c", "x, y"}[rnd.IntN(4)]
		}
		return m
	}
	var customers, products, prices, subscriptions []string
	one := func(list []string) any {
		if len(list) == 0 || rnd.IntN(12) == 0 {
			return nil
		}
		return list[rnd.IntN(len(list))]
	}
	for i := range n.Customers {
		c := map[string]any{"created": when(), "metadata": metadata(), "balance": rnd.Int64N(5) * -100, "delinquent": rnd.IntN(9) == 0,
			"name": pick("", "Ada", "ada", "ADA", "Zoë", "Zoe", "zoe", "Straße", "STRASSE", "O'Neil \"x\"", "100%"), "phone": pick("", "+4670000001", "+46 70 000"),
			"description": pick("", "old", "Old", "a_b", "back\\slash")}
		if rnd.IntN(6) > 0 {
			c["email"] = fmt.Sprintf([]string{"ada%d@example.com", "Ada%d@Example.com", "zoë%d@example.com"}[rnd.IntN(3)], i%(n.Customers/3+1))
		}
		if rnd.IntN(2) == 0 {
			c["address"] = filled("address", map[string]any{"city": pick("", "Berlin", "berlin", "Åre"), "country": pick("DE", "SE", "")})
		}
		customers = append(customers, s.Put("customers", c))
	}
	for i := range n.Products {
		products = append(products, s.Put("products", map[string]any{"created": when(), "updated": when(), "metadata": metadata(), "name": fmt.Sprintf("%s %d", pick("Shirt", "shirt", "Œuvre"), i/2),
			"active": rnd.IntN(4) > 0, "description": pick("", "fine", "Fine"), "url": pick("", "https://example.com/a", "https://example.com/A")}))
	}
	for range n.Prices {
		p := map[string]any{"created": when(), "metadata": metadata(), "currency": pick("usd", "eur", "sek"), "product": products[rnd.IntN(len(products))], "active": rnd.IntN(3) > 0, "nickname": pick("", "std", "Std")}
		if amount := rnd.Int64N(10) * 500; amount > 0 {
			p["unit_amount"], p["unit_amount_decimal"] = amount, fmt.Sprint(amount)
		}
		if rnd.IntN(2) == 0 {
			p["type"], p["recurring"] = "recurring", map[string]any{"interval": pick("month", "year"), "interval_count": int64(1), "meter": nil, "usage_type": "licensed"}
		}
		prices = append(prices, s.Put("prices", p))
	}
	for range n.Subscriptions {
		created := when()
		sub := map[string]any{"created": created, "start_date": created, "metadata": metadata(), "customer": customers[rnd.IntN(len(customers))],
			"status": pick("active", "active", "canceled", "past_due", "trialing", "unpaid", "incomplete_expired"), "collection_method": pick("charge_automatically", "send_invoice"), "description": pick("", "Pro", "pro")}
		if len(prices) > 0 {
			price := s.Object("prices", prices[rnd.IntN(len(prices))])
			sub["items"] = map[string]any{"object": "list", "has_more": false, "data": []any{map[string]any{"id": fmt.Sprintf("si_%d", rnd.Int64()), "object": "subscription_item", "quantity": int64(1), "price": price}}}
		}
		if sub["status"] == "canceled" {
			sub["canceled_at"] = created + rnd.Int64N(1e6)
		}
		subscriptions = append(subscriptions, s.Put("subscriptions", sub))
	}
	for i := range n.Invoices {
		created, total := when(), rnd.Int64N(20)*250
		inv := map[string]any{"created": created, "metadata": metadata(), "customer": customers[rnd.IntN(len(customers))], "status": pick("draft", "open", "paid", "void", "uncollectible"),
			"total": total, "subtotal": total, "amount_due": total, "amount_remaining": total, "currency": pick("usd", "eur"), "number": pick("", fmt.Sprintf("INV-%d", i))}
		if rnd.IntN(2) == 0 {
			inv["collection_method"], inv["due_date"] = "send_invoice", created+30*86400
		}
		if sub := one(subscriptions); sub != nil {
			inv["parent"] = map[string]any{"type": "subscription_details", "subscription_details": map[string]any{"subscription": sub, "metadata": map[string]any{}}}
		}
		s.Put("invoices", inv)
	}
	for range n.Charges {
		s.seedCharge(rnd, when(), one(customers), metadata())
	}
}

// seedCharge makes a charge with its payment intent, its balance transaction, and
// now and then a refund.
func (s *Server) seedCharge(rnd *rand.Rand, created int64, customer any, metadata map[string]any) {
	amount, currency := 50+rnd.Int64N(30)*111, []string{"usd", "eur"}[rnd.IntN(2)]
	var group any
	if rnd.IntN(3) == 0 {
		group = fmt.Sprintf("group%d", rnd.IntN(5))
	}
	pi := s.Put("payment_intents", map[string]any{"created": created, "amount": amount, "currency": currency, "customer": customer, "metadata": metadata, "transfer_group": group,
		"status": []string{"succeeded", "requires_payment_method", "canceled"}[min(2, rnd.IntN(6))]})
	ch := s.Put("charges", map[string]any{"created": created, "amount": amount, "amount_captured": amount, "currency": currency, "customer": customer, "payment_intent": pi, "metadata": metadata, "transfer_group": group,
		"status": []string{"succeeded", "failed", "succeeded", "pending"}[rnd.IntN(4)]})
	fee := amount*29/1000 + 30
	s.Put("balance_transactions", map[string]any{"created": created, "amount": amount, "fee": fee, "net": amount - fee, "currency": currency, "source": ch, "available_on": created + 172800})
	if rnd.IntN(4) == 0 {
		s.Put("refunds", map[string]any{"created": created + 60, "amount": amount / 2, "currency": currency, "charge": ch, "payment_intent": pi, "reason": []any{nil, "duplicate"}[rnd.IntN(2)]})
		s.Put("balance_transactions", map[string]any{"created": created + 60, "amount": -(amount / 2), "net": -(amount / 2), "type": "refund", "reporting_category": "refund", "currency": currency, "source": ch, "available_on": created + 172860})
	}
}
