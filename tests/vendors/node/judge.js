"use strict";
// What all scripts of this directory share: checks that are reported one a line,
// and the test's controls over the server.

const checks = [];

/** check adds a check: f is awaited, and what it throws is what is wrong. */
function check(name, f) {
  checks.push({ name, f });
}

/** control has the test do something to the server; see Controls in tests/harness/judge.go. */
async function control(name, args = {}) {
  const answer = await fetch(`${process.env.CONTROL_URL}/${name}?${new URLSearchParams(args)}`);
  const text = await answer.text();
  if (!answer.ok) throw new Error(`control ${name}: ${text}`);
  return JSON.parse(text);
}

/** thrown is the error that f rejects with; that it does not is an error. */
async function thrown(f) {
  let value;
  try {
    value = await f();
  } catch (e) {
    return e;
  }
  throw new Error(`nothing was thrown, but answered: ${JSON.stringify(value)}`);
}

/** run makes the checks in their order and ends the process. */
async function run() {
  for (const { name, f } of checks) {
    const line = { check: name };
    try {
      await f();
    } catch (e) {
      line.error = `${e && e.stack ? e.stack : e}` || "thrown: nothing";
    }
    console.log(JSON.stringify(line));
  }
  console.log(JSON.stringify({ end: checks.length }));
  // A client may keep connections open.
  process.exit(0);
}

module.exports = { check, control, thrown, run, url: process.env.SERVER_URL };
