"use strict";
// HubSpot's own client over tests/fakes/hubspot.

const assert = require("node:assert/strict");
const { Client } = require("@hubspot/api-client");
const { check, control, thrown, run, url } = require("./judge");

const token = "pat-eu1-stand-in";
const client = new Client({ accessToken: token, basePath: url });
const { contacts, companies, deals, objects } = client.crm;

const byMail = (email) => ({ filterGroups: [{ filters: [{ propertyName: "email", operator: "EQ", value: email }] }], properties: ["email", "phone"] });

check("creates, reads, changes and archives a record", async () => {
  const made = await contacts.basicApi.create({ properties: { email: "ada@example.com", firstname: "Ada", closedate: "1572480000000", date_of_birth: "1815-12-10" }, associations: [] });
  assert.match(made.id, /^\d+$/);
  assert.ok(made.createdAt instanceof Date);
  assert.equal(made.properties.closedate, "2019-10-31T00:00:00.000Z");
  assert.equal(made.properties.date_of_birth, "1815-12-10");
  assert.equal(made.archived, false);

  const got = await contacts.basicApi.getById(made.id, ["firstname", "phone", "nothing_of_that_name"]);
  assert.equal(got.properties.firstname, "Ada");
  assert.equal(got.properties.phone, null);
  assert.ok(!("nothing_of_that_name" in got.properties));
  assert.equal((await contacts.basicApi.getById("ADA@example.com", ["email"], undefined, undefined, false, "email")).id, made.id);

  const changed = await contacts.basicApi.update(made.id, { properties: { firstname: "", phone: "1" } });
  assert.ok(changed.updatedAt > made.updatedAt);
  const again = await contacts.basicApi.getById(made.id, ["firstname", "phone"]);
  assert.equal(again.properties.firstname, null);
  assert.equal(again.properties.phone, "1");

  await contacts.basicApi.archive(made.id);
  const gone = await thrown(() => contacts.basicApi.getById(made.id));
  assert.equal(gone.code, 404);
  const kept = await contacts.basicApi.getById(made.id, undefined, undefined, undefined, true);
  assert.equal(kept.archived, true);
  assert.ok(kept.archivedAt instanceof Date);
});

check("lists page by page to the end, and what is archived", async () => {
  const first = await contacts.basicApi.getPage(100, undefined, ["email"]);
  assert.equal(first.results.length, 100);
  assert.ok(first.paging.next.after);
  const second = await contacts.basicApi.getPage(100, first.paging.next.after, ["email"]);
  assert.ok(Number(second.results[0].id) > Number(first.results[99].id));
  const archived = await contacts.basicApi.getPage(10, undefined, ["email"], undefined, undefined, true);
  assert.deepEqual(archived.results.map((r) => r.archived), [true]);
  assert.equal(archived.paging, undefined);
});

check("has all records of a small object at once", async () => {
  for (let i = 0; i < 150; i++) await companies.basicApi.create({ properties: { name: `Company ${i}`, numberofemployees: `${i}` }, associations: [] });
  assert.equal((await companies.getAll(100, undefined, ["name"])).length, 150);
});

check("searches by groups, sorts, pages", async () => {
  const request = {
    filterGroups: [
      { filters: [{ propertyName: "numberofemployees", operator: "BETWEEN", value: "10", highValue: "19" }, { propertyName: "name", operator: "HAS_PROPERTY" }] },
      { filters: [{ propertyName: "name", operator: "IN", values: ["company 140", "Company 141"] }] },
      { filters: [{ propertyName: "name", operator: "EQ", value: "COMPANY 5" }] },
    ],
    sorts: ["-numberofemployees"],
    properties: ["name", "numberofemployees"],
    limit: 7,
  };
  const first = await companies.searchApi.doSearch(request);
  assert.equal(first.total, 12); // the texts of IN match in lower case only
  assert.equal(first.results.length, 7);
  assert.equal(first.results[0].properties.name, "Company 140");
  const rest = await companies.searchApi.doSearch({ ...request, after: first.paging.next.after });
  assert.equal(rest.results.length, 5);
  assert.equal(rest.results[4].properties.name, "Company 5");
  assert.equal(rest.paging, undefined);
});

