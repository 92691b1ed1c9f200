"use strict";
// Stripe's own client against tests/fakes/stripe.

const assert = require("node:assert");
const Stripe = require("stripe");
const { check, control, thrown, run, url } = require("./judge");

const { hostname: host, port } = new URL(url);
const make = (key, config = {}) => new Stripe(key, { host, port, protocol: "http", maxNetworkRetries: 0, telemetry: false, ...config });
const stripe = make("sk_test_hallway_0123456789");
const retrying = make("sk_test_hallway_0123456789", { maxNetworkRetries: 2 });

check("lists by auto-paging, the newest first", async () => {
  const ids = new Set();
  let last = Infinity;
  for await (const c of stripe.customers.list({ limit: 100 })) {
    assert.strictEqual(c.object, "customer");
    assert(c.created <= last, "newest first");
    last = c.created;
    ids.add(c.id);
  }
  assert.strictEqual(ids.size, 350);
  const page = await stripe.customers.list({ limit: 3 });
  assert(page.has_more);
  const back = await stripe.customers.list({ limit: 2, ending_before: page.data[2].id });
  assert.deepStrictEqual(back.data.map((c) => c.id), page.data.slice(0, 2).map((c) => c.id));
  const all = await stripe.customers.list({ limit: 40 }).autoPagingToArray({ limit: 1000 });
  assert.strictEqual(all.length, 350);
});

check("filters lists", async () => {
  const all = await stripe.customers.list({ limit: 100 }).autoPagingToArray({ limit: 1000 });
  const middle = all[170].created;
  const newer = await stripe.customers.list({ limit: 100, created: { gte: middle } }).autoPagingToArray({ limit: 1000 });
  assert.deepStrictEqual(newer.map((c) => c.id), all.filter((c) => c.created >= middle).map((c) => c.id));
  const one = all.find((c) => c.email);
  for (const c of (await stripe.customers.list({ email: one.email })).data) assert.strictEqual(c.email, one.email);
  const products = (await stripe.products.list({ limit: 3 })).data.map((p) => p.id);
  const byId = await stripe.products.list({ ids: products });
  assert.deepStrictEqual(byId.data.map((p) => p.id), products);
  for (const p of (await stripe.prices.list({ active: true, type: "recurring", recurring: { interval: "month" } })).data) {
    assert(p.active && p.recurring.interval === "month");
  }
});

check("hides canceled subscriptions unless asked", async () => {
  const some = await stripe.subscriptions.list({ limit: 100 }).autoPagingToArray({ limit: 1000 });
  assert(some.length > 0 && some.every((s) => s.status !== "canceled"));
  const every = await stripe.subscriptions.list({ limit: 100, status: "all" }).autoPagingToArray({ limit: 1000 });
  assert(every.length > some.length);
});

check("refuses a parameter that the list does not have", async () => {
  const e = await thrown(() => stripe.customers.list({ name: "x" }));
  assert(e instanceof Stripe.errors.StripeInvalidRequestError);
  assert.deepStrictEqual([e.statusCode, e.rawType, e.code, e.param], [400, "invalid_request_error", "parameter_unknown", "name"]);
  assert.match(e.requestId, /^req_/);
  const limit = await thrown(() => stripe.charges.list({ limit: 101 }));
  assert.strictEqual(limit.param, "limit");
});

check("expands", async () => {
  const charges = await stripe.charges.list({ limit: 100, expand: ["data.customer", "data.balance_transaction"] }).autoPagingToArray({ limit: 1000 });
  const paid = charges.find((c) => c.customer);
  assert.strictEqual(paid.customer.object, "customer");
  const deep = await stripe.charges.retrieve(paid.id, { expand: ["payment_intent.customer"] });
  assert.strictEqual(deep.payment_intent.customer.id, paid.customer.id);
  const e = await thrown(() => stripe.charges.retrieve(paid.id, { expand: ["amount"] }));
  assert.strictEqual(e.type, "StripeInvalidRequestError");
});

