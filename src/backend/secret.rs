//! A client's password in memory, for logging in at instances on its behalf.
//!
//! Never here: a password that outlives its last owner, or that can be printed.

use std::sync::Arc;

use sluice_protocol::auth::{Credential, PasswordHash};

/// A password (or, where it may not be kept, its hash), shared by the sessions of one account and wiped when
/// the last of them lets go.
#[derive(Clone, Debug)]
pub struct Secret(Arc<Credential>);

impl Secret {
    /// Takes over a password or a hash.
    #[must_use]
    pub fn new(credential: impl Into<Credential>) -> Self {
        Self(Arc::new(credential.into()))
    }

    /// What to log in with.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.0
    }

    /// The hash of the password.
    #[must_use]
    pub fn hash(&self) -> PasswordHash {
        self.0.hash()
    }

    /// The same without the password itself: its hash.
    #[must_use]
    pub fn without_password(&self) -> Self {
        match self.credential() {
            Credential::Password(password) if password.is_empty() => self.clone(),
            Credential::Password(_) => Self::new(Credential::Hash(self.hash())),
            Credential::Hash(_) => self.clone(),
        }
    }

    /// Whether it is the empty password, which is no secret.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
