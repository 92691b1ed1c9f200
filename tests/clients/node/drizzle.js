'use strict'
// Drizzle over node-postgres: tables declared in code, typed columns.

const { Client } = require('pg')
const { drizzle } = require('drizzle-orm/node-postgres')
const { asc, eq, gt, and, like, sql } = require('drizzle-orm')
const { pgSchema, pgTable, text, bigint, numeric, boolean, date, timestamp, jsonb } = require('drizzle-orm/pg-core')
const { run } = require('./scenario')

const time = (name) => timestamp(name, { withTimezone: true, precision: 3, mode: 'date' })
const crm = pgSchema('crm')
// What the API sets by itself is declared as generated, so that it is left out.
const contacts = crm.table('contacts', {
  id: text('id').primaryKey().generatedAlwaysAs(sql`''`),
  email: text('email').notNull(),
  first_name: text('first_name').default(''),
  last_name: text('last_name').notNull(),
  phone: text('phone'),
  status: text('status').notNull(),
  company: text('company'),
  score: bigint('score', { mode: 'number' }).default(0),
  balance: numeric('balance', { mode: 'number' }).default(0),
  subscribed: boolean('subscribed').default(false),
  birthday: date('birthday', { mode: 'string' }),
  last_seen: time('last_seen'),
  interests: text('interests').array(),
  profile: jsonb('profile'),
  notes: text('notes').default(''),
  created: time('created').generatedAlwaysAs(sql`now()`),
  updated: time('updated').generatedAlwaysAs(sql`now()`),
})
// The same object with the table option upsert_key.
const upserts = crm.table('contact_upserts', {
  id: text('id').generatedAlwaysAs(sql`''`),
  email: text('email').notNull(),
  last_name: text('last_name').notNull(),
  status: text('status').notNull(),
  score: bigint('score', { mode: 'number' }),
})
const slow = crm.table('slow_contacts', { id: text('id') })
const orders = pgTable('orders', { contact: text('contact') })

