//! Judging what came back for an operation, and taking in what it changed.
//!
//! Never here: words of SQL.

mod statements;
mod tied;
mod transactions;

use super::answers::{Judged, cell};
use super::{Model, PreparedText};
use crate::isolation::client::{Answer, Cell};
use crate::isolation::operations::{NAMES_EACH, Op, Role, Schema, Text, Then};
use crate::isolation::settings::{CHARSETS, SETTINGS};

/// Error of a write in a read-only transaction.
const READ_ONLY: u16 = 1792;
/// Error of a statement that would tie a read-only transaction to its replica.
const ROLLED_BACK: u16 = 1213;

impl Model {
    /// Judges the results of a COM_QUERY or COM_INIT_DB made for this operation, and takes in what it did.
    pub(in crate::isolation) fn settle(&mut self, op: &Op, answers: &[Answer]) -> Judged {
        let judged = match op {
            _ if self.rolled_back(op, answers) => Ok(()),
            Op::Several(ops) => self.settle_several(ops, answers),
            Op::CallRows => self.settle_call_rows(answers),
            other => match answers {
                [answer] => self.settle_one(other, answer, 0).and_then(|()| self.flags(answer)),
                _ => Err(format!("one result was due, came {answers:?}")),
            },
        };
        self.counter += 1;
        judged
    }

    /// Whether the transaction was rolled back because it can't do this on its replica, nor move any more.
    fn rolled_back(&mut self, op: &Op, answers: &[Answer]) -> bool {
        let [answer] = answers else { return false };
        let rolled_back = answer.code() == ROLLED_BACK && self.may_be_on_replica() && self.wants(op);
        if rolled_back {
            self.data.roll_back();
            self.read_only = Some(self.values["transaction_read_only"] == "1");
            self.after_error(answer);
        }
        rolled_back
    }

    fn settle_look(&mut self, answer: &Answer, token: &str) -> Judged {
        let due = self.look_row(token);
        self.rows(answer, &[due])?;
        self.after_rows(1, &[]);
        Ok(())
    }

    /// `CALL change_things`: variables of every kind, set where no text shows it.
    fn settle_call(&mut self, answer: &Answer, token: String) -> Judged {
        self.done(answer)?;
        self.user[1] = Some(token);
        self.values.insert("group_concat_max_len", "123".into());
        self.values.insert("time_zone", "+09:00".into());
        self.stuck = true;
        self.stranded = self.may_be_on_replica();
        self.data.perhaps_touched();
        self.after_unknown();
        Ok(())
    }

    fn settle_several(&mut self, ops: &[Op], answers: &[Answer]) -> Judged {
        self.stuck |= ops.iter().any(Op::may_pin_among_others);
        for (index, op) in ops.iter().enumerate() {
            let Some(answer) = answers.get(index) else {
                return Err(format!("result {index} is missing: {answers:?}"));
            };
            self.settle_one(op, answer, index)?;
            if answer.code() != 0 {
                let rest = answers.len() - index - 1;
                return if rest == 0 { Ok(()) } else { Err(format!("{rest} results after the error")) };
            }
            self.flags(answer).map_err(|wrong| format!("result {index}: {wrong}"))?;
        }
        if answers.len() == ops.len() { Ok(()) } else { Err(format!("too many results: {answers:?}")) }
    }

    /// `CALL show_things`: a result set, then the procedure's own OK.
    fn settle_call_rows(&mut self, answers: &[Answer]) -> Judged {
        let token = self.token(0);
        let [rows, end] = answers else { return Err(format!("two results were due, came {answers:?}")) };
        self.rows(rows, &[vec![cell(&token)]])?;
        self.done(end)?;
        self.user[2] = Some(token);
        self.stuck = true;
        self.stranded = self.may_be_on_replica();
        self.data.perhaps_touched();
        self.after_unknown();
        self.flags(end)
    }

    fn settle_one(&mut self, op: &Op, answer: &Answer, index: usize) -> Judged {
        let token = self.token(index);
        match op {
            Op::Look => self.settle_look(answer, &token),
            Op::LookAside => self.settle_look_aside(answer, &token),
            Op::ReadSecret => self.settle_secret(answer, &token),
            Op::Set { .. }
            | Op::SetTwo { .. }
            | Op::SetDefault { .. }
            | Op::SetNames { .. }
            | Op::SetFails { .. }
            | Op::Autocommit { .. }
            | Op::Timestamp { .. }
            | Op::SetUser { .. }
            | Op::Use { .. }
            | Op::Role(_)
            | Op::SetInsertId { .. } => self.settle_setting(op, answer, &token),
            Op::Begin(_)
            | Op::Commit(_)
            | Op::Rollback(_)
            | Op::Savepoint(_)
            | Op::RollbackTo(_)
            | Op::Release(_)
            | Op::NextTransaction { .. }
            | Op::ImplicitCommit => self.settle_transaction(op, answer),
            Op::Read
            | Op::Insert { .. }
            | Op::Update { .. }
            | Op::Delete
            | Op::InsertIdOf { .. }
            | Op::CalcFoundRows { .. }
            | Op::Warn(_)
            | Op::Fail(_) => self.settle_data(op, answer, &token),
            Op::CreateTemp(_)
            | Op::CreateTempSelect(_)
            | Op::InsertTemp(_)
            | Op::ReadTemp(_)
            | Op::DropTemp { .. }
            | Op::Lock(_)
            | Op::Unlock(_)
            | Op::UnlockAll
            | Op::PrepareText { .. }
            | Op::ExecuteText(_)
            | Op::DeallocateText(_) => self.settle_tied(op, answer, &token),
            Op::Call => self.settle_call(answer, token),
            Op::Execute(name) => self.settle_execute(*name, answer, &token),
            Op::Reset => {
                self.done(answer)?;
                self.reset();
                Ok(())
            }
            Op::CallRows
            | Op::Prepare { .. }
            | Op::CloseStatement(_)
            | Op::Several(_)
            | Op::ChangeUser { .. }
            | Op::Quit
            | Op::Vanish
            | Op::KillSleeping { .. }
            | Op::KillIdle { .. } => panic!("{op:?} has no single answer"),
        }
    }

