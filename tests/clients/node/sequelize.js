'use strict'
// Sequelize: models, its pool, managed and unmanaged transactions.

const { Sequelize, DataTypes, Op, literal } = require('sequelize')
const { run } = require('./scenario')

// The server's own error, which Sequelize wraps.
const serverError = ({ parent }) => ({ ...parent, message: parent.message })

run(`sequelize ${require('sequelize/package.json').version}`, async (s, report) => {
  let notices = () => []
  let backend = 0
  const db = new Sequelize(s.url, {
    logging: false,
    // One connection, so that its notices follow its statements.
    pool: { max: 1 },
    hooks: {
      afterConnect: (connection) => {
        notices = s.listen(connection)
        backend = connection.processID
      },
    },
  })
  const { STRING, TEXT, BIGINT, DECIMAL, BOOLEAN, DATEONLY, DATE, ARRAY, JSONB } = DataTypes
  // autoIncrement and autoIncrementIdentity: an INSERT says DEFAULT for it, or
  // leaves it out, and RETURNING brings it.
  const Contact = db.define('contact', {
    id: { type: TEXT, primaryKey: true, autoIncrement: true, autoIncrementIdentity: true },
    email: { type: TEXT, allowNull: false },
    first_name: STRING(60),
    last_name: { type: STRING(80), allowNull: false },
    phone: TEXT,
    status: { type: TEXT, allowNull: false },
    company: TEXT,
    score: BIGINT,
    balance: DECIMAL,
    subscribed: BOOLEAN,
    birthday: DATEONLY,
    last_seen: DATE,
    interests: ARRAY(TEXT),
    profile: JSONB,
    notes: STRING(500),
    created: DATE,
    updated: DATE,
  }, { schema: 'crm', tableName: 'contacts', timestamps: false })
  // The same object with the table option upsert_key.
  const Upsert = db.define('upsert', {
    id: { type: TEXT, primaryKey: true, autoIncrement: true, autoIncrementIdentity: true },
    email: TEXT,
    last_name: TEXT,
    status: TEXT,
    score: BIGINT,
  }, { schema: 'crm', tableName: 'contact_upserts', timestamps: false })
  const Slow = db.define('slow', { id: { type: TEXT, primaryKey: true } }, { schema: 'crm', tableName: 'slow_contacts', timestamps: false })
  const Order = db.define('order', { contact: { type: TEXT, primaryKey: true } }, { tableName: 'orders', timestamps: false })

  const plain = (x) => s.row(x.get({ plain: true }))
  const failing = (promise) => s.failing(promise, (e) => ({ ...serverError(e), fields: e.errors?.map((x) => x.path) }))
  try {
    report.inserted = plain(await Contact.create(s.everything()))

    await Contact.create(s.contact('ada', { score: 1 }))
    const [count, rows] = await Contact.update({ score: literal('score + 6'), last_name: 'Lovelace' },
      { where: { email: s.email('ada') }, returning: ['id', 'score', 'last_name'] })
    const { id, score, last_name } = plain(rows[0])
    report.updated = { count, id, score, last_name }
    report.updated_none = (await Contact.update({ score: 1 }, { where: { email: s.email('nobody') } }))[0]

    const gone = await Contact.create(s.contact('gone'))
    // destroy() has no RETURNING: the model that was found knows its key.
    const found = await Contact.findOne({ where: { email: s.email('gone') } })
    report.deleted = { count: await Contact.destroy({ where: { email: s.email('gone') } }), id: found.id, inserted: gone.id }
    report.deleted_none = await Contact.destroy({ where: { email: s.email('gone') } })

    report.batch = (await Contact.bulkCreate(s.batch(), { returning: ['id', 'email'] })).map((x) => ({ id: x.id, email: x.email }))
    report.copied = 0

    await db.transaction(async (transaction) => {
      await Order.create({ contact: s.email('commit') }, { transaction })
      const c = await Contact.create(s.contact('commit'), { transaction })
      await c.update({ score: 5 }, { transaction })
    })
    report.quiet = notices().length

    const undone = new Error('changed my mind')
    await db.transaction(async (transaction) => {
      await Order.create({ contact: s.email('rollback') }, { transaction })
      report.rolled_back = (await Contact.create(s.contact('rollback'), { transaction })).id
      throw undone
    }).catch((e) => { if (e !== undone) throw e })
    report.warnings.rollback = notices()

    report.repeated = []
    for (let i = 0; i < 8; i++) {
      const row = s.contact(`repeat0${i}`, { score: i })
      const created = await Contact.create(row)
      await created.increment('score', { by: 10 })
      const again = await db.query('SELECT email, score FROM crm.contacts WHERE email = $1 AND score > $2',
        { bind: [row.email, i], type: Sequelize.QueryTypes.SELECT })
      report.repeated.push(...again.map((x) => s.row(x)))
    }

    for (const [kind, row] of Object.entries(s.refused())) {
      report.errors[kind] = await failing(Contact.create(row))
    }

    notices()
    const transaction = await db.transaction()
    await Order.create({ contact: s.email('failed') }, { transaction })
    report.errors.inTransaction = await failing(Contact.create(s.refused().check, { transaction }))
    report.errors.afterwards = await failing(db.query('SELECT 1', { transaction }))
    await transaction.rollback()
    report.warnings.failed = notices()

    report.errors.partial = await failing(Contact.bulkCreate(s.partial()))
    // The warning follows the error, so it has surely been heard after the next
    // statement.
    await db.query('SELECT 1')
    report.warnings.partial = notices()

    const skipped = await Contact.bulkCreate([s.contact('types'), s.contact('fresh')], { ignoreDuplicates: true })
    report.skipped = skipped.filter((x) => x.id !== null).length
    report.errors.upsert = await failing(Contact.upsert(s.contact('types'), { conflictFields: ['email'] }))

    report.found = (await Contact.findOrCreate({ where: { email: s.email('types') }, defaults: s.contact('types') }))[0].id

    const [first, second] = s.upserts()
    await Upsert.bulkCreate(first)
    report.upserted = (await Upsert.bulkCreate(second, { returning: ['id', 'email'] })).map((x) => ({ id: x.id, email: x.email }))

    const other = new Sequelize(s.url, { logging: false })
    await other.authenticate()
    const started = Date.now()
    const cancelled = failing(Slow.findAll())
    await s.asked()
    await other.query('SELECT pg_cancel_backend($1)', { bind: [backend] })
    report.errors.cancelled = await cancelled
    await other.close()
    report.cancelled_ms = Date.now() - started

    report.records = (await Contact.findAll({ attributes: ['id', 'email', 'last_name', 'status', 'score'], where: { email: { [Op.like]: s.like } }, order: ['email'] })).map(plain)
    report.orders = (await Order.findAll()).map((x) => x.contact)
  } finally {
    await db.close()
  }
})
