//! Values of rows as text, and parameters as bytes.
//!
//! Never here: a conversion that makes two different values look alike.

use std::fmt::Write as _;

use sluice_protocol::{Reader, WireAppend as _};

use super::decode::Column;

/// A value longer than this is shown by its ends, length and a checksum.
const SHOWN: usize = 400;

/// Bytes as readable text, without loss up to [`SHOWN`] bytes.
pub(super) fn shown(bytes: &[u8]) -> String {
    if bytes.len() <= SHOWN {
        return match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains(|c: char| c.is_control()) => text.to_owned(),
            _ => bytes.escape_ascii().to_string(),
        };
    }
    // FNV-1a: only to tell values apart.
    let sum = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let (front, back) = (&bytes[..40], &bytes[bytes.len() - 20..]);
    format!("{}...{} ({} bytes, {sum:016x})", front.escape_ascii(), back.escape_ascii(), bytes.len())
}

/// A row of the text protocol.
pub(super) fn text_row(packet: &[u8], columns: usize) -> Option<String> {
    let mut reader = Reader::new(packet);
    let mut text = String::new();
    for number in 0..columns {
        let separator = if number == 0 { "" } else { " | " };
        match reader.peek()? {
            0xfb => {
                reader.u8().ok()?;
                let _ = write!(text, "{separator}NULL");
            }
            _ => {
                let _ = write!(text, "{separator}'{}'", shown(reader.lenenc_bytes().ok()?));
            }
        }
    }
    reader.is_empty().then_some(text)
}

/// A row of the binary protocol.
pub(super) fn binary_row(packet: &[u8], columns: &[Column]) -> Option<String> {
    let mut reader = Reader::new(packet);
    if reader.u8().ok()? != 0 {
        return None;
    }
    let nulls = reader.take((columns.len() + 9) / 8).ok()?;
    let mut text = String::new();
    for (number, column) in columns.iter().enumerate() {
        let separator = if number == 0 { "" } else { " | " };
        let bit = number + 2;
        let null = nulls.get(bit / 8)? >> (bit % 8) & 1 == 1;
        let value = if null { "NULL".into() } else { binary_value(&mut reader, *column)? };
        let _ = write!(text, "{separator}{value}");
    }
    reader.is_empty().then_some(text)
}

fn binary_value(reader: &mut Reader<'_>, column: Column) -> Option<String> {
    let unsigned = column.unsigned;
    Some(match column.kind {
        1 => match reader.take_array::<1>().ok()? {
            byte if unsigned => u8::from_le_bytes(byte).to_string(),
            byte => i8::from_le_bytes(byte).to_string(),
        },
        2 | 13 => match reader.take_array::<2>().ok()? {
            bytes if unsigned => u16::from_le_bytes(bytes).to_string(),
            bytes => i16::from_le_bytes(bytes).to_string(),
        },
        3 | 9 => match reader.take_array::<4>().ok()? {
            bytes if unsigned => u32::from_le_bytes(bytes).to_string(),
            bytes => i32::from_le_bytes(bytes).to_string(),
        },
        8 => match reader.take_array::<8>().ok()? {
            bytes if unsigned => u64::from_le_bytes(bytes).to_string(),
            bytes => i64::from_le_bytes(bytes).to_string(),
        },
        4 => format!("{:?}", f32::from_le_bytes(reader.take_array().ok()?)),
        5 => format!("{:?}", f64::from_le_bytes(reader.take_array().ok()?)),
        7 | 10 | 12 => {
            let length = reader.u8().ok()?;
            format!("date {}", reader.take(length.into()).ok()?.escape_ascii())
        }
        11 => {
            let length = reader.u8().ok()?;
            format!("time {}", reader.take(length.into()).ok()?.escape_ascii())
        }
        _ => format!("'{}'", shown(reader.lenenc_bytes().ok()?)),
    })
}

/// A parameter of a prepared statement, or a query attribute.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Tiny(i8),
    Short(i16),
    Int(i32),
    Big(i64),
    UnsignedBig(u64),
    Float(f32),
    Double(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
    /// Year, month, day, hour, minute, second, microsecond.
    DateTime(u16, [u8; 5], u32),
    Date(u16, u8, u8),
    /// Negative, days, hour, minute, second.
    Time(bool, u32, [u8; 3]),
    /// Sent before with COM_STMT_SEND_LONG_DATA.
    Sent,
}

