//! Random valid responses: written once as a server writes them to us and once as it would to the client.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::WireAppend;

/// A tracker, its bytes, and whether a client with defaults sees it.
fn trackers() -> impl Strategy<Value = Vec<(Vec<u8>, bool)>> {
    fn entry(kind: u8, data: &[u8]) -> Vec<u8> {
        let mut out = vec![kind];
        out.push_lenenc_bytes(data);
        out
    }
    fn texts(texts: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        texts.iter().for_each(|text| out.push_lenenc_bytes(text));
        out
    }
    let one = (0..8_u8, vec(any::<u8>(), 0..300)).prop_map(|(which, text)| match which {
        0 => (entry(0, &texts(&[b"autocommit", &text])), true),
        1 => (entry(0, &texts(&[b"sql_mode", &text])), false),
        2 => (entry(1, &texts(&[&text])), true),
        3 => (entry(2, b"1"), false),
        4 => (entry(3, &[&[0][..], &texts(&[&text])].concat()), false),
        5 => (entry(4, &texts(&[&text])), false),
        6 => (entry(5, &texts(&[b"I_R___S_"])), false),
        _ => (entry(9, &text), false),
    });
    vec(one, 0..5)
}

#[derive(Debug, Clone)]
struct Done {
    affected: u64,
    id: u64,
    status: u16,
    warnings: u16,
    info: Vec<u8>,
    trackers: Vec<(Vec<u8>, bool)>,
}

fn done() -> impl Strategy<Value = Done> {
    (any::<u64>(), any::<u64>(), 0..4_u16, any::<u16>(), vec(any::<u8>(), 0..4), trackers()).prop_map(
        |(affected, id, status, warnings, info, trackers)| Done {
            affected: affected >> (id % 64),
            id: id >> (affected % 64),
            status,
            warnings,
            info,
            trackers,
        },
    )
}

#[derive(Debug, Clone)]
enum Part {
    Ok(Done),
    Set { columns: usize, rows: Vec<Vec<u8>>, end: Done },
    Broken { columns: usize, rows: Vec<Vec<u8>> },
    Infile(Done),
    Error,
}

fn rows() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec((0..0xfe_u8, vec(any::<u8>(), 0..40)).prop_map(|(first, rest)| [&[first][..], &rest].concat()), 0..6)
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let going_on = prop_oneof![
        done().prop_map(Part::Ok),
        done().prop_map(Part::Infile),
        (1..300_usize, rows(), done()).prop_map(|(columns, rows, end)| Part::Set {
            columns: if columns < 290 { columns % 5 + 1 } else { columns },
            rows,
            end
        }),
    ];
    let ending = prop_oneof![
        Just(Part::Error),
        (1..4_usize, rows()).prop_map(|(columns, rows)| Part::Broken { columns, rows })
    ];
    (vec(going_on, 1..5), proptest::option::of(ending)).prop_map(|(mut parts, ending)| {
        parts.extend(ending);
        parts
    })
}

/// Writes a response for one reader. `own` is a backend connection, which sees every tracker.
struct Writer {
    caps: Capabilities,
    own: bool,
    out: Vec<u8>,
    sequence: u8,
    /// The lasting flags told last, for EOFs between columns and rows.
    status: u16,
}

const MORE: u16 = 0x0008;
const ERROR: &[u8] = b"\xff\x1e\x04#42S22Unknown column";

impl Writer {
    fn packet(&mut self, payload: &[u8]) {
        frame_payload(&mut self.out, &mut self.sequence, payload);
    }

    fn eofless(&self) -> bool {
        self.caps.contains(Capabilities::DEPRECATE_EOF)
    }

    fn eof(&mut self, status: u16, warnings: u16) {
        let [s, t] = status.to_le_bytes();
        let [w, x] = warnings.to_le_bytes();
        self.packet(&[0xfe, w, x, s, t]);
    }

