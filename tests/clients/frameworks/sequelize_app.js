// Sequelize with Umzug's migrations, over mysql2. The same kinds of checks as sqlalchemy_app.py, and the same `--work`.
//
// Never here: what a result should be. The runner compares two runs.
'use strict';

const { parseArgs } = require('util');
const { Sequelize, DataTypes, Op, Transaction } = require('sequelize');
const { Umzug, SequelizeStorage } = require('umzug');

const BATCH = 25;

const MIGRATIONS = [
  {
    name: '0001_authors',
    async up({ context: schema }) {
      const id = { type: DataTypes.INTEGER, primaryKey: true, autoIncrement: true };
      await schema.createTable('authors', {
        id,
        name: { type: DataTypes.STRING(80), allowNull: false, unique: true },
        born: DataTypes.DATEONLY,
      });
      await schema.createTable('books', {
        id,
        authorId: { type: DataTypes.INTEGER, allowNull: false, references: { model: 'authors', key: 'id' }, onDelete: 'cascade' },
        title: { type: DataTypes.STRING(200), allowNull: false },
      });
    },
    async down({ context: schema }) {
      await schema.dropTable('books');
      await schema.dropTable('authors');
    },
  },
  {
    name: '0002_prices',
    async up({ context: schema }) {
      await schema.addColumn('books', 'price', { type: DataTypes.DECIMAL(10, 2), allowNull: false, defaultValue: 0 });
      await schema.addColumn('books', 'about', { type: DataTypes.JSON });
      await schema.addIndex('books', ['price', 'title'], { name: 'books_by_price' });
    },
    async down({ context: schema }) {
      await schema.removeIndex('books', 'books_by_price');
      await schema.removeColumn('books', 'about');
      await schema.removeColumn('books', 'price');
    },
  },
];

function models(sequelize) {
  const options = { timestamps: false };
  const Author = sequelize.define('authors', { name: DataTypes.STRING(80), born: DataTypes.DATEONLY }, options);
  const shape = { title: DataTypes.STRING(200), price: DataTypes.DECIMAL(10, 2), about: DataTypes.JSON };
  const Book = sequelize.define('books', shape, options);
  Author.hasMany(Book, { foreignKey: 'authorId' });
  Book.belongsTo(Author, { foreignKey: 'authorId' });
  return { Author, Book };
}

async function schemaOf(sequelize) {
  const schema = sequelize.getQueryInterface();
  const told = {};
  for (const table of (await schema.showAllTables()).sort()) {
    if (!table.startsWith('t_')) told[table] = [await schema.describeTable(table), await schema.showIndex(table)];
  }
  return told;
}

async function make({ Author, Book }, transaction, name, count) {
  const author = await Author.create({ name, born: '1900-02-28' }, { transaction });
  for (let n = 0; n < count; n += 1) {
    await Book.create({ authorId: author.id, title: `${name} ${n}`, price: n / 4, about: { n, tags: ['a', null] } }, { transaction });
  }
  return author;
}

