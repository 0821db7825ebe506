//! Payloads of the commands we send to instances ourselves.
//!
//! Payloads only: framing, and whether a command may be sent now, belong to the caller.

use super::{SetOption, byte};
use crate::{Capabilities, WireAppend};

fn with_body(command: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + body.len());
    out.push_u8(command);
    out.push_bytes(body);
    out
}

const fn with_id(command: u8, id: u32) -> [u8; 5] {
    let [a, b, c, d] = id.to_le_bytes();
    [command, a, b, c, d]
}

/// COM_QUERY without attributes, in the form agreed by `caps` (with `QUERY_ATTRIBUTES` an empty list is written).
#[must_use]
pub fn query(text: &[u8], caps: Capabilities) -> Vec<u8> {
    let mut out = Vec::with_capacity(3 + text.len());
    out.push_u8(byte::QUERY);
    if caps.contains(Capabilities::QUERY_ATTRIBUTES) {
        out.push_bytes(&[0, 1]);
    }
    out.push_bytes(text);
    out
}

/// COM_INIT_DB.
#[must_use]
pub fn init_db(schema: &[u8]) -> Vec<u8> {
    with_body(byte::INIT_DB, schema)
}

/// COM_STMT_PREPARE.
#[must_use]
pub fn stmt_prepare(text: &[u8]) -> Vec<u8> {
    with_body(byte::STMT_PREPARE, text)
}

/// COM_STMT_SEND_LONG_DATA; no answer comes.
#[must_use]
pub fn stmt_send_long_data(statement: u32, parameter: u16, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(7 + data.len());
    out.push_bytes(&with_id(byte::STMT_SEND_LONG_DATA, statement));
    out.push_u16(parameter);
    out.push_bytes(data);
    out
}

/// COM_STMT_CLOSE; no answer comes.
#[must_use]
pub const fn stmt_close(statement: u32) -> [u8; 5] {
    with_id(byte::STMT_CLOSE, statement)
}

/// COM_STMT_RESET.
#[must_use]
pub const fn stmt_reset(statement: u32) -> [u8; 5] {
    with_id(byte::STMT_RESET, statement)
}

/// COM_QUIT; no answer comes.
#[must_use]
pub const fn quit() -> [u8; 1] {
    [byte::QUIT]
}

/// COM_PING.
#[must_use]
pub const fn ping() -> [u8; 1] {
    [byte::PING]
}

/// COM_RESET_CONNECTION. Charset and session trackers go back to the server's defaults, schema and user stay.
#[must_use]
pub const fn reset_connection() -> [u8; 1] {
    [byte::RESET_CONNECTION]
}

/// COM_SET_OPTION.
#[must_use]
pub fn set_option(option: SetOption) -> [u8; 3] {
    let number = match option {
        SetOption::MultiStatementsOn => 0,
        SetOption::MultiStatementsOff => 1,
        SetOption::Unknown(number) => number,
    };
    let [a, b] = number.to_le_bytes();
    [byte::SET_OPTION, a, b]
}
