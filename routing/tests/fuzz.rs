//! The classifier on a corpus of hostile texts and on every prefix and single-byte change of them.
//! [`fuzz`] is also what a fuzzer would call.
#![allow(clippy::unwrap_used, missing_docs)]

use sluice_routing::lexer::{DoubleQuotes, Lexer, Strings};
use sluice_routing::{Intent, LexMode, Statement, classify};

const CORPUS: &str = include_str!("corpus/statements.txt");

/// What must hold for any bytes.
fn fuzz(data: &[u8]) {
    for strings in [Strings::BackslashEscapes, Strings::BackslashIsPlain] {
        for double_quotes in [DoubleQuotes::Text, DoubleQuotes::Identifier] {
            let mode = LexMode { strings, double_quotes, ..LexMode::default() };
            let statement = classify(data, mode);
            let mut lexer = Lexer::new(data, mode);
            while lexer.next().is_some() {}
            if lexer.oddity().is_some() {
                assert_ne!(statement.intent, Intent::HarmlessRead);
            }
            if statement.intent == Intent::HarmlessRead {
                assert!(statement.effects.is_empty(), "{statement}");
                for more in ["\n;DELETE FROM t", "\n FOR UPDATE", "\n INTO @x"] {
                    let longer = [data, more.as_bytes()].concat();
                    assert_ne!(classify(&longer, mode).intent, Intent::HarmlessRead, "with {more:?}");
                }
            }
            assert_ne!(Statement::too_long(data, mode).intent, Intent::HarmlessRead);
        }
    }
}

#[test]
fn the_corpus_and_its_neighbours_hold() {
    for line in CORPUS.lines() {
        let bytes = line.as_bytes();
        for end in 0..=bytes.len() {
            fuzz(bytes.get(..end).unwrap());
            fuzz(bytes.get(end..).unwrap());
        }
        for at in 0..bytes.len() {
            for change in [0, b'\'', b'"', b'`', b'/', b'*', b';', b'\\', b'\n', 0xff] {
                let mut changed = bytes.to_vec();
                *changed.get_mut(at).unwrap() = change;
                fuzz(&changed);
            }
        }
    }
}

#[test]
fn long_texts_take_linear_time_and_no_stack() {
    let nested = "(".repeat(200_000);
    fuzz(nested.as_bytes());
    fuzz(format!("SELECT {nested}").as_bytes());
    fuzz("/*!".repeat(100_000).as_bytes());
    fuzz("@@`".repeat(100_000).as_bytes());
    fuzz("DROP TABLE a".to_owned().as_bytes());
    fuzz(format!("DROP TABLE {}", "a,".repeat(100_000)).as_bytes());
    fuzz(format!("SET {}", "@x=1,".repeat(100_000)).as_bytes());
    fuzz("CREATE TEMPORARY TABLE a;".repeat(20_000).as_bytes());
}

/// What texts are put together from.
const PIECES: [&str; 48] = [
    "SELECT ",
    "INSERT INTO t ",
    "UPDATE ",
    "DELETE ",
    "FROM t ",
    "WHERE ",
    "WITH c AS (",
    "FOR UPDATE",
    "FOR SHARE",
    "INTO ",
    "@x",
    ":=",
    "@@global.",
    "@`a b`",
    "GET_LOCK('a',1)",
    "LAST_INSERT_ID(",
    "f(",
    "COUNT(",
    "SET ",
    "USE ",
    "CALL p()",
    ";",
    "/*",
    "*/",
    "/*!",
    "/*!80000 ",
    "/*+ ",
    "-- ",
    "--",
    "#",
    "\n",
    "'",
    "\"",
    "`",
    "\\",
    "''",
    "1e5",
    ".5",
    "0x",
    "N'",
    "_utf8mb4'",
    "x'4",
    "(",
    ")",
    "\0",
    "\u{a0}",
    "EXPLAIN ANALYZE ",
    "/* sluice:route=replica */",
];

/// A small generator (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides.max(1) as u64).unwrap()
    }

    /// A known statement with pieces put in, cut out and changed.
    fn text(&mut self, seeds: &[&str]) -> Vec<u8> {
        let mut text = seeds.get(self.roll(seeds.len())).unwrap().as_bytes().to_vec();
        for _ in 0..self.roll(6) {
            let at = self.roll(text.len() + 1);
            match self.roll(6) {
                0 => text.truncate(at),
                1 => drop(text.drain(..at)),
                2 if at < text.len() => *text.get_mut(at).unwrap() = u8::try_from(self.roll(256)).unwrap(),
                3 => text.extend_from_slice(seeds.get(self.roll(seeds.len())).unwrap().as_bytes()),
                _ => drop(text.splice(at..at, PIECES.get(self.roll(PIECES.len())).unwrap().bytes())),
            }
        }
        text
    }
}

/// The statements of the golden tables.
fn golden() -> Vec<&'static str> {
    let tables = [
        include_str!("golden/reads.txt"),
        include_str!("golden/needs_primary.txt"),
        include_str!("golden/writes.txt"),
        include_str!("golden/state.txt"),
    ];
    tables.into_iter().flat_map(str::lines).filter_map(|line| line.splitn(3, " | ").nth(2)).collect()
}

/// Runs until `SLUICE_FUZZ_SECONDS` are over, with other texts each time: `make fuzz`.
#[test]
#[ignore = "takes as long as it is told to"]
fn the_lexer_for_a_while() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed =
        number("SLUICE_FUZZ_SEED").unwrap_or(u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap());
    println!("SLUICE_FUZZ_SEED={seed}");
    let (mut dice, seeds) = (Dice(seed), [CORPUS.lines().collect(), golden()].concat());
    let end = std::time::Instant::now()
        + std::time::Duration::from_secs(number("SLUICE_FUZZ_SECONDS").unwrap_or(10));
    let mut count = 0u64;
    while std::time::Instant::now() < end {
        for _ in 0..1_000 {
            let text = dice.text(&seeds);
            count += 1;
            let held = std::panic::catch_unwind(|| fuzz(&text));
            assert!(held.is_ok(), "fails on \"{}\"", text.escape_ascii());
        }
    }
    println!("lexer: {count} texts");
}