// Name and function of each check, in order: later ones use what earlier ones left.
function checks(sequelize, umzug) {
  const all = models(sequelize);
  const { Author, Book } = all;
  const workloads = {
    committed: () => sequelize.transaction(async (transaction) => (await make(all, transaction, 'Ann', 3)).toJSON()),
    async rolledBack() {
      const transaction = await sequelize.transaction();
      await make(all, transaction, 'Bob', 2);
      await transaction.rollback();
      return Author.count();
    },
    async savepoints() {
      let text = null;
      await sequelize.transaction(async (outer) => {
        await make(all, outer, 'Cid', 1);
        const inner = await sequelize.transaction({ transaction: outer });
        try {
          await make(all, inner, 'Ann', 1);
        } catch (error) {
          text = error.parent.sqlMessage;
          await inner.rollback();
        }
        const other = await sequelize.transaction({ transaction: outer });
        await make(all, other, 'Dee', 1);
        await other.commit();
      });
      return [text, (await Author.findAll({ order: ['id'] })).map((author) => author.name)];
    },
    async bulkCreate() {
      const rows = Array.from({ length: 500 }, (_, n) => ({ authorId: 1, title: `bulk ${n}`, price: n, about: null }));
      await Book.bulkCreate(rows);
      return [await Book.count(), await Book.sum('price')];
    },
    bulkUpdate: () => Book.update({ title: 'dear' }, { where: { price: { [Op.gt]: 400 } } }),
    bulkDelete: () => Book.destroy({ where: { title: { [Op.like]: 'bulk 1%' } } }),
    async pages() {
      const seen = [];
      for (let offset = 0; offset < 400; offset += 100) {
        const page = await Book.findAll({ order: ['id'], limit: 100, offset });
        seen.push([page.length, page[0]?.toJSON()]);
      }
      return seen;
    },
    joined: async () => (await Author.findAll({ include: Book, order: ['id'] })).map((author) => [author.name, author.books.length]),
    locking: () =>
      sequelize.transaction(async (transaction) => {
        const author = await Author.findOne({ where: { name: 'Cid' }, lock: transaction.LOCK.UPDATE, transaction });
        return (await author.update({ name: 'Cidney' }, { transaction })).toJSON();
      }),
    upsert: () => Author.upsert({ name: 'Ann', born: '2000-01-01' }),
    async levels() {
      const seen = [];
      for (const isolationLevel of Object.values(Transaction.ISOLATION_LEVELS)) {
        seen.push(
          await sequelize.transaction({ isolationLevel }, async (transaction) => {
            await Author.create({ name: isolationLevel }, { transaction });
            return Author.count({ transaction });
          })
        );
      }
      return seen;
    },
    async readOnly() {
      const transaction = await sequelize.transaction();
      const rows = await sequelize.query('SELECT COUNT(*) AS n FROM authors', { transaction });
      await transaction.commit();
      return rows[0];
    },
    async readAfterWrite() {
      const seen = [];
      for (let n = 0; n < 20; n += 1) {
        await Author.create({ name: `fresh ${n}` });
        seen.push(await Author.count({ where: { name: `fresh ${n}` } }));
      }
      return seen;
    },
    async pooled() {
      const work = (n) => sequelize.transaction((transaction) => Book.create({ authorId: 1, title: `task ${n}`, price: 1 }, { transaction }));
      await Promise.all(Array.from({ length: 20 }, (_, n) => work(n)));
      // In a transaction, so on the primary: what other connections wrote.
      return sequelize.transaction((transaction) => Book.count({ where: { title: { [Op.like]: 'task %' } }, transaction }));
    },
  };
  return Object.entries({
    upToFirst: async () => (await umzug.up({ to: '0001_authors' })).map(({ name }) => name),
    schemaOfFirst: () => schemaOf(sequelize),
    upToLast: async () => (await umzug.up()).map(({ name }) => name),
    schemaOfLast: () => schemaOf(sequelize),
    ...workloads,
    downByOne: async () => (await umzug.down()).map(({ name }) => name),
    schemaAfterDown: () => schemaOf(sequelize),
    upAgain: async () => (await umzug.up()).map(({ name }) => name),
    downToNothing: async () => (await umzug.down({ to: 0 })).map(({ name }) => name),
    schemaOfNothing: () => schemaOf(sequelize),
  });
}

// Transactions, savepoints and bulk inserts, and what they left behind, until standard input ends.
async function workUntilTold(sequelize, umzug) {
  await umzug.up();
  const all = models(sequelize);
  let ended = false;
  process.stdin.on('end', () => (ended = true)).resume();
  console.log(JSON.stringify({ working: true }));
  const errors = [];
  let rounds = 0;
  while (!ended) {
    try {
      const author = await sequelize.transaction(async (outer) => {
        const made = await make(all, outer, `author ${rounds}`, 2);
        await sequelize.transaction({ transaction: outer }, (transaction) =>
          all.Book.bulkCreate(
            Array.from({ length: BATCH }, (_, n) => ({ authorId: made.id, title: `${n}`, price: n })),
            { transaction }
          )
        );
        return made;
      });
      const seen = await all.Book.count({ where: { authorId: author.id } });
      if (seen !== BATCH + 2) errors.push(`round ${rounds} sees ${seen} books`);
      rounds += 1;
    } catch (error) {
      errors.push(String(error));
    }
  }
  const [authors, books] = [await all.Author.count(), await all.Book.count()];
  if (authors !== rounds || books !== rounds * (BATCH + 2)) {
    errors.push(`${rounds} rounds left ${authors} authors and ${books} books`);
  }
  console.log(JSON.stringify({ rounds, errors: errors.slice(0, 20) }));
}

async function main() {
  const { values: given } = parseArgs({
    options: {
      host: { type: 'string', default: '127.0.0.1' },
      port: { type: 'string' },
      user: { type: 'string', default: 'clients' },
      password: { type: 'string', default: '' },
      database: { type: 'string', default: 'clients' },
      work: { type: 'boolean', default: false },
    },
  });
  const sequelize = new Sequelize(given.database, given.user, given.password, {
    dialect: 'mysql',
    host: given.host,
    port: Number(given.port),
    logging: false,
    pool: { max: 3 },
  });
  const umzug = new Umzug({
    migrations: MIGRATIONS,
    context: sequelize.getQueryInterface(),
    storage: new SequelizeStorage({ sequelize }),
    logger: undefined,
  });
  if (given.work) {
    await workUntilTold(sequelize, umzug);
  } else {
    const versions = ['sequelize', 'umzug', 'mysql2'].map((name) => `${name} ${require(`${name}/package.json`).version}`);
    console.log(JSON.stringify({ version: versions.join(', ') }));
    for (const [check, run] of checks(sequelize, umzug)) {
      const result = await Promise.resolve().then(run).catch((error) => ({ error: String(error) }));
      console.log(JSON.stringify({ check, result: [result ?? null] }));
    }
  }
  process.exit(0); // the pool would keep this process
}

main();
