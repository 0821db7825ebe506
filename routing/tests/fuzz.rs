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
