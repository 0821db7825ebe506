//! Values as they are printed. Never here: a driver.

use serde_json::{Value, json};

/// Longer texts are shown as length and the two ends: both runs read the same text or they don't.
const LONG: usize = 200;
/// More rows are shown as count and digest.
const MANY_ROWS: usize = 200;

/// A value of a column: text if it is some, else bytes.
pub fn bytes(raw: &[u8]) -> Value {
    match std::str::from_utf8(raw) {
        Ok(text) if text.len() <= LONG => json!(text),
        Ok(_) => json!({ "length": raw.len(), "digest": digest(raw) }),
        Err(_) => {
            json!({ "bytes": raw.len(), "digest": digest(raw), "begin": format!("{:02x?}", raw.get(..16).unwrap_or(raw)) })
        }
    }
}

/// FNV-1a: enough to tell two runs apart.
pub fn digest(raw: &[u8]) -> String {
    let hash = raw.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

pub fn rows(rows: Vec<Value>) -> Value {
    if rows.len() <= MANY_ROWS {
        return Value::Array(rows);
    }
    let count = rows.len();
    json!({ "rows": count, "digest": digest(Value::Array(rows).to_string().as_bytes()) })
}

/// `["x", 5]` is `xxxxx`.
pub fn repeated(pair: &Value) -> String {
    let times = pair[1].as_u64().and_then(|times| usize::try_from(times).ok()).unwrap_or_default();
    pair[0].as_str().unwrap_or_default().repeat(times)
}

/// A parameter as drivers of all kinds can take it.
pub enum Parameter {
    Null,
    Int(i64),
    Float(f64),
    Bytes(Vec<u8>),
    Text(String),
}

pub fn parameter(spec: &Value) -> Parameter {
    let Some((kind, value)) = spec.as_object().and_then(|spec| spec.iter().next()) else {
        return Parameter::Null;
    };
    let text = value.as_str().unwrap_or_default();
    match kind.as_str() {
        "null" => Parameter::Null,
        "int" => Parameter::Int(value.as_i64().unwrap_or_default()),
        "float" => Parameter::Float(value.as_f64().unwrap_or_default()),
        "bytes" => Parameter::Bytes(hex(text)),
        "repeat" => Parameter::Text(repeated(value)),
        "datetime" => Parameter::Text(text.replace('T', " ")),
        _ => Parameter::Text(text.to_owned()), // str, and what would need further crates
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|digit| digit.to_digit(16)).filter_map(|d| u8::try_from(d).ok()).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
