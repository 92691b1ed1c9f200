"use strict";
// What HubSpot's own client makes of being told to wait.

const assert = require("node:assert/strict");
const { Client } = require("@hubspot/api-client");
const { check, control, thrown, run, url } = require("./judge");

// Its notes that it will try again are no complaints.
console.error = () => {};
const options = { accessToken: "pat-eu1-stand-in", basePath: url };
const client = new Client(options);

check("tells of its limits, but not with searches", async () => {
  const listed = await client.apiRequest({ path: "/crm/v3/objects/contacts?limit=1" });
  assert.equal(listed.headers.get("x-hubspot-ratelimit-max"), "20");
  assert.equal(listed.headers.get("x-hubspot-ratelimit-remaining"), "19");
  assert.equal(listed.headers.get("x-hubspot-ratelimit-interval-milliseconds"), "10000");
  assert.equal(listed.headers.get("x-hubspot-ratelimit-daily"), "1000");
  const found = await client.apiRequest({ method: "POST", path: "/crm/v3/objects/contacts/search", body: {} });
  assert.equal(found.status, 200);
  assert.equal(found.headers.get("x-hubspot-ratelimit-max"), null);
});

check("searches again in a second", async () => {
  await control("fail");
  const patient = new Client({ ...options, numberOfApiCallRetries: 4 });
  const began = Date.now();
  assert.equal((await patient.crm.contacts.searchApi.doSearch({ limit: 1 })).total, 3);
  assert.ok(Date.now() - began >= 2900, "it waited one second, then two");
  assert.equal(await control("refused"), 2);
});

// The server's clock stands still, so no window ever ends.
check("says which limit was reached", async () => {
  // How often to try is one setting for all clients, the last one's.
  const client = new Client({ ...options, numberOfApiCallRetries: 1 });
  const until = async (call) => {
    for (let i = 0; i < 40; i++) {
      try {
        await call();
      } catch (e) {
        return e;
      }
    }
    throw new Error("it was never refused");
  };
  const search = await until(() => client.crm.contacts.searchApi.doSearch({ limit: 1 }));
  assert.equal(search.code, 429);
  assert.equal(search.body.message, "You have reached your secondly limit.");
  const list = await until(() => client.crm.contacts.basicApi.getPage(1));
  assert.equal(list.code, 429);
  assert.equal(list.body.policyName, "TEN_SECONDLY_ROLLING");
  assert.equal(list.body.errorType, "RATE_LIMIT");
  assert.equal(list.headers["x-hubspot-ratelimit-remaining"], "0");
  assert.equal((await thrown(() => client.crm.companies.basicApi.getPage(1))).code, 429);
});

run();
