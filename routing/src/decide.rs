//! Where a statement goes, and why.

/// The listener a client came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listener {
    /// Writes to the primary, harmless reads to replicas.
    Split,
    /// Everything to the primary.
    Primary,
    /// Reads only.
    Replica,
}
