// Node's mysql2.
'use strict';

const fs = require('fs');
const mysql = require('mysql2/promise');

const connect = () =>
  mysql.createConnection({
    host: '127.0.0.1',
    port: Number(process.env.RECORD_PORT),
    user: 'app',
    password: 'secret',
    database: 'shop',
    multipleStatements: true,
    infileStreamFactory: (path) => fs.createReadStream(path),
  });

const failed = (error) => error;

async function main() {
  await (await connect()).end();
  const connection = await connect();
  await connection.query('SELECT id, name, price FROM item ORDER BY id');
  await connection.query('SELECT * FROM missing').catch(failed);
  const three = 'SELECT id, ? AS given FROM item WHERE id > ? AND id <> COALESCE(?, 9)';
  for (const values of [[null, 1, Buffer.from([0, 255])], ['text', 0, null], [2.5, 2, '']]) {
    await connection.execute(three, values);
  }
  connection.unprepare(three);
  await connection.execute('INSERT INTO item VALUES (?, ?, ?)', [31, null, '4.75']);
  await connection.execute('INSERT INTO item VALUES (?, ?, ?)', [31, null, null]).catch(failed);
  await connection.execute('SELECT * FROM missing WHERE id = ?', [1]).catch(failed);
  await connection.execute('CALL both_ends(?, @total)', [2]);
  await connection.query('CALL both_ends(2, @total)');
  await connection.query('SELECT 1; SELECT 2 FROM item WHERE id = 0; DO 1; SELECT 3');
  await connection.query('SELECT 1; SELECT nothing; SELECT 3').catch(failed);
  await connection.beginTransaction();
  await connection.query("INSERT INTO item VALUES (21, 'plum', 3.25), (22, 'fig', NULL)");
  await connection.rollback();
  await connection.query('SET autocommit = 0');
  await connection.query('DELETE FROM item WHERE id = 3');
  await connection.commit();
  await connection.ping();
  await connection.query("SELECT id FROM item; LOAD DATA LOCAL INFILE 'rows.tsv' INTO TABLE item; SELECT 4");
  await connection.query('USE depot');
  await connection.reset();
  await connection.changeUser({ user: 'app2', password: 'second secret', database: 'shop' });
  await connection.query('SELECT CURRENT_USER()');
  await connection.end();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
