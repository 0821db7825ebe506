//! What the load asks for.
//!
//! Never here: sockets, or times.

use serde::{Deserialize, Serialize};

use crate::connection::{Connection, ConnectionError};

/// Rows of the table, with ids from 1.
pub const ROWS: u32 = 10_000;
/// Rows of one INSERT.
const AT_ONCE: usize = 1000;

/// The statements that make the table, as root in schema `app`. A row has about 190 bytes.
#[must_use]
pub fn table() -> Vec<String> {
    let columns = "id INT PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL";
    let row = |id: u32| {
        format!("({id}, {}, RPAD({id}, 120, 'c'), RPAD(-{id}, 60, 'p'))", id.wrapping_mul(7) % ROWS)
    };
    let rows: Vec<String> = (1..=ROWS).map(row).collect();
    let inserts =
        rows.chunks(AT_ONCE).map(|rows| format!("INSERT INTO app.bench VALUES {}", rows.join(", ")));
    std::iter::once(format!("CREATE TABLE app.bench ({columns})")).chain(inserts).collect()
}

/// One kind of statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// One row by its primary key, as text.
    PointText,
    /// The same as a prepared statement.
    PointPrepared,
    /// 100 rows of 190 bytes, as text.
    Rows100,
    /// 10,000 rows of 190 bytes, as text.
    Rows10000,
    /// 1 GiB in rows of 4 KiB, as text.
    Gibibyte,
    /// One row of 16 MiB: a packet of more than one frame.
    LargeRow,
    /// A statement of 16 MiB, as much as one frame holds, with a short answer.
    LargeStatement,
}

impl Workload {
    /// Whether it is about one row.
    #[must_use]
    pub const fn is_point(self) -> bool {
        match self {
            Self::PointText | Self::PointPrepared => true,
            Self::Rows100 | Self::Rows10000 | Self::Gibibyte | Self::LargeRow | Self::LargeStatement => false,
        }
    }

    /// As it is named in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PointText => "point select, text",
            Self::PointPrepared => "point select, prepared",
            Self::Rows100 => "100 rows",
            Self::Rows10000 => "10,000 rows",
            Self::Gibibyte => "1 GiB result",
            Self::LargeRow => "16 MiB row",
            Self::LargeStatement => "16 MiB statement",
        }
    }
}

/// Most bytes of payload in one frame without another one behind it.
const LARGEST_FRAME: usize = 0xff_fffe;
/// What ends the large statement.
const LITERAL_END: &[u8] = b"')";
/// The point select, with its parameter left open.
const POINT: &str = "SELECT c FROM bench WHERE id = ";

/// Makes the statements of one connection.
#[derive(Debug)]
pub struct Statements {
    workload: Workload,
    prepared: u32,
    random: u64,
}

impl Statements {
    /// Readies `connection` for the workload. `seed` decides about the ids it asks for.
    ///
    /// # Errors
    /// If the statement can't be prepared.
    pub fn new(workload: Workload, connection: &mut Connection, seed: u64) -> Result<Self, ConnectionError> {
        let prepared = match workload {
            Workload::PointPrepared => connection.prepare(&format!("{POINT}?"))?,
            Workload::PointText
            | Workload::Rows100
            | Workload::Rows10000
            | Workload::Gibibyte
            | Workload::LargeRow
            | Workload::LargeStatement => 0,
        };
        Ok(Self { workload, prepared, random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 })
    }

    /// For a connection that was never logged in.
    #[cfg(test)]
    pub(crate) const fn without_a_server(workload: Workload) -> Self {
        Self { workload, prepared: 0, random: 1 }
    }

    /// The next statement's packet, in place of what `out` holds.
    pub fn next(&mut self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&[0; 4]);
        match self.workload {
            Workload::PointText => {
                out.push(3);
                out.extend_from_slice(POINT.as_bytes());
                let id = self.id();
                push_decimal(out, id);
            }
            Workload::PointPrepared => {
                out.push(0x17);
                out.extend_from_slice(&self.prepared.to_le_bytes());
                // No cursor, one iteration, nothing NULL, types follow: LONG.
                out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 1, 3, 0]);
                out.extend_from_slice(&self.id().to_le_bytes());
            }
            Workload::Rows100 => {
                out.extend_from_slice(b"\x03SELECT id, k, c, pad FROM bench ORDER BY id LIMIT 100");
            }
            Workload::Rows10000 => {
                out.extend_from_slice(b"\x03SELECT id, k, c, pad FROM bench ORDER BY id LIMIT 10000");
            }
            Workload::Gibibyte => out.extend_from_slice(
                b"\x03SELECT REPEAT('x', 4096) FROM bench a CROSS JOIN bench b LIMIT 262144",
            ),
            Workload::LargeRow => out.extend_from_slice(b"\x03SELECT REPEAT('x', 16777216)"),
            Workload::LargeStatement => {
                out.extend_from_slice(b"\x03SELECT LENGTH('");
                out.resize(4 + LARGEST_FRAME - LITERAL_END.len(), b'x');
                out.extend_from_slice(LITERAL_END);
            }
        }
        let length = u32::try_from(out.len() - 4).unwrap_or(u32::MAX).to_le_bytes();
        for (to, from) in out.iter_mut().zip(length.into_iter().take(3)) {
            *to = from;
        }
    }

    /// The next id (xorshift).
    fn id(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        u32::try_from(self.random % u64::from(ROWS)).unwrap_or(0) + 1
    }
}

/// Appends a number as text, without an allocation.
fn push_decimal(out: &mut Vec<u8>, number: u32) {
    let mut divisor = 1_000_000_000;
    let mut begun = false;
    while divisor > 0 {
        let digit = number / divisor % 10;
        begun |= digit > 0 || divisor == 1;
        if begun {
            out.push(b'0' + u8::try_from(digit).unwrap_or(0));
        }
        divisor /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(workload: Workload) -> Statements {
        Statements { workload, prepared: 7, random: 5 }
    }

    #[test]
    fn numbers_are_written_as_text() {
        for number in [0, 1, 9, 10, 105, 10_000, u32::MAX] {
            let mut out = Vec::new();
            push_decimal(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }

    #[test]
    fn packets_are_whole_and_ids_are_within_the_table() {
        let mut out = Vec::new();
        for workload in [Workload::PointText, Workload::PointPrepared, Workload::Rows100, Workload::Gibibyte]
        {
            statements(workload).next(&mut out);
            assert_eq!(usize::from(out[0]), out.len() - 4);
            assert_eq!(out[1..4], [0, 0, 0]);
        }
        statements(Workload::LargeStatement).next(&mut out);
        assert_eq!((out.len(), &out[..4]), (4 + LARGEST_FRAME, &[0xfe, 0xff, 0xff, 0][..]));
        let mut point = statements(Workload::PointText);
        for _ in 0..10_000 {
            assert!((1..=ROWS).contains(&point.id()));
        }
        point.next(&mut out);
        assert!(out[5..].starts_with(POINT.as_bytes()));
    }
}
