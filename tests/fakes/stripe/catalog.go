// Customers, products and prices: what their writes check and do.

package stripe

import (
	"maps"
	"net/mail"
	"strconv"
	"strings"
)

func customerDefaults() map[string]any {
	return map[string]any{"address": nil, "balance": int64(0), "business_name": nil, "currency": nil, "default_source": nil, "delinquent": false, "description": nil, "discount": nil,
		"email": nil, "individual_name": nil, "invoice_prefix": "FAKE0001",
		"invoice_settings":      map[string]any{"custom_fields": nil, "default_payment_method": nil, "footer": nil, "rendering_options": nil},
		"name":                  nil,
		"next_invoice_sequence": int64(1), "phone": nil, "preferred_locales": []any{}, "shipping": nil, "tax_exempt": "none", "test_clock": nil}
}

// validEmail trims as the API does.
func validEmail(in map[string]any, param string) *apiError {
	address, ok := in[param].(string)
	if !ok {
		return nil
	}
	trimmed := strings.TrimSpace(address)
	if a, err := mail.ParseAddress(trimmed); err != nil || a.Address != trimmed || !strings.Contains(trimmed, ".") {
		return invalid(param, "email_invalid", "Invalid email address: %s", address)
	}
	in[param] = trimmed
	return nil
}

func createCustomer(_ *Server, _ *call, o, in map[string]any) *apiError {
	if e := validEmail(in, "email"); e != nil {
		return e
	}
	o["email"] = in["email"]
	return nil
}

func updateCustomer(_ *Server, _ *call, _ *object, in, change map[string]any) *apiError {
	if e := validEmail(in, "email"); e != nil {
		return e
	}
	if v, ok := in["email"]; ok {
		change["email"] = v
	}
	return nil
}

// deleteCustomer also ends the customer's subscriptions.
func deleteCustomer(s *Server, c *call, o *object) (any, *apiError) {
	for _, sub := range s.store["subscriptions"].list {
		if sub.fields["customer"] == o.id && sub.fields["status"] != "canceled" {
			if _, e := cancelSubscription(s, c, sub); e != nil {
				return nil, e
			}
		}
	}
	return s.deleted(c, resourceAt("customers"), o), nil
}

func productDefaults() map[string]any {
	return map[string]any{"active": true, "default_price": nil, "description": nil, "images": []any{}, "marketing_features": []any{}, "name": "", "package_dimensions": nil,
		"shippable": nil, "statement_descriptor": nil, "tax_code": nil, "unit_label": nil, "updated": int64(0), "url": nil}
}

func createProduct(s *Server, c *call, o, in map[string]any) *apiError {
	if id, ok := in["id"].(string); ok {
		if s.store["products"].byID[id] != nil {
			return invalid("id", "resource_already_exists", "Product already exists.")
		}
		if strings.ContainsAny(id, " /?#%") {
			return invalid("id", "", "Invalid product id: %s", id)
		}
		o["id"] = id
	}
	if e := images(in); e != nil {
		return e
	}
	o["updated"] = o["created"]
	if d, ok := in["default_price_data"].(map[string]any); ok {
		price := s.blank(resourceAt("prices"))
		price["product"] = o["id"]
		price["currency"] = strings.ToLower(text(d["currency"]))
		if n, err := strconv.ParseInt(text(d["unit_amount"]), 10, 64); err == nil {
			price["unit_amount"], price["unit_amount_decimal"] = n, text(d["unit_amount"])
		}
		s.insert(resourceAt("prices"), price)
		s.event(c, resourceAt("prices"), "created", price, nil)
		o["default_price"] = price["id"]
	}
	return nil
}

func images(in map[string]any) *apiError {
	if list, ok := in["images"].([]any); ok && len(list) > 8 {
		return invalid("images", "", "You can only specify up to 8 images.")
	}
	return nil
}

