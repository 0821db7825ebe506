//! Settings, and statements on data.
//!
//! Never here: temporary tables, locks.

use crate::isolation::client::{Answer, Cell, Counts};
use crate::isolation::model::answers::{Judged, cell};
use crate::isolation::model::data::Row;
use crate::isolation::model::{Model, Open};
use crate::isolation::operations::{Failing, NAMES_EACH, Op, Role, Schema, Value, Warning, Way};
use crate::isolation::settings::{NAMES, OFF_BY_DEFAULT, SETTINGS};

/// Rows of the table `numbers`.
const NUMBERS: u64 = 5;

impl Model {
    pub(super) fn settle_setting(&mut self, op: &Op, answer: &Answer, token: &str) -> Judged {
        match op {
            Op::SetUser { name, value } => return self.settle_set_user(*name, *value, answer, token),
            Op::SetFails { .. } => {
                self.error(answer, &[1231])?;
                self.stuck |= self.has_user_variables();
                self.after_error(answer);
                return Ok(());
            }
            Op::Role(Role::First) if self.account == 1 => {
                self.error(answer, &[3530])?;
                self.after_error(answer);
                return Ok(());
            }
            _ => {}
        }
        self.done(answer)?;
        match op {
            Op::Set { setting, value } => self.assign(*setting, *value),
            Op::SetTwo { first, second } => {
                self.assign(first.0, first.1);
                self.assign(second.0, second.1);
            }
            Op::SetDefault { setting } => {
                let name = SETTINGS[*setting].name;
                let off = OFF_BY_DEFAULT.contains(&name);
                let default = if off { "0".into() } else { self.defaults.values[name].clone() };
                self.set(name, default);
            }
            Op::SetNames { names } => {
                let (_, charset, collation) = NAMES[*names];
                for name in ["character_set_client", "character_set_connection", "character_set_results"] {
                    self.set(name, charset.into());
                }
                self.set("collation_connection", collation.into());
            }
            Op::Autocommit { on } => {
                let commits = !self.data.autocommit && *on;
                self.data.set_autocommit(*on);
                if commits && self.read_only != Some(self.values["transaction_read_only"] == "1") {
                    self.read_only = None;
                }
            }
            Op::Timestamp { on } => {
                self.timestamp = *on;
                self.stuck = true;
            }
            Op::Use { schema, .. } => {
                self.schema = *schema;
                // Names of temporary tables can't be compared across it.
                self.stuck |= self.data.has_temps();
            }
            Op::Role(role) => self.role = *role,
            Op::SetInsertId { id } => self.insert_id = *id,
            other => return Err(format!("{other:?} sets nothing")),
        }
        if let Op::Use { way: Way::Command, .. } = op {
            // No statement: something of what the one before left stays.
            self.after_unknown();
            return Ok(());
        }
        self.after_change(0, &[]);
        Ok(())
    }

    fn assign(&mut self, setting: usize, value: usize) {
        let setting = &SETTINGS[setting];
        self.set(setting.name, setting.values[value].1.into());
    }

    fn set(&mut self, name: &'static str, value: String) {
        if name == "collation_connection" {
            let charset = value.split('_').next().unwrap_or_default().to_owned();
            self.values.insert("character_set_connection", charset);
        }
        if name == "transaction_read_only" {
            // It is about the next transaction, which may be the next statement.
            self.read_only = match self.data.open {
                Open::No => Some(value == "1"),
                Open::Perhaps => None,
                Open::Yes => self.read_only,
            };
        }
        let reads = name == "sql_mode" || name.starts_with("character_set") || name.starts_with("collation");
        self.stuck |= reads && self.has_user_variables();
        self.values.insert(name, value);
    }

    fn settle_set_user(&mut self, name: usize, value: Value, answer: &Answer, token: &str) -> Judged {
        let quoted = Some(match value {
            Value::Quote => format!("it's {token}"),
            Value::Backslash if self.mode_has("NO_BACKSLASH_ESCAPES") => format!("a\\\\{token}"),
            Value::Backslash => format!("a\\{token}"),
            Value::Computed => format!("{token}-c"),
            _ => token.to_owned(),
        });
        let shown = match value {
            Value::DoubleQuoted if self.mode_has("ANSI_QUOTES") => {
                self.error(answer, &[1054])?;
                self.stuck = true;
                self.after_error(answer);
                return Ok(());
            }
            Value::Integer => cell("42"),
            Value::Negative => cell("-7"),
            Value::Decimal => cell("1.50"),
            Value::Hex => cell("abc"),
            Value::Null => None,
            Value::Copy => self.user[(name + 1) % NAMES_EACH].clone(),
            Value::Token
            | Value::Quote
            | Value::Backslash
            | Value::DoubleQuoted
            | Value::Computed
            | Value::Into
            | Value::Assigned => quoted,
        };
        match value {
            Value::Assigned => {
                self.rows(answer, &[vec![shown.clone()]])?;
                self.after_rows(1, &[1287]);
            }
            Value::Into => {
                let done = self.done(answer)?;
                self.after_change(done.affected, &[]);
                self.last.row_count = None;
            }
            _ => {
                self.done(answer)?;
                self.after_change(0, &[]);
            }
        }
        self.user[name] = shown;
        self.stuck |= !crate::isolation::model::is_plain_literal(value);
        Ok(())
    }

