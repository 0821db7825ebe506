//! Rows, temporary tables and transactions of one session, as a server keeps them.
//!
//! Never here: a connection, words of SQL.

use std::collections::BTreeMap;

use crate::isolation::operations::Schema;

/// Whether the server has a transaction open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::isolation) enum Open {
    No,
    /// It depends on what the server did inside a statement that failed or called code.
    Perhaps,
    Yes,
}

/// A temporary table; the serial tells it from a later one of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Temp {
    serial: u32,
    rows: Vec<String>,
}

/// A row of the session's own table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::isolation) struct Row {
    pub(in crate::isolation) token: String,
    pub(in crate::isolation) v: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Content {
    tables: BTreeMap<Schema, BTreeMap<u64, Row>>,
    temps: BTreeMap<(Schema, usize), Temp>,
}

/// The session's own data and the transaction around it.
#[derive(Clone, Debug)]
pub(in crate::isolation) struct Data {
    now: Content,
    /// What a ROLLBACK goes back to; `None` where each statement commits by itself.
    before: Option<Content>,
    savepoints: Vec<(usize, Content)>,
    serials: u32,
    pub(in crate::isolation) open: Open,
    /// Begun by a statement, not by itself.
    pub(in crate::isolation) explicit: bool,
    pub(in crate::isolation) autocommit: bool,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            now: Content::default(),
            before: None,
            savepoints: Vec::new(),
            serials: 0,
            open: Open::No,
            explicit: false,
            autocommit: true,
        }
    }
}

impl Data {
    /// A statement used a table: where nothing commits by itself, a transaction is open now.
    pub(in crate::isolation) fn touched(&mut self) {
        if !self.autocommit {
            self.open = Open::Yes;
        }
    }

    /// A statement may have used a table before it failed.
    pub(in crate::isolation) fn perhaps_touched(&mut self) {
        if !self.autocommit && self.open == Open::No {
            self.open = Open::Perhaps;
        }
    }

    /// Whether a ROLLBACK would take something back.
    pub(in crate::isolation) fn may_roll_back(&self) -> bool {
        self.before.is_some()
    }

    /// BEGIN, which commits what was open.
    pub(in crate::isolation) fn begin(&mut self) {
        self.savepoints.clear();
        self.before = Some(self.now.clone());
        self.explicit = true;
        self.open = Open::Yes;
    }

    /// COMMIT, said or implied.
    pub(in crate::isolation) fn commit(&mut self) {
        self.savepoints.clear();
        self.explicit = false;
        self.open = Open::No;
        self.before = (!self.autocommit).then(|| self.now.clone());
    }

    /// ROLLBACK.
    pub(in crate::isolation) fn roll_back(&mut self) {
        if let Some(before) = self.before.take() {
            self.go_back_to(&before);
        }
        self.commit();
    }

    fn go_back_to(&mut self, then: &Content) {
        self.now.tables.clone_from(&then.tables);
        for (key, temp) in &mut self.now.temps {
            let same = then.temps.get(key).filter(|former| former.serial == temp.serial);
            temp.rows = same.map(|former| former.rows.clone()).unwrap_or_default();
        }
    }

    /// SET autocommit.
    pub(in crate::isolation) fn set_autocommit(&mut self, on: bool) {
        match (self.autocommit, on) {
            (false, true) => {
                self.autocommit = true;
                self.commit();
            }
            (true, false) => {
                self.autocommit = false;
                self.before.get_or_insert_with(|| self.now.clone());
            }
            (true, true) | (false, false) => {}
        }
    }

    /// SAVEPOINT.
    pub(in crate::isolation) fn savepoint(&mut self, name: usize) {
        if self.before.is_none() {
            return;
        }
        self.savepoints.retain(|(known, _)| *known != name);
        self.savepoints.push((name, self.now.clone()));
        if self.open == Open::No {
            self.open = Open::Perhaps;
        }
    }

    fn savepoint_at(&self, name: usize) -> Option<usize> {
        self.savepoints.iter().position(|(known, _)| *known == name)
    }

    /// ROLLBACK TO; `false`: there is none of that name.
    pub(in crate::isolation) fn roll_back_to(&mut self, name: usize) -> bool {
        let Some(at) = self.savepoint_at(name) else { return false };
        self.savepoints.truncate(at + 1);
        let then = self.savepoints[at].1.clone();
        self.go_back_to(&then);
        true
    }

