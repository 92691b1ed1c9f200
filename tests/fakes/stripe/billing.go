// Subscriptions and invoices: what their writes check and do.

package stripe

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
)

func subscriptionDefaults() map[string]any {
	return map[string]any{"application": nil, "application_fee_percent": nil, "automatic_tax": map[string]any{"enabled": false, "liability": nil}, "billing_cycle_anchor": int64(0),
		"billing_mode": map[string]any{"type": "flexible"}, "cancel_at": nil, "cancel_at_period_end": false, "canceled_at": nil,
		"cancellation_details": map[string]any{"comment": nil, "feedback": nil, "reason": nil}, "collection_method": "charge_automatically", "currency": "usd", "customer": nil,
		"days_until_due": nil, "default_payment_method": nil, "default_source": nil, "default_tax_rates": []any{}, "description": nil, "discounts": []any{}, "ended_at": nil,
		"invoice_settings": map[string]any{"account_tax_ids": nil, "issuer": map[string]any{"type": "self"}}, "items": map[string]any{"object": "list", "data": []any{}, "has_more": false},
		"latest_invoice": nil, "on_behalf_of": nil, "pause_collection": nil, "payment_settings": map[string]any{}, "pending_setup_intent": nil, "schedule": nil, "start_date": int64(0),
		"status": "active", "test_clock": nil, "trial_end": nil, "trial_start": nil}
}

// subscriptionStatus: without the parameter, canceled ones are not listed.
func subscriptionStatus(_ *Server, f map[string]any, want any) bool {
	status := f["status"]
	switch want {
	case "all":
		return true
	case "ended":
		return status == "canceled" || status == "incomplete_expired"
	case "not canceled":
		return status != "canceled"
	}
	return status == want
}

func subscriptionPrice(_ *Server, f map[string]any, want any) bool {
	for _, item := range at(f, "items.data").([]any) {
		if at(item.(map[string]any), "price.id") == want {
			return true
		}
	}
	return false
}

func createSubscription(s *Server, _ *call, o, in map[string]any) *apiError {
	if in["customer"] == nil {
		return invalid("customer", "parameter_missing", "Missing required param: customer.")
	}
	if e := s.refers(in, "customer", "customers"); e != nil {
		return e
	}
	if in["items"] == nil {
		return invalid("items", "parameter_missing", "Missing required param: items.")
	}
	items, e := s.items(o, in["items"], nil)
	if e != nil {
		return e
	}
	o["items"] = items
	o["start_date"], o["billing_cycle_anchor"] = o["created"], o["created"]
	if days, ok := in["trial_period_days"].(int64); ok && days > 0 {
		o["status"], o["trial_start"], o["trial_end"] = "trialing", o["created"], o["created"].(int64)+days*86400
	}
	return s.subscriptionRules(o, in)
}

// items of a subscription, from items[0][price]=…; one with an id is changed.
func (s *Server) items(o map[string]any, in any, have []any) (map[string]any, *apiError) {
	list, ok := in.([]any)
	if !ok {
		return nil, invalid("items", "", "Invalid array")
	}
	data := append([]any{}, have...)
	for i, one := range list {
		item, ok := one.(map[string]any)
		if !ok {
			return nil, invalid("items", "", "Invalid object")
		}
		where := fmt.Sprintf("items[%d]", i)
		entry, index := map[string]any{"object": "subscription_item", "metadata": map[string]any{}, "quantity": int64(1), "subscription": o["id"], "created": s.now().Unix()}, -1
		if id := text(item["id"]); id != "" {
			for j, h := range data {
				if h.(map[string]any)["id"] == id {
					entry, index = maps.Clone(h.(map[string]any)), j
				}
			}
			if index < 0 {
				return nil, missing(400, "subscription item", id, where+"[id]")
			}
		} else {
			s.seq++
			entry["id"] = fmt.Sprintf("si_%014d", s.seq)
		}
		for k, v := range item {
			switch k {
			case "price":
				p := s.store["prices"].byID[text(v)]
				if p == nil {
					return nil, missing(400, "price", text(v), where+"[price]")
				}
				if p.fields["type"] != "recurring" {
					return nil, invalid(where+"[price]", "", "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`.")
				}
				entry["price"], o["currency"] = p.fields, p.fields["currency"]
			case "quantity":
				n, err := strconv.ParseInt(text(v), 10, 64)
				if err != nil || n < 0 {
					return nil, invalid(where+"[quantity]", "parameter_invalid_integer", "Invalid integer: %s", text(v))
				}
				entry["quantity"] = n
			case "metadata", "id", "deleted":
			default:
				return nil, invalid(where+"["+k+"]", "parameter_unknown", "Received unknown parameter: %s[%s]", where, k)
			}
		}
		switch {
		case index < 0 && entry["price"] == nil:
			return nil, invalid(where+"[price]", "parameter_missing", "Missing required param: %s[price].", where)
		case index < 0:
			data = append(data, entry)
		case item["deleted"] == "true":
			data = append(data[:index:index], data[index+1:]...)
		default:
			data[index] = entry
		}
	}
	return map[string]any{"object": "list", "data": data, "has_more": false, "url": "/v1/subscription_items?subscription=" + o["id"].(string)}, nil
}