run(`drizzle-orm ${require('drizzle-orm/version').npmVersion}`, async (s, report) => {
  // One connection, so that its notices follow its statements: a Pool of
  // node-postgres closes the connection of each query that failed.
  const client = new Client({ connectionString: s.url })
  await client.connect()
  const notices = s.listen(client)
  const db = drizzle(client)
  const byEmail = (name) => eq(contacts.email, s.email(name))
  // Drizzle wraps what the driver threw.
  const failing = (promise) => s.failing(promise, (e) => e.cause ?? e)
  try {
    report.inserted = (await db.insert(contacts).values(s.everything()).returning())[0]

    await db.insert(contacts).values(s.contact('ada', { score: 1 }))
    const updated = await db.update(contacts).set({ score: sql`${contacts.score} + 6`, last_name: 'Lovelace' })
      .where(byEmail('ada')).returning({ id: contacts.id, score: contacts.score, last_name: contacts.last_name })
    report.updated = { count: updated.length, ...updated[0] }
    report.updated_none = (await db.update(contacts).set({ score: 1 }).where(byEmail('nobody'))).rowCount

    const [gone] = await db.insert(contacts).values(s.contact('gone')).returning({ id: contacts.id })
    const deleted = await db.delete(contacts).where(byEmail('gone')).returning({ id: contacts.id })
    report.deleted = { count: deleted.length, id: deleted[0].id, inserted: gone.id }
    report.deleted_none = (await db.delete(contacts).where(byEmail('gone'))).rowCount

    report.batch = await db.insert(contacts).values(s.batch()).returning({ id: contacts.id, email: contacts.email })
    report.copied = 0

    await db.transaction(async (tx) => {
      await tx.insert(orders).values({ contact: s.email('commit') })
      await tx.insert(contacts).values(s.contact('commit'))
      await tx.update(contacts).set({ score: 5 }).where(byEmail('commit'))
    })
    report.quiet = notices().length

    await db.transaction(async (tx) => {
      await tx.insert(orders).values({ contact: s.email('rollback') })
      report.rolled_back = (await tx.insert(contacts).values(s.contact('rollback')).returning({ id: contacts.id }))[0].id
      tx.rollback()
    }).catch((e) => { if (e.constructor.name !== 'TransactionRollbackError') throw e })
    report.warnings.rollback = notices()

    // Named prepared statements with placeholders.
    const row = { email: sql.placeholder('email'), last_name: sql.placeholder('last_name'), status: 'lead', score: sql.placeholder('score') }
    const insert = db.insert(contacts).values(row).prepare('insert_contact')
    const update = db.update(contacts).set({ score: sql`${contacts.score} + 10` }).where(eq(contacts.email, sql.placeholder('email'))).prepare('update_contact')
    const select = db.select({ email: contacts.email, score: contacts.score }).from(contacts)
      .where(and(eq(contacts.email, sql.placeholder('email')), gt(contacts.score, sql.placeholder('score')))).prepare('select_contact')
    report.repeated = []
    for (let i = 0; i < 8; i++) {
      const values = s.contact(`repeat0${i}`, { score: i })
      await insert.execute(values)
      await update.execute(values)
      report.repeated.push(...await select.execute(values))
    }

    const { readOnly, ...refused } = s.refused()
    for (const [kind, values] of Object.entries(refused)) {
      report.errors[kind] = await failing(db.insert(contacts).values(values))
    }
    // Drizzle leaves out a column that is declared as generated: by hand, then.
    report.errors.readOnly = await failing(db.execute(sql`INSERT INTO crm.contacts (email, last_name, status, created)
      VALUES (${readOnly.email}, ${readOnly.last_name}, ${readOnly.status}, ${readOnly.created})`))

    notices()
    await db.transaction(async (tx) => {
      await tx.insert(orders).values({ contact: s.email('failed') })
      report.errors.inTransaction = await failing(tx.insert(contacts).values(s.refused().check))
      report.errors.afterwards = await failing(tx.execute(sql`SELECT 1`))
      tx.rollback()
    }).catch(() => {})
    report.warnings.failed = notices()

    report.errors.partial = await failing(db.insert(contacts).values(s.partial()))
    // The warning follows the error, so it has surely been heard after the next
    // statement.
    await db.execute(sql`SELECT 1`)
    report.warnings.partial = notices()

    // A transaction within is a savepoint.
    await db.transaction(async (outer) => {
      await outer.transaction(async (inner) => {
        await inner.insert(contacts).values(s.contact('savepoint'))
        inner.rollback()
      }).catch((e) => { if (e.constructor.name !== 'TransactionRollbackError') throw e })
      report.warnings.savepoint = notices()
    })

    report.skipped = (await db.insert(contacts).values([s.contact('types'), s.contact('fresh')]).onConflictDoNothing()).rowCount
    report.errors.upsert = await failing(db.insert(contacts).values(s.contact('types'))
      .onConflictDoUpdate({ target: contacts.email, set: { score: 1 } }))

    const [first, second] = s.upserts()
    await db.insert(upserts).values(first)
    report.upserted = await db.insert(upserts).values(second).returning({ id: upserts.id, email: upserts.email })

    const other = drizzle(s.url)
    const started = Date.now()
    const hanging = failing(db.select({ id: slow.id }).from(slow))
    await s.asked()
    await other.execute(sql`SELECT pg_cancel_backend(${client.processID})`)
    report.errors.cancelled = await hanging
    report.cancelled_ms = Date.now() - started
    await other.$client.end()

    report.records = await db.select({ id: contacts.id, email: contacts.email, last_name: contacts.last_name, status: contacts.status, score: contacts.score })
      .from(contacts).where(like(contacts.email, s.like)).orderBy(asc(contacts.email))
    report.orders = (await db.select().from(orders)).map((x) => x.contact)
  } finally {
    await client.end()
  }
})
