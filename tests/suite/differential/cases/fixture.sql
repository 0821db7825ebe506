-- What readers read. Nobody changes it, so that reads of it may go to any server.
CREATE TABLE difread.t (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(40), n INT, KEY (n)) COMMENT = 'fixture';
INSERT INTO difread.t (name, n) VALUES ('one', 1), ('two', 2), ('three', NULL), ('four', 4);
CREATE TABLE difread.u (id INT PRIMARY KEY, t_id INT, v DECIMAL(10, 2));
INSERT INTO difread.u VALUES (1, 1, 1.50), (2, 1, -2.25), (3, 4, NULL);
CREATE VIEW difread.v AS SELECT id, UPPER(name) AS name FROM difread.t;
