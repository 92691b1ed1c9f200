'use strict'
// What every client does, in the words that all of them share: the rows, the
// shape of the report, the way to run. The Go test knows the same rows and
// judges the report; nothing is judged here.

const pad = (i) => String(i).padStart(2, '0')

class Scenario {
  constructor() {
    this.url = process.env.CLIENT_URL
    this.domain = process.env.CLIENT_DOMAIN
    if (!this.url || !this.domain) throw new Error('CLIENT_URL and CLIENT_DOMAIN are not set: run by go test')
    this.like = `%@${this.domain}`
    this.report = { errors: {}, warnings: {} }
  }

  email(name) { return `${name}@${this.domain}` }

  contact(name, more) {
    return { email: this.email(name), last_name: name, status: 'lead', ...more }
  }

  // A row with a value of every type that a contact has.
  everything() {
    return this.contact('types', {
      last_name: `O'Brien "x" \\ 🦆`,
      score: 42,
      balance: 1234.56,
      subscribed: true,
      birthday: '1990-02-03',
      last_seen: new Date('2026-01-02T03:04:05.678Z'),
      interests: ['api', 'on-premises'],
      profile: { a: [1, null, 'ü'], b: { c: true } },
    })
  }

  batch(name = 'batch', n = 25) {
    return Array.from({ length: n }, (_, i) => this.contact(name + pad(i), { score: i }))
  }

  // The rows of two statements: what the second brings, it changes or makes.
  upserts() {
    return [this.batch('upsert', 1), this.batch('upsert', 2).map((c) => ({ ...c, score: 2 }))]
  }

  // Rows of which the third is refused by the API.
  partial() {
    const rows = this.batch('partial', 5)
    rows[2].email = 'no address'
    return rows
  }

  // Inserts that the API refuses, by what PostgreSQL would have called it.
  refused() {
    return {
      check: this.contact('check', { email: 'no address' }),
      unique: this.contact('types'),
      notNull: this.contact('notnull', { last_name: '' }),
      foreignKey: this.contact('foreignkey', { company: 'nosuchcompany00' }),
      readOnly: this.contact('readonly', { created: new Date() }),
    }
  }

  // What a failed call threw, in the terms of the protocol: pg is the driver's
  // own error, which an ORM may have wrapped.
  error(thrown, pg = thrown) {
    return {
      class: thrown.name && thrown.name !== 'error' && thrown.name !== 'Error' ? thrown.name : thrown.constructor.name,
      code: pg.code ?? '',
      message: pg.message ?? '',
      detail: pg.detail ?? '',
      hint: pg.hint ?? '',
      schema: pg.schema ?? '',
      table: pg.table ?? '',
      column: pg.column ?? '',
      fields: pg.fields ?? [],
    }
  }

  async failing(promise, pgOf = (e) => e) {
    try {
      await promise
    } catch (e) {
      return this.error(e, pgOf(e))
    }
    return { class: '', code: '', message: 'did not fail' }
  }

  // asked waits until the slow API has been asked for something.
  async asked() { await fetch(process.env.CLIENT_ASKED) }

  // collector of the server's notices of one driver connection (pg.Client).
  listen(client) {
    const heard = []
    client.on('notice', (n) => heard.push({ severity: n.severity, code: n.code, message: n.message, detail: n.detail ?? '' }))
    return () => heard.splice(0)
  }

  // A row as the report has it: int8 and numeric come as text from node-postgres.
  row(r) {
    const out = { ...r }
    for (const k of ['score', 'balance']) if (k in out && out[k] !== null) out[k] = Number(out[k])
    if (out.birthday instanceof Date) {
      // node-postgres makes a date the midnight of the local time zone.
      const d = out.birthday
      out.birthday = `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())}`
    }
    return out
  }
}

// run executes a client's scenario and writes its report to standard output.
exports.run = async (version, steps) => {
  const s = new Scenario()
  s.report.version = `${version}, node ${process.version}`
  await steps(s, s.report)
  process.stdout.write(JSON.stringify(s.report))
}
