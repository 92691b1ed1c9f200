// Payment intents, charges, refunds and balance transactions.

package stripe

import (
	"maps"
	"strings"
)

func paymentIntentDefaults() map[string]any {
	return map[string]any{"amount": int64(0), "amount_capturable": int64(0), "amount_received": int64(0), "application": nil, "application_fee_amount": nil, "automatic_payment_methods": nil, "canceled_at": nil,
		"cancellation_reason": nil, "capture_method": "automatic_async", "client_secret": nil, "confirmation_method": "automatic", "currency": "usd", "customer": nil, "description": nil, "last_payment_error": nil,
		"latest_charge": nil, "next_action": nil, "on_behalf_of": nil, "payment_method": nil, "payment_method_options": map[string]any{}, "payment_method_types": []any{"card"}, "processing": nil, "receipt_email": nil,
		"setup_future_usage": nil, "shipping": nil, "statement_descriptor": nil, "statement_descriptor_suffix": nil, "status": "requires_payment_method", "transfer_data": nil, "transfer_group": nil}
}

func chargeDefaults() map[string]any {
	return map[string]any{"amount": int64(100), "amount_captured": int64(100), "amount_refunded": int64(0), "application": nil, "application_fee_amount": nil, "balance_transaction": nil,
		"billing_details": map[string]any{"address": filled("address", nil), "email": nil, "name": nil, "phone": nil}, "captured": true, "currency": "usd", "customer": nil, "description": nil, "disputed": false,
		"failure_code": nil, "failure_message": nil, "fraud_details": map[string]any{}, "invoice": nil, "on_behalf_of": nil, "outcome": nil, "paid": true, "payment_intent": nil, "payment_method": "pm_card_visa",
		"payment_method_details": map[string]any{"type": "card", "card": map[string]any{"brand": "visa", "country": "US", "exp_month": int64(8), "exp_year": int64(2030), "fingerprint": "AOB934", "funding": "credit", "last4": "4242", "network": "visa"}},
		"receipt_email":          nil, "receipt_number": nil, "receipt_url": nil, "refunded": false, "review": nil, "shipping": nil, "source_transfer": nil, "statement_descriptor": nil,
		"statement_descriptor_suffix": nil, "status": "succeeded", "transfer_data": nil, "transfer_group": nil}
}

// minimum amounts, in the smallest unit of the currency.
func amountTooSmall(o map[string]any) *apiError {
	amount, _ := o["amount"].(int64)
	switch {
	case amount < 1:
		return invalid("amount", "parameter_invalid_integer", "This value must be greater than or equal to 1.")
	case amount < 50:
		return invalid("amount", "amount_too_small", "Amount must be at least $0.50 %s", o["currency"])
	case amount > 99999999:
		return invalid("amount", "amount_too_large", "Amount must be no more than $999,999.99")
	}
	return nil
}

func (s *Server) paymentIntentRules(o, in map[string]any) *apiError {
	if e := validCurrency(in); e != nil {
		return e
	}
	if in["currency"] != nil {
		o["currency"] = in["currency"]
	}
	if e := amountTooSmall(o); e != nil {
		return e
	}
	if e := validEmail(in, "receipt_email"); e != nil {
		return e
	}
	if e := s.refers(in, "customer", "customers"); e != nil {
		return e
	}
	if pm := text(in["payment_method"]); pm != "" {
		if !strings.HasPrefix(pm, "pm_") {
			return missing(400, "PaymentMethod", pm, "payment_method")
		}
		if o["status"] == "requires_payment_method" {
			o["status"] = "requires_confirmation"
		}
	}
	return nil
}

func createPaymentIntent(s *Server, c *call, o, in map[string]any) *apiError {
	if e := s.paymentIntentRules(o, in); e != nil {
		return e
	}
	id := o["id"].(string)
	o["client_secret"] = id + "_secret_fake"
	if in["confirm"] != true {
		return nil
	}
	if text(in["payment_method"]) == "" {
		return invalid("payment_method", "parameter_missing", "You cannot confirm this PaymentIntent because it's missing a payment method.")
	}
	return s.pay(c, o)
}

func updatePaymentIntent(s *Server, _ *call, o *object, in, change map[string]any) *apiError {
	switch o.fields["status"] {
	case "succeeded", "canceled":
		for name := range in {
			if name != "metadata" && name != "description" && name != "receipt_email" {
				e := invalid(name, "payment_intent_unexpected_state", "This PaymentIntent's %s could not be updated because it has a status of %s.", name, o.fields["status"])
				return e
			}
		}
	}
	return s.paymentIntentRules(change, in)
}

