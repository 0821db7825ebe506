//! What a server answers to questions about itself.

use sluice::controller::{Rows, SqlError};

use super::receiver::{Channel, Receiver};
use super::statement::{digit, row};
use super::text::Meaning;
use super::{Server, Who};
use crate::world::{SECOND, World};

fn switch(on: bool) -> &'static str {
    if on { "ON" } else { "OFF" }
}

fn pairs(pairs: Vec<(&str, String)>) -> Result<Rows, SqlError> {
    Ok(pairs.into_iter().map(|(name, value)| vec![Some(name.to_owned()), Some(value)]).collect())
}

impl World {
    /// The answer to a question that changes nothing.
    pub(super) fn shown(&mut self, index: usize, session: u64, meaning: &Meaning) -> Result<Rows, SqlError> {
        let now = self.now;
        let server = &self.servers[index];
        match *meaning {
            Meaning::Now => row(&[&now.to_string()]),
            Meaning::Pulse => {
                let (read_only, super_read_only) = server.flags();
                row(&[
                    &server.uuid.to_string(),
                    "9.7.4",
                    digit(read_only),
                    digit(super_read_only),
                    &server.executed.to_string(),
                    &session.to_string(),
                    &server.owned(),
                ])
            }
            Meaning::Progress => row(&[
                &server.uuid.to_string(),
                digit(server.read_only),
                &server.owned(),
                &server.executed.to_string(),
            ]),
            Meaning::Received => Ok(vec![vec![
                Some(server.uuid.to_string()),
                Some(server.executed.to_string()),
                server.channel.as_ref().map(|channel| channel.received.to_string()),
            ]]),
            Meaning::Vouch => row(&server.vouch().each_ref().map(String::as_str)),
            Meaning::Channels => {
                Ok(server.channel.iter().map(|channel| server.channel_row(channel)).collect())
            }
            Meaning::Settings => server.settings(now),
            Meaning::EpochRow => match &server.epoch {
                None => Err(SqlError::Server { code: 1146, message: "no such table".into() }),
                Some(epoch) => {
                    let ackers: Vec<String> = epoch.ackers.iter().map(ToString::to_string).collect();
                    row(&[
                        &epoch.epoch.to_string(),
                        &epoch.primary.to_string(),
                        &ackers.join(","),
                        &epoch.wait_count.to_string(),
                        &epoch.who,
                    ])
                }
            },
            Meaning::ReadOnlyFlags => {
                let (read_only, super_read_only) = server.flags();
                row(&[digit(read_only), digit(super_read_only)])
            }
            Meaning::IsWaiting => row(&[switch(server.source_side.enabled)]),
            Meaning::WaitingState => row(&[switch(server.source_side.status), &server.clients().to_string()]),
            Meaning::ReceivedSince(moment) => {
                row(&[digit(server.channel.as_ref().is_some_and(|channel| channel.heard > moment))])
            }
            Meaning::Exists(id) => row(&[digit(server.sessions.contains_key(&id))]),
            Meaning::OpenWrites | Meaning::ReadOnlyBlockers => Ok(server.open_writes()),
            Meaning::Clients => {
                let clients = server.sessions.iter().filter(|(_, login)| login.who == Who::Client);
                Ok(clients.map(|(id, _)| vec![Some(id.to_string())]).collect())
            }
            Meaning::Cloning(question) => server.cloning_shown(question),
            Meaning::Working => row(&[&server.commits.len().to_string()]),
            Meaning::PendingReadOnly => {
                Ok(server.closing.iter().map(|(id, _)| vec![Some(id.to_string())]).collect())
            }
            // Everything else was done before.
            _ => Ok(Vec::new()),
        }
    }
}

impl Server {
    /// Whether commits wait for acknowledgements, and how many were answered without one.
    fn vouch(&self) -> [String; 2] {
        [switch(self.source_side.enabled).to_owned(), self.source_side.unacknowledged.to_string()]
    }

    /// While `super_read_only` is pending they read 0, 1.
    fn flags(&self) -> (bool, bool) {
        (self.read_only, self.read_only || !self.closing.is_empty())
    }

    /// `@@global.gtid_owned`
    fn owned(&self) -> String {
        let owned = self.commits.iter().filter_map(|commit| self.log.get(commit.place));
        owned.map(|trx| format!("{}:{}#9", trx.gtid.uuid(), trx.gtid.number())).collect::<Vec<_>>().join(",")
    }

    fn open_writes(&self) -> Rows {
        let sessions = self.commits.iter().filter_map(|commit| {
            let session = commit.session?;
            self.sessions.contains_key(&session).then_some(session)
        });
        let text = |text: &str| Some(text.to_owned());
        sessions
            .map(|id| vec![Some(id.to_string()), text("app@proxy"), text("0"), text("INSERT"), text("")])
            .collect()
    }

    fn channel_row(&self, channel: &Channel) -> Vec<Option<String>> {
        let text = |text: &str| Some(text.to_owned());
        let (number, message) = match &channel.error {
            Some(error) => ("2003", error.as_str()),
            None => ("0", ""),
        };
        vec![
            text(""),
            text(&channel.host),
            Some(channel.port.to_string()),
            text("repl"),
            Some(format!("{:.3}", channel.heartbeat)),
            text(&channel.source.map_or_else(String::new, |uuid| uuid.to_string())),
            text(match channel.receiver {
                Receiver::Off => "OFF",
                Receiver::Connecting => "CONNECTING",
                Receiver::On => "ON",
            }),
            Some(channel.received.to_string()),
            text(number),
            text(message),
            text(switch(channel.applying)),
            None,
            text("0"),
            text("1"),
        ]
    }

    fn settings(&self, now: u64) -> Result<Rows, SqlError> {
        let side = &self.source_side;
        let acking_now = self.channel.as_ref().is_some_and(|channel| channel.acking_now);
        let mut all = vec![
            ("uptime", ((now - self.booted_at) / SECOND).to_string()),
            ("rpl_semi_sync_source_status", switch(side.status).into()),
            ("rpl_semi_sync_source_clients", self.clients().to_string()),
            ("rpl_semi_sync_source_wait_sessions", u8::from(!self.commits.is_empty()).to_string()),
            ("rpl_semi_sync_source_no_tx", side.unacknowledged.to_string()),
            ("rpl_semi_sync_replica_status", switch(acking_now).into()),
            ("rpl_semi_sync_source_enabled", switch(side.enabled).into()),
            ("rpl_semi_sync_replica_enabled", switch(self.acking).into()),
            ("rpl_semi_sync_source_wait_for_replica_count", side.count.max(1).to_string()),
            ("rpl_semi_sync_source_wait_no_replica", switch(side.strict).into()),
            ("rpl_semi_sync_source_timeout", if side.enabled { u32::MAX } else { 10_000 }.to_string()),
            ("gtid_mode", "ON".into()),
            ("replica_net_timeout", self.net_timeout.to_string()),
            ("log_bin", "ON".into()),
            ("log_replica_updates", "ON".into()),
            ("persisted_globals_load", "ON".into()),
            ("offline_mode", switch(self.offline).into()),
            ("sluice filters", "0".into()),
            ("sluice delay", "0".into()),
        ];
        if self.persisted {
            for (name, value) in [
                ("boot super_read_only", "ON"),
                ("boot skip_replica_start", "ON"),
                ("boot relay_log_recovery", "OFF"),
                ("boot rpl_semi_sync_source_enabled", "OFF"),
                ("boot rpl_semi_sync_replica_enabled", "OFF"),
            ] {
                all.push((name, value.into()));
            }
        }
        pairs(all)
    }
}
