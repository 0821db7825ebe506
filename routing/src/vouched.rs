//! Stored functions that the owner of the servers vouches for: each only reads data that replicas have, gives the same
//! answer on any server that has them, takes no lock, and leaves nothing in its session.
//!
//! Nothing that a server's catalogue says proves that. `SQL_DATA_ACCESS` and `IS_DETERMINISTIC` are what the author of a
//! function wrote, and servers hold nobody to them: a function declared `DETERMINISTIC NO SQL` may write (seen on 9.7.4). What
//! a function calls in turn is not in its own row, and any of it can be replaced between two statements.
//!
//! This file must never take a name for vouched that could mean another function: names are compared whole, with their schema.

use std::collections::BTreeSet;

/// Most functions in the list: more are not vouched for one by one.
pub const MAX_VOUCHED: usize = 1000;

/// The functions, by schema and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vouched(BTreeSet<(Box<[u8]>, Box<[u8]>)>);

/// Why a text names no function of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not of the form \"schema.function\" with letters, digits, _ and $ only")]
pub struct NoFunction;

impl Vouched {
    /// Adds a function, as `schema.function`. Schemas are compared as written, functions in any case.
    pub fn add(&mut self, text: &str) -> Result<(), NoFunction> {
        let plain = |name: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
            !name.is_empty() && name.bytes().all(fits)
        };
        let (schema, function) = text.split_once('.').ok_or(NoFunction)?;
        if !plain(schema) || !plain(function) {
            return Err(NoFunction);
        }
        let function = function.to_ascii_lowercase().into_bytes();
        self.0.insert((schema.as_bytes().into(), function.into()));
        Ok(())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, as `schema.function`, in order.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        self.0.iter().map(move |(schema, function)| format!("{}.{}", text(schema), text(function)))
    }

    fn has(&self, schema: &[u8], function: &[u8]) -> bool {
        let function = function.to_ascii_lowercase();
        self.0.iter().any(|(known, name)| **known == *schema && **name == *function)
    }
}

/// What a text may rely on: the list, and the schema in which names without one are looked up.
#[derive(Clone, Copy, Debug)]
pub struct Vouching<'a> {
    /// The functions.
    pub functions: &'a Vouched,
    /// The current schema.
    pub schema: Option<&'a [u8]>,
}

impl Vouching<'_> {
    /// Whether this function is vouched for; `schema`: as the text names it.
    pub(crate) fn covers(&self, schema: Option<&[u8]>, function: &[u8]) -> bool {
        schema.or(self.schema).is_some_and(|schema| self.functions.has(schema, function))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::{Intent, PrimaryNeed, WriteKind, classify_vouching};
    use crate::lexer::LexMode;

    fn list() -> Vouched {
        let mut functions = Vouched::default();
        for text in ["shop.price", "shop.tax", "other.price"] {
            assert_eq!(functions.add(text), Ok(()));
        }
        functions
    }

    fn intent(sql: &str, schema: Option<&str>) -> Intent {
        let functions = list();
        let vouching = Vouching { functions: &functions, schema: schema.map(str::as_bytes) };
        classify_vouching(sql.as_bytes(), LexMode::default(), vouching).intent
    }

    #[test]
    fn names_have_a_schema() {
        for text in
            ["price", "", ".", "shop.", ".price", "shop.price.a", "shop.`price`", "shop. price", "sh*.f"]
        {
            assert_eq!(Vouched::default().add(text), Err(NoFunction), "{text}");
        }
        assert_eq!(list().names().collect::<Vec<_>>(), ["other.price", "shop.price", "shop.tax"]);
    }

    #[test]
    fn a_read_with_vouched_functions_is_harmless() {
        for sql in [
            "SELECT shop.price(a) FROM t",
            "SELECT `shop`.`PRICE` (a) FROM t",
            "SELECT /* a */ shop . price(shop.tax(a)) FROM t WHERE ABS(b) > 1",
        ] {
            for schema in [None, Some("shop"), Some("elsewhere")] {
                assert_eq!(intent(sql, schema), Intent::HarmlessRead, "{sql}");
            }
        }
        assert_eq!(intent("SELECT price(a), TAX(b) FROM t", Some("shop")), Intent::HarmlessRead);
        assert_eq!(intent("SELECT price(a) FROM t", Some("other")), Intent::HarmlessRead);
    }

    #[test]
    fn whatever_could_be_another_function_is_not() {
        let unknown = Intent::NeedsPrimary(PrimaryNeed::UnknownFunction);
        for (sql, schema) in [
            ("SELECT price(a) FROM t", None),
            ("SELECT price(a) FROM t", Some("elsewhere")),
            ("SELECT tax(a) FROM t", Some("other")),
            ("SELECT elsewhere.price(a) FROM t", Some("shop")),
            ("SELECT SHOP.price(a) FROM t", Some("shop")),
            ("SELECT shop.price(a), cost(b) FROM t", Some("shop")),
            ("SELECT shop.`pri``ce`(a) FROM t", Some("shop")),
        ] {
            assert_eq!(intent(sql, schema), unknown, "{sql}");
        }
        // A name that is a native function's means that one, without a schema.
        assert_eq!(
            intent("SELECT shop.price(GET_LOCK('a', 1))", None),
            Intent::NeedsPrimary(PrimaryNeed::LockFunction)
        );
        assert_eq!(intent("CALL shop.price(1)", None), Intent::Write(WriteKind::Call));
    }
}
