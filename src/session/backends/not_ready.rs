//! Why a connection could not be brought to where its session needs it.
//!
//! Never here: what becomes of the session.

use sluice_protocol::ErrPacket;
use thiserror::Error;

use crate::backend::DialError;

/// Why a connection could not be brought to where the session needs it. What is large is boxed: every future on the way
/// makes room for it.
#[derive(Debug, Error)]
pub(crate) enum NotReady {
    /// It could not be opened.
    #[error(transparent)]
    Dial(Box<DialError>),
    /// It broke, or did not answer in time.
    #[error("the connection to the instance was lost")]
    Lost,
    /// What came before the command was refused, and the command may have run without it.
    #[error("the server refused what it had accepted before")]
    RefusedFirst,
    /// The session's schema is not there.
    #[error("the schema is gone: {}", String::from_utf8_lossy(&.0.message))]
    NoSchema(Box<ErrPacket<'static>>),
    /// The client has closed its connection while a place was waited for.
    #[error("the client is gone")]
    ClientGone,
    /// Nothing leads from what the connection has to what the session needs.
    #[error("the connection can't take the session's state")]
    Unfit,
    /// The server refused to take the session's state, or to prepare a statement again.
    #[error("the server refused the session's state: {} {}", .0.code, String::from_utf8_lossy(&.0.message))]
    Refused(Box<ErrPacket<'static>>),
}

impl From<DialError> for NotReady {
    fn from(error: DialError) -> Self {
        Self::Dial(Box::new(error))
    }
}

impl NotReady {
    /// What the server said to the login.
    pub(crate) fn refused_login(&self) -> Option<&ErrPacket<'static>> {
        if let Self::Dial(error) = self
            && let DialError::Server(refusal) = &**error
        {
            return Some(refusal);
        }
        None
    }
}

/// A connection whose state could not be set for our own purposes is of no more use; but a schema that is gone
/// is the client's to hear of.
pub(super) fn unsettled(error: NotReady) -> NotReady {
    match error {
        NotReady::NoSchema(error) => NotReady::NoSchema(error),
        NotReady::Refused(_)
        | NotReady::RefusedFirst
        | NotReady::Unfit
        | NotReady::ClientGone
        | NotReady::Lost
        | NotReady::Dial(_) => NotReady::Lost,
    }
}
