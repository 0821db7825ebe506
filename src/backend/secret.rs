//! A client's password in memory, for logging in at instances on its behalf.
//!
//! Never here: a password that outlives its last owner, or that can be printed.

use std::sync::Arc;

use sluice_protocol::auth::Password;

/// A password, shared by the sessions of one account and wiped when the last of them lets go.
#[derive(Clone, Debug)]
pub struct Secret(Arc<Password>);

impl Secret {
    /// Takes over a password.
    #[must_use]
    pub fn new(password: Password) -> Self {
        Self(Arc::new(password))
    }

    /// The password itself.
    #[must_use]
    pub fn password(&self) -> &Password {
        &self.0
    }
}