// subscriptionRules are those that hold after each write.
func (s *Server) subscriptionRules(o, in map[string]any) *apiError {
	if o["collection_method"] == "send_invoice" && o["days_until_due"] == nil {
		return invalid("days_until_due", "parameter_missing", "You must pass `days_until_due` if `collection_method` is `send_invoice`.")
	}
	if v, ok := in["cancel_at"]; ok && v != nil {
		n, err := strconv.ParseInt(text(v), 10, 64)
		if err != nil {
			return invalid("cancel_at", "parameter_invalid_integer", "Invalid integer: %s", text(v))
		}
		o["cancel_at"] = n
	}
	if in["cancel_at_period_end"] == true {
		o["cancel_at"], o["canceled_at"] = o["billing_cycle_anchor"].(int64)+30*86400, s.now().Unix()
	} else if in["cancel_at_period_end"] == false && in["cancel_at"] == nil {
		o["cancel_at"], o["canceled_at"] = nil, nil
	}
	return nil
}

func updateSubscription(s *Server, _ *call, o *object, in, change map[string]any) *apiError {
	if o.fields["status"] == "canceled" {
		return invalid("", "", "A canceled subscription can only update its cancellation_details and metadata.")
	}
	if v, ok := in["items"]; ok {
		have, _ := at(o.fields, "items.data").([]any)
		items, e := s.items(change, v, have)
		if e != nil {
			return e
		}
		change["items"] = items
	}
	return s.subscriptionRules(change, in)
}

// cancelSubscription is what DELETE does: the object stays, canceled.
func cancelSubscription(s *Server, c *call, o *object) (any, *apiError) {
	r := resourceAt("subscriptions")
	if c.r.Method == "DELETE" && len(c.in.names) > 0 && strings.HasPrefix(c.r.URL.Path, "/v1/subscriptions/") {
		if _, e := check(c.in, members("cancellation_details{comment? feedback?} invoice_now:bool prorate:bool"), ""); e != nil {
			return nil, e
		}
	}
	if o.fields["status"] == "canceled" {
		return nil, missing(404, r.noun(), o.id, r.idParam)
	}
	now := s.now().Unix()
	s.change(o, map[string]any{"status": "canceled", "canceled_at": now, "ended_at": now})
	s.event(c, r, "deleted", o.fields, nil)
	return o.raw(), nil
}

func invoiceDefaults() map[string]any {
	return map[string]any{"account_country": "US", "account_name": "Hallway", "amount_due": int64(0), "amount_paid": int64(0), "amount_remaining": int64(0), "attempt_count": int64(0), "attempted": false, "auto_advance": false,
		"automatic_tax": map[string]any{"enabled": false, "status": nil}, "billing_reason": "manual", "collection_method": "charge_automatically", "currency": "usd", "custom_fields": nil, "customer": nil,
		"customer_address": nil, "customer_email": nil, "customer_name": nil, "customer_phone": nil, "customer_tax_exempt": "none", "default_payment_method": nil, "default_source": nil, "default_tax_rates": []any{},
		"description": nil, "discounts": []any{}, "due_date": nil, "effective_at": nil, "ending_balance": nil, "footer": nil, "from_invoice": nil, "hosted_invoice_url": nil, "invoice_pdf": nil,
		"lines": map[string]any{"object": "list", "data": []any{}, "has_more": false}, "next_payment_attempt": nil, "number": nil, "parent": nil, "payment_settings": map[string]any{},
		"period_end": int64(0), "period_start": int64(0), "receipt_number": nil, "shipping_cost": nil, "shipping_details": nil, "starting_balance": int64(0), "statement_descriptor": nil, "status": "draft",
		"status_transitions": map[string]any{"finalized_at": nil, "marked_uncollectible_at": nil, "paid_at": nil, "voided_at": nil}, "subtotal": int64(0), "total": int64(0)}
}

