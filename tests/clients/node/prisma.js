'use strict'
// Prisma over its adapter for node-postgres, with a client that
// scripts/bootstrap generated from schema.prisma.

const path = require('node:path')
const { Pool } = require('pg')
const { PrismaPg } = require('@prisma/adapter-pg')
const { PrismaClient } = require(path.join(process.env.NODE_PATH, '..', 'generated'))
const { run } = require('./scenario')

run(`prisma ${require('@prisma/client/package.json').version}`, async (s, report) => {
  // The adapter takes a pool of our own, whose connections we can listen to.
  const pool = new Pool({ connectionString: s.url, max: 1 })
  const heard = []
  pool.on('connect', (client) => heard.push(s.listen(client)))
  const notices = () => heard.flatMap((take) => take())
  const db = new PrismaClient({
    adapter: new PrismaPg(pool),
    errorFormat: 'minimal',
    // The defaults are 2 and 5 seconds, which a busy machine may take.
    transactionOptions: { maxWait: 300000, timeout: 300000 },
  })

  const row = (r) => s.row({ ...r, birthday: r.birthday?.toISOString().slice(0, 10) })
  const at = (name) => ({ where: { email: s.email(name) } })
  // What is left of the server's error: Prisma keeps what it has a use for.
  const server = (e) => {
    const cause = e.meta?.driverAdapterError?.cause ?? e.cause
    return { ...cause, code: cause.originalCode, message: cause.originalMessage, column: cause.column ?? cause.constraint?.fields?.[0], fields: cause.constraint?.fields }
  }
  const failing = (promise) => s.failing(promise, server)
  try {
    const everything = s.everything()
    everything.birthday = new Date(everything.birthday)
    report.inserted = row(await db.contact.create({ data: everything }))

    await db.contact.create({ data: s.contact('ada', { score: 1 }) })
    const { id, score, last_name } = row(await db.contact.update({ ...at('ada'), data: { score: { increment: 6 }, last_name: 'Lovelace' } }))
    report.updated = { count: 1, id, score, last_name }
    report.updated_none = (await db.contact.updateMany({ ...at('nobody'), data: { score: 1 } })).count

    const gone = await db.contact.create({ data: s.contact('gone') })
    report.deleted = { count: 1, id: (await db.contact.delete(at('gone'))).id, inserted: gone.id }
    report.deleted_none = (await db.contact.deleteMany(at('gone'))).count

    report.batch = await db.contact.createManyAndReturn({ data: s.batch(), select: { id: true, email: true } })
    report.copied = 0

    await db.$transaction([
      db.order.create({ data: { contact: s.email('commit') } }),
      db.contact.create({ data: s.contact('commit') }),
      db.contact.update({ ...at('commit'), data: { score: 5 } }),
    ])
    report.quiet = notices().length

    const undone = new Error('changed my mind')
    await db.$transaction(async (tx) => {
      await tx.order.create({ data: { contact: s.email('rollback') } })
      report.rolled_back = (await tx.contact.create({ data: s.contact('rollback') })).id
      throw undone
    }).catch((e) => { if (e !== undone) throw e })
    report.warnings.rollback = notices()

    report.repeated = []
    for (let i = 0; i < 8; i++) {
      const data = s.contact(`repeat0${i}`, { score: i })
      await db.contact.create({ data })
      await db.contact.updateMany({ where: { email: data.email }, data: { score: { increment: 10 } } })
      const found = await db.contact.findMany({ where: { email: data.email, score: { gt: i } }, select: { email: true, score: true } })
      report.repeated.push(...found.map((x) => s.row(x)))
    }

    for (const [kind, data] of Object.entries(s.refused())) {
      report.errors[kind] = await failing(db.contact.create({ data }))
    }

    notices()
    await db.$transaction(async (tx) => {
      await tx.order.create({ data: { contact: s.email('failed') } })
      report.errors.inTransaction = await failing(tx.contact.create({ data: s.refused().check }))
      report.errors.afterwards = await failing(tx.$queryRaw`SELECT 1`)
      throw undone
    }).catch((e) => { if (e !== undone) throw e })
    report.warnings.failed = notices()

    // createMany is a transaction of its own, so the warning is here before its end.
    report.errors.partial = await failing(db.contact.createMany({ data: s.partial() }))
    report.warnings.partial = notices()

    report.skipped = (await db.contact.createMany({ data: [s.contact('types'), s.contact('fresh')], skipDuplicates: true })).count
    report.errors.upsert = await failing(db.contact.upsert({ ...at('types'), create: s.contact('types'), update: { score: 1 } }))

    // With nothing to update Prisma looks first, and has no need of ON CONFLICT.
    report.found = (await db.contact.upsert({ ...at('types'), create: s.contact('types'), update: {} })).id

    const [first, second] = s.upserts()
    await db.upsert.createMany({ data: first })
    report.upserted = await db.upsert.createManyAndReturn({ data: second, select: { id: true, email: true } })

    // Prisma cannot cancel a query; PostgreSQL can be told to. The time is enough for
    // the API to be asked, on a busy machine too.
    const started = Date.now()
    report.errors.cancelled = await failing(db.$transaction([db.$executeRaw`SET LOCAL statement_timeout = 5000`, db.slow.findMany()]))
    report.cancelled_ms = Date.now() - started

    const fields = { id: true, email: true, last_name: true, status: true, score: true }
    report.records = (await db.contact.findMany({ where: { email: { endsWith: `@${s.domain}` } }, select: fields, orderBy: { email: 'asc' } })).map((x) => s.row(x))
    report.orders = (await db.order.findMany()).map((x) => x.contact)
  } finally {
    await db.$disconnect()
    await pool.end()
  }
})
