// The resources: what each can be asked, given and filtered by. Names and bounds of
// parameters are those of Stripe's OpenAPI description, 2026-08-26.

package stripe

import (
	"slices"
	"strings"
)

// resource is a collection of the API.
type resource struct {
	path, singular, prefix string
	// idParam is what a 404 calls the id in the path.
	idParam string
	// filters that the list takes; filterBy the ones that are not an equality of
	// texts or a range of the field of the same name.
	filters  []*spec
	filterBy map[string]func(s *Server, fields map[string]any, want any) bool
	// create, update: the parameters; remove: what a DELETE does. nil: it cannot.
	create, update []*spec
	created        func(s *Server, c *call, o, in map[string]any) *apiError
	updated        func(s *Server, c *call, o *object, in, change map[string]any) *apiError
	remove         func(s *Server, c *call, o *object) (any, *apiError)
	actions        map[string]*action
	search         map[string]searchKind
	expand         map[string]string
	defaults       map[string]any
	event          string // prefix of the types of its events; empty: none
	tombstone      bool   // a deleted one can still be got, as such
}

// action is a POST to /v1/{resource}/{id}/{action}.
type action struct {
	in []*spec
	do func(s *Server, c *call, o *object, in map[string]any) *apiError
}

func (r *resource) noun() string { return strings.ReplaceAll(r.singular, "_", " ") }

func resourceAt(path string) *resource {
	at := slices.IndexFunc(resources, func(r *resource) bool { return r.path == path })
	if at < 0 {
		return nil
	}
	return resources[at]
}

const (
	address  = "city country line1 line2 postal_code state"
	shipping = "shipping{address!{" + address + "} carrier name! phone tracking_number}"
	// What is taken as it is, as nothing here depends on it.
	billing = " automatic_tax:any default_payment_method default_source? default_tax_rates?[] discounts?:any on_behalf_of? payment_settings:any"
)

// resources is filled in by init: the functions need it themselves.
var resources []*resource

