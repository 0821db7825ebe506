//! Tells the program which compiler it was built with, since a budget holds for one compiler only.

use std::env;
use std::process::Command;

fn main() {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(rustc).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let target = env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=BUILT_WITH={} for {target}", version.unwrap_or_default());
    println!("cargo::rerun-if-changed=build.rs");
}
