//! The command line: `sluice run` and the verbs that talk to the admin API of a running Sluice.
//!
//! Exit codes: 0 done, 1 refused or failed (the reason is on stderr), 2 usage.
//!
//! Never here: a decision about the cluster, a connection to a MySQL server.
#![allow(clippy::print_stdout, reason = "printing is what this room is for")]

mod client;
mod doctor;
mod explain;
mod figures;
#[cfg(test)]
mod invented;
mod operation;
mod status;
mod tables;
mod verbs;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{Config, Problem, Promotion};
use crate::controller::grants::{self, Which};
use client::{CliError, Reach};

#[derive(Debug, Parser)]
#[command(
    name = "sluice",
    version,
    about = "A MySQL-protocol-aware routing proxy with the failover controller inside"
)]
struct Cli {
    #[command(flatten)]
    reach: Reach,
    /// How answers are printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text, global = true)]
    output: Output,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// The JSON of the admin API.
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the proxy and its controller.
    Run {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Check a configuration file and report every mistake at once.
    Check {
        /// The configuration file.
        file: PathBuf,
    },
    /// Print the statements that make Sluice's own accounts; run them on the primary. They hold the passwords.
    Grants {
        /// Only this account.
        #[arg(long = "for", value_enum)]
        which: Option<GrantsFor>,
        /// The configuration file.
        #[arg(long, default_value = "sluice.toml")]
        config: PathBuf,
    },
    /// Say what the servers lack: what, why, and the statement that mends it. Fails if something required is missing.
    Doctor {
        /// Ask the servers of this configuration file directly, without a running Sluice.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Show the cluster as a tree.
    Status,
    /// List the instances.
    Instances,
    /// List the client sessions and why they can't move.
    Sessions,
    /// Say where something would go, and why, without doing it.
    Explain {
        #[command(subcommand)]
        what: Explain,
    },
    /// List what happened to the cluster, latest last.
    History {
        /// Most entries.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Change the primary, planned, and follow the steps. Typed twice it shows the one under way.
    Switchover(SwitchoverArgs),
    /// Change the primary though the present one is lost or can't commit. Says what may be lost, and goes on only if
    /// that is nothing, or with --accept-loss.
    Failover(FailoverArgs),
    /// Send no new reads to an instance and let its sessions go.
    Drain(MarkArgs),
    /// Take a drain back.
    Undrain {
        /// Instance name.
        name: String,
    },
    /// Replace everything on a member by another member's data (CLONE), and follow how far it is. Typed twice it shows
    /// the one under way.
    Rebuild {
        /// The member that is filled; what it has is gone afterwards.
        name: String,
        /// Who gives its data; without it the best one is taken, a replica if possible.
        #[arg(long)]
        from: Option<String>,
        /// Go on though transactions that only this member has can't be copied into the store first.
        #[arg(long)]
        discard_own: bool,
    },
    /// Leave an instance to somebody who works on it: no reads, never the primary, no acknowledgements where the
    /// others suffice, its replication left alone.
    Maintenance(MarkArgs),
    /// Keep an instance whose data are in doubt out of everything.
    Quarantine(MarkArgs),
    /// Take any mark of an instance back.
    Clear {
        /// Instance name.
        name: String,
    },
    /// Have another promotion rule for an instance than the configuration says.
    Promotion {
        /// Instance name.
        name: String,
        /// The rule, or that of the configuration again.
        #[arg(value_enum)]
        rule: Rule,
        #[command(flatten)]
        terms: TermsArgs,
    },
    /// Promote and rebuild nobody by itself until `sluice resume`; switchovers and failovers that somebody asks for are done.
    Pause(TermsArgs),
    /// Take a pause back.
    Resume,
    /// Read the configuration file again: check it, show what differs, apply what can be without a restart.
    Reload,
    /// Take the cluster as it is, with this primary, into a new record.
    Adopt {
        /// The instance that is the primary.
        #[arg(long)]
        primary: String,
    },
}

#[derive(Debug, Subcommand)]
enum Explain {
    /// Who would become the primary if the present one were lost now, and why not the others.
    Failover,
    /// Where a statement would go from each listener, why, and what it would pin. Nothing is executed.
    Route {
        /// The statement.
        statement: String,
        /// The session's sql_mode, where it changes how quotes and backslashes read.
        #[arg(long, default_value = "")]
        sql_mode: String,
        /// The session's character_set_client.
        #[arg(long, default_value = "")]
        charset: String,
        /// The session's schema, where stored functions are called without theirs.
        #[arg(long, default_value = "")]
        schema: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum GrantsFor {
    Control,
    Replication,
    Clone,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Rule {
    /// First choice.
    Prefer,
    /// No opinion.
    Neutral,
    /// Only if nothing better is there.
    PreferNot,
    /// Never.
    MustNot,
    /// As the configuration says.
    Configured,
}

impl Rule {
    fn promotion(self) -> Option<Promotion> {
        match self {
            Self::Prefer => Some(Promotion::Prefer),
            Self::Neutral => Some(Promotion::Neutral),
            Self::PreferNot => Some(Promotion::PreferNot),
            Self::MustNot => Some(Promotion::MustNot),
            Self::Configured => None,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Leftover {
    Abort,
    Kill,
}

#[derive(Debug, Args)]
struct SwitchoverArgs {
    /// Target instance; without it the best one is taken.
    #[arg(long)]
    to: Option<String>,
    /// Only say what would be done, and which sessions would be hurt and why.
    #[arg(long)]
    dry_run: bool,
    /// How long open transactions may take to end, such as 2s.
    #[arg(long, value_parser = humantime::parse_duration)]
    drain: Option<Duration>,
    /// What happens to what is still open then.
    #[arg(long, value_enum)]
    on_leftover: Option<Leftover>,
    /// How long to wait for blockers to go away, such as 10m.
    #[arg(long, value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
    /// Refuse unless this is the epoch.
    #[arg(long)]
    expect_epoch: Option<u64>,
}

#[derive(Debug, Args)]
struct MarkArgs {
    /// Instance name.
    name: String,
    #[command(flatten)]
    terms: TermsArgs,
}

#[derive(Debug, Args)]
struct TermsArgs {
    /// Why, for whoever looks at the status.
    #[arg(long)]
    reason: Option<String>,
    /// Ends by itself after this time, such as 1h.
    #[arg(long = "for", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
}

#[derive(Debug, Args)]
struct FailoverArgs {
    /// Target instance; without it the best one is taken.
    #[arg(long)]
    to: Option<String>,
    /// Go on though committed transactions may be lost. What is lost is said, and kept in the history.
    #[arg(long)]
    accept_loss: bool,
}

/// Runs the command that was typed. Usage errors end the process with 2, by clap.
pub fn main() -> ExitCode {
    let Cli { reach, output, verb } = Cli::parse();
    let done = match verb {
        Verb::Run { config } => return with_config(&config, |read| crate::run::run(read, &config)),
        Verb::Check { file } => return with_config(&file, |_| ExitCode::SUCCESS),
        Verb::Grants { which, config } => return with_config(&config, |config| print_grants(&config, which)),
        Verb::Doctor { config: Some(path) } => {
            return with_config(&path, |config| print_done(verbs::doctor_alone(&config, output)));
        }
        Verb::Doctor { config: None } => verbs::ask_doctor(&reach, output),
        Verb::Status => verbs::status(&reach, output),
        Verb::Instances => verbs::instances(&reach, output),
        Verb::Sessions => verbs::sessions(&reach, output),
        Verb::Explain { what: Explain::Failover } => verbs::explain_failover(&reach, output),
        Verb::Explain { what: Explain::Route { statement, sql_mode, charset, schema } } => {
            verbs::explain_route(&reach, output, &statement, &sql_mode, &charset, &schema)
        }
        Verb::History { limit } => verbs::history(&reach, output, limit),
        Verb::Switchover(args) => verbs::switchover(&reach, output, args),
        Verb::Failover(args) => verbs::failover(&reach, output, &args),
        Verb::Drain(args) => verbs::mark(&reach, output, "drain", &args),
        Verb::Maintenance(args) => verbs::mark(&reach, output, "maintenance", &args),
        Verb::Quarantine(args) => verbs::mark(&reach, output, "quarantine", &args),
        Verb::Undrain { name } => verbs::unmark(&reach, output, "undrain", &name),
        Verb::Clear { name } => verbs::unmark(&reach, output, "clear", &name),
        Verb::Promotion { name, rule, terms } => verbs::promotion(&reach, output, &name, rule, &terms),
        Verb::Pause(terms) => verbs::pause(&reach, output, &terms),
        Verb::Resume => verbs::resume(&reach, output),
        Verb::Rebuild { name, from, discard_own } => {
            verbs::rebuild(&reach, output, &name, from.as_deref(), discard_own)
        }
        Verb::Reload => verbs::reload(&reach, output),
        Verb::Adopt { primary } => verbs::adopt(&reach, output, &primary),
    };
    print_done(done)
}

fn print_done(done: Result<(), CliError>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluice: {error}");
            ExitCode::FAILURE
        }
    }
}

fn with_config(path: &Path, then: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    match Config::load(path) {
        Ok(config) => then(config),
        Err(problems) => report(path, &problems),
    }
}

fn report(path: &Path, problems: &[Problem]) -> ExitCode {
    for problem in problems {
        eprintln!("{}: {problem}", path.display());
    }
    ExitCode::FAILURE
}

fn print_grants(config: &Config, which: Option<GrantsFor>) -> ExitCode {
    let which = which.map(|which| match which {
        GrantsFor::Control => Which::Control,
        GrantsFor::Replication => Which::Replication,
        GrantsFor::Clone => Which::Clone,
    });
    for statement in grants::statements(&config.accounts, which) {
        println!("{statement};");
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn documented_lines_parse() {
        for line in [
            "sluice run --config sluice.toml",
            "sluice check sluice.toml",
            "sluice grants --for control",
            "sluice status -o json",
            "sluice doctor -o json",
            "sluice doctor --config sluice.toml",
            "sluice switchover --to db2 --dry-run --drain 2s --on-leftover kill --wait 10m --expect-epoch 3",
            "sluice drain db2 --reason disk --for 1h",
            "sluice promotion db2 must-not --reason disk --for 1h",
            "sluice promotion db2 configured",
            "sluice maintenance db2 --reason disk --for 1h",
            "sluice quarantine db2",
            "sluice clear db2",
            "sluice pause --for 30m --reason upgrade",
            "sluice resume",
            "sluice undrain db2 --admin http://127.0.0.1:1 --token-file t",
            "sluice rebuild db3 --from db2 --discard-own",
            "sluice adopt --primary db1",
            "sluice reload -o json",
            "sluice history --limit 5",
            "sluice explain failover",
            "sluice explain route TRUNCATE --sql-mode ANSI_QUOTES --schema shop -o json",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap();
        }
        let usage = Cli::try_parse_from(["sluice", "switchover", "--drain", "soon"]).unwrap_err();
        assert_eq!(usage.exit_code(), 2);
    }
}
