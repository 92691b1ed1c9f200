"use strict";
// jsforce against tests/fakes/salesforce.
const assert = require("assert/strict");
const jsforce = require("jsforce");
const { check, control, thrown, run, url } = require("./judge");

const app = { clientId: "3MVG9hallway.consumer", clientSecret: "consumer-secret", loginUrl: url };
const version = "62.0";
let conn;

const now = () => new Date();
const ago = (minutes) => new Date(Date.now() - minutes * 60000);

check("logs in by password", async () => {
  conn = new jsforce.Connection({ oauth2: app, loginUrl: url, version });
  const user = await conn.loginByOAuth2("ada@example.com", "correct horseSECURITYTOKEN");
  assert.equal(user.organizationId, "00DHw0000000001MAA");
  assert.equal(conn.instanceUrl, url);
  const wrong = new jsforce.Connection({ oauth2: app, version });
  const e = await thrown(() => wrong.loginByOAuth2("ada@example.com", "wrong"));
  assert.equal(e.name, "invalid_grant");
  assert.equal(e.message, "authentication failure");
});

check("logs in by JWT and by client credentials", async () => {
  const { assertion, forged } = await control("assertions");
  const jwt = new jsforce.Connection({ loginUrl: url, instanceUrl: url, version, oauth2: app });
  await jwt.authorize({ grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer", assertion });
  assert.equal((await jwt.query("SELECT COUNT() FROM User")).totalSize, 1);
  const e = await thrown(() => jwt.authorize({ grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer", assertion: forged }));
  assert.equal(e.name, "invalid_grant");
  const own = new jsforce.Connection({ loginUrl: url, instanceUrl: url, version, oauth2: app });
  await own.authorize({ grant_type: "client_credentials" });
  assert.equal((await own.query("SELECT COUNT() FROM User")).totalSize, 1);
});

check("refreshes a session that has expired, once", async () => {
  const c = new jsforce.Connection({ oauth2: app, instanceUrl: url, accessToken: "expired", refreshToken: "5Aep861refresh", version });
  const before = (await control("calls")).token;
  const got = await Promise.all([1, 2, 3].map(() => c.query("SELECT COUNT() FROM User")));
  assert.deepEqual(got.map((r) => r.totalSize), [1, 1, 1]);
  assert.equal((await control("calls")).token, before + 1);
  const none = new jsforce.Connection({ instanceUrl: url, accessToken: "expired", version });
  const e = await thrown(() => none.query("SELECT Id FROM Account"));
  assert.equal(e.errorCode, "INVALID_SESSION_ID");
});

check("lists versions, limits and objects", async () => {
  const versions = await conn.request("/services/data");
  assert.equal(versions.at(-1).version, version);
  const limits = await conn.limits();
  assert.ok(limits.DailyApiRequests.Max > limits.DailyApiRequests.Remaining);
  assert.ok(conn.limitInfo.apiUsage.used > 0);
  const all = await conn.describeGlobal();
  assert.ok(all.sobjects.some((o) => o.name === "Everything__c" && o.custom && o.queryable));
});

check("describes an object", async () => {
  const d = await conn.describe("Account");
  const by = Object.fromEntries(d.fields.map((f) => [f.name, f]));
  assert.equal(d.keyPrefix, "001");
  assert.equal(by.Id.type, "id");
  assert.equal(by.Name.nillable, false);
  assert.equal(by.Description.filterable, false);
  assert.deepEqual(by.ParentId.referenceTo, ["Account"]);
  assert.equal(by.ParentId.relationshipName, "Parent");
  assert.ok(by.ERP_Key__c.externalId && by.ERP_Key__c.unique);
  assert.equal(by.CreatedDate.createable, false);
  assert.deepEqual(by.Industry.picklistValues.map((v) => v.value).slice(0, 2), ["Agriculture", "Banking"]);
  assert.equal((await thrown(() => conn.describe("Nothing"))).errorCode, "NOT_FOUND");
});

check("creates one row, and shows what is wrong with another", async () => {
  const r = await conn.sobject("Account").create({ Name: "O'Hara & \"Søn\"", Industry: "Banking", AnnualRevenue: 12345678, ERP_Key__c: "one", Active__c: true });
  assert.ok(r.success && r.id.length === 18 && r.errors.length === 0);
  const row = await conn.sobject("Account").retrieve(r.id);
  assert.equal(row.Name, "O'Hara & \"Søn\"");
  assert.equal(row.AnnualRevenue, 12345678);
  assert.equal(row.attributes.type, "Account");
  const missing = await thrown(() => conn.sobject("Account").create({ Industry: "Banking" }));
  assert.equal(missing.errorCode, "REQUIRED_FIELD_MISSING");
  assert.deepEqual(missing.data.fields, ["Name"]);
  const twice = await thrown(() => conn.sobject("Account").create({ Name: "Twice", ERP_Key__c: "ONE" }));
  assert.equal(twice.errorCode, "DUPLICATE_VALUE");
  for (const [fields, code] of [
    [{ Name: "x".repeat(256) }, "STRING_TOO_LONG"],
    [{ Name: "x", Nothing__c: 1 }, "INVALID_FIELD"],
    [{ Name: "x", CreatedDate: "2020-01-01T00:00:00Z" }, "INVALID_FIELD_FOR_INSERT_UPDATE"],
    [{ Name: "x", ParentId: "nonsense" }, "MALFORMED_ID"],
    [{ Name: "x", NumberOfEmployees: "many" }, "JSON_PARSER_ERROR"],
    [{ Name: "x", AnnualRevenue: 1e19 }, "NUMBER_OUTSIDE_VALID_RANGE"],
    [{ Name: "x", Segments__c: "Retail;Nowhere" }, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"],
  ])
    assert.equal((await thrown(() => conn.sobject("Account").create(fields))).errorCode, code, JSON.stringify(fields));
});

check("creates many, 200 a request", async () => {
  const rows = Array.from({ length: 450 }, (_, i) => ({ LastName: `Person ${String(i).padStart(3, "0")}`, Email: `p${i}@example.com`, Birthdate: "1980-02-29" }));
  const before = (await control("calls")).collection_create || 0;
  const got = await conn.sobject("Contact").create(rows, { allowRecursive: true });
  assert.equal(got.filter((r) => r.success).length, 450);
  assert.equal((await control("calls")).collection_create, before + 3);
  assert.equal((await thrown(() => conn.sobject("Contact").create(rows))).errorCode, "EXCEEDED_ID_LIMIT");
});

check("answers for each row of a collection, and for none with allOrNone", async () => {
  const rows = [{ LastName: "Good" }, { LastName: "Bad", Email: "nowhere" }, { FirstName: "Nobody" }];
  const some = await conn.sobject("Contact").create(rows);
  assert.deepEqual(some.map((r) => r.success), [true, false, false]);
  assert.equal(some[1].errors[0].statusCode, "INVALID_EMAIL_ADDRESS");
  assert.deepEqual(some[1].errors[0].fields, ["Email"]);
  assert.equal(some[2].errors[0].statusCode, "REQUIRED_FIELD_MISSING");
  const none = await conn.sobject("Contact").create(rows, { allOrNone: true });
  assert.deepEqual(none.map((r) => r.errors[0].statusCode), ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "INVALID_EMAIL_ADDRESS", "REQUIRED_FIELD_MISSING"]);
  assert.equal((await conn.query("SELECT COUNT() FROM Contact WHERE LastName = 'Good'")).totalSize, 1);
});

check("queries with pages", async () => {
  const got = [];
  const q = conn.query("SELECT Id, LastName FROM Contact WHERE LastName LIKE 'person%' ORDER BY LastName DESC NULLS LAST");
  q.on("record", (r) => got.push(r.LastName));
  await q.run({ autoFetch: true, maxFetch: 10000, headers: { "Sforce-Query-Options": "batchSize=200" } });
  assert.equal(got.length, 450);
  assert.equal(got[0], "Person 449");
  const page = await conn.query("SELECT Id FROM Contact", { headers: { "Sforce-Query-Options": "batchSize=200" } });
  assert.equal(page.done, false);
  assert.equal(page.records.length, 200);
  const next = await conn.queryMore(page.nextRecordsUrl);
  assert.equal(next.records.length, 200);
  const e = await thrown(() => conn.queryMore("/services/data/v62.0/query/0r8Nowhere-200"));
  assert.equal(e.errorCode, "INVALID_QUERY_LOCATOR");
});

check("knows what jsforce builds", async () => {
  const { Date: SfDate } = jsforce;
  const found = await conn.sobject("Contact").find({
    LastName: { $like: "Person 0%" }, Email: { $ne: null }, CreatedDate: { $gte: SfDate.toDateTimeLiteral(ago(60)) },
    $or: [{ Birthdate: SfDate.toDateLiteral("1980-02-29") }, { DoNotCall: true }],
  }, ["Id", "Name", "Account.Name"]).sort({ LastName: 1 }).limit(7).skip(2).execute();
  assert.equal(found.length, 7);
  assert.equal(found[0].Name, "Person 002");
  assert.equal(found[0].Account, null);
  assert.equal(await conn.sobject("Contact").count({ LastName: { $in: ["PERSON 001", "person 002", "o'nobody"] } }), 2);
  assert.equal(await conn.sobject("Contact").count({ LastName: { $nin: ["Person 001"] }, FirstName: null }), 450);
});

check("follows relationships", async () => {
  const [parent] = await conn.sobject("Account").find({ ERP_Key__c: "one" });
  const kid = await conn.sobject("Contact").create({ LastName: "Kid", AccountId: parent.Id });
  const [r] = (await conn.query("SELECT Name, Account.Name, Account.Owner.Name FROM Contact WHERE Account.Industry = 'banking'")).records;
  assert.equal(r.Account.Name, parent.Name);
  assert.equal(r.Account.Owner.Name, "Ada Admin");
  assert.equal(r.Account.attributes.type, "Account");
  const semi = await conn.query("SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Contact WHERE LastName = 'Kid')");
  assert.equal(semi.records[0].Id, parent.Id);
  await conn.sobject("Contact").destroy(kid.id);
});

check("aggregates", async () => {
  const a = (await conn.sobject("Account").create({ Name: "Deals" })).id;
  await conn.sobject("Opportunity").create([["Closed Won", 100.5], ["Closed Won", 200], ["Prospecting", 50], ["Prospecting", null]].map(([StageName, Amount], i) => (
    { Name: `Deal ${i}`, StageName, Amount, AccountId: a, CloseDate: `2026-0${i + 1}-01` })));
  const r = await conn.query("SELECT StageName, COUNT(Id) n, SUM(Amount) total, AVG(Amount), MIN(CloseDate) first, COUNT(Amount) FROM Opportunity GROUP BY StageName ORDER BY COUNT(Id) DESC, StageName");
  assert.deepEqual(r.records.map((x) => [x.StageName, x.n, x.total, x.expr0, x.first, x.expr1]),
    [["Closed Won", 2, 300.5, 150.25, "2026-01-01", 2], ["Prospecting", 2, 50, 50, "2026-03-01", 1]]);
  assert.equal(r.records[0].attributes.type, "AggregateResult");
  assert.equal((await thrown(() => conn.query("SELECT Name, COUNT(Id) FROM Opportunity"))).errorCode, "MALFORMED_QUERY");
});

check("says where a statement is wrong", async () => {
  for (const [soql, code, what] of [
    ["SELECT Id, Nme FROM Account", "INVALID_FIELD", /ERROR at Row:1:Column:12\nNo such column 'Nme' on entity 'Account'/],
    ["SELECT Id FROM Acount", "INVALID_TYPE", /sObject type 'Acount' is not supported/],
    ["SELECT Id FROM Account WHERE Name = 'a' AND Name = 'b' OR Name = 'c'", "MALFORMED_QUERY", /unexpected token: 'OR'/],
    ["SELECT Id FROM Account WHERE Name = 'a", "MALFORMED_QUERY", /not closed/],
    ["SELECT Id FROM Account WHERE Name = 'a\nb'", "MALFORMED_QUERY", /line breaks/],
    ["SELECT Id FROM Account WHERE Name = 'a\\qb'", "MALFORMED_QUERY", /Illegal character sequence/],
    ["SELECT Id FROM Account WHERE AnnualRevenue = '5'", "INVALID_FIELD", /must be of type double and should not be enclosed in quotes/],
    ["SELECT Id FROM Account WHERE CreatedDate > '2020-01-01T00:00:00Z'", "INVALID_FIELD", /must be of type dateTime and should not be enclosed in quotes/],
    ["SELECT Id FROM Account WHERE Id = 'x'", "INVALID_QUERY_FILTER_OPERATOR", /invalid ID field: x/],
    ["SELECT Id FROM Account WHERE Description = 'x'", "INVALID_FIELD", /can not be filtered/],
    ["SELECT Id FROM Account ORDER BY Description", "INVALID_FIELD", /can not be sorted/],
    ["SELECT Id FROM Account LIMIT 5 OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE", /Maximum SOQL offset allowed is 2000/],
  ]) {
    const e = await thrown(() => conn.query(soql));
    assert.equal(e.errorCode, code, soql);
    assert.match(e.message, what, soql);
  }
});

check("updates and deletes", async () => {
  const id = (await conn.sobject("Account").create({ Name: "Before", Website: "https://example.com" })).id;
  assert.equal((await conn.sobject("Account").update({ Id: id, Name: "After", Website: null })).success, true);
  const row = await conn.sobject("Account").retrieve(id, { fields: ["Name", "Website"] });
  assert.deepEqual([row.Name, row.Website], ["After", null]);
  const people = (await conn.query("SELECT Id FROM Contact WHERE LastName LIKE 'Person%' LIMIT 2")).records;
  const many = await conn.sobject("Contact").update([...people.map((p) => ({ Id: p.Id, Title: "Boss" })), { Id: people[0].Id, Title: "Again" }, { Id: "003000000000000AAA", Title: "Nobody" }]);
  assert.deepEqual(many.map((r) => r.success || r.errors[0].statusCode), [true, true, "DUPLICATE_VALUE", "INVALID_CROSS_REFERENCE_KEY"]);
  assert.equal((await conn.sobject("Account").destroy(id)).success, true);
  assert.equal((await thrown(() => conn.sobject("Account").destroy(id))).errorCode, "ENTITY_IS_DELETED");
  assert.equal((await thrown(() => conn.sobject("Account").retrieve(id))).errorCode, "ENTITY_IS_DELETED");
  assert.equal((await thrown(() => conn.sobject("Account").retrieve("001000000000000AAA"))).errorCode, "NOT_FOUND");
  const gone = await conn.sobject("Contact").destroy([people[0].Id, people[0].Id]);
  assert.deepEqual(gone.map((r) => r.success || r.errors[0].statusCode), [true, "ENTITY_IS_DELETED"]);
  const all = await conn.query(`SELECT Id, IsDeleted FROM Account WHERE Id = '${id}'`, { scanAll: true });
  assert.equal(all.records[0].IsDeleted, true);
});

check("upserts by external id", async () => {
  const accounts = conn.sobject("Account");
  const made = await accounts.upsert({ ERP_Key__c: "up 1 ü", Name: "Made" }, "ERP_Key__c");
  assert.equal(made.created, true);
  const found = await accounts.upsert({ ERP_Key__c: "UP 1 Ü", Name: "Found" }, "ERP_Key__c");
  assert.equal(found.created, false);
  assert.equal(found.id, made.id);
  const many = await accounts.upsert([{ ERP_Key__c: "up 1 ü", Name: "Third" }, { ERP_Key__c: "up 2", Name: "Second" }, { ERP_Key__c: "up 2", Name: "Twice" }], "ERP_Key__c");
  assert.deepEqual(many.map((r) => (r.success ? r.created : r.errors[0].statusCode)), [false, true, "DUPLICATE_VALUE"]);
  await conn.sobject("Contact").create([{ LastName: "A", Legacy_Id__c: "same" }, { LastName: "B", Legacy_Id__c: "same" }]);
  const e = await thrown(() => conn.sobject("Contact").upsert({ Legacy_Id__c: "same", LastName: "C" }, "Legacy_Id__c"));
  assert.equal(e.errorCode, "MULTIPLE_CHOICES");
  assert.equal(e.data.length, 2);
});

check("retrieves many in their order", async () => {
  const people = (await conn.query("SELECT Id FROM Contact LIMIT 3")).records.map((r) => r.Id).reverse();
  const got = await conn.sobject("Contact").retrieve([...people, "003000000000000AAA"], { fields: ["Id"] });
  assert.deepEqual(got.map((r) => r && r.Id), [...people, null]);
});

check("tells what was deleted and updated", async () => {
  await control("tick", { minutes: 3 });
  const gone = await conn.sobject("Account").deleted(ago(60), new Date(Date.now() + 120000));
  assert.ok(gone.deletedRecords.length >= 1);
  assert.ok(gone.latestDateCovered && gone.earliestDateAvailable);
  assert.ok((await conn.sobject("Account").updated(ago(60), new Date(Date.now() + 120000))).ids.length >= 1);
  assert.equal((await thrown(() => conn.sobject("Account").deleted(ago(60 * 24 * 20), now()))).errorCode, "INVALID_REPLICATION_DATE");
  assert.equal((await thrown(() => conn.sobject("Account").deleted(now(), now()))).errorCode, "INVALID_REPLICATION_DATE");
});

check("queries in bulk", async () => {
  conn.bulk2.pollInterval = 10;
  const stream = await conn.bulk2.query("SELECT Id, LastName, Account.Name, Birthdate, CreatedDate FROM Contact WHERE LastName LIKE 'Person%'");
  const rows = await stream.toArray();
  assert.equal(rows.length, 449);
  assert.equal(rows[0].Birthdate, "1980-02-29");
  assert.match(rows[0].CreatedDate, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z$/);
  const e = await thrown(() => conn.bulk2.query("SELECT COUNT(Id) FROM Contact"));
  assert.equal(e.errorCode, "API_ERROR");
});

check("aborts and deletes queries in bulk", async () => {
  const made = await conn.request({ method: "POST", url: "/services/data/v62.0/jobs/query", headers: { "content-type": "application/json" },
    body: JSON.stringify({ operation: "query", query: "SELECT Id FROM Contact" }) });
  const job = conn.bulk2.job("query", { id: made.id });
  job.on("error", () => {});
  assert.equal((await job.check()).state, "InProgress");
  assert.equal((await thrown(() => job.delete())).errorCode, "INVALIDJOBSTATE");
  assert.equal((await job.abort()).state, "Aborted");
  await job.delete();
  assert.equal((await thrown(() => job.check())).errorCode, "NOT_FOUND");
});

check("loads in bulk", async () => {
  const r = await conn.bulk2.loadAndWaitForResults({ object: "Account", operation: "insert", pollInterval: 10,
    input: [{ Name: 'Bulk "1", one', ERP_Key__c: "b1" }, { Name: "Bulk 2", ERP_Key__c: "B1" }] });
  assert.equal(r.successfulResults[0].sf__Created, "true");
  assert.equal(r.successfulResults[0].Name, 'Bulk "1", one');
  assert.match(r.failedResults[0].sf__Error, /^DUPLICATE_VALUE/);
  const up = await conn.bulk2.loadAndWaitForResults({ object: "Account", operation: "upsert", externalIdFieldName: "ERP_Key__c", pollInterval: 10,
    input: [{ ERP_Key__c: "b1", Website: "https://b1.example" }] });
  assert.equal(up.successfulResults[0].sf__Created, "false");
  assert.equal((await conn.sobject("Account").findOne({ ERP_Key__c: "b1" }, "Website")).Website, "https://b1.example");
});

check("aborts loads in bulk", async () => {
  const job = conn.bulk2.createJob({ operation: "insert", object: "Account", lineEnding: "LF" });
  job.on("error", () => {});
  await job.open();
  assert.equal((await thrown(() => job.delete())).errorCode, "INVALIDJOBSTATE");
  await job.uploadData("Name,Website\nNever 1,\nNever 2,https://never.example\n");
  await job.close();
  assert.equal((await job.check()).state, "InProgress");
  assert.equal((await thrown(() => job.getSuccessfulResults())).errorCode, "ERROR_HTTP_400");
  await job.abort();
  assert.equal((await job.check()).state, "Aborted");
  assert.deepEqual((await job.getUnprocessedRecords()).map((r) => r.Name).sort(), ["Never 1", "Never 2"]);
  assert.equal((await job.getSuccessfulResults()).length, 0);
  await job.delete();
  assert.equal(await conn.sobject("Account").count({ Name: { $like: "Never%" } }), 0);
});

check("shows limits and faults as they are", async () => {
  await control("fail", { status: 403, code: "REQUEST_LIMIT_EXCEEDED" });
  assert.equal((await thrown(() => conn.query("SELECT Id FROM User"))).errorCode, "REQUEST_LIMIT_EXCEEDED");
  // A 503 is asked again by the client itself.
  await control("fail", { status: 503, code: "SERVER_UNAVAILABLE" });
  assert.equal((await conn.query("SELECT Id FROM User")).totalSize, 1);
  const long = await thrown(() => conn.query(`SELECT Id FROM User WHERE Name = '${"x".repeat(17000)}'`));
  assert.equal(long.errorCode, "ERROR_HTTP_414");
});

run();