func updateProduct(s *Server, _ *call, o *object, in, _ map[string]any) *apiError {
	if e := s.refers(in, "default_price", "prices"); e != nil {
		return e
	}
	if id, ok := in["default_price"].(string); ok && s.store["prices"].byID[id].fields["product"] != o.id {
		return invalid("default_price", "", "The price specified is for another product.")
	}
	return images(in)
}

func deleteProduct(s *Server, c *call, o *object) (any, *apiError) {
	for _, p := range s.store["prices"].list {
		if p.fields["product"] == o.id {
			return nil, invalid("id", "", "This product cannot be deleted because it has one or more user-created prices.")
		}
	}
	return s.deleted(c, resourceAt("products"), o), nil
}

// currencies that the server knows.
const currencies = " usd eur gbp chf jpy sek dkk nok cad aud "

func validCurrency(in map[string]any) *apiError {
	c, ok := in["currency"].(string)
	if !ok {
		return nil
	}
	c = strings.ToLower(c)
	if !strings.Contains(currencies, " "+c+" ") {
		return invalid("currency", "", "Invalid currency: %s. Stripe currently supports these currencies: %s", c, strings.ReplaceAll(strings.TrimSpace(currencies), " ", ", "))
	}
	in["currency"] = c
	return nil
}

func createPrice(s *Server, c *call, o, in map[string]any) *apiError {
	if e := validCurrency(in); e != nil {
		return e
	}
	o["currency"] = in["currency"]
	data, made := in["product_data"].(map[string]any)
	switch {
	case made && in["product"] != nil:
		return invalid("product_data", "parameters_exclusive", "You may only specify one of these parameters: product, product_data.")
	case made:
		p := s.blank(resourceAt("products"))
		p["updated"] = p["created"]
		merge(p, nil, data)
		s.insert(resourceAt("products"), p)
		s.event(c, resourceAt("products"), "created", p, nil)
		o["product"] = p["id"]
	case in["product"] == nil:
		return invalid("product", "parameter_missing", "Missing required param: product.")
	default:
		if e := s.refers(in, "product", "products"); e != nil {
			return e
		}
	}
	amount, whole := in["unit_amount"].(int64)
	exact, decimal := in["unit_amount_decimal"].(float64)
	switch {
	case whole && decimal:
		return invalid("unit_amount_decimal", "parameters_exclusive", "You may only specify one of these parameters: unit_amount, unit_amount_decimal.")
	case whole && amount < 0:
		return invalid("unit_amount", "parameter_invalid_integer", "Invalid non-negative integer")
	case whole:
		o["unit_amount_decimal"] = strconv.FormatInt(amount, 10)
	case decimal:
		o["unit_amount_decimal"] = strconv.FormatFloat(exact, 'f', -1, 64)
		if exact == float64(int64(exact)) {
			o["unit_amount"] = int64(exact)
		}
	case in["custom_unit_amount"] == nil && in["tiers"] == nil:
		return invalid("unit_amount", "parameter_missing", "Missing required param: unit_amount.")
	}
	if r, ok := o["recurring"].(map[string]any); ok {
		o["type"] = "recurring"
		if r["interval_count"] == nil {
			r["interval_count"] = int64(1)
		}
		if r["usage_type"] == nil {
			r["usage_type"] = "licensed"
		}
	}
	return uniqueLookupKey(s, c, in, "")
}

func updatePrice(s *Server, c *call, o *object, in, _ map[string]any) *apiError {
	return uniqueLookupKey(s, c, in, o.id)
}

// uniqueLookupKey: of active prices only one has it, unless it is transferred.
func uniqueLookupKey(s *Server, c *call, in map[string]any, self string) *apiError {
	key, ok := in["lookup_key"].(string)
	if !ok {
		return nil
	}
	for _, p := range s.store["prices"].list {
		if p.id == self || p.fields["lookup_key"] != key {
			continue
		}
		if in["transfer_lookup_key"] != true {
			return invalid("lookup_key", "", "A price (`%s`) already uses that lookup key.", p.id)
		}
		change := maps.Clone(p.fields)
		change["lookup_key"] = nil
		s.changed(c, resourceAt("prices"), p, change, "updated")
	}
	return nil
}
