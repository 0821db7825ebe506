//! The command line: `sluice run` and the verbs that talk to the admin API of a running Sluice.
//!
//! Exit codes: 0 done, 1 refused or failed (the reason is on stderr), 2 usage.
//!
//! Never here: a decision about the cluster, a connection to a MySQL server.
#![allow(clippy::print_stdout, reason = "printing is what this room is for")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, Problem};

#[derive(Debug, Parser)]
#[command(
    name = "sluice",
    version,
    about = "A MySQL-protocol-aware routing proxy with the failover controller inside"
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
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
}

/// Runs the command that was typed.
pub fn main() -> ExitCode {
    match Cli::parse().verb {
        Verb::Run { config: path } => match Config::load(&path) {
            Ok(config) => crate::run::run(config),
            Err(problems) => report(&path, &problems),
        },
        Verb::Check { file } => match Config::load(&file) {
            Ok(_) => ExitCode::SUCCESS,
            Err(problems) => report(&file, &problems),
        },
    }
}

fn report(path: &Path, problems: &[Problem]) -> ExitCode {
    for problem in problems {
        eprintln!("{}: {problem}", path.display());
    }
    ExitCode::FAILURE
}