func init() {
	resources = []*resource{
		{
			path: "customers", singular: "customer", prefix: "cus_", idParam: "id", event: "customer", tombstone: true,
			filters: members("created:range email:512 test_clock"),
			create: members("address?{" + address + "} balance:int business_name?:150 description email:512 individual_name?:150 invoice_prefix" +
				" invoice_settings{custom_fields?:any default_payment_method footer rendering_options?:any} metadata?:map name:256 next_invoice_sequence:int" +
				" payment_method phone:20 preferred_locales[] shipping?{address!{" + address + "} name! phone} source tax:any tax_exempt?:exempt|none|reverse tax_id_data:any test_clock"),
			update: members("address?{" + address + "} balance:int business_name?:150 default_source:500 description? email?:512 individual_name?:150 invoice_prefix" +
				" invoice_settings{custom_fields?:any default_payment_method? footer? rendering_options?:any} metadata?:map name?:256 next_invoice_sequence:int" +
				" phone?:20 preferred_locales[] shipping?{address!{" + address + "} name! phone} source tax:any tax_exempt?:exempt|none|reverse"),
			created: createCustomer, updated: updateCustomer, remove: deleteCustomer,
			search:   map[string]searchKind{"created": numeric, "email": searchText, "metadata": token, "name": searchText, "phone": searchText},
			expand:   map[string]string{"default_source": "sources"},
			defaults: customerDefaults(),
		},
		{
			path: "products", singular: "product", prefix: "prod_", idParam: "id", event: "product",
			filters:  members("active:bool created:range ids[] shippable:bool url"),
			filterBy: map[string]func(*Server, map[string]any, any) bool{"ids": anyOf("id")},
			create: members("active:bool default_price_data:any description:40000 id images[] marketing_features:any metadata:map name!" +
				" package_dimensions{height!:num length!:num weight!:num width!:num} shippable:bool statement_descriptor:22 tax_code unit_label:12 url"),
			update: members("active:bool default_price? description?:40000 images?[] marketing_features?:any metadata?:map name" +
				" package_dimensions?{height!:num length!:num weight!:num width!:num} shippable:bool statement_descriptor:22 tax_code? unit_label?:12 url?"),
			created: createProduct, updated: updateProduct, remove: deleteProduct,
			search:   map[string]searchKind{"active": token, "description": searchText, "metadata": token, "name": searchText, "shippable": token, "url": searchText},
			expand:   map[string]string{"default_price": "prices"},
			defaults: productDefaults(),
		},
		{
			path: "prices", singular: "price", prefix: "price_", idParam: "price", event: "price",
			filters: members("active:bool created:range currency lookup_keys[] product recurring{interval:day|month|week|year meter usage_type:licensed|metered} type:one_time|recurring"),
			filterBy: map[string]func(*Server, map[string]any, any) bool{"lookup_keys": anyOf("lookup_key"),
				"currency": func(_ *Server, f map[string]any, want any) bool {
					return strings.EqualFold(text(f["currency"]), text(want))
				},
				"recurring": func(_ *Server, f map[string]any, want any) bool {
					for k, v := range want.(map[string]any) {
						if at(f, "recurring."+k) != v {
							return false
						}
					}
					return true
				}},
			create: members("active:bool billing_scheme:per_unit|tiered currency! currency_options:map custom_unit_amount:any lookup_key:200 metadata:map nickname product" +
				" product_data{active:bool id metadata:map name! statement_descriptor:22 tax_code unit_label:12} recurring{interval!:day|month|week|year interval_count:int meter usage_type:licensed|metered}" +
				" tax_behavior:exclusive|inclusive|unspecified tiers:any tiers_mode:graduated|volume transfer_lookup_key:bool transform_quantity:any unit_amount:int unit_amount_decimal:dec"),
			update:  members("active:bool currency_options?:map lookup_key?:200 metadata?:map nickname? tax_behavior:exclusive|inclusive|unspecified transfer_lookup_key:bool"),
			created: createPrice, updated: updatePrice,
			search: map[string]searchKind{"active": token, "currency": token, "lookup_key": searchText, "metadata": token, "product": searchText, "type": token},
			expand: map[string]string{"product": "products"},
			defaults: map[string]any{"active": true, "billing_scheme": "per_unit", "currency": "usd", "custom_unit_amount": nil, "lookup_key": nil, "nickname": nil, "product": nil,
				"recurring": nil, "tax_behavior": "unspecified", "tiers_mode": nil, "transform_quantity": nil, "type": "one_time", "unit_amount": nil, "unit_amount_decimal": nil},
		},
		{
			path: "subscriptions", singular: "subscription", prefix: "sub_", idParam: "id", event: "customer.subscription",
			filters: members("collection_method:charge_automatically|send_invoice created:range current_period_end:range current_period_start:range customer customer_account price" +
				" status:active|all|canceled|ended|incomplete|incomplete_expired|past_due|paused|trialing|unpaid test_clock automatic_tax{enabled!:bool}"),
			filterBy: map[string]func(*Server, map[string]any, any) bool{"status": subscriptionStatus, "price": subscriptionPrice,
				"automatic_tax": func(_ *Server, f map[string]any, want any) bool {
					return at(f, "automatic_tax.enabled") == want.(map[string]any)["enabled"]
				}},
			create: members("application_fee_percent?:num backdate_start_date:time billing_cycle_anchor:time cancel_at:any cancel_at_period_end:bool collection_method:charge_automatically|send_invoice currency customer" +
				" days_until_due:int description:500 invoice_settings:any items:any metadata?:map off_session:bool payment_behavior:allow_incomplete|default_incomplete|error_if_incomplete|pending_if_incomplete" +
				" proration_behavior:always_invoice|create_prorations|none trial_end:any trial_from_plan:bool trial_period_days:int" + billing),
			update: members("application_fee_percent?:num billing_cycle_anchor:now|unchanged cancel_at?:any cancel_at_period_end:bool cancellation_details{comment? feedback?} collection_method:charge_automatically|send_invoice" +
				" days_until_due:int description?:500 invoice_settings:any items:any metadata?:map off_session:bool pause_collection?{behavior!:keep_as_draft|mark_uncollectible|void resumes_at:time}" +
				" payment_behavior:allow_incomplete|default_incomplete|error_if_incomplete|pending_if_incomplete proration_behavior:always_invoice|create_prorations|none trial_end:any" + billing),
			created: createSubscription, updated: updateSubscription, remove: cancelSubscription,
			search:   map[string]searchKind{"canceled_at": numeric, "created": numeric, "metadata": token, "status": token},
			expand:   map[string]string{"customer": "customers", "latest_invoice": "invoices"},
			defaults: subscriptionDefaults(),
		},
		{
			path: "invoices", singular: "invoice", prefix: "in_", idParam: "invoice", event: "invoice",
			filters: members("collection_method:charge_automatically|send_invoice created:range customer customer_account due_date:range status:draft|open|paid|uncollectible|void subscription"),
			filterBy: map[string]func(*Server, map[string]any, any) bool{"subscription": func(_ *Server, f map[string]any, want any) bool {
				return at(f, "parent.subscription_details.subscription") == want
			}},
			create: members("application_fee_amount:int auto_advance:bool automatically_finalizes_at:time collection_method:charge_automatically|send_invoice currency custom_fields?:any customer days_until_due:int" +
				" description:1500 due_date:time effective_at:time footer metadata?:map number:26 pending_invoice_items_behavior:exclude|include rendering:any shipping_cost:any shipping_details:any statement_descriptor:22 subscription" + billing),
			update: members("application_fee_amount:int auto_advance:bool automatically_finalizes_at:time collection_method:charge_automatically|send_invoice custom_fields?:any days_until_due:int" +
				" description?:1500 due_date:time effective_at?:time footer? metadata?:map number?:26 rendering:any shipping_cost?:any shipping_details?:any statement_descriptor?:22" + billing),
			created: createInvoice, updated: updateInvoice, remove: deleteInvoice,
			actions: map[string]*action{"finalize": {in: members("auto_advance:bool"), do: finalizeInvoice}, "pay": {in: members("paid_out_of_band:bool payment_method off_session:bool"), do: payInvoice}, "void": {do: voidInvoice}},
			search: map[string]searchKind{"created": numeric, "currency": token, "customer": token, "last_finalization_error_code": token, "last_finalization_error_type": token,
				"metadata": token, "number": searchText, "receipt_number": searchText, "status": token, "subscription": searchText, "total": numeric},
			expand:   map[string]string{"customer": "customers"},
			defaults: invoiceDefaults(),
		},
		{
			path: "charges", singular: "charge", prefix: "ch_", idParam: "id", event: "charge",
			filters: members("created:range customer payment_intent transfer_group"),
			update:  members("customer description?:40000 fraud_details{user_report!?:fraudulent|safe} metadata?:map receipt_email? " + shipping + " transfer_group"),
			updated: updateCharge,
			search: map[string]searchKind{"amount": numeric, "billing_details.address.postal_code": token, "created": numeric, "currency": token, "customer": token, "disputed": token, "metadata": token,
				"payment_method_details.card.last4": token, "payment_method_details.card.exp_month": token, "payment_method_details.card.exp_year": token, "payment_method_details.card.brand": token,
				"payment_method_details.card.fingerprint": token, "refunded": token, "status": token},
			expand:   map[string]string{"customer": "customers", "payment_intent": "payment_intents", "balance_transaction": "balance_transactions"},
			defaults: chargeDefaults(),
		},
		{
			path: "payment_intents", singular: "payment_intent", prefix: "pi_", idParam: "intent", event: "payment_intent",
			filters: members("created:range customer customer_account"),
			create: members("amount!:int application_fee_amount:int automatic_payment_methods{allow_redirects:always|never enabled!:bool} capture_method:automatic|automatic_async|manual confirm:bool confirmation_method:automatic|manual currency! customer" +
				" description:1000 metadata:map off_session:any on_behalf_of payment_method payment_method_options:any payment_method_types[] receipt_email return_url setup_future_usage:off_session|on_session " + shipping +
				" statement_descriptor:22 statement_descriptor_suffix:22 transfer_group"),
			update: members("amount:int application_fee_amount?:int capture_method:automatic|automatic_async|manual currency customer description?:1000 metadata?:map payment_method payment_method_options:any payment_method_types[]" +
				" receipt_email? setup_future_usage?:off_session|on_session shipping?{address!{" + address + "} carrier name! phone tracking_number} statement_descriptor?:22 statement_descriptor_suffix?:22 transfer_group?"),
			created: createPaymentIntent, updated: updatePaymentIntent,
			actions:  map[string]*action{"confirm": {in: members("payment_method off_session:any return_url receipt_email?"), do: confirmPaymentIntent}, "cancel": {in: members("cancellation_reason:abandoned|duplicate|fraudulent|requested_by_customer"), do: cancelPaymentIntent}},
			search:   map[string]searchKind{"amount": numeric, "created": numeric, "currency": token, "customer": token, "metadata": token, "status": token},
			expand:   map[string]string{"customer": "customers", "latest_charge": "charges"},
			defaults: paymentIntentDefaults(),
		},
		{
			path: "refunds", singular: "refund", prefix: "re_", idParam: "refund", event: "refund",
			filters: members("charge created:range payment_intent"),
			create:  members("amount:int charge currency customer instructions_email metadata?:map origin:customer_balance payment_intent reason:duplicate|fraudulent|requested_by_customer refund_application_fee:bool reverse_transfer:bool"),
			update:  members("metadata?:map"),
			created: createRefund,
			expand:  map[string]string{"charge": "charges", "payment_intent": "payment_intents", "balance_transaction": "balance_transactions"},
			defaults: map[string]any{"amount": int64(100), "balance_transaction": nil, "charge": nil, "currency": "usd", "payment_intent": nil, "reason": nil, "receipt_number": nil,
				"source_transfer_reversal": nil, "status": "succeeded", "transfer_reversal": nil},
		},
		{
			path: "balance_transactions", singular: "balance_transaction", prefix: "txn_", idParam: "id",
			filters: members("created:range currency payout source type"),
			expand:  map[string]string{"source": "charges"},
			defaults: map[string]any{"amount": int64(100), "available_on": int64(0), "balance_type": "payments", "currency": "usd", "description": nil, "exchange_rate": nil, "fee": int64(0), "fee_details": []any{}, "net": int64(100),
				"reporting_category": "charge", "source": nil, "status": "available", "type": "charge"},
		},
		{
			path: "events", singular: "event", prefix: "evt_", idParam: "id",
			filters: members("created:range delivery_success:bool type types[]"),
			filterBy: map[string]func(*Server, map[string]any, any) bool{"type": eventType, "types": eventTypes,
				"delivery_success": func(_ *Server, f map[string]any, want any) bool { return (f["pending_webhooks"] == int64(0)) == want }},
			defaults: map[string]any{"api_version": Version, "data": map[string]any{}, "pending_webhooks": int64(0), "request": map[string]any{"id": nil, "idempotency_key": nil}, "type": "customer.created"},
		},
	}
}

