//! Beginning, ending and going back.
//!
//! Never here: what a transaction does to rows (that is the model's data).

use crate::isolation::client::Answer;
use crate::isolation::model::answers::Judged;
use crate::isolation::model::{Model, Open};
use crate::isolation::operations::{Begin, Chain, Op};

impl Model {
    pub(super) fn settle_transaction(&mut self, op: &Op, answer: &Answer) -> Judged {
        match op {
            Op::Begin(how) => self.settle_begin(*how, answer)?,
            Op::Commit(chain) | Op::Rollback(chain) => {
                let done = self.done(answer)?;
                match op {
                    Op::Commit(_) => self.data.commit(),
                    _ => self.data.roll_back(),
                }
                match chain {
                    Chain::Yes => self.data.begin(),
                    Chain::No => self.read_only = Some(self.values["transaction_read_only"] == "1"),
                }
                self.after_change(0, &[]);
                if done.warnings > 0 && matches!(op, Op::Rollback(_)) {
                    self.after_unknown(); // a temporary table that came or went is not rolled back
                }
            }
            Op::Savepoint(name) => {
                self.done(answer)?;
                self.data.savepoint(*name);
                self.after_change(0, &[]);
            }
            Op::RollbackTo(name) | Op::Release(name) => {
                let mut data = self.data.clone();
                let known = match op {
                    Op::Release(_) => data.release(*name),
                    _ => data.roll_back_to(*name),
                };
                if known {
                    let done = self.done(answer)?;
                    self.data = data;
                    self.after_change(0, &[]);
                    if done.warnings > 0 {
                        self.after_unknown(); // as for ROLLBACK
                    }
                } else {
                    self.error(answer, &[1305])?;
                    self.after_error(answer);
                }
            }
            Op::NextTransaction { .. } => match self.data.open {
                Open::Yes => {
                    self.error(answer, &[1568])?;
                    self.after_error(answer);
                }
                Open::Perhaps if answer.code() == 1568 => self.after_error(answer),
                Open::Perhaps | Open::No => {
                    self.done(answer)?;
                    self.stuck = true;
                    self.after_change(0, &[]);
                }
            },
            // ALTER TABLE commits first, and then it is the session's default that counts.
            _ => {
                self.data.commit();
                let refused = self.values["transaction_read_only"] == "1";
                self.read_only = Some(refused);
                if refused {
                    self.error(answer, &[super::READ_ONLY])?;
                    self.after_error(answer);
                } else {
                    self.done(answer)?;
                    self.after_change(0, &[]);
                }
            }
        }
        Ok(())
    }

    fn settle_begin(&mut self, how: Begin, answer: &Answer) -> Judged {
        self.done(answer)?;
        self.data.begin();
        match how {
            Begin::ReadOnly => self.read_only = Some(true),
            Begin::ReadWrite => self.read_only = Some(false),
            // Within a transaction it is as that one was.
            Begin::Plain | Begin::Snapshot => {}
        }
        self.after_change(0, &[]);
        if how == Begin::Snapshot {
            // A warning at any level but one, which may be that of SET TRANSACTION.
            self.after_unknown();
        }
        Ok(())
    }
}
