//! What ties a session to its connection: temporary tables, named locks, SQL PREPARE.
//!
//! Never here: anything that can be moved.

use crate::isolation::client::{Answer, Cell};
use crate::isolation::model::answers::{Judged, cell};
use crate::isolation::model::{Model, PreparedText};
use crate::isolation::operations::{Op, Text};

impl Model {
    pub(super) fn settle_tied(&mut self, op: &Op, answer: &Answer, token: &str) -> Judged {
        let schema = self.schema;
        match op {
            Op::CreateTemp(name) => self.settle_create(*name, answer, Vec::new()),
            Op::CreateTempSelect(name) => self.settle_create(*name, answer, vec![token.into()]),
            Op::InsertTemp(name) => {
                let Some(rows) = self.data.temp(schema, *name) else { return self.no_table(answer, 1146) };
                rows.push(token.into());
                let done = self.done(answer)?;
                self.data.touched();
                self.after_change(done.affected, &[]);
                if done.affected == 1 { Ok(()) } else { Err(format!("one row was due, came {done:?}")) }
            }
            Op::ReadTemp(name) => {
                let Some(rows) = self.data.temp(schema, *name) else { return self.no_table(answer, 1146) };
                let due: Vec<Vec<Cell>> = rows.iter().map(|row| vec![cell(row), cell(token)]).collect();
                self.rows(answer, &due)?;
                self.data.touched();
                self.after_rows(due.len(), &[]);
                Ok(())
            }
            Op::DropTemp { name, .. } => {
                if self.data.temp(schema, *name).is_none() {
                    return self.no_table(answer, 1051);
                }
                if self.read_only != Some(false) && super::is_read_only(answer.code()) {
                    self.data.perhaps_touched();
                    self.after_error(answer);
                    return Ok(());
                }
                self.done(answer)?;
                self.data.drop_temp(schema, *name);
                self.data.perhaps_touched();
                self.after_change(0, &[]);
                Ok(())
            }
            Op::Lock(_) | Op::Unlock(_) | Op::UnlockAll => self.settle_lock(op, answer),
            Op::PrepareText { name, text } => self.settle_prepare_text(*name, *text, answer, token),
            Op::ExecuteText(name) => match self.texts[*name].clone() {
                Some(prepared) => {
                    self.stuck = true;
                    self.settle_text(&prepared, answer, "")
                }
                None => self.no_statement(answer),
            },
            Op::DeallocateText(name) => {
                if self.texts[*name].take().is_none() {
                    return self.no_statement(answer);
                }
                self.done(answer)?;
                self.after_change(0, &[]);
                Ok(())
            }
            other => Err(format!("{other:?} ties to nothing")),
        }
    }

    fn no_table(&mut self, answer: &Answer, due: u16) -> Judged {
        // In a read-only transaction a table that is not a temporary one can't be written, be it there or not.
        if self.read_only == Some(false) || !super::is_read_only(answer.code()) {
            self.error(answer, &[due])?;
        }
        self.data.perhaps_touched();
        self.after_error(answer);
        Ok(())
    }

    fn no_statement(&mut self, answer: &Answer) -> Judged {
        self.error(answer, &[1243])?;
        self.after_error(answer);
        Ok(())
    }

    fn settle_create(&mut self, name: usize, answer: &Answer, rows: Vec<String>) -> Judged {
        let schema = self.schema;
        let exists = self.data.temp(schema, name).is_some();
        if self.read_only != Some(false) && super::is_read_only(answer.code()) {
            self.data.perhaps_touched();
            self.after_error(answer);
            return Ok(());
        }
        if exists {
            return self.no_table(answer, 1050);
        }
        let done = self.done(answer)?;
        if done.affected != rows.len() as u64 {
            return Err(format!("{} rows were due, came {done:?}", rows.len()));
        }
        self.data.create_temp(schema, name, rows);
        self.data.perhaps_touched();
        self.after_change(done.affected, &[]);
        Ok(())
    }

    fn settle_lock(&mut self, op: &Op, answer: &Answer) -> Judged {
        let due = match op {
            Op::Lock(name) => {
                self.locks[*name] += 1;
                cell("1")
            }
            Op::Unlock(name) if self.locks[*name] > 0 => {
                self.locks[*name] -= 1;
                cell("1")
            }
            Op::Unlock(_) => None,
            _ => {
                let all: u32 = self.locks.iter().sum();
                self.locks = Default::default();
                cell(all.to_string())
            }
        };
        self.rows(answer, &[vec![due]])?;
        self.after_rows(1, &[]);
        Ok(())
    }

    fn settle_prepare_text(&mut self, name: usize, text: Text, answer: &Answer, token: &str) -> Judged {
        self.texts[name] = None;
        let code = Some(answer.code()).filter(|&code| code != 0);
        if !self.may_prepare(text, code)? {
            self.data.perhaps_touched();
            self.after_error(answer);
            return Ok(());
        }
        self.done(answer)?;
        self.texts[name] =
            Some(PreparedText { text, schema: self.schema, token: token.into(), bound: self.bound() });
        self.data.perhaps_touched();
        self.after_change(0, &[]);
        Ok(())
    }
}