func createInvoice(s *Server, _ *call, o, in map[string]any) *apiError {
	if in["customer"] == nil {
		return invalid("customer", "parameter_missing", "Missing required param: customer.")
	}
	if e := s.refers(in, "customer", "customers"); e != nil {
		return e
	}
	if e := s.refers(in, "subscription", "subscriptions"); e != nil {
		return e
	}
	if e := validCurrency(in); e != nil {
		return e
	}
	if in["currency"] != nil {
		o["currency"] = in["currency"]
	}
	if sub, ok := in["subscription"]; ok {
		o["parent"] = map[string]any{"type": "subscription_details", "quote_details": nil, "subscription_details": map[string]any{"metadata": map[string]any{}, "subscription": sub}}
	}
	customer := s.store["customers"].byID[text(in["customer"])].fields
	for _, f := range []string{"address", "email", "name", "phone"} {
		o["customer_"+f] = customer[f]
	}
	o["period_start"], o["period_end"] = o["created"], o["created"]
	return s.invoiceRules(o, in)
}

func (s *Server) invoiceRules(o, in map[string]any) *apiError {
	days, ok := in["days_until_due"].(int64)
	switch {
	case o["collection_method"] == "send_invoice":
		if ok {
			o["due_date"] = o["created"].(int64) + days*86400
		} else if o["due_date"] == nil {
			return invalid("days_until_due", "parameter_missing", "If `collection_method` is `send_invoice`, you must set either `due_date` or `days_until_due`.")
		}
	case ok || in["due_date"] != nil:
		return invalid("collection_method", "", "You can only specify `due_date` or `days_until_due` for invoices with `collection_method` set to `send_invoice`.")
	}
	return nil
}

func updateInvoice(s *Server, _ *call, o *object, in, change map[string]any) *apiError {
	if o.fields["status"] != "draft" {
		for name := range in {
			if name != "metadata" && name != "default_payment_method" && name != "auto_advance" {
				return invalid(name, "invoice_not_editable", "Finalized invoices can't be updated in this way: %s.", name)
			}
		}
	}
	return s.invoiceRules(change, in)
}

func deleteInvoice(s *Server, c *call, o *object) (any, *apiError) {
	if o.fields["status"] != "draft" {
		return nil, invalid("", "", "You can only delete draft invoices.")
	}
	return s.deleted(c, resourceAt("invoices"), o), nil
}

// transition tells of it by these events, and by invoice.updated.
func (s *Server) transition(c *call, o *object, status, when string, events ...string) *apiError {
	change := maps.Clone(o.fields)
	times := maps.Clone(o.fields["status_transitions"].(map[string]any))
	times[when] = s.now().Unix()
	change["status"], change["status_transitions"] = status, times
	if status == "open" && change["number"] == nil {
		s.seq++
		change["number"] = fmt.Sprintf("FAKE-%06d", s.seq)
	}
	if status == "paid" {
		change["amount_paid"], change["amount_remaining"] = change["amount_due"], int64(0)
	}
	r := resourceAt("invoices")
	s.changed(c, r, o, change, "updated")
	for _, e := range events {
		s.event(c, r, e, o.fields, nil)
	}
	return nil
}

func finalizeInvoice(s *Server, c *call, o *object, _ map[string]any) *apiError {
	if o.fields["status"] != "draft" {
		return invalid("", "invoice_not_editable", "This invoice is already finalized, you can't re-finalize a non-draft invoice.")
	}
	return s.transition(c, o, "open", "finalized_at", "finalized")
}

func payInvoice(s *Server, c *call, o *object, _ map[string]any) *apiError {
	if st := o.fields["status"]; st != "open" && st != "draft" {
		return invalid("", "", "Invoice is already %s", st)
	}
	return s.transition(c, o, "paid", "paid_at", "paid", "payment_succeeded")
}

func voidInvoice(s *Server, c *call, o *object, _ map[string]any) *apiError {
	if o.fields["status"] != "open" && o.fields["status"] != "uncollectible" {
		return invalid("", "", "You can only pass in open invoices. This invoice isn't open.")
	}
	return s.transition(c, o, "void", "voided_at", "voided")
}
