//! A client that allocates nothing while it talks: its commands are made before, and answers come into a fixed buffer.
//!
//! Never here: what an answer says, beyond where it ends and whether it is one.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use sluice_cluster::Login;
use sluice_protocol::auth::{ChannelSecurity, ClientStep, Credential, Password};
use sluice_protocol::handshake::{ExpectGreeting, LoginRequest};
use sluice_protocol::{Capabilities, Header, WireAppend as _, frame_payload};

/// Longest wait for an answer, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// The largest answer.
const ROOM: usize = 16 * 1024;
const HEADER: usize = 4;
/// utf8mb4_0900_ai_ci
const COLLATION: u8 = 255;

const ERR: u8 = 0xff;
/// An OK packet at the end of rows.
const END: u8 = 0xfe;

/// Whether an execution tells the types of its parameters.
#[derive(Clone, Copy)]
pub(crate) enum Types {
    /// As most drivers do, each time.
    Sent,
    /// As the C library does: those of an earlier execution hold.
    Remembered,
}

/// One client, logged in without TLS.
pub(crate) struct Client {
    stream: TcpStream,
    input: [u8; ROOM],
    filled: usize,
}

/// One command as a packet.
fn command(payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    frame_payload(&mut packet, &mut 0, payload);
    packet
}

/// COM_QUERY
pub(crate) fn query(text: &str) -> Vec<u8> {
    command(&[b"\x03", text.as_bytes()].concat())
}

/// COM_STMT_EXECUTE with one number.
pub(crate) fn execute(statement: u32, types: Types, value: u32) -> Vec<u8> {
    let mut payload = vec![0x17];
    payload.push_u32(statement);
    payload.push_u8(0); // no cursor
    payload.push_u32(1);
    payload.push_u8(0); // none is NULL
    match types {
        Types::Sent => payload.push_bytes(&[1, 3, 0]), // LONG
        Types::Remembered => payload.push_u8(0),
    }
    payload.push_u32(value);
    command(&payload)
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut client = Self { stream, input: [0; ROOM], filled: 0 };
        let Login { user, password } = Login::app();
        let credential = Credential::Password(Password::new(password.into_bytes()));
        let (greeting, mut sequence) = client.packet();
        let ready = ExpectGreeting.on(&greeting, ChannelSecurity::Plain).unwrap();
        let (payload, mut auth, _) = ready.log_in(&LoginRequest {
            user: user.as_bytes(),
            credential: &credential,
            database: Some(b"app"),
            capabilities: Capabilities::DEPRECATE_EOF | Capabilities::TRANSACTIONS,
            collation: COLLATION,
            max_packet: 1 << 24,
            attributes: &[],
        });
        client.send(&payload, &mut sequence);
        loop {
            let answer;
            (answer, sequence) = client.packet();
            auth = match auth.on(&answer).unwrap() {
                ClientStep::Send { payload, next } => {
                    client.send(&payload, &mut sequence);
                    next
                }
                ClientStep::Wait(next) => next,
                ClientStep::Done(_) => return client,
                ClientStep::Refused(error) => unreachable!("refused: {error:?}"),
            };
        }
    }

    fn send(&mut self, payload: &[u8], sequence: &mut u8) {
        let mut packet = Vec::new();
        frame_payload(&mut packet, sequence, payload);
        self.stream.write_all(&packet).unwrap();
    }

    /// COM_STMT_PREPARE of a statement with one parameter and one column; its id.
    pub(crate) fn prepare(&mut self, text: &str) -> u32 {
        self.stream.write_all(&command(&[b"\x16", text.as_bytes()].concat())).unwrap();
        let (answer, _) = self.packet();
        assert_eq!((answer[0], &answer[5..9]), (0, &[1, 0, 1, 0][..]), "{answer:?}");
        for _parameter_and_column in 0..2 {
            self.packet();
        }
        u32::from_le_bytes(answer[1..5].try_into().unwrap())
    }

    /// Sends a command and reads its answer, which must be rows.
    pub(crate) fn exchange(&mut self, command: &[u8]) {
        self.stream.write_all(command).unwrap();
        let mut at = 0;
        loop {
            let end = self.read_packet(at);
            let kind = self.input[at + HEADER];
            assert!(kind != ERR, "{}", String::from_utf8_lossy(&self.input[at..end]));
            at = end;
            if kind == END {
                break;
            }
        }
        assert_eq!(self.filled, at, "something follows the answer");
        self.filled = 0;
    }

    /// The next packet during a login, and the number that follows its own.
    fn packet(&mut self) -> (Vec<u8>, u8) {
        let end = self.read_packet(0);
        let packet = (self.input[HEADER..end].to_vec(), self.input[HEADER - 1].wrapping_add(1));
        self.input.copy_within(end..self.filled, 0);
        self.filled -= end;
        packet
    }

    /// Reads until the packet that begins at this place is there; where it ends.
    fn read_packet(&mut self, begin: usize) -> usize {
        loop {
            let header = Header::parse(&self.input[begin..self.filled]);
            let end = header.map(|header| begin + HEADER + header.length as usize);
            if let Some(end) = end.filter(|end| *end <= self.filled) {
                return end;
            }
            let read = self.stream.read(&mut self.input[self.filled..]).unwrap();
            assert!(read > 0, "closed, or an answer that is too large");
            self.filled += read;
        }
    }
}
