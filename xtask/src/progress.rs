//! What a task tells: a spinner on a terminal, one plain line per step in a pipe.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::error::XtaskError;

/// Shows steps and their times.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
}

impl Progress {
    /// Looks whether anybody watches.
    pub fn new() -> Self {
        Progress {
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Runs one step and says how long it took.
    ///
    /// # Errors
    /// What the step gives.
    pub fn step<T>(
        &self,
        name: &str,
        work: impl FnOnce() -> Result<T, XtaskError>,
    ) -> Result<T, XtaskError> {
        let bar = ProgressBar::new_spinner();
        if self.terminal {
            bar.set_message(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
            println!("      … {name}");
        }
        let start = Instant::now();
        let result = work();
        bar.finish_and_clear();
        let seconds = start.elapsed().as_secs_f64();
        let mark = if result.is_ok() { "ok" } else { "FAIL" };
        println!("{mark:>7} {name}  {seconds:.1} s");
        result
    }

    /// A line of text.
    pub fn say(&self, text: &str) {
        println!("{text}");
    }

    /// Why the task ended.
    pub fn failure(&self, error: &XtaskError) {
        eprintln!("error: {error}");
    }
}
