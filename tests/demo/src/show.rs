//! What a person sees: a moving line on a terminal, plain lines elsewhere.
//!
//! Never here: deciding what is worth showing.

use std::error::Error;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use sluice_demo::load::Live;

/// How often the moving line turns.
const TURN: Duration = Duration::from_millis(100);

/// The display.
pub(crate) struct Show {
    bar: Option<ProgressBar>,
}

impl Show {
    /// For this process's standard output.
    pub(crate) fn new() -> Self {
        let bar = std::io::stdout().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TURN);
            bar
        });
        Self { bar }
    }

    /// A line that stays.
    #[allow(clippy::print_stdout)] // this is the demo's output
    pub(crate) fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| println!("{text}")),
            None => println!("{text}"),
        }
    }

    /// What goes on now; only a terminal shows it.
    pub(crate) fn status(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        }
    }

    /// How the load is doing.
    pub(crate) fn load(&self, phase: &str, live: &Live) {
        self.status(&format!(
            "{phase}: {} statements, {} writes acknowledged, {} errors",
            live.statements(),
            live.acknowledged(),
            live.errors() + live.anomalies()
        ));
    }

    /// Takes the moving line away.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.set_message("");
        }
    }

    /// Says why the demo could not be shown.
    #[allow(clippy::print_stderr)]
    pub(crate) fn failed(&self, error: &dyn Error) -> ExitCode {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("demo: {error}");
        ExitCode::FAILURE
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
