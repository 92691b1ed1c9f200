"use strict";
// Airtable's client against tests/fakes/airtable: 250 contacts, "Person 000" to
// "Person 249", Amount 0 to 249, every second one a Customer.

const assert = require("node:assert");
const Airtable = require("airtable");
const { check, control, thrown, run, url } = require("./judge");

const connect = (options = {}) =>
  new Airtable({ apiKey: "patHallway.secret", endpointUrl: url, ...options }).base("appHallway0000001");
const base = connect();
const contacts = base("Contacts");
const companies = base("Companies");
const names = (records) => records.map((r) => r.get("Name"));

check("all pages, 100 records each", async () => {
  await control("forget");
  const all = await contacts.select().all();
  assert.strictEqual(all.length, 250);
  assert.deepStrictEqual(names(all).slice(0, 2), ["Person 000", "Person 001"]);
  assert.strictEqual(new Set(all.map((r) => r.id)).size, 250);
  assert.strictEqual(await control("calls", { kind: "list" }), 3);
});

check("page by page, with a size and a bound", async () => {
  const sizes = [];
  await contacts.select({ pageSize: 40, maxRecords: 100 }).eachPage((page, next) => {
    sizes.push(page.length);
    next();
  });
  assert.deepStrictEqual(sizes, [40, 40, 20]);
  assert.strictEqual((await contacts.select({ maxRecords: 3 }).firstPage()).length, 3);
});

check("fields, sort, view", async () => {
  const top = await contacts
    .select({ fields: ["Name", "Amount"], sort: [{ field: "Amount", direction: "desc" }], maxRecords: 2 })
    .all();
  assert.deepStrictEqual(
    top.map((r) => r.fields),
    [
      { Name: "Person 249", Amount: 249 },
      { Name: "Person 248", Amount: 248 },
    ],
  );
  const view = await contacts.select({ view: "Customers", maxRecords: 1, returnFieldsByFieldId: true }).all();
  assert.strictEqual(view[0].fields.fldName0000000001, "Person 249");
});

check("formulas", async () => {
  const count = async (filterByFormula) => (await contacts.select({ filterByFormula }).all()).length;
  assert.strictEqual(await count("{Amount} >= 200"), 50);
  assert.strictEqual(await count("AND({Status} = 'Customer', {Amount} < 10)"), 5);
  assert.strictEqual(await count("OR({Name} = 'Person 001', FIND('24', {Name}))"), 14);
  assert.strictEqual(await count('NOT({Name} = "Person 001")'), 249);
  assert.strictEqual(await count("{Email} = BLANK()"), 250);
  assert.strictEqual(await count("IS_AFTER(CREATED_TIME(), DATETIME_PARSE('2020-01-01T00:00:00.000Z'))"), 250);
  assert.strictEqual(await count("{Email} = 'O\\'Hara'"), 0);
  const bad = await thrown(() => count("{Amount} >"));
  assert.strictEqual(bad.error, "INVALID_FILTER_BY_FORMULA");
  assert.strictEqual(bad.statusCode, 422);
  assert.match(bad.message, /Invalid formula\. Please check your formula text\.$/);
  assert.match((await thrown(() => count("{Nope} = 1"))).message, /Unknown field names: nope$/);
  // A brace in a field's name cannot be written, escaped or not.
  assert.strictEqual((await thrown(() => count("{odd \\} name} = 'x'"))).error, "INVALID_FILTER_BY_FORMULA");
});

check("a long formula goes by POST to listRecords", async () => {
  await control("forget");
  const list = Array.from({ length: 700 }, (_, i) => `{Name} = 'Person ${String(i).padStart(3, "0")}'`);
  const found = await contacts.select({ filterByFormula: `OR(${list.join(", ")})`, sort: [{ field: "Name" }], pageSize: 100 }).all();
  assert.strictEqual(found.length, 250);
  assert.deepStrictEqual(await control("methods"), Array(3).fill("POST /v0/appHallway0000001/Contacts/listRecords 200"));
});

check("an expired cursor is the error that it should be", async () => {
  const error = await thrown(
    () =>
      new Promise((resolve, reject) => {
        contacts.select({ pageSize: 100 }).eachPage(
          async (_, next) => {
            await control("expire");
            next();
          },
          (e) => (e ? reject(e) : resolve()),
        );
      }),
  );
  assert.strictEqual(error.error, "LIST_RECORDS_ITERATOR_NOT_AVAILABLE");
  assert.strictEqual(error.statusCode, 422);
});

let acme;
check("create, find, update, replace, destroy", async () => {
  acme = await companies.create({ Name: "Acme", Domain: "https://acme.example", Employees: 12 });
  const made = await contacts.create({ Name: "Ada", Email: "ada@example.com", VIP: true, Company: [acme.id], Tags: ["red", "blue, light"] });
  assert.strictEqual(made.get("Label"), "Ada <ada@example.com>");
  assert.deepStrictEqual(made.get("Company domains"), ["https://acme.example"]);
  const found = await contacts.find(made.id);
  assert.strictEqual(found.get("VIP"), true);
  assert.deepStrictEqual((await companies.find(acme.id)).get("Contacts"), [made.id]);
  const updated = await contacts.update(made.id, { VIP: false, Email: "" });
  assert.ok(!("VIP" in updated.fields) && !("Email" in updated.fields));
  assert.strictEqual(updated.get("Name"), "Ada");
  const replaced = await contacts.replace(made.id, { Name: "Grace" });
  assert.ok(!("Tags" in replaced.fields));
  assert.strictEqual((await contacts.destroy(made.id)).id, made.id);
  const gone = await thrown(() => contacts.find(made.id));
  assert.strictEqual(gone.error, "NOT_FOUND");
  assert.strictEqual(gone.statusCode, 404);
  assert.ok(!("Contacts" in (await companies.find(acme.id)).fields));
});

