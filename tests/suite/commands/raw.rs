//! A client that sends payloads and shows answers.
//!
//! Never here: a wait without a limit.

use std::net::SocketAddr;
use std::time::Duration;

use sluice::backend::PacketStream;
use sluice_cluster::Login;
use sluice_protocol::command::build;
use sluice_protocol::{Answer, AnswerLimits, AnswerReader, Capabilities, ErrPacket};

use crate::login::front::{CLIENT, attempt};

/// Longest wait for one answer.
const LIMIT: Duration = Duration::from_secs(20);

/// A logged-in client.
pub(crate) struct Raw {
    pub(crate) io: PacketStream,
    pub(crate) capabilities: Capabilities,
}

impl Raw {
    /// Logs in as the application, with these capabilities besides the usual ones.
    pub(crate) async fn connect(address: SocketAddr, more: Capabilities) -> Self {
        Self::connect_as(address, CLIENT | more).await
    }

    /// Logs in as the application, with just these capabilities.
    pub(crate) async fn connect_as(address: SocketAddr, capabilities: Capabilities) -> Self {
        let app = Login::app();
        let seen = attempt(address, &app.user, &app.password, Some("app"), capabilities).await;
        Self { io: seen.result.expect("the login succeeds"), capabilities }
    }

    /// Sends one command and reads its answer.
    pub(crate) async fn ask(&mut self, payload: &[u8]) -> Answer {
        self.send(payload).await;
        self.answer().await
    }

    /// Sends one command.
    pub(crate) async fn send(&mut self, payload: &[u8]) {
        self.io.set_sequence(0);
        self.io.write_packet(payload).await.unwrap();
    }

    /// Reads one answer of the kind that a query gets.
    pub(crate) async fn answer(&mut self) -> Answer {
        let mut reader = AnswerReader::new(AnswerLimits::default());
        loop {
            let (consumed, answer) = reader.advance(self.io.buffer()).unwrap();
            self.io.consume(consumed);
            if let Some(answer) = answer {
                return answer;
            }
            let read = tokio::time::timeout(LIMIT, self.io.fill()).await.expect("an answer comes");
            assert_ne!(read.unwrap(), 0, "the connection was closed");
        }
    }

    /// Reads one packet.
    pub(crate) async fn packet(&mut self) -> Vec<u8> {
        let packet = tokio::time::timeout(LIMIT, self.io.read_packet(1 << 24)).await.expect("a packet comes");
        packet.unwrap().payload
    }

    /// Executes a prepared statement; the first value, a text, of its only row of at most six columns.
    pub(crate) async fn first_text(&mut self, payload: &[u8]) -> String {
        self.send(payload).await;
        let columns = self.packet().await;
        assert_ne!(columns[0], 0xff, "{}", String::from_utf8_lossy(&columns));
        for _ in 0..columns[0] {
            self.packet().await;
        }
        let row = self.packet().await;
        assert_eq!(self.packet().await[0], 0xfe, "one row");
        let end = 3 + usize::from(row[2]);
        String::from_utf8(row[3..end].to_vec()).unwrap()
    }

    /// Runs a statement.
    pub(crate) async fn query(&mut self, sql: &str) -> Answer {
        self.ask(&build::query(sql.as_bytes(), self.capabilities)).await
    }

    /// The first value of a statement's result.
    pub(crate) async fn value(&mut self, sql: &str) -> Option<String> {
        first(self.query(sql).await)
    }
}

/// The first value of a result.
pub(crate) fn first(answer: Answer) -> Option<String> {
    match answer {
        Answer::Rows { rows, .. } => {
            let value = rows.into_iter().next()?.into_iter().next()??;
            Some(String::from_utf8(value).unwrap())
        }
        Answer::Ok(_) => None,
        Answer::Error(error) => panic!("{}", text(&error)),
    }
}

/// A value of the first row.
pub(crate) fn value_of(rows: &[Vec<Option<Vec<u8>>>], column: usize) -> String {
    String::from_utf8(rows[0][column].clone().unwrap()).unwrap()
}

/// Number and text of the error.
pub(crate) fn error(answer: Answer) -> (u16, String) {
    match answer {
        Answer::Error(error) => (error.code, text(&error)),
        Answer::Ok(_) | Answer::Rows { .. } => panic!("no error: {answer:?}"),
    }
}

fn text(error: &ErrPacket<'_>) -> String {
    String::from_utf8_lossy(&error.message).into_owned()
}
