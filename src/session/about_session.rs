//! Commands about the session itself that only a server can answer: COM_PING and COM_SET_OPTION.
//!
//! Never here: text, what a reset forgets.

use sluice_protocol::command::SetOption;
use sluice_protocol::response::Expect;
use sluice_routing::intent::{Intent, Statement};

use super::command::ClientCommand;
use super::relay::Told;
use super::statement::Job;
use super::{End, Session};

impl Session {
    /// COM_SET_OPTION
    pub(super) async fn set_option(&mut self, command: &ClientCommand, option: SetOption) -> Result<(), End> {
        // Asked where the last statement ran, whose diagnostics it leaves in place: PHP's mysqli sends it around each
        // of its multi-queries.
        let statement = Statement::of(Intent::LastStatement);
        let job = Job::text(command.frames(), Expect::Plain, &statement);
        let mut told = Told::default();
        if !self.run_job_told(&job, &mut told).await? || told.error.is_some() {
            return Ok(());
        }
        match option {
            SetOption::MultiStatementsOn => self.state.set_multi_statements(true),
            SetOption::MultiStatementsOff => self.state.set_multi_statements(false),
            SetOption::Unknown(_) => {}
        }
        if let Some(backend) = self.last.and_then(|last| self.backends.get_mut(last)) {
            backend.has = std::sync::Arc::clone(self.state.settings());
        }
        Ok(())
    }

    /// PING asks whether the session is alive. The server of the last statement is asked, since a PING also
    /// sets its ROW_COUNT(); without one the session is alive all the same.
    pub(super) async fn ping(&mut self) -> Result<(), End> {
        if let Some(last) = self.last
            && let Some(backend) = self.own(last)
            && backend.status().await.is_err()
        {
            // Its answer, coming late, would be taken for that of a later statement.
            self.backends.drop_connection(last);
        }
        self.left.row_count = Some(0);
        self.answer_ok().await
    }
}