// filter makes a predicate of a list's parameters.
func (r *resource) filter(s *Server, in map[string]any) (func(map[string]any) bool, *apiError) {
	if r.path == "subscriptions" && in["status"] == nil {
		in["status"] = "not canceled"
	}
	if types, ok := in["types"].([]any); ok && len(types) > 20 {
		return nil, invalid("types", "", "You can only pass up to 20 types.")
	}
	if keys, ok := in["lookup_keys"].([]any); ok && len(keys) > 10 {
		return nil, invalid("lookup_keys", "", "You can only pass up to 10 lookup_keys.")
	}
	return func(fields map[string]any) bool {
		for name, want := range in {
			switch special := r.filterBy[name]; {
			case name == "limit" || name == "starting_after" || name == "ending_before":
			case special != nil:
				if !special(s, fields, want) {
					return false
				}
			default:
				if bounds, ok := want.(map[string]any); ok {
					if !within(fields[name], bounds) {
						return false
					}
				} else if fields[name] != want {
					return false
				}
			}
		}
		return true
	}, nil
}

func within(v any, bounds map[string]any) bool {
	n, ok := v.(int64)
	if !ok {
		return false
	}
	for op, bound := range bounds {
		b := bound.(int64)
		if op == "gt" && n <= b || op == "gte" && n < b || op == "lt" && n >= b || op == "lte" && n > b {
			return false
		}
	}
	return true
}

func anyOf(field string) func(*Server, map[string]any, any) bool {
	return func(_ *Server, f map[string]any, want any) bool { return slices.Contains(want.([]any), f[field]) }
}
