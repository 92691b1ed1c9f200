'use strict'
// node-postgres: statements by hand, with parameters.

const { Client } = require('pg')
const { from: copyFrom } = require('pg-copy-streams')
const { pipeline } = require('node:stream/promises')
const { Readable } = require('node:stream')
const { run } = require('./scenario')

const insert = (row, returning = '') => {
  const columns = Object.keys(row)
  return {
    text: `INSERT INTO crm.contacts (${columns.join(', ')}) VALUES (${columns.map((_, i) => `$${i + 1}`).join(', ')})` +
      (returning && ` RETURNING ${returning}`),
    values: Object.values(row).map((v) => (v !== null && v.constructor === Object ? JSON.stringify(v) : v)),
  }
}

const insertMany = (rows, table = 'contacts') => {
  const columns = Object.keys(rows[0])
  const values = rows.map((_, r) => `(${columns.map((_, c) => `$${r * columns.length + c + 1}`).join(', ')})`)
  return {
    text: `INSERT INTO crm.${table} (${columns.join(', ')}) VALUES ${values.join(', ')} RETURNING id, email`,
    values: rows.flatMap(Object.values),
  }
}

run(`pg ${require('pg/package.json').version}`, async (s, report) => {
  const client = new Client({ connectionString: s.url })
  await client.connect()
  const heard = s.listen(client)
  const rows = async (q, values) => (await client.query(q, values)).rows
  try {
    report.inserted = s.row((await rows(insert(s.everything(), '*')))[0])

    await client.query(insert(s.contact('ada', { score: 1 })))
    let r = await client.query('UPDATE crm.contacts SET score = score + $1, last_name = $2 WHERE email = $3 RETURNING id, score, last_name',
      [6, 'Lovelace', s.email('ada')])
    report.updated = { count: r.rowCount, ...s.row(r.rows[0]) }
    r = await client.query('UPDATE crm.contacts SET score = 1 WHERE email = $1', [s.email('nobody')])
    report.updated_none = r.rowCount

    const gone = (await rows(insert(s.contact('gone'), 'id')))[0]
    r = await client.query('DELETE FROM crm.contacts WHERE email = $1 RETURNING id', [s.email('gone')])
    report.deleted = { count: r.rowCount, id: r.rows[0].id, inserted: gone.id }
    report.deleted_none = (await client.query('DELETE FROM crm.contacts WHERE email = $1', [s.email('gone')])).rowCount

    report.batch = await rows(insertMany(s.batch()))

    const lines = s.batch('copy', 12).map((c) => `${c.email}\t${c.last_name}\t${c.status}\t${c.score}\n`)
    const copy = client.query(copyFrom('COPY crm.contacts (email, last_name, status, score) FROM STDIN'))
    await pipeline(Readable.from(lines), copy)
    report.copied = copy.rowCount

    await client.query('BEGIN')
    await client.query('INSERT INTO orders VALUES ($1)', [s.email('commit')])
    await client.query(insert(s.contact('commit')))
    await client.query('UPDATE crm.contacts SET score = 5 WHERE email = $1', [s.email('commit')])
    await client.query('COMMIT')
    report.quiet = heard().length

    await client.query('BEGIN')
    await client.query('INSERT INTO orders VALUES ($1)', [s.email('rollback')])
    report.rolled_back = (await rows(insert(s.contact('rollback'), 'id')))[0].id
    await client.query('ROLLBACK')
    report.warnings.rollback = heard()

    report.repeated = []
    for (let i = 0; i < 8; i++) {
      const row = s.contact(`repeat0${i}`, { score: i })
      await client.query({ name: 'insert', ...insert(row) })
      await client.query({ name: 'update', text: 'UPDATE crm.contacts SET score = score + $1 WHERE email = $2', values: [10, row.email] })
      r = await rows({ name: 'select', text: 'SELECT email, score FROM crm.contacts WHERE email = $1 AND score > $2', values: [row.email, i] })
      report.repeated.push(...r.map((x) => s.row(x)))
    }

    for (const [kind, row] of Object.entries(s.refused())) {
      report.errors[kind] = await s.failing(client.query(insert(row)))
    }

    heard()
    await client.query('BEGIN')
    await client.query('INSERT INTO orders VALUES ($1)', [s.email('failed')])
    report.errors.inTransaction = await s.failing(client.query(insert(s.refused().check)))
    report.errors.afterwards = await s.failing(client.query('SELECT 1'))
    await client.query('ROLLBACK')
    report.warnings.failed = heard()

    report.errors.partial = await s.failing(client.query(insertMany(s.partial())))
    // The warning follows the error, so it has surely been heard after the next
    // statement.
    await client.query('SELECT 1')
    report.warnings.partial = heard()

    const [first, second] = s.upserts()
    await client.query(insertMany(first, 'contact_upserts'))
    report.upserted = await rows(insertMany(second, 'contact_upserts'))

    const started = Date.now()
    const hanging = client.query('SELECT id FROM crm.slow_contacts')
    const other = new Client({ connectionString: s.url })
    await other.connect()
    const cancelled = s.failing(hanging)
    await s.asked()
    await other.query('SELECT pg_cancel_backend($1)', [client.processID])
    report.errors.cancelled = await cancelled
    await other.end()
    report.cancelled_ms = Date.now() - started

    report.records = (await rows('SELECT id, email, last_name, status, score FROM crm.contacts WHERE email LIKE $1 ORDER BY email', [s.like])).map((x) => s.row(x))
    report.orders = (await rows('SELECT contact FROM orders WHERE contact LIKE $1', [s.like])).map((x) => x.contact)
  } finally {
    await client.end()
  }
})
