//! A whole stage: real servers, the accounts that `sluice grants` prints, replication, and Sluice in front.
//!
//! Never here: a privilege that `sluice grants` does not print. If Sluice lacks one, this must fail.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use sluice_cluster::{Accounts, Cluster, ClusterBuilder, ClusterError, SluiceProcess};

use crate::admin::Admin;
use crate::login::Login;
use crate::tables;
use crate::verify::{self, Server};

/// Schema of the application's account in every cluster.
pub const SCHEMA: &str = "app";

/// Running servers with a running Sluice. Everything ends with it.
#[derive(Debug)]
pub struct Stage {
    /// Sluice; declared first, so that it ends first.
    pub sluice: SluiceProcess,
    /// The servers; the first one is the primary at the start.
    pub cluster: Cluster,
}

/// The stage can't be set.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The servers or Sluice did not start.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The load's tables could not be made through Sluice.
    #[error("making the tables: {0}")]
    Tables(#[from] mysql_async::Error),
    /// A server could not be asked whether it has them.
    #[error(transparent)]
    Verify(#[from] verify::VerifyError),
    /// A server did not get them.
    #[error("{0}")]
    Late(String),
    /// `sluice grants` could not be run.
    #[error("{command}: {source}")]
    Run {
        /// What was run.
        command: String,
        /// Why it did not start.
        source: std::io::Error,
    },
    /// `sluice grants` failed or printed nothing.
    #[error("{command} ended with {status}: {output}")]
    Grants {
        /// What was run.
        command: String,
        /// Its exit status.
        status: String,
        /// What it printed.
        output: String,
    },
}

impl Stage {
    /// Starts the servers that `plan` describes, replication with db1 as primary, and Sluice from `binary`, its
    /// configuration changed by `toml`.
    pub async fn start(binary: &Path, plan: ClusterBuilder, toml: &str) -> Result<Self, StageError> {
        let cluster = plan.start().await?;
        let accounts = accounts(binary, cluster.folder()).await?;
        cluster.setup_replication(0, &accounts).await?;
        let sluice = SluiceProcess::builder(binary).accounts(&accounts).toml(toml).start(&cluster).await?;
        Ok(Self { sluice, cluster })
    }

    /// Makes the load's tables, through Sluice, and waits until every server has them: the load's first reads
    /// may go to any of them.
    pub async fn fresh_tables(&self) -> Result<(), StageError> {
        tables::create(&self.split(), SCHEMA).await?;
        let late = verify::settled(&self.servers()).await?;
        if late.is_empty() { Ok(()) } else { Err(StageError::Late(late.join("; "))) }
    }

    /// The application's account through the split port.
    pub fn split(&self) -> Login {
        self.app().at_port(self.sluice.ports().split)
    }

    /// The application's account on the server at `index`, going around Sluice.
    pub fn direct(&self, index: usize) -> Login {
        self.app().at_port(self.cluster.node(index).port())
    }

    /// All servers, as [`crate::verify::verify`] takes them.
    pub fn servers(&self) -> Vec<Server> {
        let server = |node: &sluice_cluster::Node| Server {
            name: node.name().into(),
            login: self.app().at_port(node.port()),
        };
        self.cluster.nodes().iter().map(server).collect()
    }

    /// Sluice's admin port.
    pub fn admin(&self) -> Admin {
        Admin::new(&format!("127.0.0.1:{}", self.sluice.ports().admin))
    }

    fn app(&self) -> Login {
        let app = sluice_cluster::Login::app();
        Login::local(0, &app.user, &app.password).in_database(SCHEMA)
    }
}

/// Sluice's accounts, with the statements that `sluice grants` prints for them.
pub async fn accounts(binary: &Path, folder: &Path) -> Result<Accounts, StageError> {
    let control = sluice_cluster::Login::new("sluice", "sluice-password");
    let replication = sluice_cluster::Login::new("repl", "repl-password");
    let config = grants_config(folder, &control, &replication)?;
    let command = format!("{} grants --config {}", binary.display(), config.display());
    let mut grants = std::process::Command::new(binary);
    grants.arg("grants").arg("--config").arg(&config).stdin(Stdio::null());
    let failed = |source| StageError::Run { command: command.clone(), source };
    let output = tokio::task::spawn_blocking(move || grants.output())
        .await
        .map_err(|lost| failed(std::io::Error::other(lost)))?
        .map_err(failed)?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let statements = statements(&printed);
    if !output.status.success() || statements.is_empty() {
        let output_text = printed + &String::from_utf8_lossy(&output.stderr);
        return Err(StageError::Grants { command, status: output.status.to_string(), output: output_text });
    }
    Ok(Accounts::new(control, replication, statements))
}

/// The least that Sluice accepts as a configuration; only the accounts matter for `sluice grants`.
fn grants_config(
    folder: &Path,
    control: &sluice_cluster::Login,
    replication: &sluice_cluster::Login,
) -> Result<PathBuf, StageError> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join("grants.toml");
    let text = format!(
        "[cluster]\nname = 'test'\nstore = 'file://{}/grants-store'\n\
         [[instance]]\nname = 'db1'\naddress = '127.0.0.1:3306'\n\
         [accounts.control]\nuser = '{}'\npassword = '{}'\n\
         [accounts.replication]\nuser = '{}'\npassword = '{}'\n\
         [listen]\nsplit = '127.0.0.1:4306'\n",
        folder.display(),
        control.user,
        control.password,
        replication.user,
        replication.password
    );
    let write = || {
        std::fs::write(&path, "")?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        std::fs::write(&path, text)
    };
    let command = format!("writing {}", path.display());
    write().map_err(|source| StageError::Run { command, source })?;
    Ok(path)
}

/// The statements of a script: comments and empty lines go, `;` at the end of a line ends a statement.
fn statements(script: &str) -> Vec<String> {
    let code: Vec<&str> =
        script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("--")).collect();
    let whole = code.join("\n");
    whole
        .split(";\n")
        .map(|statement| statement.trim_end_matches(';').trim().to_owned())
        .filter(|statement| !statement.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::statements;

    #[test]
    fn a_script_is_split_at_semicolons_that_end_lines() {
        let script =
            "-- why\nCREATE USER 'a'@'%' IDENTIFIED BY 'x;y';\n\nGRANT SELECT\n  ON *.* TO 'a'@'%';\n";
        assert_eq!(
            statements(script),
            ["CREATE USER 'a'@'%' IDENTIFIED BY 'x;y'", "GRANT SELECT\nON *.* TO 'a'@'%'"]
        );
    }
}