    /// RELEASE SAVEPOINT; `false`: there is none of that name.
    pub(in crate::isolation) fn release(&mut self, name: usize) -> bool {
        let Some(at) = self.savepoint_at(name) else { return false };
        self.savepoints.truncate(at);
        true
    }

    /// The rows of the own table in this schema.
    pub(in crate::isolation) fn rows(&mut self, schema: Schema) -> &mut BTreeMap<u64, Row> {
        self.now.tables.entry(schema).or_default()
    }

    /// How many rows of the own table everybody else can see.
    pub(in crate::isolation) fn committed(&self, schema: Schema) -> usize {
        let content = self.before.as_ref().unwrap_or(&self.now);
        content.tables.get(&schema).map_or(0, BTreeMap::len)
    }

    /// The rows of a temporary table.
    pub(in crate::isolation) fn temp(&mut self, schema: Schema, name: usize) -> Option<&mut Vec<String>> {
        self.now.temps.get_mut(&(schema, name)).map(|temp| &mut temp.rows)
    }

    /// CREATE TEMPORARY TABLE with these rows.
    pub(in crate::isolation) fn create_temp(&mut self, schema: Schema, name: usize, rows: Vec<String>) {
        self.serials += 1;
        self.now.temps.insert((schema, name), Temp { serial: self.serials, rows });
    }

    /// DROP of a temporary table; `false`: there is none.
    pub(in crate::isolation) fn drop_temp(&mut self, schema: Schema, name: usize) -> bool {
        self.now.temps.remove(&(schema, name)).is_some()
    }

    /// Whether there is any temporary table.
    pub(in crate::isolation) fn has_temps(&self) -> bool {
        !self.now.temps.is_empty()
    }

    /// The end of the session's state: what is open is rolled back, temporary tables go.
    pub(in crate::isolation) fn reset(&mut self) {
        self.autocommit = true;
        self.roll_back();
        self.now.temps.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(data: &mut Data, id: u64) {
        data.rows(Schema::A).insert(id, Row { token: id.to_string(), v: 0 });
    }

    fn ids(data: &mut Data) -> Vec<u64> {
        data.rows(Schema::A).keys().copied().collect()
    }

    #[test]
    fn a_rollback_takes_back_rows_but_not_temporary_tables() {
        let mut data = Data::default();
        row(&mut data, 1);
        data.create_temp(Schema::A, 0, vec!["before".into()]);
        data.begin();
        row(&mut data, 2);
        data.create_temp(Schema::A, 1, vec!["within".into()]);
        data.temp(Schema::A, 0).unwrap().push("more".into());
        assert_eq!(data.committed(Schema::A), 1);
        data.roll_back();
        assert_eq!(ids(&mut data), [1]);
        assert_eq!(data.temp(Schema::A, 0).unwrap(), &["before"]);
        assert!(data.temp(Schema::A, 1).unwrap().is_empty());
        assert_eq!(data.open, Open::No);
    }

    #[test]
    fn savepoints_nest_and_end_with_the_transaction() {
        let mut data = Data::default();
        data.savepoint(0);
        assert!(!data.roll_back_to(0), "there was no transaction");
        data.begin();
        data.savepoint(0);
        row(&mut data, 1);
        data.savepoint(1);
        row(&mut data, 2);
        assert!(data.roll_back_to(1));
        assert_eq!(ids(&mut data), [1]);
        assert!(data.roll_back_to(0));
        assert!(!data.release(1), "it was set after the one gone back to");
        data.commit();
        assert!(!data.release(0));
        assert!(ids(&mut data).is_empty());
    }

    #[test]
    fn without_autocommit_there_is_always_something_to_roll_back() {
        let mut data = Data::default();
        data.set_autocommit(false);
        row(&mut data, 1);
        data.touched();
        assert_eq!(data.open, Open::Yes);
        data.commit();
        row(&mut data, 2);
        data.roll_back();
        assert_eq!(ids(&mut data), [1]);
        row(&mut data, 3);
        data.set_autocommit(true);
        data.roll_back();
        assert_eq!(ids(&mut data), [1, 3]);
    }
}
