//! Connections to instances: the byte stream, TLS, login, the first statement, and the limits.
//!
//! [`dial::Dialer`] is the only way to a new connection: one deadline over everything from the name to the
//! first answer, one permit per connection. Names are resolved at each dial. A login that only its client can
//! prove is handed over in the middle ([`handover::Handover`]).
//!
//! Never here: SQL semantics, a decision which instance to use, an answer to a client.

pub(crate) mod buffers;
pub mod dial;
pub mod direct;
mod first;
pub mod handover;
mod handshake;
pub mod identity;
pub mod login;
pub mod places;
pub mod pool;
pub mod secret;
pub mod socket;
pub mod stream;
mod tls;

pub use dial::{BackendConnection, DialError, Dialer, Phase, Target};
pub use first::{LoginCharset, tracker_statement};
pub use handover::Handover;
pub use identity::{Identities, Identity};
pub use login::BackendLogin;
pub use secret::Secret;
pub use stream::{Idle, PacketStream, ReadError, Stream};
pub use tls::CaError;