// pay makes the charge of a payment intent. Two payment methods are declined.
func (s *Server) pay(c *call, o map[string]any) *apiError {
	method := text(o["payment_method"])
	if strings.HasPrefix(method, "pm_card_chargeDeclined") {
		return &apiError{status: 402, kind: "card_error", code: "card_declined", declineCode: "generic_decline", message: "Your card was declined."}
	}
	charges, txns := resourceAt("charges"), resourceAt("balance_transactions")
	charge := s.blank(charges)
	for _, f := range []string{"amount", "currency", "customer", "description", "receipt_email", "shipping", "transfer_group", "payment_method"} {
		charge[f] = o[f]
	}
	charge["amount_captured"], charge["payment_intent"] = o["amount"], o["id"]
	amount := o["amount"].(int64)
	txn := s.blank(txns)
	fee := amount*29/1000 + 30
	txn["amount"], txn["currency"], txn["source"], txn["fee"], txn["net"] = amount, o["currency"], charge["id"], fee, amount-fee
	txn["available_on"] = txn["created"].(int64) + 2*86400
	s.insert(txns, txn)
	charge["balance_transaction"] = txn["id"]
	s.insert(charges, charge)
	s.event(c, charges, "succeeded", charge, nil)
	o["status"], o["amount_received"], o["latest_charge"] = "succeeded", amount, charge["id"]
	return nil
}

func confirmPaymentIntent(s *Server, c *call, o *object, in map[string]any) *apiError {
	change := maps.Clone(o.fields)
	merge(change, nil, in)
	if st := o.fields["status"]; st == "succeeded" || st == "canceled" {
		return invalid("", "payment_intent_unexpected_state", "You cannot confirm this PaymentIntent because it has a status of %s.", st)
	}
	if text(change["payment_method"]) == "" {
		return invalid("payment_method", "payment_intent_unexpected_state", "You cannot confirm this PaymentIntent because it's missing a payment method.")
	}
	if e := s.pay(c, change); e != nil {
		return e
	}
	s.changed(c, resourceAt("payment_intents"), o, change, "succeeded")
	return nil
}

func cancelPaymentIntent(s *Server, c *call, o *object, in map[string]any) *apiError {
	if st := o.fields["status"]; st == "succeeded" || st == "canceled" {
		return invalid("", "payment_intent_unexpected_state", "You cannot cancel this PaymentIntent because it has a status of %s.", st)
	}
	change := maps.Clone(o.fields)
	change["status"], change["canceled_at"] = "canceled", s.now().Unix()
	if v, ok := in["cancellation_reason"]; ok {
		change["cancellation_reason"] = v
	}
	s.changed(c, resourceAt("payment_intents"), o, change, "canceled")
	return nil
}

func updateCharge(s *Server, _ *call, _ *object, in, change map[string]any) *apiError {
	if e := validEmail(in, "receipt_email"); e != nil {
		return e
	}
	if v, ok := in["receipt_email"]; ok {
		change["receipt_email"] = v
	}
	return s.refers(in, "customer", "customers")
}

func createRefund(s *Server, c *call, o, in map[string]any) *apiError {
	id := text(in["charge"])
	if pi := text(in["payment_intent"]); pi != "" {
		intent := s.store["payment_intents"].byID[pi]
		if intent == nil {
			return missing(400, "payment intent", pi, "payment_intent")
		}
		id = text(intent.fields["latest_charge"])
		if id == "" {
			return invalid("payment_intent", "", "This PaymentIntent (%s) does not have a successful charge to refund.", pi)
		}
	}
	if id == "" {
		return invalid("", "parameter_missing", "One of the following params should be provided for this request: payment_intent or charge.")
	}
	charge := s.store["charges"].byID[id]
	if charge == nil {
		return missing(400, "charge", id, "charge")
	}
	left := charge.fields["amount"].(int64) - charge.fields["amount_refunded"].(int64)
	amount, given := in["amount"].(int64)
	if !given {
		amount = left
	}
	switch {
	case left == 0:
		return invalid("", "charge_already_refunded", "Charge %s has already been refunded.", id)
	case amount < 1:
		return invalid("amount", "parameter_invalid_integer", "Invalid positive integer")
	case amount > left:
		return invalid("amount", "", "Refund amount ($%.2f) is greater than unrefunded amount on charge ($%.2f)", float64(amount)/100, float64(left)/100)
	}
	txns := resourceAt("balance_transactions")
	txn := s.blank(txns)
	txn["amount"], txn["net"], txn["currency"], txn["source"], txn["type"], txn["reporting_category"] = -amount, -amount, charge.fields["currency"], o["id"], "refund", "refund"
	s.insert(txns, txn)
	o["amount"], o["charge"], o["currency"], o["payment_intent"], o["balance_transaction"] = amount, id, charge.fields["currency"], charge.fields["payment_intent"], txn["id"]
	change := maps.Clone(charge.fields)
	change["amount_refunded"] = charge.fields["amount_refunded"].(int64) + amount
	change["refunded"] = amount == left
	s.changed(c, resourceAt("charges"), charge, change, "refunded")
	return nil
}
