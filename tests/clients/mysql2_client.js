// Node's mysql2. Runs checks.json and prints one JSON line per check, as interpreter.py does for Python clients.
//
// Never here: what a result should be. The runner compares two runs.
'use strict';

const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const { Readable } = require('stream');
const { parseArgs } = require('util');
const mysql = require('mysql2');

const LONG = 200; // longer texts are shown as length and digest
const MANY_ROWS = 200; // more rows are shown as count and digest
const KILL_SECONDS = 30; // a statement that is not gone by then was not killed
const SILENCE_SECONDS = 60; // an answer that takes longer is one of its own

const digest = (text) => crypto.createHash('sha256').update(text).digest('hex');
const shortened = (text) => (text.length <= LONG ? text : { length: text.length, sha256: digest(text) });

// A value with its type, so that 1 and "1" differ.
function canonical(value) {
  if (value === null || value === undefined || typeof value === 'boolean') return value ?? null;
  if (typeof value === 'string') return shortened(value);
  if (typeof value === 'number' || typeof value === 'bigint') return { number: String(value) };
  if (Buffer.isBuffer(value)) return { bytes: shortened(value.toString('hex')) };
  if (value instanceof Date) return { date: Number.isNaN(value.getTime()) ? 'invalid' : value.toISOString() };
  if (Array.isArray(value)) return value.map(canonical);
  const shown = {};
  for (const key of Object.keys(value).sort()) shown[key] = canonical(value[key]);
  return shown;
}

function shownRows(rows) {
  const shown = rows.map(canonical);
  if (shown.length <= MANY_ROWS) return shown;
  return { rows: shown.length, sha256: digest(JSON.stringify(shown)) };
}

function column(field) {
  const { name, columnType, columnLength, characterSet, flags, decimals, table, orgTable, orgName, schema } = field;
  return canonical([name, columnType, columnLength, characterSet, flags, decimals, table, orgTable, orgName, schema]);
}

function outcome(rows, fields) {
  if (!Array.isArray(rows)) return { ok: canonical(rows) };
  return { columns: fields ? fields.map(column) : null, rows: shownRows(rows) };
}

// One statement gives [rows, fields]; several give arrays of both.
function outcomes([rows, fields]) {
  const several = Array.isArray(fields) && fields.some((field) => field === undefined || Array.isArray(field));
  if (!several) return [outcome(rows, fields)];
  return rows.map((result, index) => outcome(result, fields[index]));
}

function failure(error) {
  return { error: canonical({ code: error.code, errno: error.errno, sqlState: error.sqlState, message: error.message }) };
}

function parameter(spec) {
  const [[kind, value]] = Object.entries(spec);
  if (kind === 'null') return null;
  if (kind === 'bytes') return Buffer.from(value, 'hex');
  if (kind === 'datetime') return value.replace('T', ' ');
  if (kind === 'repeat') return value[0].repeat(value[1]);
  return value; // int, float, str, and the types that JavaScript lacks, as text
}

