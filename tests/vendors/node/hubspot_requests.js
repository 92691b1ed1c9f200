"use strict";
// What the connector sends, held against HubSpot's own description of its API as its
// client has it: the client is generated from that, with a function for each operation,
// which has its path and parameters, and a model for each body, with its members and
// their types. Which of these are required stands in the types for TypeScript alone.
const assert = require("assert/strict");
const fs = require("fs");
const path = require("path");
const { check, control, run } = require("./judge");

const codegen = path.join(path.dirname(require.resolve("@hubspot/api-client")), "lib", "codegen", "crm").replace(`lib${path.sep}lib`, "lib");

// Where the description is behind HubSpot's guides: these stand there, and the
// connector sends them so.
const said = {
  "PublicObjectSearchRequest.sorts": (v) => Array.isArray(v) && v.every((s) => Object.keys(s).every((k) => ["propertyName", "direction"].includes(k)) && ["ASCENDING", "DESCENDING"].includes(s.direction)),
};
// What the description has as required, and the guides leave out.
const left = { BatchReadInputSimplePublicObjectId: ["propertiesWithHistory"] };
const saidParams = { "GET /crm-object-schemas/v3/schemas": { includePropertyDefinitions: "boolean", includeAssociationDefinitions: "boolean" } };

// operations by method and path, each with its parameters, the model of its body and
// the models of its family.
const operations = [];
for (const family of ["objects", "associations/v4", "associations/v4/schema", "owners", "properties", "schemas"]) {
  const dir = path.join(codegen, family);
  const models = require(path.join(dir, "models", "ObjectSerializer.js"));
  for (const file of fs.readdirSync(path.join(dir, "apis")).filter((f) => f.endsWith(".js"))) {
    const text = fs.readFileSync(path.join(dir, "apis", file), "utf8");
    for (const part of text.split("const localVarPath = '").slice(1)) {
      const template = part.slice(0, part.indexOf("'")).replace(/\/$/, "");
      const method = part.match(/HttpMethod\.([A-Z]+)\)/)[1];
      const code = part.slice(0, part.indexOf("return requestContext;"));
      const params = { ...saidParams[`${method} ${template}`] };
      for (const [, name, type] of code.matchAll(/setQueryParam\("(\w+)", [\w.]*serialize\(\w+, "([^"]+)"/g)) params[name] = type;
      for (const [, name] of code.matchAll(/appendQueryParam\("(\w+)"/g)) params[name] = "string";
      const body = code.match(/stringify\([\w.]*serialize\(\w+, "([^"]+)"/);
      operations.push({ name: `${method} ${template}`, method, params, dir, models, body: body && body[1],
        pattern: new RegExp(`^${template.replace(/\{\w+\}/g, "[^/]+")}$`) });
    }
  }
}

const required = {}; // by model: the members that are
function requiredOf(op, model) {
  const key = `${op.dir} ${model}`;
  if (!required[key]) {
    const text = fs.readFileSync(path.join(op.dir, "models", `${model}.d.ts`), "utf8");
    required[key] = [...text.matchAll(/^ {4}'(\w+)'(\??):/gm)].filter((m) => !m[2]).map((m) => m[1]);
  }
  return required[key];
}

// wrongWith says what is wrong with a value of that type; empty: nothing.
function wrongWith(op, v, type, at) {
  if (["string", "number", "boolean"].includes(type)) return typeof v === type ? "" : `${at} is no ${type}: ${JSON.stringify(v)}`;
  const list = type.match(/^Array<(.*)>$/);
  if (list) return Array.isArray(v) ? v.map((e, i) => wrongWith(op, e, list[1], `${at}[${i}]`)).find(Boolean) ?? "" : `${at} is no list`;
  const isObject = v !== null && typeof v === "object" && !Array.isArray(v);
  const map = type.match(/^\{ \[key: string\]: (.*); \}$/);
  if (map) return isObject ? Object.keys(v).map((k) => wrongWith(op, v[k], map[1], `${at}.${k}`)).find(Boolean) ?? "" : `${at} is no object`;
  const model = op.models[type];
  if (!model) { // an enumeration: beside the model that has it
    const file = fs.readdirSync(path.join(op.dir, "models")).find((f) => f.endsWith(".js") && require(path.join(op.dir, "models", f))[type]);
    assert.ok(file, `what is ${type}?`);
    return Object.values(require(path.join(op.dir, "models", file))[type]).includes(v) ? "" : `${at} is no ${type}: ${JSON.stringify(v)}`;
  }
  if (typeof model !== "function") return Object.values(model).includes(v) ? "" : `${at} is no ${type}: ${JSON.stringify(v)}`;
  if (!isObject) return `${at} is no object`;
  const members = model.getAttributeTypeMap();
  for (const k of Object.keys(v)) {
    const m = members.find((m) => m.baseName === k);
    if (!m) return `${at} has a member ${k}, which ${type} has not`;
    const bad = said[`${type}.${k}`] ? !said[`${type}.${k}`](v[k]) && `${at}.${k} is not as it should be` : wrongWith(op, v[k], m.type, `${at}.${k}`);
    if (bad) return bad;
  }
  const lacks = requiredOf(op, type).map((n) => members.find((m) => m.name === n).baseName).find((n) => v[n] === undefined && !(left[type] ?? []).includes(n));
  return lacks ? `${at} lacks ${lacks}` : "";
}

// judge says what is wrong with a request, and which operation it is.
function judge({ method, path: target, query, body }) {
  const matching = operations.filter((o) => o.pattern.test(target));
  if (!matching.length) return { bad: `there is no ${target}` };
  // A word of a path may also be somebody's id: the one with fewer of these is meant.
  const op = matching.filter((o) => o.method === method).sort((a, b) => a.name.split("{").length - b.name.split("{").length)[0];
  if (!op) return { bad: `${target} has no ${method}` };
  for (const [k, v] of new URLSearchParams(query)) {
    const type = op.params[k];
    if (!type) return { op, bad: `${op.name} has no parameter ${k}` };
    if ((type === "number" && !/^\d+$/.test(v)) || (type === "boolean" && !/^(true|false)$/.test(v))) return { op, bad: `${k}=${v} is no ${type}` };
  }
  if (!op.body) return { op, bad: body ? `${op.name} has no body` : "" };
  if (!body) return { op, bad: `${op.name} needs a body` };
  const value = JSON.parse(body);
  const bad = wrongWith(op, value, op.body, "body");
  if (bad) return { op, bad };
  const { ObjectSerializer } = op.models;
  assert.deepEqual(JSON.parse(JSON.stringify(ObjectSerializer.serialize(ObjectSerializer.deserialize(value, op.body, ""), op.body, ""))), value);
  return { op, bad: "" };
}

check("what is no request is seen", async () => {
  assert.ok(operations.length > 30, `only ${operations.length} operations`);
  const contacts = "/crm/v3/objects/contacts";
  const search = { method: "POST", path: `${contacts}/search` };
  const good = '{"limit":1,"properties":["a"],"filterGroups":[{"filters":[{"propertyName":"a","operator":"EQ","value":"1"}]}],"sorts":[{"propertyName":"a","direction":"ASCENDING"}]}';
  assert.equal(judge({ ...search, body: good }).bad, "");
  for (const [from, to] of [['"limit":1', '"limit":"1"'], ['"limit":1', '"limits":1'], ['["a"]', "[1]"], ['["a"]', '"a"'], ['"EQ"', '"EQUALS"'], ['"value":"1"', '"value":1'], ['"value":"1"', '"val":"1"'],
    ['"propertyName":"a","operator"', '"operator"'], ['{"filters":[', '{"filter":['], ["ASCENDING", "UP"]]) {
    assert.ok(good.includes(from), from);
    assert.notEqual(judge({ ...search, body: good.replace(from, to) }).bad, "", `${from} -> ${to}`);
  }
  for (const bad of [
    { method: "POST", path: "/crm/v3/object/contacts/search", body: good }, { method: "GET", path: `${contacts}/search/x/y` }, { method: "PUT", path: `${contacts}/1`, body: '{"properties":{}}' }, { ...search },
    { method: "GET", path: contacts, query: "page=2" }, { method: "GET", path: contacts, query: "limit=x" }, { method: "GET", path: contacts, query: "archived=1" }, { method: "GET", path: contacts, body: "{}" },
    { method: "POST", path: `${contacts}/batch/update`, body: '{"inputs":[{"id":1,"properties":{}}]}' }, { method: "POST", path: `${contacts}/batch/update`, body: '{"inputs":[{"properties":{}}]}' },
    { method: "POST", path: `${contacts}/batch/create`, body: '{"inputs":[{"properties":{"a":1}}]}' }, { method: "POST", path: `${contacts}/batch/create`, body: '{"inputs":[{"properties":{"a":null}}]}' }, { method: "POST", path: `${contacts}/batch/upsert`, body: '{"input":[]}' },
    { method: "POST", path: "/crm/v4/associations/contacts/companies/batch/read", body: '{"inputs":["1"]}' },
    { method: "POST", path: "/crm/v4/associations/contacts/companies/batch/create", body: '{"inputs":[{"from":{"id":"1"},"to":{"id":"2"},"types":[{"associationCategory":"OURS","associationTypeId":1}]}]}' },
    { method: "POST", path: "/crm/v4/associations/contacts/companies/batch/create", body: '{"inputs":[{"from":{"id":"1"},"to":{"id":"2"}}]}' },
  ]) {
    assert.notEqual(judge(bad).bad, "", JSON.stringify(bad));
  }
});

check("every request is one", async () => {
  const requests = await control("requests");
  const used = new Set();
  for (const r of requests) {
    const { op, bad } = judge(r);
    assert.equal(bad, "", `${r.method} ${r.path}?${r.query} ${r.body}`.slice(0, 2000));
    used.add(op.name);
  }
  for (const name of await control("operations")) assert.ok(used.has(name), `no request was ${name}; there were ${[...used].join(", ")}`);
});

run();
