//! Why a session can't leave its backend connection.
//!
//! This file must never hold a reason without words for people.

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal, $sentence:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every reason, for tables and metrics.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable label for metrics, logs and API answers.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }

            /// The reason as a sentence for people.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use reasons;

reasons! {
    /// What ties a session to one backend connection until the cause ends or the session is reset.
    PinReason {
        /// The server says that a transaction is open.
        OpenTransaction = "open_transaction", "A transaction is open.";
        /// `CREATE TEMPORARY TABLE` without its DROP.
        TemporaryTable = "temporary_table", "A temporary table exists.";
        /// `GET_LOCK()` without its release.
        NamedLock = "named_lock", "A lock taken with GET_LOCK() is held.";
        /// Locking service or version tokens.
        ServiceLock = "service_lock", "A lock of the locking service or of version tokens may be held.";
        /// `LOCK TABLES`, `FLUSH TABLES t WITH READ LOCK`.
        TableLocks = "table_locks", "LOCK TABLES is in force.";
        /// `FLUSH TABLES WITH READ LOCK`.
        GlobalReadLock = "global_read_lock", "FLUSH TABLES WITH READ LOCK is in force.";
        /// `LOCK INSTANCE FOR BACKUP`.
        InstanceLock = "instance_lock", "LOCK INSTANCE FOR BACKUP is in force.";
        /// `HANDLER ... OPEN` without CLOSE.
        Handler = "handler", "A table is open with HANDLER.";
        /// A prepared statement's cursor has rows left.
        OpenCursor = "open_cursor", "A prepared statement's cursor is open.";
        /// COM_STMT_SEND_LONG_DATA was sent for a statement not executed yet.
        LongData = "long_data", "Long data was sent for a prepared statement that was not executed yet.";
        /// Between `XA START` and `XA COMMIT` or `XA ROLLBACK`.
        Xa = "xa", "An XA transaction is in progress.";
        /// A user variable got a value that the text doesn't tell.
        UserVariable = "user_variable", "A user variable has a value that only the server knows.";
        /// SQL `PREPARE` without DEALLOCATE.
        TextStatement = "text_statement", "A statement prepared with SQL PREPARE exists.";
        /// A session variable outside [`crate::variables::TRACKED`] was set.
        UntrackedVariable = "untracked_variable", "A session variable was set whose value servers don't report.";
        /// `SET TRANSACTION` for the next transaction only.
        NextTransaction = "next_transaction", "SET TRANSACTION waits for the next transaction.";
        /// `SAVEPOINT` without autocommit, before the first statement of the transaction.
        Savepoint = "savepoint", "A savepoint waits for the first statement of its transaction.";
        /// `SET RESOURCE GROUP`.
        ResourceGroup = "resource_group", "SET RESOURCE GROUP was used.";
        /// `SET ROLE` among other statements of one text.
        Role = "role", "SET ROLE was used within a text of several statements.";
        /// COM_REGISTER_REPLICA, and for as long as a server sends its binlog.
        ReplicationStream = "replication_stream", "The connection is registered as a replica's, or a server sends its binlog on it.";
        /// The account's plugin is not about a password, so nobody but the client can log in with it.
        ClientLogin = "client_login", "Only the client itself can log in to its account, so there is no other connection for it.";
        /// A procedure was called, a moment ago.
        ProcedureCall = "procedure_call", "A procedure was called; whether it left a temporary table or other roles is asked behind it.";
        /// A procedure, a trigger or SQL EXECUTE changed session state.
        Unprovable = "unprovable", "A procedure, a trigger or EXECUTE changed session state in a way that can't be known.";
    }
}

impl PinReason {
    /// The bit of this reason in a set.
    pub(crate) const fn bit(self) -> u32 {
        1 << self as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique_and_bits_fit() {
        let labels: std::collections::BTreeSet<_> = PinReason::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(labels.len(), PinReason::ALL.len());
        assert!(PinReason::ALL.len() <= 32);
        assert!(PinReason::ALL.iter().all(|r| r.sentence().ends_with('.')));
    }
}