check("searches for words, and for what is not there", async () => {
  const find = async (filters) => (await companies.searchApi.doSearch({ filterGroups: [{ filters }], limit: 200 })).total;
  assert.equal(await find([{ propertyName: "name", operator: "CONTAINS_TOKEN", value: "compan*" }]), 150);
  assert.equal(await find([{ propertyName: "name", operator: "CONTAINS_TOKEN", value: "pan" }]), 0);
  assert.equal(await find([{ propertyName: "name", operator: "NOT_CONTAINS_TOKEN", value: "7" }]), 149);
  assert.equal(await find([{ propertyName: "city", operator: "NOT_HAS_PROPERTY" }]), 150);
  assert.equal(await find([{ propertyName: "numberofemployees", operator: "NEQ", value: "7.0" }]), 149);
  assert.equal(await find([{ propertyName: "numberofemployees", operator: "NOT_IN", values: ["1", "2"] }]), 148);
  assert.equal(await find([{ propertyName: "createdate", operator: "GT", value: "1572480000000" }]), 150);
  assert.equal((await companies.searchApi.doSearch({ query: "company 9" })).total, 1);
});

check("refuses searches beyond its limits", async () => {
  const one = { propertyName: "name", operator: "EQ", value: "x" };
  const refused = async (request) => {
    const e = await thrown(() => companies.searchApi.doSearch(request));
    assert.equal(e.code, 400);
    assert.equal(e.body.category, "VALIDATION_ERROR");
    assert.ok(e.body.correlationId);
    return e;
  };
  await refused({ filterGroups: Array(6).fill({ filters: [one] }) });
  await refused({ filterGroups: [{ filters: Array(7).fill(one) }] });
  await refused({ filterGroups: Array(4).fill({ filters: Array(5).fill(one) }) });
  await refused({ limit: 201 });
  await refused({ sorts: ["name", "city"] });
  await refused({ filterGroups: [{ filters: [{ propertyName: "nonsense", operator: "EQ", value: "x" }] }] });
  await refused({ filterGroups: [{ filters: [{ propertyName: "name", operator: "NOT_HAS_PROPERTY", value: "x" }] }] });
  await refused({ filterGroups: [{ filters: [{ propertyName: "numberofemployees", operator: "GT", value: "many" }] }] });
  const all = { filterGroups: [{ filters: [{ propertyName: "firstname", operator: "EQ", value: "SEED" }] }], limit: 200 };
  const last = await contacts.searchApi.doSearch({ ...all, after: "9800" });
  assert.equal(last.total, 10050);
  assert.equal(last.results.length, 200);
  const beyond = await thrown(() => contacts.searchApi.doSearch({ ...all, after: last.paging.next.after }));
  assert.equal(beyond.code, 400);
});

check("does not show a write to searches at once", async () => {
  await control("lag", { lag: "1h" });
  await contacts.basicApi.create({ properties: { email: "late@example.com" }, associations: [] });
  assert.equal((await contacts.searchApi.doSearch(byMail("late@example.com"))).total, 0);
  assert.equal((await contacts.basicApi.getById("late@example.com", ["email"], undefined, undefined, false, "email")).properties.email, "late@example.com");
  await control("lag", { lag: "0s" });
});