    pub(super) fn settle_data(&mut self, op: &Op, answer: &Answer, token: &str) -> Judged {
        match op {
            Op::Read => {
                let schema = self.schema;
                let due: Vec<Vec<Cell>> = self
                    .data
                    .rows(schema)
                    .iter()
                    .map(|(id, row)| {
                        vec![cell(id.to_string()), cell(row.v.to_string()), cell(&row.token), cell(token)]
                    })
                    .collect();
                self.rows(answer, &due)?;
                self.data.touched();
                self.after_rows(due.len(), &[]);
                Ok(())
            }
            Op::Insert { rows } => self.settle_insert(answer, self.schema, token, *rows),
            Op::Update { same } => self.settle_update(answer, *same),
            Op::Delete => self.settle_delete(answer),
            Op::InsertIdOf { id } => {
                self.rows(answer, &[vec![cell(id.to_string()), cell(token)]])?;
                self.insert_id = *id;
                self.after_rows(1, &[]);
                Ok(())
            }
            Op::CalcFoundRows { limit } => {
                let due: Vec<Vec<Cell>> =
                    (1..=*limit).map(|n| vec![cell(n.to_string()), cell(token)]).collect();
                self.rows(answer, &due)?;
                self.data.touched();
                self.after_rows(due.len(), &[1287]);
                self.last.found_rows = Some(NUMBERS);
                Ok(())
            }
            Op::Warn(warning) => self.settle_warning(*warning, answer, token),
            Op::Fail(failing) => self.settle_failure(*failing, answer),
            other => Err(format!("{other:?} is not about data")),
        }
    }

    /// An INSERT of `count` rows into the own table of `schema`.
    pub(super) fn settle_insert(
        &mut self,
        answer: &Answer,
        schema: Schema,
        token: &str,
        count: u64,
    ) -> Judged {
        if self.refused_as_read_only(answer)? {
            return Ok(());
        }
        let done = self.done(answer)?;
        let highest = self.highest_id[schema as usize];
        if done.affected != count || done.insert_id <= highest {
            return Err(format!("{count} rows and an id above {highest} are due, came {done:?}"));
        }
        self.highest_id[schema as usize] = done.insert_id + count - 1;
        self.insert_id = done.insert_id;
        for id in done.insert_id..done.insert_id + count {
            self.data.rows(schema).insert(id, Row { token: token.into(), v: 0 });
        }
        self.data.touched();
        self.after_change(count, &[]);
        Ok(())
    }

    fn settle_update(&mut self, answer: &Answer, same: bool) -> Judged {
        if self.refused_as_read_only(answer)? {
            return Ok(());
        }
        let schema = self.schema;
        let rows = self.data.rows(schema);
        let found = rows.len() as u64;
        if !same {
            rows.values_mut().for_each(|row| row.v += 1);
        }
        let due = match (same, self.counts) {
            (true, Counts::Changed) => 0,
            (true, Counts::Found) | (false, Counts::Changed | Counts::Found) => found,
        };
        let done = self.done(answer)?;
        if done.affected != due {
            return Err(format!("{due} affected rows are due, came {done:?}"));
        }
        self.data.touched();
        self.after_change(due, &[]);
        Ok(())
    }

    fn settle_delete(&mut self, answer: &Answer) -> Judged {
        if self.refused_as_read_only(answer)? {
            return Ok(());
        }
        let schema = self.schema;
        let due = u64::from(self.data.rows(schema).pop_first().is_some());
        let done = self.done(answer)?;
        if done.affected != due {
            return Err(format!("{due} affected rows are due, came {done:?}"));
        }
        self.data.touched();
        self.after_change(due, &[]);
        Ok(())
    }

    fn settle_warning(&mut self, warning: Warning, answer: &Answer, token: &str) -> Judged {
        match warning {
            Warning::Truncated => {
                self.rows(answer, &[vec![cell("12"), cell(token)]])?;
                self.after_rows(1, &[1292]);
            }
            Warning::Twice => {
                self.rows(answer, &[vec![cell("12"), cell(token), cell("7")]])?;
                self.after_rows(1, &[1292, 1292]);
            }
            Warning::Ignored => {
                if self.refused_as_read_only(answer)? {
                    return Ok(());
                }
                self.done(answer)?;
                self.data.touched();
                self.after_change(0, &[1062]);
            }
            Warning::NoTable => {
                if self.refused_as_read_only(answer)? {
                    return Ok(());
                }
                self.done(answer)?;
                self.data.perhaps_touched();
                self.after_change(0, &[1051]);
            }
        }
        Ok(())
    }

    fn settle_failure(&mut self, failing: Failing, answer: &Answer) -> Judged {
        let due = match failing {
            Failing::Duplicate => {
                if self.refused_as_read_only(answer)? {
                    return Ok(());
                }
                1062
            }
            Failing::UnknownTable => 1146,
            Failing::Syntax => 1064,
            Failing::UnknownProcedure => 1305,
            Failing::UnknownSchema => 1044,
            Failing::UnknownVariable => 1193,
            Failing::SubqueryRows => 1242,
        };
        self.error(answer, &[due])?;
        self.stuck |= failing.may_pin();
        self.data.perhaps_touched();
        self.after_error(answer);
        Ok(())
    }
}
