'use strict'
// Knex: its query builder, its pool and its transactions.

const knex = require('knex')
const { run } = require('./scenario')

run(`knex ${require('knex/package.json').version}`, async (s, report) => {
  const heard = []
  const db = knex({
    client: 'pg',
    connection: s.url,
    pool: {
      min: 0,
      max: 2,
      // The only way to the notices of a connection that the pool opens.
      afterCreate: (connection, done) => {
        const take = s.listen(connection)
        heard.push(take)
        done(null, connection)
      },
    },
  })
  const notices = () => heard.flatMap((take) => take())
  const contacts = (on = db) => on.withSchema('crm').from('contacts')
  try {
    const everything = s.everything()
    everything.profile = JSON.stringify(everything.profile)
    report.inserted = s.row((await contacts().insert(everything).returning('*'))[0])

    await contacts().insert(s.contact('ada', { score: 1 }))
    const updated = await contacts().where('email', s.email('ada'))
      .update({ last_name: 'Lovelace' }).increment('score', 6).returning(['id', 'score', 'last_name'])
    report.updated = { count: updated.length, ...s.row(updated[0]) }
    report.updated_none = await contacts().where('email', s.email('nobody')).update({ score: 1 })

    const [gone] = await contacts().insert(s.contact('gone')).returning('id')
    const deleted = await contacts().where('email', s.email('gone')).delete().returning('id')
    report.deleted = { count: deleted.length, id: deleted[0].id, inserted: gone.id }
    report.deleted_none = await contacts().where('email', s.email('gone')).delete()

    // In pieces of ten, in a transaction of its own.
    report.batch = await db.batchInsert('crm.contacts', s.batch(), 10).returning(['id', 'email'])
    report.copied = 0

    await db.transaction(async (trx) => {
      await trx('orders').insert({ contact: s.email('commit') })
      await contacts(trx).insert(s.contact('commit'))
      await contacts(trx).where({ email: s.email('commit') }).update({ score: 5 })
    })
    report.quiet = notices().length

    const undone = new Error('changed my mind')
    await db.transaction(async (trx) => {
      await trx('orders').insert({ contact: s.email('rollback') })
      report.rolled_back = (await contacts(trx).insert(s.contact('rollback')).returning('id'))[0].id
      throw undone
    }).catch((e) => { if (e !== undone) throw e })
    report.warnings.rollback = notices()

    report.repeated = []
    for (let i = 0; i < 8; i++) {
      const row = s.contact(`repeat0${i}`, { score: i })
      await contacts().insert(row)
      await contacts().where('email', row.email).increment('score', 10)
      const found = await contacts().select('email', 'score').where('email', row.email).andWhere('score', '>', i)
      report.repeated.push(...found.map((x) => s.row(x)))
    }

    for (const [kind, row] of Object.entries(s.refused())) {
      report.errors[kind] = await s.failing(contacts().insert(row))
    }

    notices()
    const trx = await db.transaction()
    await trx('orders').insert({ contact: s.email('failed') })
    report.errors.inTransaction = await s.failing(contacts(trx).insert(s.refused().check))
    report.errors.afterwards = await s.failing(trx.raw('SELECT 1'))
    await trx.rollback()
    report.warnings.failed = notices()

    report.errors.partial = await s.failing(contacts().insert(s.partial()))
    // The warning follows the error, so it has surely been heard after the next
    // statement.
    await db.raw('SELECT 1')
    report.warnings.partial = notices()

    // A transaction within is a savepoint.
    await db.transaction(async (outer) => {
      await outer.transaction(async (inner) => {
        await contacts(inner).insert(s.contact('savepoint'))
        throw undone
      }).catch((e) => { if (e !== undone) throw e })
      report.warnings.savepoint = notices()
    })

    report.skipped = (await contacts().insert([s.contact('types'), s.contact('fresh')]).onConflict().ignore()).rowCount
    report.errors.upsert = await s.failing(contacts().insert(s.contact('types')).onConflict('email').merge())

    const [first, second] = s.upserts()
    await db.withSchema('crm').from('contact_upserts').insert(first)
    report.upserted = await db.withSchema('crm').from('contact_upserts').insert(second).returning(['id', 'email'])

    // Knex cancels by pg_cancel_backend from a second connection. The time is enough
    // for the API to be asked, on a busy machine too.
    const started = Date.now()
    report.errors.cancelled = await s.failing(db.withSchema('crm').from('slow_contacts').select('id').timeout(5000, { cancel: true }))
    report.cancelled_ms = Date.now() - started

    report.records = (await contacts().select('id', 'email', 'last_name', 'status', 'score').whereLike('email', s.like).orderBy('email')).map((x) => s.row(x))
    report.orders = await db('orders').pluck('contact')
  } finally {
    await db.destroy()
  }
})