check("says what was wrong with values, as JSON in its message", async () => {
  const refused = async (properties) => {
    const e = await thrown(() => contacts.basicApi.create({ properties, associations: [] }));
    assert.equal(e.code, 400);
    assert.match(e.body.message, /^Property values were not valid: \[/);
    return JSON.parse(e.body.message.replace("Property values were not valid: ", ""));
  };
  assert.deepEqual((await refused({ email: "andrea__invalid", nonsense: "1" })).map((v) => [v.name, v.error]), [["email", "INVALID_EMAIL"], ["nonsense", "PROPERTY_DOESNT_EXIST"]]);
  assert.equal((await refused({ hs_lead_status: "MAYBE" }))[0].error, "INVALID_OPTION");
  assert.equal((await refused({ annualrevenue: "much" }))[0].error, "INVALID_DOUBLE");
  assert.equal((await refused({ createdate: "2020-01-01" }))[0].error, "READ_ONLY_VALUE");
  const taken = await thrown(() => contacts.basicApi.create({ properties: { email: "Seed1@example.com" }, associations: [] }));
  assert.equal(taken.code, 409);
  assert.match(taken.body.message, /Existing ID: \d+/);
  assert.equal(taken.body.category, "CONFLICT");
  const lacks = await thrown(() => objects.notes.basicApi.create({ properties: { hs_note_body: "x" }, associations: [] }));
  assert.deepEqual(lacks.body.context.properties, ["hs_timestamp"]);
});

check("reads batches, and tells what it has not", async () => {
  const { results } = await companies.basicApi.getPage(5);
  const inputs = [...results.map((r) => ({ id: r.id })), { id: "999999999" }];
  const read = await companies.batchApi.read({ inputs, properties: ["name"], propertiesWithHistory: [] });
  assert.equal(read.results.length, 5);
  assert.equal(read.numErrors, 1);
  assert.deepEqual(read.errors[0].context.ids, ["999999999"]);
  const mail = await contacts.batchApi.read({ inputs: [{ id: "seed7@example.com" }], properties: ["email"], propertiesWithHistory: [], idProperty: "email" });
  assert.equal(mail.results[0].properties.email, "seed7@example.com");
  const many = await thrown(() => companies.batchApi.read({ inputs: Array.from({ length: 101 }, (_, i) => ({ id: `${i}` })), properties: [], propertiesWithHistory: [] }));
  assert.equal(many.code, 400);
});

check("creates batches whole or, where they are traced, in part", async () => {
  const inputs = [{ properties: { dealname: "one" } }, { properties: { dealname: "two", amount: "much" } }, { properties: { dealname: "three" } }];
  const none = await thrown(() => deals.batchApi.create({ inputs }));
  assert.equal(none.code, 400);
  assert.equal((await deals.getAll()).length, 0);
  const some = await deals.batchApi.create({ inputs: inputs.map((i, n) => ({ ...i, objectWriteTraceId: `t${n}` })) });
  assert.deepEqual(some.results.map((r) => [r.objectWriteTraceId, r.properties.dealname]).sort(), [["t0", "one"], ["t2", "three"]]);
  assert.equal(some.numErrors, 1);
  assert.deepEqual(some.errors[0].context.objectWriteTraceId, ["t1"]);
  assert.equal(some.errors[0].category, "VALIDATION_ERROR");
});

check("updates, upserts and archives batches", async () => {
  const [one, two] = await deals.getAll();
  const updated = await deals.batchApi.update({ inputs: [{ id: one.id, properties: { amount: "1.5" } }, { id: "999999999", properties: { amount: "2" } }] });
  assert.equal(updated.results.length, 1);
  assert.equal(updated.errors[0].category, "OBJECT_NOT_FOUND");
  const twice = await thrown(() => deals.batchApi.update({ inputs: [{ id: two.id, properties: {} }, { id: two.id, properties: {} }] }));
  assert.match(twice.body.message, /Duplicate IDs/);
  const upserted = await contacts.batchApi.upsert({
    inputs: [
      { idProperty: "email", id: "seed3@example.com", properties: { phone: "3" }, objectWriteTraceId: "a" },
      { idProperty: "email", id: "fresh@example.com", properties: { phone: "4" }, objectWriteTraceId: "b" },
      { idProperty: "email", id: "not a mail", properties: { phone: "5" }, objectWriteTraceId: "c" },
    ],
  });
  assert.deepEqual(upserted.results.map((r) => [r.objectWriteTraceId, r._new]).sort(), [["a", false], ["b", true]]);
  assert.deepEqual(upserted.errors[0].context.objectWriteTraceId, ["c"]);
  assert.equal((await contacts.searchApi.doSearch(byMail("fresh@example.com"))).results[0].properties.phone, "4");
  await deals.batchApi.archive({ inputs: [{ id: one.id }, { id: "999999999" }] });
  assert.deepEqual((await deals.getAll()).map((d) => d.id), [two.id]);
});

check("erases for good", async () => {
  const made = await contacts.basicApi.create({ properties: { email: "forget@example.com" }, associations: [] });
  await contacts.basicApi.purge({ objectId: made.id });
  assert.equal((await thrown(() => contacts.basicApi.getById(made.id, undefined, undefined, undefined, true))).code, 404);
});

check("describes properties, and takes new ones", async () => {
  const { results } = await client.crm.properties.coreApi.getAll("contacts");
  const mail = results.find((p) => p.name === "email");
  assert.equal(mail.hasUniqueValue, true);
  const status = results.find((p) => p.name === "hs_lead_status");
  assert.deepEqual(status.options.map((o) => o.value), ["NEW", "OPEN", "IN_PROGRESS", "UNQUALIFIED"]);
  assert.equal(results.find((p) => p.name === "hs_object_id").modificationMetadata.readOnlyValue, true);
  await client.crm.properties.coreApi.create("contacts", { name: "shoe_size", label: "Shoe size", type: "number", fieldType: "number", groupName: "contactinformation" });
  const made = await contacts.basicApi.create({ properties: { email: "shoe@example.com", shoe_size: "43.5" }, associations: [] });
  assert.equal(made.properties.shoe_size, "43.5");
  const e = await thrown(() => client.crm.properties.coreApi.getByName("contacts", "nonsense"));
  assert.equal(e.code, 404);
  assert.equal(e.body.category, "OBJECT_NOT_FOUND");
});

check("has custom objects", async () => {
  const schema = await client.crm.schemas.coreApi.create({
    name: "car", labels: { singular: "Car", plural: "Cars" }, requiredProperties: ["vin"], associatedObjects: ["CONTACT"], primaryDisplayProperty: "vin",
    properties: [{ name: "vin", label: "VIN", type: "string", fieldType: "text", hasUniqueValue: true }, { name: "doors", label: "Doors", type: "number", fieldType: "number" }],
  });
  assert.match(schema.objectTypeId, /^2-\d+$/);
  assert.ok((await client.crm.schemas.coreApi.getAll()).results.some((s) => s.fullyQualifiedName === schema.fullyQualifiedName));
  for (const name of [schema.objectTypeId, schema.fullyQualifiedName]) {
    await objects.basicApi.create(name, { properties: { vin: `V-${name}`, doors: "4" }, associations: [] });
  }
  assert.equal((await objects.basicApi.getPage("car", 10, undefined, ["vin"])).results.length, 2);
  const taken = await thrown(() => objects.basicApi.create("car", { properties: { vin: `v-${schema.objectTypeId}` }, associations: [] }));
  assert.match(taken.body.message, /CONFLICTING_UNIQUE_VALUE/);
});

check("has owners", async () => {
  const id = await control("owner", { email: "olga@example.com" });
  const page = await client.crm.owners.ownersApi.getPage("olga@example.com");
  assert.deepEqual(page.results.map((o) => [o.id, o.firstName]), [[id, "Olga"]]);
  const one = await client.crm.owners.ownersApi.getById(Number(id));
  assert.equal(one.email, "olga@example.com");
  const wrong = await thrown(() => companies.basicApi.create({ properties: { name: "x", hubspot_owner_id: "1" }, associations: [] }));
  assert.match(wrong.body.message, /INVALID_OWNER_ID/);
});

check("has engagements of all kinds", async () => {
  for (const kind of ["calls", "emails", "meetings", "notes", "tasks"]) {
    const made = await objects[kind].basicApi.create({ properties: { hs_timestamp: "2026-01-02T03:04:05Z" }, associations: [] });
    assert.equal(made.properties.hs_timestamp, "2026-01-02T03:04:05.000Z", kind);
    const found = await objects[kind].searchApi.doSearch({ filterGroups: [{ filters: [{ propertyName: "hs_timestamp", operator: "EQ", value: "1767323045000" }] }] });
    assert.equal(found.total, 1, kind);
  }
  for (const kind of ["tickets", "products", "lineItems", "quotes"]) {
    assert.deepEqual((await client.crm[kind].basicApi.getPage(10)).results, [], kind);
  }
});

check("associates, tells and dissociates", async () => {
  const [contact] = (await contacts.basicApi.getPage(1)).results;
  const all = (await companies.basicApi.getPage(3)).results;
  const v4 = client.crm.associations.v4;
  await v4.basicApi.createDefault("contacts", contact.id, "companies", all[0].id);
  const label = await v4.basicApi.create("contacts", contact.id, "companies", all[1].id, [{ associationCategory: "HUBSPOT_DEFINED", associationTypeId: 1 }]);
  assert.deepEqual(label.labels, ["Primary"]);
  const page = await v4.basicApi.getPage("contacts", contact.id, "companies", undefined, 1);
  assert.equal(page.results.length, 1);
  assert.deepEqual(page.results[0].associationTypes.map((t) => t.typeId), [279]);
  const more = await v4.basicApi.getPage("contacts", contact.id, "companies", page.paging.next.after, 1);
  assert.deepEqual(more.results[0].associationTypes.map((t) => [t.typeId, t.label]), [[1, "Primary"], [279, null]]);
  const made = await v4.batchApi.create("contacts", "companies", {
    inputs: [
      { _from: { id: contact.id }, to: { id: all[2].id }, types: [{ associationCategory: "HUBSPOT_DEFINED", associationTypeId: 279 }] },
      { _from: { id: contact.id }, to: { id: "999999999" }, types: [{ associationCategory: "HUBSPOT_DEFINED", associationTypeId: 279 }] },
    ],
  });
  assert.equal(made.results.length, 1);
  assert.equal(made.errors.length, 1);
  const back = await v4.batchApi.getPage("companies", "contacts", { inputs: all.map((c) => ({ id: c.id })) });
  assert.deepEqual(back.results.map((r) => r.to[0].associationTypes.map((t) => t.typeId)), [[280], [2, 280], [280]]);
  const read = await contacts.basicApi.getById(contact.id, [], undefined, ["companies"]);
  assert.equal(read.associations.companies.results.length, 4);
  await v4.batchApi.archiveLabels("contacts", "companies", { inputs: [{ _from: { id: contact.id }, to: { id: all[1].id }, types: [{ associationCategory: "HUBSPOT_DEFINED", associationTypeId: 1 }] }] });
  await v4.batchApi.archive("contacts", "companies", { inputs: [{ _from: { id: contact.id }, to: [{ id: all[0].id }] }] });
  await v4.basicApi.archive("contacts", contact.id, "companies", all[2].id);
  const left = await v4.basicApi.getPage("contacts", contact.id, "companies");
  assert.deepEqual(left.results.map((r) => [String(r.toObjectId), r.associationTypes.length]), [[all[1].id, 1]]);
});

check("refuses who is not known, and who may not", async () => {
  const stranger = new Client({ accessToken: "wrong", basePath: url });
  const e = await thrown(() => stranger.crm.contacts.basicApi.getPage());
  assert.equal(e.code, 401);
  assert.equal(e.body.category, "INVALID_AUTHENTICATION");
  await control("grant", { scope: "crm.objects.contacts.read" });
  const f = await thrown(() => companies.basicApi.getPage());
  assert.equal(f.code, 403);
  assert.equal(f.body.category, "MISSING_SCOPES");
  assert.deepEqual(f.body.errors[0].context.requiredGranularScopes, ["crm.objects.companies.read"]);
  await control("grant");
});

check("gives tokens that expire for refresh tokens that rotate", async () => {
  const old = await control("refreshToken");
  const app = new Client({ basePath: url });
  const refresh = (token) => app.oauth.tokensApi.create("refresh_token", undefined, undefined, "stand-in-app", "stand-in-secret", token);
  const tokens = await refresh(old);
  assert.equal(tokens.expiresIn, 1800);
  assert.notEqual(tokens.refreshToken, old);
  app.setAccessToken(tokens.accessToken);
  assert.equal((await app.crm.contacts.basicApi.getPage(1)).results.length, 1);
  await control("expire");
  const e = await thrown(() => app.crm.contacts.basicApi.getPage(1));
  assert.equal(e.code, 401);
  assert.equal(e.body.category, "EXPIRED_AUTHENTICATION");
  assert.equal((await thrown(() => refresh(old))).code, 400);
  assert.ok((await refresh(tokens.refreshToken)).accessToken);
});

check("is locked now and then", async () => {
  await control("fail", { status: 423, times: 1, path: "/contacts" });
  const e = await thrown(() => contacts.basicApi.getPage(1));
  assert.equal(e.code, 423);
  assert.equal((await contacts.basicApi.getPage(1)).results.length, 1);
});

run();
