//! The two bit sets of the protocol: capabilities (agreed once per connection) and status flags (told by the server
//! with every answer).
//!
//! They carry bits, also unknown ones, without judging them: what is offered or refused is decided by the caller.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, Sub};

macro_rules! flags {
    ($(#[$outer:meta])* $name:ident($bits:ty) { $($(#[$inner:meta])* $flag:ident = $value:expr;)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $name($bits);

        impl $name {
            $($(#[$inner])* pub const $flag: Self = Self($value);)*

            /// No flag.
            #[must_use]
            pub const fn empty() -> Self {
                Self(0)
            }

            /// From the number on the wire; unknown bits are kept.
            #[must_use]
            pub const fn from_bits(bits: $bits) -> Self {
                Self(bits)
            }

            /// The number on the wire.
            #[must_use]
            pub const fn bits(self) -> $bits {
                self.0
            }

            /// Whether every flag of `other` is set.
            #[must_use]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether at least one flag of `other` is set.
            #[must_use]
            pub const fn intersects(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// Both sets together; like `|`, usable in constants.
            #[must_use]
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }

        impl BitOr for $name {
            type Output = Self;
            fn bitor(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }

        impl BitOrAssign for $name {
            fn bitor_assign(&mut self, other: Self) {
                self.0 |= other.0;
            }
        }

        impl BitAnd for $name {
            type Output = Self;
            fn bitand(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }
        }

        /// The flags of `self` that are not in `other`.
        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut rest = self.0;
                let mut separator = "";
                $(if Self::$flag.0 & rest != 0 {
                    write!(f, "{separator}{}", stringify!($flag))?;
                    separator = "|";
                    rest &= !Self::$flag.0;
                })*
                if rest != 0 || separator.is_empty() {
                    write!(f, "{separator}{rest:#x}")?;
                }
                Ok(())
            }
        }
    };
}

flags! {
    /// What client and server agreed to speak (`CLIENT_*` of the manual), 32 bits.
    Capabilities(u32) {
        /// Set by every MySQL peer; cleared by MariaDB, which then uses the filler for further flags.
        LONG_PASSWORD = 1;
        /// Affected rows are counted as matched rows.
        FOUND_ROWS = 1 << 1;
        /// All flags of columns.
        LONG_FLAG = 1 << 2;
        /// A schema is named in the login.
        CONNECT_WITH_DB = 1 << 3;
        /// `schema.table.column` is not allowed.
        NO_SCHEMA = 1 << 4;
        /// The zlib compressed protocol.
        COMPRESS = 1 << 5;
        /// No meaning since 3.22.
        ODBC = 1 << 6;
        /// LOAD DATA LOCAL may ask the client for a file.
        LOCAL_FILES = 1 << 7;
        /// Spaces before a `(` are ignored.
        IGNORE_SPACE = 1 << 8;
        /// The protocol since 4.1; demanded of every peer.
        PROTOCOL_41 = 1 << 9;
        /// `interactive_timeout` instead of `wait_timeout`.
        INTERACTIVE = 1 << 10;
        /// TLS is offered, or asked for.
        SSL = 1 << 11;
        /// No meaning on the wire.
        IGNORE_SIGPIPE = 1 << 12;
        /// Status flags are sent in OK and EOF.
        TRANSACTIONS = 1 << 13;
        /// Former name of `PROTOCOL_41`; no meaning.
        RESERVED = 1 << 14;
        /// 20 byte nonce; the authentication data has its length before it.
        SECURE_CONNECTION = 1 << 15;
        /// Several statements in one COM_QUERY.
        MULTI_STATEMENTS = 1 << 16;
        /// Several result sets to a COM_QUERY.
        MULTI_RESULTS = 1 << 17;
        /// Several result sets to a COM_STMT_EXECUTE.
        PS_MULTI_RESULTS = 1 << 18;
        /// Authentication plugins are named.
        PLUGIN_AUTH = 1 << 19;
        /// Connection attributes follow in the login.
        CONNECT_ATTRS = 1 << 20;
        /// The authentication data of the login has a length-encoded length.
        PLUGIN_AUTH_LENENC_DATA = 1 << 21;
        /// The client can live in the sandbox of an expired password (1820).
        CAN_HANDLE_EXPIRED_PASSWORDS = 1 << 22;
        /// OK packets may carry session trackers.
        SESSION_TRACK = 1 << 23;
        /// No EOF packets: result sets end in an OK packet that begins with 0xFE.
        DEPRECATE_EOF = 1 << 24;
        /// The client may do without column definitions.
        OPTIONAL_RESULTSET_METADATA = 1 << 25;
        /// The zstd compressed protocol.
        ZSTD_COMPRESSION = 1 << 26;
        /// COM_QUERY and COM_STMT_EXECUTE carry attributes.
        QUERY_ATTRIBUTES = 1 << 27;
        /// Several authentication factors.
        MULTI_FACTOR_AUTHENTICATION = 1 << 28;
        /// Reserved for an extension of the capabilities.
        CAPABILITY_EXTENSION = 1 << 29;
        /// Client library's own; never sent.
        SSL_VERIFY_SERVER_CERT = 1 << 30;
        /// Client library's own; never sent.
        REMEMBER_OPTIONS = 1 << 31;
    }
}

flags! {
    /// The state of the session as the server tells it in OK and EOF packets (`SERVER_STATUS_*`), 16 bits.
    StatusFlags(u16) {
        /// A transaction is open.
        IN_TRANS = 0x0001;
        /// Autocommit is on.
        AUTOCOMMIT = 0x0002;
        /// Another result follows this one.
        MORE_RESULTS_EXISTS = 0x0008;
        /// The statement used no good index.
        NO_GOOD_INDEX_USED = 0x0010;
        /// The statement used no index.
        NO_INDEX_USED = 0x0020;
        /// A cursor is open: rows come with COM_STMT_FETCH.
        CURSOR_EXISTS = 0x0040;
        /// The last row of a cursor was sent.
        LAST_ROW_SENT = 0x0080;
        /// A schema was dropped.
        DB_DROPPED = 0x0100;
        /// Backslash is an ordinary character in strings.
        NO_BACKSLASH_ESCAPES = 0x0200;
        /// The columns of a prepared statement have changed.
        METADATA_CHANGED = 0x0400;
        /// The statement was slow.
        QUERY_WAS_SLOW = 0x0800;
        /// The result holds the OUT parameters of a procedure.
        PS_OUT_PARAMS = 0x1000;
        /// The open transaction is read-only.
        IN_TRANS_READONLY = 0x2000;
        /// Session trackers follow in this OK packet.
        SESSION_STATE_CHANGED = 0x4000;
    }
}

#[cfg(test)]
mod tests {
    use super::{Capabilities, StatusFlags};

    #[test]
    fn sets_combine_and_print() {
        let both = Capabilities::SSL | Capabilities::PROTOCOL_41;
        assert_eq!(both.bits(), 0x0a00);
        assert!(both.contains(Capabilities::SSL) && !both.contains(Capabilities::SSL | Capabilities::ODBC));
        assert!(both.intersects(Capabilities::SSL | Capabilities::ODBC));
        assert_eq!(both - Capabilities::SSL, Capabilities::PROTOCOL_41);
        assert_eq!(both & Capabilities::SSL, Capabilities::SSL);
        assert_eq!(format!("{both:?}"), "PROTOCOL_41|SSL");
        assert_eq!(format!("{:?}", StatusFlags::from_bits(0x8002)), "AUTOCOMMIT|0x8000");
        assert_eq!(format!("{:?}", StatusFlags::empty()), "0x0");
    }
}
