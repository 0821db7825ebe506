//! The texts of the statements the controller sends: one table, by server grammar.
//!
//! Never here: sending a statement, deciding when.

/// A string literal. Backslashes are doubled too: the control session's sql_mode is known not to have
/// NO_BACKSLASH_ESCAPES.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
