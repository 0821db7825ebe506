//! What must hold for every text, known or not.
#![allow(clippy::unwrap_used, missing_docs)]

use proptest::prelude::*;
use sluice_routing::lexer::{ClientCharset, DoubleQuotes, Lexer, Strings, TokenKind};
use sluice_routing::{Intent, LexMode, Statement, classify};

fn modes() -> impl Strategy<Value = LexMode> {
    (any::<bool>(), any::<bool>()).prop_map(|(plain, ansi)| LexMode {
        strings: if plain { Strings::BackslashIsPlain } else { Strings::BackslashEscapes },
        double_quotes: if ansi { DoubleQuotes::Identifier } else { DoubleQuotes::Text },
        charset: ClientCharset::Plain,
    })
}

/// Bytes that are likely to hit a corner of the lexer.
fn sql_like() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("SELECT "),
        Just("(SELECT 1)"),
        Just(" FOR UPDATE"),
        Just("for share "),
        Just("/*"),
        Just("*/"),
        Just("/*!"),
        Just("/*!80000 "),
        Just("/*+ "),
        Just("-- "),
        Just("--"),
        Just("#"),
        Just("\n"),
        Just("'"),
        Just("\""),
        Just("`"),
        Just("\\"),
        Just(";"),
        Just("@"),
        Just("@@"),
        Just(":="),
        Just(" INTO "),
        Just("1e5"),
        Just("0x1"),
        Just("."),
        Just("GET_LOCK("),
        Just("SET "),
        Just(","),
        Just("="),
        Just("CREATE TEMPORARY TABLE "),
        Just("DROP TABLE "),
        Just("KILL "),
        Just("EXPLAIN "),
        Just("WITH "),
        Just("é"),
        Just("\0"),
        Just("x "),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat().into_bytes())
}

/// Queries of ordinary shape, as lists of tokens that may have anything blank between them.
fn tokens_of_reads() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::select(vec![
        vec!["SELECT", "a", ",", "COUNT", "(", "*", ")", "FROM", "t", "WHERE", "b", "=", "'x y'"],
        vec!["SELECT", "1", "UNION", "ALL", "(", "SELECT", "2", ")", "ORDER", "BY", "1"],
        vec!["WITH", "c", "(", "n", ")", "AS", "(", "SELECT", "1", ")", "SELECT", "n", "FROM", "c"],
        vec!["SELECT", "`a b`", "FROM", "s", ".", "t", "FOR", "UPDATE"],
        vec!["SELECT", "GET_LOCK", "(", "'a'", ",", "1", ")"],
        vec!["INSERT", "INTO", "t", "(", "a", ")", "VALUES", "(", "?", ")"],
        vec!["SELECT", "f", "(", "1", ")"],
        vec!["SELECT", "a", "FROM", "performance_schema", ".", "threads"],
        vec!["EXPLAIN", "FORMAT", "=", "JSON", "SELECT", "1"],
        vec!["SET", "@x", "=", "5", ",", "wait_timeout", "=", "7"],
        vec!["START", "TRANSACTION", "READ", "ONLY"],
        vec!["SELECT", "LAST_INSERT_ID", "(", "5", ")"],
        vec!["CREATE", "TEMPORARY", "TABLE", "a", "(", "b", "INT", ")"],
    ])
}

fn blank() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        " ",
        "\n",
        "\t ",
        "/**/",
        "/* FOR UPDATE */",
        " -- INTO @x\n",
        "#;\n",
        " /* ' */ ",
    ])
}

/// The words of a statement, without spans, which move.
fn words(statement: &Statement) -> String {
    statement.to_string()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn tokens_cover_the_text_in_order(text in prop::collection::vec(any::<u8>(), 0..200), mode in modes()) {
        let mut end = 0;
        for token in Lexer::new(&text, mode) {
            prop_assert!(token.span.start >= end && token.span.end > token.span.start);
            prop_assert!(token.span.end <= text.len());
            end = token.span.end;
        }
    }

    #[test]
    fn the_lexer_comes_to_an_end_on_sql_like_text(text in sql_like(), mode in modes()) {
        prop_assert!(Lexer::new(&text, mode).count() <= text.len());
    }

    #[test]
    fn classifying_is_a_function(text in sql_like(), mode in modes()) {
        prop_assert_eq!(classify(&text, mode), classify(&text, mode));
    }

    #[test]
    fn a_locking_clause_outside_strings_is_never_harmless(text in sql_like(), mode in modes()) {
        let tokens: Vec<_> = Lexer::new(&text, mode).collect();
        let word = |at: usize, name: &str| tokens.get(at).is_some_and(|token| {
            matches!(token.kind, TokenKind::Word(_))
                && text.get(token.span.start..token.span.end).unwrap().eq_ignore_ascii_case(name.as_bytes())
        });
        let locks = (0..tokens.len()).any(|at| word(at, "FOR") && (word(at + 1, "UPDATE") || word(at + 1, "SHARE")));
        if locks {
            prop_assert_ne!(classify(&text, mode).intent, Intent::HarmlessRead);
        }
    }

    #[test]
    fn code_behind_a_semicolon_is_never_harmless(text in sql_like(), mode in modes()) {
        let tokens: Vec<_> = Lexer::new(&text, mode).map(|token| token.kind).collect();
        let parts = tokens.split(|kind| *kind == TokenKind::Semicolon).filter(|part| !part.is_empty()).count();
        if parts > 1 {
            prop_assert_ne!(classify(&text, mode).intent, Intent::HarmlessRead);
        }
    }

    #[test]
    fn blanks_between_tokens_change_nothing(
        tokens in tokens_of_reads(),
        blanks in prop::collection::vec(blank(), 16),
        upper in any::<bool>(),
    ) {
        let plain = tokens.join(" ");
        let mut spread = String::new();
        for (token, blank) in tokens.iter().zip(&blanks) {
            let quoted = token.starts_with(['\'', '`', '@']) || token.len() == 1;
            spread += &if upper || quoted { (*token).to_owned() } else { token.to_ascii_lowercase() };
            spread += blank;
        }
        let mode = LexMode::default();
        let (plain, spread) = (classify(plain.as_bytes(), mode), classify(spread.as_bytes(), mode));
        prop_assert_eq!(words(&plain), words(&spread));
    }
}