    /// Judges the answer to a question about the statement before.
    pub(in crate::isolation) fn settle_question(&mut self, then: Then, answer: &Answer) -> Judged {
        let token = self.token(0);
        self.counter += 1;
        let one = |value: String| vec![vec![Some(value), Some(token.clone())]];
        let last = self.last.clone();
        match then {
            Then::RowCount => {
                let due = one(last.row_count.unwrap_or_default().to_string());
                self.rows(answer, &due)?;
                self.after_rows(1, &[]);
            }
            Then::FoundRows => {
                let due = one(last.found_rows.unwrap_or_default().to_string());
                self.rows(answer, &due)?;
                self.after_rows(1, &[1287]);
            }
            Then::InsertId => {
                self.rows(answer, &one(self.insert_id.to_string()))?;
                self.after_rows(1, &[]);
            }
            Then::WarningCount => {
                let due = last.warnings.unwrap_or_default().len().to_string();
                self.rows(answer, &[vec![Some(due)]])?;
                self.after_unknown();
            }
            Then::Warnings => {
                let codes: Vec<String> =
                    answer.rows().iter().filter_map(|row| row.get(1).cloned().flatten()).collect();
                let due: Vec<String> = last.warnings.iter().flatten().map(ToString::to_string).collect();
                if codes != due {
                    return Err(format!("warnings due {due:?}, came {answer:?}"));
                }
                self.after_unknown();
                self.last.warnings = last.warnings;
                return Ok(()); // what the OK of SHOW WARNINGS counts is its own
            }
        }
        if then == Then::WarningCount { Ok(()) } else { self.flags(answer) }
    }

    /// The answer to COM_STMT_PREPARE: nothing, or an error.
    pub(in crate::isolation) fn settle_prepare(
        &mut self,
        name: usize,
        text: Text,
        code: Option<u16>,
    ) -> Judged {
        self.counter += 1;
        self.statements[name] = None;
        self.after_unknown();
        if self.may_prepare(text, code)? {
            let token = String::new();
            self.statements[name] =
                Some(PreparedText { text, schema: self.schema, token, bound: self.bound() });
        }
        self.data.perhaps_touched();
        Ok(())
    }

    /// Whether preparing this text succeeds; `code` is the error that came.
    fn may_prepare(&self, text: Text, code: Option<u16>) -> Result<bool, String> {
        let due = match text {
            Text::Quoted if self.mode_has("ANSI_QUOTES") => Some(1054),
            Text::Add if self.read_only != Some(false) && code.is_some_and(is_read_only) => code,
            Text::Add if self.read_only == Some(true) => Some(READ_ONLY),
            Text::Add | Text::Quoted | Text::Show | Text::Assign => None,
        };
        if code == due { Ok(due.is_none()) } else { Err(format!("error {due:?} was due, came {code:?}")) }
    }

    /// COM_STMT_CLOSE was sent.
    pub(in crate::isolation) fn closed(&mut self, name: usize) {
        self.statements[name] = None;
        self.after_unknown();
    }

    /// COM_CHANGE_USER succeeded: another session on the same connection.
    pub(in crate::isolation) fn changed_user(&mut self, account: usize, schema: Schema, life: u64) {
        *self = Self::new(self.slot, life, account, schema, self.counts, &self.defaults);
    }

    /// The sleep of this session was ended by KILL QUERY.
    pub(in crate::isolation) fn settle_sleep(&mut self, answer: &Answer) -> Judged {
        let due = vec![vec![cell("1"), cell(self.token(0))]];
        self.counter += 1;
        self.rows(answer, &due)?;
        self.after_unknown();
        Ok(())
    }

    /// KILL QUERY of a session of the own account, or of somebody else's.
    pub(in crate::isolation) fn killed(&mut self, answer: &Answer, own: bool) -> Judged {
        self.after_unknown();
        if own { self.done(answer).map(drop) } else { self.error(answer, &[1095]) }
    }