check("creates, changes, unsets and deletes a customer", async () => {
  const made = await stripe.customers.create({
    name: "Ada", email: "ada@lovelace.example", address: { city: "London", line1: "12 St James's Square & co=1" },
    metadata: { note: 'quotes " and \\ and ü', empty: "x" }, preferred_locales: ["en", "fr"],
  });
  assert.strictEqual(made.address.line1, "12 St James's Square & co=1");
  assert.strictEqual(made.address.country, null);
  assert.deepStrictEqual(made.preferred_locales, ["en", "fr"]);
  const changed = await stripe.customers.update(made.id, { name: "", metadata: { empty: "" }, balance: -500 });
  assert.strictEqual(changed.name, null);
  assert.deepStrictEqual(changed.metadata, { note: 'quotes " and \\ and ü' });
  assert.strictEqual(changed.balance, -500);
  const found = await stripe.customers.retrieve(made.id);
  assert.strictEqual(found.email, "ada@lovelace.example");
  const deleted = await stripe.customers.del(made.id);
  assert.deepStrictEqual([deleted.id, deleted.deleted], [made.id, true]);
  assert.strictEqual((await stripe.customers.retrieve(made.id)).deleted, true);
  const e = await thrown(() => stripe.customers.update(made.id, { name: "x" }));
  assert.deepStrictEqual([e.statusCode, e.code, e.param], [404, "resource_missing", "id"]);
  assert.match(e.message, /^No such customer: 'cus_/);
});

check("says what is wrong with a write", async () => {
  for (const [f, code, param] of [
    [() => stripe.customers.create({ email: "nobody" }), "email_invalid", "email"],
    [() => stripe.customers.create({ name: "a".repeat(257) }), undefined, "name"],
    [() => stripe.customers.create({ tax_exempt: "maybe" }), undefined, "tax_exempt"],
    [() => stripe.products.create({}), "parameter_missing", "name"],
    [() => stripe.subscriptions.create({ customer: "cus_none", items: [{ price: "price_none" }] }), "resource_missing", "customer"],
    [() => stripe.paymentIntents.create({ amount: 1, currency: "usd" }), "amount_too_small", "amount"],
    [() => stripe.customers.create({ nickname: "x" }), "parameter_unknown", "nickname"],
  ]) {
    const e = await thrown(f);
    assert(e instanceof Stripe.errors.StripeInvalidRequestError, `${e}`);
    assert.deepStrictEqual([e.code, e.param], [code, param], e.message);
  }
});

check("sells: product, price, subscription, invoice", async () => {
  const product = await stripe.products.create({ name: "Shirt", images: ["https://example.com/1.png"] });
  const price = await stripe.prices.create({ product: product.id, currency: "EUR", unit_amount: 990, recurring: { interval: "month" } });
  assert.deepStrictEqual([price.currency, price.type, price.unit_amount_decimal.toString()], ["eur", "recurring", "990"]);
  const refused = await thrown(() => stripe.products.del(product.id));
  assert.match(refused.message, /one or more user-created prices/);
  const customer = await stripe.customers.create({ email: "buyer@example.com" });
  const sub = await stripe.subscriptions.create({ customer: customer.id, items: [{ price: price.id, quantity: 2 }], metadata: { a: "b" } });
  assert.deepStrictEqual([sub.status, sub.items.data[0].quantity, sub.items.data[0].price.id], ["active", 2, price.id]);
  const invoice = await stripe.invoices.create({ customer: customer.id, collection_method: "send_invoice", days_until_due: 10, subscription: sub.id });
  assert.strictEqual(invoice.due_date, invoice.created + 864000);
  const listed = await stripe.invoices.list({ subscription: sub.id, due_date: { gt: invoice.due_date - 1 } });
  assert.deepStrictEqual(listed.data.map((i) => i.id), [invoice.id]);
  assert.strictEqual((await stripe.invoices.finalizeInvoice(invoice.id)).status, "open");
  const e = await thrown(() => stripe.invoices.del(invoice.id));
  assert.match(e.message, /draft/);
  assert.strictEqual((await stripe.invoices.voidInvoice(invoice.id)).status, "void");
  const canceled = await stripe.subscriptions.cancel(sub.id);
  assert.strictEqual(canceled.status, "canceled");
  assert.strictEqual((await stripe.subscriptions.retrieve(sub.id)).status, "canceled");
});

check("pays and refunds", async () => {
  const intent = await stripe.paymentIntents.create({ amount: 2000, currency: "usd", confirm: true, payment_method: "pm_card_visa", metadata: { order: "7" } });
  assert.strictEqual(intent.status, "succeeded");
  const [charge] = (await stripe.charges.list({ payment_intent: intent.id })).data;
  assert.strictEqual(charge.id, intent.latest_charge);
  const refund = await stripe.refunds.create({ charge: charge.id, amount: 500, reason: "duplicate" });
  assert.deepStrictEqual((await stripe.refunds.list({ charge: charge.id })).data.map((r) => r.id), [refund.id]);
  assert.strictEqual((await stripe.charges.retrieve(charge.id)).amount_refunded, 500);
  const moves = await stripe.balanceTransactions.list({ source: refund.id });
  assert.deepStrictEqual(moves.data.map((m) => [m.type, m.amount]), [["refund", -500]]);
  const e = await thrown(() => stripe.paymentIntents.create({ amount: 2000, currency: "usd", confirm: true, payment_method: "pm_card_chargeDeclined" }));
  assert(e instanceof Stripe.errors.StripeCardError);
  assert.deepStrictEqual([e.statusCode, e.code, e.decline_code], [402, "card_declined", "generic_decline"]);
});

check("searches, with pages", async () => {
  const all = await stripe.customers.list({ limit: 100 }).autoPagingToArray({ limit: 1000 });
  const want = all.filter((c) => (c.email || "").toLowerCase().includes("example.com") && c.created > 0).map((c) => c.id);
  const found = await stripe.customers.search({ query: 'email~"EXAMPLE.com" AND created>0', limit: 50 }).autoPagingToArray({ limit: 1000 });
  assert.deepStrictEqual(found.map((c) => c.id), want);
  const orders = await stripe.charges.search({ query: 'metadata["order"]:"o-1" OR metadata["order"]:"o-2"', expand: ["total_count"] });
  assert.strictEqual(orders.object, "search_result");
  assert(orders.total_count > 0);
  for (const query of ["name", 'email:"a" AND name:"b" OR name:"c"', 'balance:"1"', 'email:"a" '.repeat(11)]) {
    const e = await thrown(() => stripe.customers.search({ query }));
    assert.deepStrictEqual([e.statusCode, e.param], [400, "query"], query);
  }
});

check("shows what changed as events", async () => {
  const c = await stripe.customers.create({ name: "before" }, { idempotencyKey: "events-1" });
  await stripe.customers.update(c.id, { name: "after" });
  await stripe.customers.del(c.id);
  const events = (await stripe.events.list({ types: ["customer.created", "customer.updated", "customer.deleted"], limit: 3 })).data;
  assert.deepStrictEqual(events.map((e) => e.type), ["customer.deleted", "customer.updated", "customer.created"]);
  assert(events.every((e) => e.data.object.id === c.id));
  assert.deepStrictEqual(events[1].data.previous_attributes, { name: "before" });
  assert.strictEqual(events[2].request.idempotency_key, "events-1");
  assert.strictEqual((await stripe.events.retrieve(events[0].id)).id, events[0].id);
  const intent = await stripe.paymentIntents.create({ amount: 2000, currency: "usd", confirm: true, payment_method: "pm_card_visa" });
  await stripe.paymentIntents.update(intent.id, { metadata: { told: "by no event" } });
  const refund = await stripe.refunds.create({ payment_intent: intent.id, amount: 500 });
  const since = await stripe.events.list({ ending_before: events[0].id, limit: 100 });
  assert.deepStrictEqual(since.data.map((e) => e.type).sort(), ["charge.refunded", "charge.succeeded", "payment_intent.created", "payment_intent.succeeded", "refund.created"]);
  const about = Object.fromEntries(since.data.map((e) => [e.type, e.data.object]));
  assert.strictEqual(about["refund.created"].charge, about["charge.refunded"].id);
  assert.deepStrictEqual([about["refund.created"].id, about["charge.refunded"].amount_refunded], [refund.id, 500]);
});

check("does a write with one idempotency key once", async () => {
  const options = { idempotencyKey: "once-1" };
  const first = await stripe.customers.create({ name: "once" }, options);
  const second = await stripe.customers.create({ name: "once" }, options);
  assert.strictEqual(second.id, first.id);
  assert.strictEqual(second.lastResponse.headers["idempotent-replayed"], "true");
  const e = await thrown(() => stripe.customers.create({ name: "twice" }, options));
  assert(e instanceof Stripe.errors.StripeIdempotencyError);
  assert.strictEqual(e.rawType, "idempotency_error");
  await control("hold");
  const key = { idempotencyKey: "once-2" };
  const held = stripe.customers.create({ name: "x" }, key);
  await control("begun");
  const refused = await thrown(() => stripe.customers.create({ name: "x" }, key));
  await control("release");
  assert.deepStrictEqual([refused.statusCode, refused.code], [409, "idempotency_key_in_use"]);
  assert.strictEqual((await held).name, "x");
});

check("is sent again after a lost answer, and done once", async () => {
  await control("fail", { fault: "cut" });
  const before = await control("count", { kind: "customers" });
  const c = await retrying.customers.create({ name: "cut" });
  assert.strictEqual(c.name, "cut");
  assert.strictEqual(await control("count", { kind: "customers" }), before + 1);
});

check("waits for a lock, and is told of the rate limit", async () => {
  await control("locked", { every: 2 });
  for (let i = 0; i < 4; i++) await retrying.customers.create({ name: `lock ${i}` });
  await control("locked", { every: 0 });
  await control("limited", { every: 1 });
  const e = await thrown(() => stripe.customers.list());
  await control("limited", { every: 0 });
  assert(e instanceof Stripe.errors.StripeRateLimitError);
  assert.deepStrictEqual([e.statusCode, e.code], [429, "rate_limit"]);
});

check("knows wrong keys and missing permissions", async () => {
  const wrong = await thrown(() => make("sk_test_wrong").customers.list());
  assert(wrong instanceof Stripe.errors.StripeAuthenticationError);
  await control("deny", { resource: "invoices" });
  const denied = await thrown(() => stripe.invoices.list());
  await control("deny", { resource: "invoices", end: "1" });
  assert(denied instanceof Stripe.errors.StripePermissionError);
  const nowhere = await thrown(() => stripe.rawRequest("GET", "/v1/nothing"));
  assert.strictEqual(nowhere.statusCode, 404);
});

run();
