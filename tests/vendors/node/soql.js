"use strict";
// The statements that the connector sends, read by a parser of SOQL that is not ours.
const assert = require("assert/strict");
const { parseQuery } = require("@jetstreamapp/soql-parser-js");
const { check, control, run } = require("./judge");

// literals of text in a condition, in their order, as they are written.
function literals(c) {
  if (!c) return [];
  const own = c.field && c.literalType === "STRING" ? [].concat(c.value) : [];
  return [...own, ...literals(c.left), ...literals(c.right)];
}

const escapes = { n: "\n", r: "\r", t: "\t", b: "\b", f: "\f" };
const unescape = (text) => text.slice(1, -1).replace(/\\(.)/gs, (_, c) => escapes[c] ?? c);

check("what is no SOQL is refused", async () => {
  for (const bad of ["SELECT FROM Account", "SELECT Id FROM", "SELECT Id FROM Account WHERE Name = 'a", "SELECT Id FROM Account WHERE Name = 'a'' OR Id != null",
    "SELECT Id FROM Account WHERE", "SELECT Id FROM Account WHERE (Name = 'a'", "SELECT Id FROM Account ORDER BY Name NULLS LAST ASC", "SELECT Id FROM Account LIMIT x"]) {
    assert.throws(() => parseQuery(bad), bad);
  }
});

check("every statement is SOQL", async () => {
  const statements = await control("statements");
  const [least, leastAggregating] = await control("least");
  assert.ok(statements.length >= least, `only ${statements.length} statements`);
  let aggregating = 0;
  for (const { soql, texts } of statements) {
    let q;
    try {
      q = parseQuery(soql);
    } catch (e) {
      throw new Error(`${e.message}\n${soql}`);
    }
    assert.deepEqual(literals(q.where).map(unescape), texts, soql);
    assert.equal(typeof q.sObject, "string", soql);
    assert.ok(q.fields.length > 0, soql);
    if (q.fields.some((f) => f.type === "FieldFunctionExpression")) {
      aggregating++;
      const keys = q.fields.filter((f) => f.type === "Field");
      assert.deepEqual([].concat(q.groupBy ?? []).map((g) => g.field), keys.map((f) => f.field), soql);
      assert.equal(new Set(q.fields.map((f) => f.alias)).size, q.fields.length, soql);
    }
  }
  assert.ok(aggregating >= leastAggregating, `only ${aggregating} statements that aggregate`);
});

run();
