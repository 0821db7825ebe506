//! The scripts: what a client sends, and what a server answers, again and again.
//!
//! It must never depend on chance or on the clock: a script is the same at every run.

use sluice_protocol::command::build;
use sluice_protocol::ok_packet::{OkKind, OkPacket};
use sluice_protocol::packet::HEADER_LEN;
use sluice_protocol::{Capabilities, StatusFlags, WireAppend, frame_payload};
use sluice_routing::decide::{PrimaryReason, ReplicaReason, Route};
use sluice_routing::topology::InstanceId;

use crate::session::{Done, Session};

/// Different statements of a script; what is counted is a multiple of it.
const VARIANTS: u32 = 100;
/// Rows of the large result.
const ROWS: usize = 100;

/// A client of MySQL 8 or newer.
const NEW: Capabilities = OLD
    .union(Capabilities::DEPRECATE_EOF)
    .union(Capabilities::SESSION_TRACK)
    .union(Capabilities::QUERY_ATTRIBUTES);
/// A client that still gets EOF packets.
const OLD: Capabilities =
    Capabilities::PROTOCOL_41.union(Capabilities::TRANSACTIONS).union(Capabilities::PS_MULTI_RESULTS);

/// The mean of what object mappers write.
const OBJECT_MAPPER: &str = "SELECT `o`.`id` AS `o_id`, `o`.`customer_id` AS `o_customer_id`, `o`.`state` AS `o_state`, \
    `o`.`total` AS `o_total`, `o`.`created_at` AS `o_created_at`, `o`.`updated_at` AS `o_updated_at`, \
    `c`.`id` AS `c_id`, `c`.`name` AS `c_name`, `c`.`email` AS `c_email` FROM `orders` AS `o` \
    LEFT OUTER JOIN `customers` AS `c` ON `c`.`id` = `o`.`customer_id` WHERE `o`.`state` IN ('new', 'paid') \
    AND `c`.`email` LIKE 'someone%' AND COALESCE(`o`.`deleted`, 0) = 0 AND `o`.`customer_id` = ";

/// Something that is done once per statement, and its price is looked at.
pub(crate) struct Script {
    pub(crate) name: &'static str,
    capabilities: Capabilities,
    prepared: Option<&'static [u8]>,
    commands: Vec<Vec<u8>>,
    answer: Vec<u8>,
    /// What has to become of it.
    done: Done,
}

impl Script {
    /// Runs so many statements; `None` if one of them is not relayed as it should be.
    pub(crate) fn run(&self, statements: usize) -> Option<()> {
        let mut session = Session::new(self.capabilities, self.prepared);
        for command in self.commands.iter().cycle().take(statements) {
            let done = session.exchange(command, &self.answer)?;
            if done != self.done {
                return None;
            }
        }
        Some(())
    }
}

/// All scripts.
pub(crate) fn all() -> Vec<Script> {
    let select = |id| format!("SELECT c FROM sbtest1 WHERE id={id}");
    let mapped = |id| format!("{OBJECT_MAPPER}{id}");
    let update = |id| format!("UPDATE sbtest1 SET k=k+1, pad='x' WHERE id={id}");
    let (row, rows, written) = (result(1, 120), result(ROWS, 12), written());
    vec![
        Script::of_texts("point select, text", NEW, select, &row, read(row.len())),
        Script {
            commands: (0..VARIANTS).map(execution).collect(),
            prepared: Some(b"SELECT c FROM sbtest1 WHERE id=?"),
            ..Script::of_texts("point select, prepared", NEW, select, &row, read(row.len()))
        },
        // An EOF packet of 9 bytes more, and one of 5 instead of an OK of 7.
        Script::of_texts(
            "point select, text, client with EOF packets",
            OLD,
            select,
            &row,
            read(row.len() + 9 - 2),
        ),
        Script::of_texts("select of an object mapper", NEW, mapped, &row, read(row.len())),
        Script::of_texts("select of 100 rows", NEW, select, &rows, read(rows.len())),
        Script::of_texts("update", NEW, update, &written, Done { route: TO_PRIMARY, shown: HEADER_LEN + 7 }),
    ]
}

const TO_PRIMARY: Route = Route::Primary(PrimaryReason::Statement);

fn read(shown: usize) -> Done {
    Done { route: Route::Replica(InstanceId(1), ReplicaReason::Current), shown }
}

impl Script {
    fn of_texts(
        name: &'static str,
        capabilities: Capabilities,
        text: impl Fn(u32) -> String,
        answer: &[u8],
        done: Done,
    ) -> Self {
        let command = |id| framed(&[&build::query(text(1000 + id).as_bytes(), capabilities)], 0);
        let commands = (0..VARIANTS).map(command).collect();
        Self { name, capabilities, prepared: None, commands, answer: answer.to_vec(), done }
    }
}

/// An execution with one integer, whose type is told.
fn execution(id: u32) -> Vec<u8> {
    let mut payload = vec![0x17];
    payload.push_u32(1);
    payload.push_bytes(&[0x08, 1, 0, 0, 0, 1, 0, 1, 3, 0, 0]);
    payload.push_u32(1000 + id);
    framed(&[&payload], 0)
}

/// A result of one column of so many characters. Together they stay below what the C library copies with one instruction
/// that counts for each byte.
fn result(rows: usize, characters: usize) -> Vec<u8> {
    let mut definition = Vec::new();
    for name in ["def", "sbtest", "sbtest1", "sbtest1", "c", "c"] {
        definition.push_lenenc_bytes(name.as_bytes());
    }
    definition.push_bytes(&[0x0c, 0xff, 0, 0xe0, 1, 0, 0, 0xfe, 1, 0, 0, 0, 0]);
    let mut row = Vec::new();
    row.push_lenenc_bytes(&vec![b'x'; characters]);
    let mut end = Vec::new();
    let ok = OkPacket { kind: OkKind::ResultEnd, ..OkPacket::answer(StatusFlags::AUTOCOMMIT) };
    ok.encode(NEW, &mut end);
    let mut payloads: Vec<&[u8]> = vec![&[1], &definition];
    payloads.extend(std::iter::repeat_n(&*row, rows));
    payloads.push(&end);
    framed(&payloads, 1)
}

/// The OK of a write, with its GTID.
fn written() -> Vec<u8> {
    const GTID: &[u8] = b"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-12345";
    let mut tracker = vec![0];
    tracker.push_lenenc_bytes(GTID);
    let mut changes = vec![3];
    changes.push_lenenc_bytes(&tracker);
    let mut payload = Vec::new();
    let ok =
        OkPacket { affected_rows: 1, session_changes: &changes, ..OkPacket::answer(StatusFlags::AUTOCOMMIT) };
    ok.encode(NEW, &mut payload);
    framed(&[&payload], 1)
}

fn framed(payloads: &[&[u8]], first: u8) -> Vec<u8> {
    let (mut out, mut sequence) = (Vec::new(), first);
    for payload in payloads {
        frame_payload(&mut out, &mut sequence, payload);
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_statement_of_every_script_goes_its_way() {
        for script in super::all() {
            assert_eq!(script.run(2 * super::VARIANTS as usize), Some(()), "{}", script.name);
        }
    }
}
