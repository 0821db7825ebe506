//! Taking a changed configuration file into the running process.
//!
//! The whole file is checked first, and everything that it names is read; a mistake anywhere changes nothing.
//! What takes effect at once does so for logins and connections that begin from then on: nobody is dropped.
//!
//! Never here: a setting that needs other parts of the process to be built anew.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::backend::Dialer;
use crate::config::{Config, Difference, TakesEffect, differences};
use crate::session::SessionContext;
use crate::session::login::LoginContext;

/// Reloads the file that the process was started with; one per process.
pub struct Reloader {
    path: PathBuf,
    /// Held by the reload under way.
    turn: Mutex<()>,
    /// Never held while the controller is asked: its thread reads this, too.
    running: Mutex<Config>,
    sessions: Arc<SessionContext>,
    dialer: Arc<Dialer>,
}

/// Asks for other instances and rules. The error says why not, and then nothing has changed.
pub type Regroup<'a> = dyn Fn(&Arc<Config>) -> Result<(), String> + 'a;

/// What a reload has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Every setting that differs from what the process runs with.
    pub differences: Vec<Difference>,
    /// The certificate that clients meet, if it is another one than before: the beginnings of both digests.
    pub certificate: Option<(String, String)>,
}

impl Reloaded {
    /// Lines for people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for Difference { setting, from, to, takes_effect } in &self.differences {
            let when = match takes_effect {
                TakesEffect::Now => "in effect",
                TakesEffect::AtRestart => "NEEDS A RESTART",
            };
            lines.push(format!("{setting}: {from} -> {to} ({when})"));
        }
        if let Some((from, to)) = &self.certificate {
            lines.push(format!("certificate for clients: {from} -> {to} (in effect)"));
        }
        if lines.is_empty() {
            lines.push("nothing has changed; certificates and secrets were read again".to_owned());
        }
        lines
    }
}

impl Reloader {
    /// For the process that runs with `config`, read from `path`.
    pub fn new(path: PathBuf, config: Config, sessions: Arc<SessionContext>, dialer: Arc<Dialer>) -> Self {
        Self { path, turn: Mutex::new(()), running: Mutex::new(config), sessions, dialer }
    }

    /// What the process runs with.
    pub fn config(&self) -> Config {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the file again and puts into effect what can be. Blocking. The error has every mistake, a line
    /// each, and then nothing has changed. `regroup` asks the controller to work with other instances and rules.
    pub fn reload(&self, regroup: &Regroup<'_>) -> Result<Reloaded, String> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let result = self.take_in(regroup);
        match &result {
            Ok(reloaded) => reloaded.lines().iter().for_each(|line| tracing::info!("reload: {line}")),
            Err(mistakes) => {
                mistakes.lines().for_each(|line| tracing::error!("reload refused: {line}"));
            }
        }
        result
    }

    fn take_in(&self, regroup: &Regroup<'_>) -> Result<Reloaded, String> {
        let running = self.config();
        let file = Config::load(&self.path).map_err(|problems| {
            let lines: Vec<String> =
                problems.iter().map(|problem| format!("{}: {problem}", self.path.display())).collect();
            lines.join("\n")
        })?;
        // The store stays where it is, whatever the file says now.
        let keys_of = Config { cluster: running.cluster.clone(), ..file.clone() };
        let login = LoginContext::check(&keys_of).map_err(|error| error.to_string());
        // Mode and paths need a restart; what the files hold does not.
        let tls = Dialer::check(&running.tls_instance).map_err(|error| error.to_string());
        let (login, tls) = match (login, tls) {
            (Ok(login), Ok(tls)) => (login, tls),
            (login, tls) => {
                let mistakes: Vec<String> = login.err().into_iter().chain(tls.err()).collect();
                return Err(mistakes.join("\n"));
            }
        };
        let differences = differences(&running, &file);
        let regrouped = Arc::new(running.regrouped(&file)?);
        // Before the controller lets anybody know of them.
        self.dialer.regroup(&regrouped);
        regroup(&regrouped)?;
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        *running = Config::clone(&regrouped);
        running.take_over(&file);
        let certificate = self.sessions.login.apply(login);
        self.sessions.apply(&running.sessions);
        self.dialer.apply(tls);
        Ok(Reloaded { differences, certificate })
    }
}