check("batches of ten, all or none", async () => {
  const ten = await contacts.create(Array.from({ length: 10 }, (_, i) => ({ fields: { Name: `Batch ${i}` } })));
  assert.strictEqual(ten.length, 10);
  assert.strictEqual((await contacts.update(ten.map((r) => ({ id: r.id, fields: { Score: 1.5 } })))).length, 10);
  const eleven = await thrown(() => contacts.create(Array.from({ length: 11 }, () => ({ fields: { Name: "Batch" } }))));
  assert.strictEqual(eleven.error, "INVALID_RECORDS");
  const wrong = await thrown(() =>
    contacts.update([
      { id: ten[0].id, fields: { Score: 2 } },
      { id: ten[1].id, fields: { Score: "two" } },
    ]),
  );
  assert.strictEqual(wrong.error, "INVALID_VALUE_FOR_COLUMN");
  assert.strictEqual(wrong.message, 'Field "Score" cannot accept the provided value');
  assert.strictEqual((await contacts.find(ten[0].id)).get("Score"), 1.5);
  assert.strictEqual((await contacts.destroy(ten.map((r) => r.id))).length, 10);
});

check("refusals name the field in their prose", async () => {
  const refused = async (fields, options) => {
    const e = await thrown(() => contacts.create([{ fields }], options));
    return [e.statusCode, e.error, e.message];
  };
  assert.deepStrictEqual(await refused({ Nope: 1 }), [422, "UNKNOWN_FIELD_NAME", 'Unknown field name: "Nope"']);
  assert.deepStrictEqual(await refused({ Label: "x" }), [
    422,
    "INVALID_VALUE_FOR_COLUMN",
    'Field "Label" cannot accept a value because the field is computed',
  ]);
  assert.deepStrictEqual(await refused({ Status: "Friend" }), [
    422,
    "INVALID_MULTIPLE_CHOICE_OPTIONS",
    'Insufficient permissions to create new select option ""Friend""',
  ]);
  assert.deepStrictEqual(await refused({ Company: ["recNOTHERE0000001"] }), [422, "ROW_DOES_NOT_EXIST", "Record ID recNOTHERE0000001 does not exist"]);
});

check("typecast makes of texts what they look like", async () => {
  const [r] = await contacts.create([{ fields: { Name: "Cast", Status: "Friend", Amount: "12.5", Company: "New Co" } }], { typecast: true });
  assert.strictEqual(r.get("Status"), "Friend");
  assert.strictEqual(r.get("Amount"), 12.5);
  assert.strictEqual((await companies.find(r.get("Company")[0])).get("Name"), "New Co");
  await contacts.destroy(r.id);
});

check("performUpsert updates and creates", async () => {
  const before = await contacts.create({ Name: "Upsert", Email: "u@example.com" });
  const records = await contacts.update(
    [{ fields: { Email: "u@example.com", Name: "Updated" } }, { fields: { Email: "v@example.com", Name: "Created" } }],
    { performUpsert: { fieldsToMergeOn: ["Email"] } },
  );
  assert.strictEqual(records[0].id, before.id);
  assert.deepStrictEqual(names(records), ["Updated", "Created"]);
  const raw = await base.makeRequest({
    method: "PATCH",
    path: "/Contacts",
    body: { performUpsert: { fieldsToMergeOn: ["Email"] }, records: [{ fields: { Email: "w@example.com" } }, { fields: { Email: "u@example.com" } }] },
  });
  assert.strictEqual(raw.body.createdRecords.length, 1);
  assert.deepStrictEqual(raw.body.updatedRecords, [before.id]);
  await contacts.destroy([...records.map((r) => r.id), ...raw.body.createdRecords]);
});

check("the schema", async () => {
  const answer = await fetch(`${url}/v0/meta/bases/appHallway0000001/tables`, { headers: { Authorization: "Bearer patHallway.secret" } });
  const { tables } = await answer.json();
  assert.deepStrictEqual(
    tables.map((t) => t.name),
    ["Companies", "Contacts"],
  );
  assert.strictEqual(tables[1].primaryFieldId, "fldName0000000001");
});

check("errors as objects, as a bare string, of the wrong token", async () => {
  assert.strictEqual((await thrown(() => base("Nope").select().firstPage())).statusCode, 403);
  assert.strictEqual((await thrown(() => contacts.find("nonsense"))).error, "NOT_FOUND");
  const stranger = await thrown(() => connect({ apiKey: "patOther.wrong" })("Contacts").select().firstPage());
  assert.strictEqual(stranger.error, "AUTHENTICATION_REQUIRED");
  await control("fail", { status: 503, body: '{"error":"SERVICE_UNAVAILABLE"}' });
  assert.strictEqual((await thrown(() => contacts.select().firstPage())).error, "SERVICE_UNAVAILABLE");
});

check("a client that is told to wait comes back and is served", async () => {
  await control("limit", { per_second: 2 });
  const impatient = connect({ noRetryIfRateLimited: true })("Contacts");
  for (let i = 0; ; i++) {
    const error = await impatient
      .select({ maxRecords: 1 })
      .firstPage()
      .then(() => null, (e) => e);
    if (error) {
      assert.strictEqual(error.error, "TOO_MANY_REQUESTS");
      assert.strictEqual(error.statusCode, 429);
      break;
    }
    assert.ok(i < 1000, "a thousand calls, and no limit");
  }
  const patient = await contacts.select({ maxRecords: 1 }).firstPage();
  assert.strictEqual(patient.length, 1);
  await control("limit", { per_second: 0 });
});

run();
