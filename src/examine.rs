//! `sluice doctor`: logs in with Sluice's own accounts and has the doctor look. In a running Sluice behind the admin
//! API, or by itself from the configuration, before there is one.
//!
//! Never here: what is wrong with a server.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::config::Config;
use crate::control_login::ControlLogin;
use crate::controller::doctor::{self, Logins, Report};

/// An examination under way; `None`: another one is.
pub type Examining = Pin<Box<dyn Future<Output = Option<Report>> + Send>>;

/// Examines the members of the configuration that is in force.
pub type Examine = Arc<dyn Fn() -> Examining + Send + Sync>;

/// Examines all members now.
pub async fn examine(config: &Config) -> Report {
    let login = |account| Arc::new(ControlLogin::of(account, config));
    let logins = Logins {
        control: login(&config.accounts.control),
        replication: login(&config.accounts.replication),
        clone: config.accounts.clone.as_ref().map(|account| login(account) as _),
    };
    doctor::examine(&doctor::ask(config, &logins).await)
}

/// The same without a running Sluice. Fails if there can be no runtime.
pub fn examine_alone(config: &Config) -> std::io::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(examine(config)))
}

/// For the admin API: one examination at a time, of what `config` says then.
pub fn examiner(config: impl Fn() -> Config + Send + Sync + 'static) -> Examine {
    let (config, busy) = (Arc::new(config), Arc::new(Mutex::new(())));
    Arc::new(move || {
        let (config, busy) = (Arc::clone(&config), Arc::clone(&busy));
        Box::pin(async move {
            let _alone = busy.try_lock().ok()?;
            Some(examine(&config()).await)
        })
    })
}
