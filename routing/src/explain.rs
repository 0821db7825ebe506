//! Statements in words: one line for `sluice explain route`, logs and the golden tests.
//!
//! This file must never be parsed by anything: it is for people.

use std::fmt;

use crate::effects::{Effects, Name, PinChange};
use crate::intent::{Access, AfterEnd, End, Intent, KillKind, KillTarget, Snapshot, Statement};

/// `read`, `primary:locking_read`, `write:data`, `start:read_only`.
impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HarmlessRead => f.write_str("read"),
            Self::NeedsPrimary(need) => write!(f, "primary:{need}"),
            Self::LastStatement => f.write_str("last_statement"),
            Self::ConnectionId { .. } => f.write_str("connection_id"),
            Self::Kill { kind, target } => {
                f.write_str(match kind {
                    KillKind::Connection => "kill:connection:",
                    KillKind::Query => "kill:query:",
                })?;
                match target {
                    KillTarget::Literal(id) => write!(f, "{id}"),
                    KillTarget::Own => f.write_str("own"),
                    KillTarget::Expression(_) => f.write_str("expression"),
                }
            }
            Self::TransactionStart { access, snapshot } => {
                f.write_str(match access {
                    Access::Default => "start",
                    Access::ReadOnly => "start:read_only",
                    Access::ReadWrite => "start:read_write",
                })?;
                f.write_str(match snapshot {
                    Snapshot::Later => "",
                    Snapshot::Now => ":snapshot",
                })
            }
            Self::TransactionEnd { end, next } => {
                f.write_str(match end {
                    End::Commit => "commit",
                    End::Rollback => "rollback",
                })?;
                f.write_str(match next {
                    AfterEnd::Default => "",
                    AfterEnd::Chain => ":chain",
                    AfterEnd::Release => ":release",
                })
            }
            Self::Savepoint => f.write_str("savepoint"),
            Self::SessionState => f.write_str("session_state"),
            Self::Write(kind) => write!(f, "write:{kind}"),
        }
    }
}

impl Intent {
    /// What the statement is, as a sentence for people.
    #[must_use]
    pub const fn sentence(&self) -> &'static str {
        match self {
            Self::HarmlessRead => "It is a harmless read.",
            Self::NeedsPrimary(need) => need.sentence(),
            Self::LastStatement => "It asks about the statement before it.",
            Self::ConnectionId { .. } => "Sluice answers it: the connection id is its own.",
            Self::Kill { .. } => "Sluice kills by the ids that it gave to clients.",
            Self::TransactionStart { .. } => "It begins a transaction.",
            Self::TransactionEnd { .. } => "It ends a transaction.",
            Self::Savepoint => "It belongs to the open transaction.",
            Self::SessionState => "It changes the session.",
            Self::Write(kind) => kind.sentence(),
        }
    }
}

/// `+temporary_table(t)` for a beginning, `-named_lock` for an end.
impl fmt::Display for PinChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, reason, name): (_, _, &Option<Name>) = match self {
            Self::Begins(reason, name) => ('+', reason, name),
            Self::Ends(reason, name) => ('-', reason, name),
        };
        write!(f, "{sign}{reason}")?;
        name.as_ref().map_or(Ok(()), |name| write!(f, "({})", String::from_utf8_lossy(name)))
    }
}

/// All effects and pins, separated by spaces; `-` if there are none.
impl fmt::Display for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        let mut separator = "";
        for effect in self.iter() {
            write!(f, "{separator}{}", effect.as_str())?;
            separator = " ";
        }
        for change in self.pins() {
            write!(f, "{separator}{change}")?;
            separator = " ";
        }
        for assignment in self.assignments() {
            let (name, literal) =
                (String::from_utf8_lossy(&assignment.name), String::from_utf8_lossy(&assignment.literal));
            write!(f, "{separator}{name}={literal}")?;
            separator = " ";
        }
        if self.role().is_some() {
            write!(f, "{separator}role")?;
        }
        Ok(())
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} | {}", self.intent, self.effects)
    }
}