// The promise of a callback-style call, with a deadline.
function answer(start) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no answer within ${SILENCE_SECONDS} s`)), SILENCE_SECONDS * 1000);
    start((error, ...values) => {
      clearTimeout(late);
      if (error) reject(error);
      else resolve(values);
    });
  });
}

class Check {
  constructor(login) {
    this.login = login;
    this.connections = new Map();
  }

  options({ tls, ...more } = {}) {
    return {
      ...this.login,
      ...more,
      ssl: tls ? { rejectUnauthorized: false } : undefined,
      database: more.database === null ? undefined : (more.database ?? this.login.database),
      multipleStatements: true,
      supportBigNumbers: true,
      bigNumberStrings: true,
      dateStrings: true,
      flags: ['+LOCAL_FILES'],
      connectTimeout: 20000,
    };
  }

  async connect(more) {
    const connection = mysql.createConnection(this.options(more));
    connection.on('error', () => {}); // the statement under way gets it too
    await answer((done) => connection.connect(done));
    return connection;
  }

  async connection(name) {
    if (!this.connections.has(name)) this.connections.set(name, await this.connect());
    return this.connections.get(name);
  }

  async run(step) {
    try {
      return await this.step(step);
    } catch (error) {
      return failure(error);
    }
  }

  async step(step) {
    if ('connect' in step) {
      const other = await this.connect(step.connect);
      this.connections.set('other', other);
      return this.query(other, 'SELECT DATABASE(), CURRENT_USER()');
    }
    if ('open' in step) {
      await this.connection(step.open);
      return 'open';
    }
    const connection = await this.connection(step.on ?? 'a');
    if ('query' in step) {
      const sql = step.big ? step.query.replace('$big', () => step.big[0].repeat(step.big[1])) : step.query;
      return this.query(connection, sql);
    }
    if ('execute' in step) {
      const values = step.params.map(parameter);
      return outcomes(await answer((done) => connection.execute(step.execute, values, done)));
    }
    if ('ping' in step) return (await answer((done) => connection.ping(done)), 'pong');
    if ('reset' in step) {
      if (!connection.reset) return 'unsupported';
      return (await answer((done) => connection.reset(done)), 'reset');
    }
    if ('change_user' in step) {
      const { password, database } = this.login;
      await answer((done) => connection.changeUser({ user: step.change_user, password, database }, done));
      return 'changed';
    }
    if ('infile' in step) {
      const options = {
        sql: `LOAD DATA LOCAL INFILE 'given' INTO TABLE ${step.into}`,
        infileStreamFactory: () => Readable.from([Buffer.from(step.infile)]),
      };
      return outcomes(await answer((done) => connection.query(options, done)));
    }
    if ('missing_infile' in step) {
      return this.query(connection, `LOAD DATA LOCAL INFILE '/nonexistent/file.tsv' INTO TABLE ${step.missing_infile}`);
    }
    if ('abandon' in step) {
      const columns = await abandon(connection, step.abandon);
      this.connections.delete(step.on ?? 'a');
      connection.destroy();
      return columns;
    }
    if ('transaction' in step) return this.transaction(connection, step.transaction);
    if ('bulk' in step) return this.bulk(connection, step.bulk);
    if ('pool' in step) return this.pool(step.pool);
    if ('kill_query' in step) return this.killQuery(connection, step.kill_query);
    return 'unsupported'; // use, charset, cursor: mysql2 has no such calls
  }

  async query(connection, sql) {
    const options = { sql, infileStreamFactory: (name) => fs.createReadStream(name) };
    return outcomes(await answer((done) => connection.query(options, done)));
  }

  async transaction(connection, plan) {
    if (plan.isolation) await this.query(connection, `SET TRANSACTION ISOLATION LEVEL ${plan.isolation}`);
    if (plan.read_only) await this.query(connection, 'START TRANSACTION READ ONLY');
    else await answer((done) => connection.beginTransaction(done));
    const results = [];
    for (const sql of plan.queries) results.push(await this.query(connection, sql).catch(failure));
    await answer((done) => connection[plan.end](done));
    return results;
  }

  async bulk(connection, plan) {
    const results = [];
    for (const row of plan.rows) {
      results.push(outcomes(await answer((done) => connection.execute(plan.sql, row.map(parameter), done))));
    }
    return results;
  }

  // Many workers with transactions on the few connections of the driver's pool.
  async pool(plan) {
    const pool = mysql.createPool({ ...this.options(), connectionLimit: plan.connections });
    const work = async (worker) => {
      for (let round = 0; round < plan.rounds; round += 1) {
        const [connection] = await answer((done) => pool.getConnection(done));
        await answer((done) => connection.beginTransaction(done));
        await answer((done) => connection.execute(`INSERT INTO ${plan.table} (worker) VALUES (?)`, [worker], done));
        await answer((done) => connection.commit(done));
        connection.release();
      }
      return 'done';
    };
    const results = await Promise.all(Array.from({ length: plan.workers }, (_, worker) => work(worker).catch(failure)));
    pool.end(() => {});
    return results;
  }

  // KILL QUERY by the id that the client knows, again and again until the statement is gone: one that has not
  // begun yet is not hurt by a KILL.
  async killQuery(connection, sql) {
    const killer = await this.connection('killer');
    let gone = null;
    const victim = this.query(connection, sql)
      .catch(failure)
      .then((result) => {
        gone = result;
      });
    for (let attempt = 0; attempt < KILL_SECONDS * 10 && gone === null; attempt += 1) {
      await this.query(killer, `KILL QUERY ${connection.threadId}`);
      await Promise.race([victim, new Promise((resolve) => setTimeout(resolve, 100))]);
    }
    return gone ?? `not killed within ${KILL_SECONDS} s`;
  }

  close() {
    for (const connection of this.connections.values()) connection.end(() => {});
  }
}

// The first row of a streamed result; the caller throws the connection away with the rest under way.
async function abandon(connection, sql) {
  const row = await answer((done) => {
    const query = connection.query(sql);
    query.once('result', (first) => done(null, first));
    query.once('error', done);
  });
  return canonical(Object.keys(row[0]));
}

async function main() {
  const { values: given, positionals: names } = parseArgs({
    allowPositionals: true,
    options: {
      host: { type: 'string', default: '127.0.0.1' },
      port: { type: 'string' },
      user: { type: 'string', default: 'clients' },
      password: { type: 'string', default: '' },
      database: { type: 'string', default: 'clients' },
    },
  });
  const login = { ...given, port: Number(given.port) };
  const checks = JSON.parse(fs.readFileSync(path.join(__dirname, 'checks.json'), 'utf8'));
  console.log(JSON.stringify({ version: `mysql2 ${require('mysql2/package.json').version}, Node ${process.version}` }));
  for (const { check, steps } of checks) {
    if (names.length > 0 && !names.includes(check)) continue;
    const run = new Check(login);
    const result = [];
    for (const step of steps) result.push(await run.run(step));
    run.close();
    console.log(JSON.stringify({ check, result }));
  }
  process.exit(0); // whatever a check abandoned must not keep this process
}

main();
