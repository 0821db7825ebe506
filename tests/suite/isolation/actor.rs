//! One session under test: a client and the model that it is held to.
//!
//! Never here: the order in which sessions act.

use mysql_async::Conn;

use super::client::{Answer, Client};
use super::ground::{Front, Ground, account};
use super::model::{Action, Model};
use super::operations::{Op, Schema, Then};

/// Longest piece of an answer in a trace.
const EXCERPT: usize = 160;

/// A session and what it must see.
pub(super) struct Actor {
    slot: usize,
    front: Front,
    pub(super) model: Model,
    pub(super) client: Client,
    pending: Option<Then>,
    /// What was sent and came, for people.
    pub(super) trace: Vec<String>,
}

fn brief(text: &str) -> String {
    text.chars().take(EXCERPT).collect()
}

impl Actor {
    /// Logs in.
    pub(super) async fn begin(ground: &Ground, front: Front, slot: usize) -> Result<Self, String> {
        let schema = if slot % 5 == 4 { Schema::B } else { Schema::A };
        let model = ground.model(slot, slot % 2, schema);
        let client = ground.connect(front, slot, &model).await?;
        Ok(Self { slot, front, model, client, pending: None, trace: Vec::new() })
    }

    /// Notes what happened, for people.
    pub(super) fn note(&mut self, text: &str) {
        self.trace.push(format!("session {}: {}", self.slot, brief(text)));
    }

    /// What is wrong, with what and who.
    fn wrong(&self, op: &dyn std::fmt::Debug, why: &str) -> String {
        format!("session {} (life {}), {op:?}: {why}", self.slot, self.model.life)
    }

    /// Asks what is still to be asked about the statement before, then does this.
    pub(super) async fn act(
        &mut self,
        ground: &Ground,
        root: &mut Conn,
        op: &Op,
        then: Option<Then>,
    ) -> Result<(), String> {
        self.ask_pending().await?;
        let action = self.model.words(op);
        self.note(&format!("{action:?}"));
        self.perform(ground, root, op, action).await.map_err(|why| self.wrong(op, &why))?;
        self.pending = then;
        Ok(())
    }

    /// Asks what is to be asked about the statement before, if that is known.
    pub(super) async fn ask_pending(&mut self) -> Result<(), String> {
        let Some(then) = self.pending.take().filter(|&then| self.model.knows(then)) else { return Ok(()) };
        let sql = self.model.question(then);
        self.note(&sql);
        let asked = match self.client.one(&sql).await {
            Ok(answer) => {
                self.note(&format!("  -> {answer:?}"));
                self.model.settle_question(then, &answer)
            }
            Err(broken) => Err(broken.to_string()),
        };
        asked.map_err(|why| self.wrong(&then, &why))
    }

    async fn perform(
        &mut self,
        ground: &Ground,
        root: &mut Conn,
        op: &Op,
        action: Action,
    ) -> Result<(), String> {
        match action {
            Action::Query(sql) => {
                let answers = self.client.query(&sql).await.map_err(|e| e.to_string())?;
                self.judge(op, &answers)
            }
            Action::InitDb(schema) => {
                let answer = self.client.init_db(schema.name()).await.map_err(|e| e.to_string())?;
                self.judge(op, &[answer])
            }
            Action::Reset => {
                let answer = self.client.reset().await.map_err(|e| e.to_string())?;
                self.judge(op, &[answer])
            }
            Action::Prepare(name, sql) => self.prepare(name, &sql, op).await,
            Action::Execute(name, values) => {
                let Some(prepared) = self.client.prepared[name] else { return Err("no statement".into()) };
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                let values = if prepared.parameters == 0 { &[][..] } else { &values };
                let answer = self.client.execute(prepared, values).await.map_err(|e| e.to_string())?;
                self.judge(op, &[answer])
            }
            Action::CloseStatement(name) => {
                if let Some(prepared) = self.client.prepared[name].take() {
                    self.client.close_statement(prepared).await.map_err(|e| e.to_string())?;
                }
                self.model.closed(name);
                Ok(())
            }
            Action::ChangeUser { account: index, schema } => {
                self.client.change_user(&account(index), schema.name()).await.map_err(|e| e.to_string())?;
                self.model.reset();
                ground.gone(root, self.slot, &self.model).await?;
                self.model.changed_user(index, schema, ground.next_life());
                Ok(())
            }
            Action::Quit | Action::Vanish => self.come_back(ground, root, action == Action::Quit).await,
            Action::Kill => Err("takes two sessions".into()),
        }
    }

    fn judge(&mut self, op: &Op, answers: &[Answer]) -> Result<(), String> {
        self.note(&format!("  -> {answers:?}"));
        self.model.settle(op, answers)
    }

    async fn prepare(&mut self, name: usize, sql: &str, op: &Op) -> Result<(), String> {
        if let Some(former) = self.client.prepared[name].take() {
            self.client.close_statement(former).await.map_err(|e| e.to_string())?;
        }
        let prepared = self.client.prepare(sql).await.map_err(|e| e.to_string())?;
        self.note(&format!("  -> {prepared:?}"));
        let code = prepared.as_ref().err().map(|error| error.code);
        self.client.prepared[name] = prepared.ok();
        match op {
            Op::Prepare { text, .. } => self.model.settle_prepare(name, *text, code),
            other => Err(format!("{other:?} prepares nothing")),
        }
    }

    /// Ends the session, with or without a word, and begins another one in its place.
    async fn come_back(&mut self, ground: &Ground, root: &mut Conn, politely: bool) -> Result<(), String> {
        let (account, schema) = (self.model.account, self.model.schema());
        let next = ground.model(self.slot, account, schema);
        let client = ground.connect(self.front, self.slot, &next).await?;
        let former = std::mem::replace(&mut self.client, client);
        if politely {
            former.quit().await.map_err(|e| e.to_string())?;
        } else {
            drop(former);
        }
        self.model.reset();
        ground.gone(root, self.slot, &self.model).await?;
        self.model = next;
        Ok(())
    }

    /// The last words: what is pending, and a look at everything.
    pub(super) async fn end(&mut self, ground: &Ground, root: &mut Conn) -> Result<(), String> {
        for op in [Op::Look, Op::LookAside, Op::Read] {
            self.act(ground, root, &op, None).await?;
        }
        Ok(())
    }
}
