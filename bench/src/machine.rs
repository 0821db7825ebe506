//! Where it was measured.
//!
//! Never here: names of hosts or people.

use std::fs;
use std::process::Command;
use std::thread;

use serde::{Deserialize, Serialize};

/// What stands for what can't be had.
pub const UNKNOWN: &str = "unknown";

/// What the figures depend on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many of it this program may use.
    pub cores: usize,
    /// Memory, GiB.
    pub memory: u64,
    /// The system and its version.
    pub kernel: String,
    /// Name and version of each program.
    pub programs: Vec<(String, String)>,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn here(programs: Vec<(String, String)>) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let system = rustix::system::uname();
        Self {
            processor: value(&read("/proc/cpuinfo"), "model name").unwrap_or(UNKNOWN).to_owned(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory: value(&read("/proc/meminfo"), "MemTotal")
                .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
                .map_or(0, |kibibytes| kibibytes.div_ceil(1 << 20)),
            kernel: format!("{} {}", system.sysname().to_string_lossy(), system.release().to_string_lossy()),
            programs,
        }
    }
}

/// Processes that ran or wanted to, on average of the last minute; 0 if the system does not say.
#[must_use]
pub fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// What follows the first `name :`.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

/// The first line of what a program says of its version.
#[must_use]
pub fn version(program: &std::path::Path, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or(UNKNOWN).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found() {
        let text = "processor\t: 0\nmodel name\t: A Fine One\nmodel name\t: Another\n";
        assert_eq!(value(text, "model name"), Some("A Fine One"));
        assert_eq!(value(text, "flags"), None);
    }
}
