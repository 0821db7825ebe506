//! Reads a recording: connections, their login, and each command with its answer.
//!
//! It knows packets only and must never judge what is in them.

use sluice_protocol::packet::HEADER_LEN;
use sluice_protocol::{EofPacket, Header, frame_payload};

/// Who sent a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The client.
    Client,
    /// The server, to the client.
    Server,
    /// The server, to a connection like ours on which the same command was sent.
    Backend,
}

/// One packet as it was on the wire.
#[derive(Debug)]
pub(crate) struct Packet {
    /// Who sent it.
    pub(crate) side: Side,
    /// Its sequence id.
    pub(crate) sequence: u8,
    /// Its payload.
    pub(crate) payload: Vec<u8>,
}

/// A login, or a command with all that belongs to it, in order.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// All packets.
    pub(crate) packets: Vec<Packet>,
}

/// One connection of a client.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    /// From the greeting to the first OK.
    pub(crate) login: Exchange,
    /// What came then.
    pub(crate) commands: Vec<Exchange>,
}

impl Exchange {
    /// The packets of one side.
    pub(crate) fn of(&self, side: Side) -> Vec<&Packet> {
        self.packets.iter().filter(|packet| packet.side == side).collect()
    }

    /// The packets of one side as bytes.
    pub(crate) fn wire(&self, side: Side) -> Vec<u8> {
        wire(self.of(side))
    }

    /// The command's payload.
    pub(crate) fn command(&self) -> &[u8] {
        &self.packets[0].payload
    }
}

/// Packets as bytes.
pub(crate) fn wire<'a>(packets: impl IntoIterator<Item = &'a Packet>) -> Vec<u8> {
    let mut out = Vec::new();
    for packet in packets {
        frame_payload(&mut out, &mut packet.sequence.clone(), &packet.payload);
    }
    out
}

/// All connections of a recording.
pub(crate) fn connections(recording: &str) -> Vec<Connection> {
    let mut connections: Vec<Connection> = Vec::new();
    for line in recording.lines().filter(|line| !line.starts_with('#')) {
        if line == "=" {
            connections.push(Connection::default());
            continue;
        }
        let connection = connections.last_mut().unwrap();
        let packet = packet(line);
        if packet.side == Side::Client && packet.sequence == 0 {
            connection.commands.push(Exchange::default());
        }
        connection.commands.last_mut().unwrap_or(&mut connection.login).packets.push(packet);
    }
    connections
}

fn packet(line: &str) -> Packet {
    let fields: Vec<&str> = line.splitn(3, ' ').collect();
    let [side, sequence, payload] = fields[..] else { panic!("{line}") };
    let side = match side {
        "C" => Side::Client,
        "S" => Side::Server,
        "B" => Side::Backend,
        _ => panic!("{line}"),
    };
    let mut parts = payload.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    Packet { side, sequence: sequence.parse().unwrap(), payload: bytes }
}

/// `A A B` as `A*2 B`.
pub(crate) fn run_lengths(names: &[&str]) -> Vec<String> {
    let runs = names.chunk_by(|a, b| a == b);
    runs.map(|run| if run.len() == 1 { run[0].to_owned() } else { format!("{}*{}", run[0], run.len()) })
        .collect()
}

/// Packets one a line, so that a difference can be seen. In an EOF right behind column definitions the server tells
/// what a proxy knows, and clients read, only at the statement's end: how many warnings, no index used, more results,
/// and without autocommit the transaction that the statement itself has opened. That is left out.
pub(crate) fn readable(stream: &[u8]) -> String {
    let (mut out, mut rest, mut behind_column) = (String::new(), stream, false);
    while let Some(header) = Header::parse(rest) {
        let (packet, behind) = rest.split_at(HEADER_LEN + usize::try_from(header.length).unwrap());
        let mut payload = packet[HEADER_LEN..].to_vec();
        if behind_column && EofPacket::parse(&payload).is_ok() {
            payload[1..3].fill(0);
            let autocommit = payload[3] & 0x02 != 0;
            payload[3] &= if autocommit { !0x38 } else { !0x39 };
        }
        behind_column = payload.starts_with(b"\x03def");
        out.push_str(&format!("{} {payload:02x?} {}\n", header.sequence, payload.escape_ascii()));
        rest = behind;
    }
    out
}