    fn done(&mut self, header: u8, done: &Done, more: bool) {
        let status = done.status | if more { MORE } else { 0 };
        self.status = done.status;
        if header == 0xfe && !self.eofless() {
            return self.eof(status, done.warnings);
        }
        let tracked = self.caps.contains(Capabilities::SESSION_TRACK);
        let seen = done.trackers.iter().filter(|(_, visible)| tracked && (self.own || *visible));
        let told: Vec<u8> = seen.flat_map(|(bytes, _)| bytes.clone()).collect();
        let mut payload = vec![header];
        payload.push_lenenc_int(done.affected);
        payload.push_lenenc_int(done.id);
        payload.push_u16(status | if told.is_empty() { 0 } else { 0x4000 });
        payload.push_u16(done.warnings);
        if !told.is_empty() || !done.info.is_empty() {
            payload.push_lenenc_bytes(&done.info);
        }
        if !told.is_empty() {
            payload.push_lenenc_bytes(&told);
        }
        self.packet(&payload);
    }

    fn columns_and_rows(&mut self, columns: usize, rows: &[Vec<u8>], eof_status: u16) {
        let mut count = Vec::new();
        count.push_lenenc_int(columns as u64);
        self.packet(&count);
        (0..columns).for_each(|_| self.packet(b"\x03def..."));
        if !self.eofless() {
            self.eof(eof_status, 0);
        }
        rows.iter().for_each(|row| self.packet(row));
    }

    fn part(&mut self, part: &Part, more: bool) {
        match part {
            Part::Ok(ok) => self.done(0, ok, more),
            Part::Set { columns, rows, end } => {
                // An empty set's end is there when its first EOF is written, and shares its flags.
                let ending = end.status | if more { MORE } else { 0 };
                self.columns_and_rows(*columns, rows, if rows.is_empty() { ending } else { self.status });
                self.done(0xfe, end, more);
            }
            Part::Broken { columns, rows } => {
                self.columns_and_rows(*columns, rows, self.status);
                self.packet(ERROR);
            }
            Part::Infile(ok) => {
                self.packet(b"\xfb/file");
                self.done(0, ok, more);
            }
            Part::Error => self.packet(ERROR),
        }
    }

    fn write(caps: Capabilities, own: bool, parts: &[Part]) -> Vec<u8> {
        let mut writer = Self { caps, own, out: Vec::new(), sequence: 1, status: 2 };
        for (at, part) in parts.iter().enumerate() {
            writer.part(part, at + 1 < parts.len());
        }
        writer.out
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn clients_get_their_own_form_however_it_is_cut(parts in parts(), piece in 1..50_usize) {
        let stream = Writer::write(TRACK_EOFLESS, true, &parts);
        for client in KINDS {
            let whole = run(relay(Expect::Query, client), [&stream[..]]).unwrap();
            prop_assert_eq!(&whole.bytes, &Writer::write(client, false, &parts), "{:?}", client);
            prop_assert!(whole.left.is_empty());
            prop_assert_eq!(whole.events.len(), parts.len());
            for pieces in [piece, 1] {
                let cut = run(relay(Expect::Query, client), stream.chunks(pieces)).unwrap();
                prop_assert_eq!(&cut, &whole);
            }
        }
    }

    #[test]
    fn a_response_ends_where_it_ends(parts in parts(), behind in vec(any::<u8>(), 0..9)) {
        let stream = [Writer::write(TRACK_EOFLESS, true, &parts), behind.clone()].concat();
        let out = run(relay(Expect::Query, TRACK_EOFLESS), [&stream[..]]).unwrap();
        prop_assert_eq!(out.left, behind);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn cut_at_every_boundary(parts in parts()) {
        let stream = Writer::write(TRACK_EOFLESS, true, &parts);
        if stream.len() < 3000 {
            for client in KINDS {
                relayed(Expect::Query, client, &stream);
            }
        }
    }
}
