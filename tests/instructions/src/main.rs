//! Counts how many instructions a statement takes in the pure crates, and holds that to the committed budget.
//!
//! It runs itself under valgrind, which counts the same whatever else the machine does. Each script is run twice, with more
//! and with fewer statements: what is done once, such as starting the program, is in both and drops out.
//!
//! It must never open a socket, start a server or look at a clock.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

mod budget;
mod scripts;
mod session;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use budget::{Budget, Verdict};

/// Statements of the shorter run: tables are filled, buffers have their sizes.
const BEFORE: usize = 1_000;
/// Statements that are counted.
const COUNTED: usize = 10_000;
/// The compiler and the target of this very program.
const BUILT_WITH: &str = env!("BUILT_WITH");

const USAGE: &str = "usage: instructions check|write VALGRIND BUDGET | instructions run SCRIPT STATEMENTS";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["run", script, statements] => run(script, statements.parse()?).map(|()| ExitCode::SUCCESS),
        ["check", valgrind, budget] => check(valgrind, budget),
        ["write", valgrind, budget] => write(valgrind, budget).map(|()| ExitCode::SUCCESS),
        _ => Err(USAGE.into()),
    }
}

/// What is counted.
fn run(name: &str, statements: usize) -> Result<(), Box<dyn Error>> {
    let scripts = scripts::all();
    let script = scripts.iter().find(|script| script.name == name).ok_or("no such script")?;
    Ok(script.run(statements).ok_or("a statement did not go its way")?)
}

fn check(valgrind: &str, file: &str) -> Result<ExitCode, Box<dyn Error>> {
    let budget: Budget = fs::read_to_string(file)?.parse()?;
    let verdict = budget.judge(&count(valgrind)?);
    println!("{verdict}");
    Ok(if verdict.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write(valgrind: &str, file: &str) -> Result<(), Box<dyn Error>> {
    let counted = count(valgrind)?;
    if let Ok(before) = fs::read_to_string(file).unwrap_or_default().parse::<Budget>() {
        println!("{}", Verdict::table(&before, &counted));
    }
    Ok(fs::write(file, counted.to_string())?)
}

/// Instructions per statement of all scripts.
fn count(valgrind: &str) -> Result<Budget, Box<dyn Error>> {
    let program = std::env::current_exe()?;
    let mut counted = Budget::new(BUILT_WITH);
    for script in scripts::all() {
        let before = under(valgrind, &program, script.name, BEFORE)?;
        let all = under(valgrind, &program, script.name, BEFORE + COUNTED)?;
        counted.add(script.name, all.saturating_sub(before) / COUNTED as u64);
    }
    Ok(counted)
}

/// Instructions of one run.
fn under(valgrind: &str, program: &Path, script: &str, statements: usize) -> Result<u64, Box<dyn Error>> {
    let figures = program.with_extension(format!("{}.figures", std::process::id()));
    let mut file = std::ffi::OsString::from("--cachegrind-out-file=");
    file.push(&figures);
    let output = Command::new(valgrind)
        .args(["--tool=cachegrind", "--cache-sim=no"])
        .arg(file)
        .arg(program)
        .args(["run", script, &statements.to_string()])
        .output()
        .map_err(|error| format!("{valgrind}: {error}"))?;
    let text = fs::read_to_string(&figures);
    _ = fs::remove_file(&figures);
    if !output.status.success() {
        return Err(format!("{script}: {}{}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = text?;
    let sum = text.lines().find_map(|line| line.strip_prefix("summary: "));
    Ok(sum.ok_or("valgrind gave no summary")?.trim().parse()?)
}