    fn look_row(&self, token: &str) -> Vec<Cell> {
        let mut row = vec![cell(token), cell(self.schema.name())];
        let names = SETTINGS.iter().map(|setting| setting.name).chain(CHARSETS);
        row.extend(names.map(|name| cell(&self.values[name])));
        row.push(cell(if self.data.autocommit { "1" } else { "0" }));
        row.extend(self.user.iter().cloned());
        row.push(cell(self.insert_id.to_string()));
        row.push(cell(self.role_shown()));
        row.push(cell(["iso1", "iso2"][self.account]));
        row.push(cell(if self.timestamp { "1" } else { "0" }));
        row.extend(self.locks.iter().map(|&count| cell(if count > 0 { "1" } else { "0" })));
        row
    }

    fn role_shown(&self) -> String {
        let (first, second) = ("iso_r1@%", "iso_r2@%");
        match (self.role, self.account) {
            (Role::None, _) => "NONE".into(),
            (Role::First, _) => first.into(),
            (Role::Second, _) | (Role::All, 1) => second.into(),
            (Role::All, _) => format!("{first},{second}"),
        }
    }

    /// A third, a week of the year and a day, as the session's settings make them.
    fn bound(&self) -> [String; 3] {
        let third = match self.values["div_precision_increment"].as_str() {
            "0" => "0",
            "8" => "0.33333333",
            _ => "0.3333",
        };
        let week = if self.values["default_week_format"] == "0" { "7" } else { "8" };
        let day = if self.values["lc_time_names"] == "de_DE" { "Mittwoch" } else { "Wednesday" };
        [third.into(), week.into(), day.into()]
    }

    fn settle_look_aside(&mut self, answer: &Answer, token: &str) -> Judged {
        let second_day = match self.values["time_zone"].as_str() {
            "+00:00" => "1970-01-02 00:00:00",
            "+05:00" => "1970-01-02 05:00:00",
            "+09:00" => "1970-01-02 09:00:00",
            "-03:00" => "1970-01-01 21:00:00",
            _ => &self.defaults.second_day,
        };
        let [third, week, day] = self.bound();
        let short = self.values["group_concat_max_len"] == "8";
        let mut due = vec![cell(token), cell(self.schema.name()), cell(second_day)];
        due.push(cell(if self.mode_has("NO_BACKSLASH_ESCAPES") { "2" } else { "1" }));
        due.extend([cell(third), cell(week), cell(day), cell(if short { "8" } else { "9" })]);
        due.extend(self.user.iter().cloned());
        self.rows(answer, &[due])?;
        self.data.touched();
        if short {
            self.after_unknown()
        } else {
            self.after_rows(1, &[])
        }
        Ok(())
    }

    fn settle_secret(&mut self, answer: &Answer, token: &str) -> Judged {
        let allowed = matches!((self.role, self.account), (Role::First | Role::All, 0));
        if allowed {
            self.rows(answer, &[vec![cell("hush"), cell(token)]])?;
            self.data.touched();
            self.after_rows(1, &[]);
        } else {
            self.error(answer, &[1142])?;
            self.data.perhaps_touched();
            self.after_error(answer);
        }
        Ok(())
    }

    fn settle_execute(&mut self, name: usize, answer: &Answer, token: &str) -> Judged {
        let Some(prepared) = self.statements[name].clone() else {
            return Err("the model executes what is not there".into());
        };
        // A server changes to the statement's schema and back, and tells so: it might have been a trigger.
        self.stuck |= prepared.schema != self.schema;
        self.settle_text(&PreparedText { token: token.into(), ..prepared }, answer, "q")
    }

    /// A prepared statement ran.
    fn settle_text(&mut self, prepared: &PreparedText, answer: &Answer, quoted: &str) -> Judged {
        let token = &prepared.token;
        match prepared.text {
            Text::Show => {
                let mut due = vec![cell(token), cell(prepared.schema.name()), self.user[0].clone()];
                due.extend(prepared.bound.iter().map(cell));
                self.rows(answer, &[due])?;
                self.data.touched();
                self.after_rows(1, &[]);
                Ok(())
            }
            Text::Quoted => {
                self.rows(answer, &[vec![cell(format!("{quoted}{token}"))]])?;
                self.after_rows(1, &[]);
                Ok(())
            }
            Text::Add => self.settle_insert(answer, prepared.schema, token, 1),
            Text::Assign => {
                self.done(answer)?;
                self.user[1] = Some(token.clone());
                self.stuck = true;
                self.after_change(0, &[]);
                Ok(())
            }
        }
    }

    /// Whether the answer is the refusal of a write in a read-only transaction, where that may be.
    fn refused_as_read_only(&mut self, answer: &Answer) -> Result<bool, String> {
        let refused = is_read_only(answer.code());
        if self.read_only == Some(!refused) {
            let state = if refused { "is not" } else { "is" };
            return Err(format!("the session {state} read-only, came {answer:?}"));
        }
        if refused {
            self.data.perhaps_touched();
            self.after_error(answer);
        }
        Ok(refused)
    }
}

/// Whether an error says that nothing can be written here or now.
fn is_read_only(code: u16) -> bool {
    code == READ_ONLY
}

const _: () = assert!(NAMES_EACH == 3, "procedures and prepared texts use @u0, @u1 and @u2");
