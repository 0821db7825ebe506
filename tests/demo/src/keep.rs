//! `--keep`: everything stays, with a light load, for people to try things.
//!
//! Never here: leaving anything behind after Ctrl-C.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use sluice_demo::load::{Load, LoadConfig};
use sluice_demo::stage::{SCHEMA, Stage};
use tokio::time::interval;

use crate::show::Show;

/// Clients of the light load.
const CLIENTS: usize = 8;
/// How often its numbers are shown.
const REFRESH: Duration = Duration::from_secs(1);
/// The longest that a load may run; afterwards only servers and Sluice stay.
const LONGEST: Duration = Duration::from_secs(3_600);

/// Says what can be tried and waits; Ctrl-C is handled by the caller.
pub(crate) async fn until_ctrl_c(show: &Show, stage: &Stage, binary: &Path) -> Result<(), Box<dyn Error>> {
    let app = stage.split();
    let mysql = stage.cluster.mysqld().path().with_file_name("mysql");
    let mysql = if mysql.exists() { mysql.display().to_string() } else { "mysql".into() };
    let binary = binary.display();
    show.line("");
    show.line("Everything keeps running. To connect as an application does:");
    show.line(&format!("  {mysql} -h127.0.0.1 -P{} -u{} -p{} {SCHEMA}", app.port, app.user, app.password));
    show.line("To look and to operate:");
    show.line(&format!("  export SLUICE_ADMIN={}", stage.admin().url()));
    show.line(&format!("  {binary} status"));
    show.line(&format!("  {binary} switchover"));
    show.line(&format!("  {binary} switchover --dry-run"));
    show.line(&format!("  {binary} sessions"));
    show.line(&format!("Its configuration: {}", stage.sluice.config().display()));
    show.line(&format!(
        "{CLIENTS} clients keep working, so that a switchover has somebody to disturb. Ctrl-C ends it all."
    ));
    stage.fresh_tables().await?;
    let mut config = LoadConfig::mixed(app, CLIENTS);
    config.longest = LONGEST;
    let load = Load::start(config)?;
    let mut told = 0;
    let mut ticks = interval(REFRESH);
    loop {
        ticks.tick().await;
        show.load("running", load.live());
        let bad = load.live().errors() + load.live().anomalies();
        if bad > told {
            show.line(&format!("the clients have seen {bad} errors by now"));
            told = bad;
        }
    }
}