impl Value {
    /// The two bytes of its type.
    fn kind(&self) -> [u8; 2] {
        match self {
            Self::Null => [6, 0],
            Self::Tiny(_) => [1, 0],
            Self::Short(_) => [2, 0],
            Self::Int(_) => [3, 0],
            Self::Big(_) => [8, 0],
            Self::UnsignedBig(_) => [8, 0x80],
            Self::Float(_) => [4, 0],
            Self::Double(_) => [5, 0],
            Self::Text(_) => [0xfd, 0],
            Self::Blob(_) | Self::Sent => [0xfc, 0],
            Self::DateTime(..) => [12, 0],
            Self::Date(..) => [10, 0],
            Self::Time(..) => [11, 0],
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null | Self::Sent => {}
            Self::Tiny(value) => out.push_bytes(&value.to_le_bytes()),
            Self::Short(value) => out.push_bytes(&value.to_le_bytes()),
            Self::Int(value) => out.push_bytes(&value.to_le_bytes()),
            Self::Big(value) => out.push_bytes(&value.to_le_bytes()),
            Self::UnsignedBig(value) => out.push_bytes(&value.to_le_bytes()),
            Self::Float(value) => out.push_bytes(&value.to_le_bytes()),
            Self::Double(value) => out.push_bytes(&value.to_le_bytes()),
            Self::Text(bytes) | Self::Blob(bytes) => out.push_lenenc_bytes(bytes),
            Self::DateTime(year, rest, micros) => {
                out.push_u8(11);
                out.push_u16(*year);
                out.push_bytes(rest);
                out.push_u32(*micros);
            }
            Self::Date(year, month, day) => {
                out.push_u8(4);
                out.push_u16(*year);
                out.push_bytes(&[*month, *day]);
            }
            Self::Time(negative, days, rest) => {
                out.push_bytes(&[8, u8::from(*negative)]);
                out.push_u32(*days);
                out.push_bytes(rest);
            }
        }
    }
}

/// Whether types are sent with the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Types {
    Bound,
    AsBefore,
}

/// NULL bitmap, types (with `names` also the names), values: the tail of COM_STMT_EXECUTE and of attributes.
pub(super) fn write_values(out: &mut Vec<u8>, values: &[(String, Value)], types: Types, names: bool) {
    let mut nulls = vec![0u8; values.len().div_ceil(8)];
    for (number, _) in values.iter().enumerate().filter(|(_, (_, value))| *value == Value::Null) {
        nulls[number / 8] |= 1 << (number % 8);
    }
    out.push_bytes(&nulls);
    match types {
        Types::AsBefore => out.push_u8(0),
        Types::Bound => {
            out.push_u8(1);
            for (name, value) in values {
                out.push_bytes(&value.kind());
                if names {
                    out.push_lenenc_bytes(name.as_bytes());
                }
            }
        }
    }
    for (_, value) in values {
        value.write(out);
    }
}

/// `NULL`, `7`, `'text'`, `x'00ff'`, `2.5`, `tiny:1`, `short:1`, `int:1`, `u:1`, `float:1.5`, `date:2020-1-2`,
/// `datetime:2020-1-2-3-4-5-6`, `time:-1-2-3-4` (days, hours, minutes, seconds), `sent`; with commas between.
pub(super) fn parse_values(text: &str) -> Option<Vec<Value>> {
    split(text).into_iter().map(|part| parse_value(part.trim())).collect()
}

/// Splits at commas outside of quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut quoted) = (Vec::new(), 0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\'' => quoted = !quoted,
            b',' if !quoted => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    if !text[begin..].trim().is_empty() {
        parts.push(&text[begin..]);
    }
    parts
}

fn parse_value(text: &str) -> Option<Value> {
    let inside = |prefix: &str| text.strip_prefix(prefix)?.strip_suffix('\'').map(str::to_owned);
    if let Some(hex) = inside("x'") {
        return bytes_of(&hex).map(Value::Blob);
    }
    if let Some(text) = inside("'") {
        return Some(Value::Text(text.into_bytes()));
    }
    let Some((kind, value)) = text.split_once(':') else {
        return match text {
            "NULL" => Some(Value::Null),
            "sent" => Some(Value::Sent),
            _ if text.contains('.') => text.parse().ok().map(Value::Double),
            _ => text.parse().ok().map(Value::Big),
        };
    };
    match kind {
        "tiny" => value.parse().ok().map(Value::Tiny),
        "short" => value.parse().ok().map(Value::Short),
        "int" => value.parse().ok().map(Value::Int),
        "u" => value.parse().ok().map(Value::UnsignedBig),
        "float" => value.parse().ok().map(Value::Float),
        _ => parse_moment(kind, value),
    }
}

fn parse_moment(kind: &str, value: &str) -> Option<Value> {
    let (negative, value) = value.strip_prefix('-').map_or((false, value), |rest| (true, rest));
    let parts: Vec<u32> = value.split('-').map(str::parse).collect::<Result<_, _>>().ok()?;
    let small = |number: u32| u8::try_from(number).ok();
    Some(match (kind, &parts[..]) {
        ("date", [year, month, day]) => Value::Date(u16::try_from(*year).ok()?, small(*month)?, small(*day)?),
        ("datetime", [year, month, day, hour, minute, second, micros]) => Value::DateTime(
            u16::try_from(*year).ok()?,
            [small(*month)?, small(*day)?, small(*hour)?, small(*minute)?, small(*second)?],
            *micros,
        ),
        ("time", [days, hour, minute, second]) => {
            Value::Time(negative, *days, [small(*hour)?, small(*minute)?, small(*second)?])
        }
        _ => return None,
    })
}

/// Bytes of hex digits; spaces are allowed.
pub(super) fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = hex
        .chars()
        .filter(|c| *c != ' ')
        .map(|c| u8::try_from(c.to_digit(16)?).ok())
        .collect::<Option<_>>()?;
    digits.chunks(2).map(|pair| Some(pair.first()? << 4 | pair.get(1)?)).collect()
}
