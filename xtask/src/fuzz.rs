//! Runs the fuzz targets of `fuzz/` for a while each, several at a time, and says what they came to.

use std::process::{Command, Stdio};
use std::sync::Mutex;

use dawnkey_qemu_tests::command;

use crate::error::{XtaskError, io};
use crate::progress::Progress;
use crate::workspace::Workspace;

/// What to run.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Seconds per target
    #[arg(long, default_value_t = 60)]
    pub seconds: u32,
    /// Targets that run at the same time
    #[arg(long, default_value_t = 2)]
    pub jobs: usize,
    /// Only this target; may be given several times
    #[arg(long = "target", value_name = "NAME")]
    pub targets: Vec<String>,
}

/// What a target came to.
#[derive(Debug, PartialEq, Eq)]
struct Figures {
    target: String,
    /// Inputs tried.
    runs: u64,
    /// Edges reached.
    coverage: u64,
}

/// Runs the targets, prints a line for each, and gives their number.
///
/// # Errors
/// [`XtaskError::Usage`] for a target that does not exist, [`XtaskError::Step`] with libFuzzer's words when one
/// finds something.
pub fn run(
    workspace: &Workspace,
    options: &Options,
    progress: &Progress,
) -> Result<usize, XtaskError> {
    let targets = chosen(targets(workspace)?, &options.targets)?;
    progress.step("build the fuzz targets", || {
        let mut build = cargo_fuzz(workspace);
        build.args(["build", "--sanitizer", "none"]);
        Ok(command::run(&mut build).map(|_| ())?)
    })?;
    let name = format!(
        "fuzz {} targets for {} s each, {} at a time",
        targets.len(),
        options.seconds,
        options.jobs
    );
    let figures = progress.step(&name, || all(workspace, &targets, options))?;
    for one in &figures {
        progress.say(&format!(
            "        {:18} {:>12} runs, {:>6} edges",
            one.target, one.runs, one.coverage
        ));
    }
    Ok(figures.len())
}

fn targets(workspace: &Workspace) -> Result<Vec<String>, XtaskError> {
    let list = command::run(cargo_fuzz(workspace).arg("list"))?;
    let targets: Vec<String> = list.split_whitespace().map(str::to_owned).collect();
    if targets.is_empty() {
        return Err(XtaskError::Usage("fuzz/ has no targets".to_owned()));
    }
    Ok(targets)
}

/// The wanted targets, or all of them if none is named.
fn chosen(known: Vec<String>, wanted: &[String]) -> Result<Vec<String>, XtaskError> {
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(name)) {
        let known = known.join(", ");
        return Err(XtaskError::Usage(format!(
            "there is no fuzz target {unknown:?}; there are {known}"
        )));
    }
    Ok(if wanted.is_empty() {
        known
    } else {
        wanted.to_vec()
    })
}

fn all(
    workspace: &Workspace,
    targets: &[String],
    options: &Options,
) -> Result<Vec<Figures>, XtaskError> {
    let waiting = Mutex::new(targets.iter());
    let next = || waiting.lock().ok()?.next();
    let work = || -> Result<Vec<Figures>, XtaskError> {
        let mut done = Vec::new();
        while let Some(target) = next() {
            done.push(one(workspace, target, options.seconds)?);
        }
        Ok(done)
    };
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs.max(1))
            .map(|_| scope.spawn(work))
            .collect();
        workers.into_iter().map(|worker| worker.join()).collect()
    });
    let mut figures = Vec::new();
    for outcome in outcomes {
        let broke_off = |_| XtaskError::Usage("a fuzz worker broke off".to_owned());
        figures.extend(outcome.map_err(broke_off)??);
    }
    figures.sort_by(|a, b| a.target.cmp(&b.target));
    Ok(figures)
}

fn one(workspace: &Workspace, target: &str, seconds: u32) -> Result<Figures, XtaskError> {
    let limit = format!("-max_total_time={seconds}");
    let mut fuzz = cargo_fuzz(workspace);
    fuzz.args(["run", "--sanitizer", "none", target, "--", &limit]);
    fuzz.args(["-rss_limit_mb=1024", "-timeout=10", "-print_final_stats=1"]);
    let output = fuzz
        .stdin(Stdio::null())
        .output()
        .map_err(io(format!("run {}", command::line(&fuzz))))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let lines: Vec<&str> = said.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(40)..);
        return Err(XtaskError::Step {
            step: format!("fuzz {target}"),
            log: format!("fuzz/artifacts/{target}"),
            tail: tail.unwrap_or_default().join("\n"),
        });
    }
    figures(target, &said).ok_or_else(|| {
        XtaskError::Usage(format!("libFuzzer printed no figures for target {target}"))
    })
}

/// Reads libFuzzer's closing words: `#123  DONE   cov: 45 ft: …` and `stat::number_of_executed_units: 123`.
fn figures(target: &str, said: &str) -> Option<Figures> {
    let number = |text: &str| text.split_whitespace().next()?.parse::<u64>().ok();
    let done = said.lines().rev().find(|line| line.contains("DONE"))?;
    let runs = said
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    Some(Figures {
        target: target.to_owned(),
        runs: number(runs)?,
        coverage: number(done.split_once("cov: ")?.1)?,
    })
}

/// Without a sanitizer: the fuzzed crates' parsers have no unsafe code, so it would find nothing, and
/// the pinned compiler needs no unstable flag. Debug assertions and overflow checks are on.
fn cargo_fuzz(workspace: &Workspace) -> Command {
    let mut cargo = workspace.cargo();
    cargo.arg("fuzz");
    cargo
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_the_closing_words_of_libfuzzer() {
        let said = "#2\tINITED cov: 3\n#1048\tDONE   cov: 412 ft: 900 corp: 4/5b\n\
                    stat::number_of_executed_units: 1048\n";
        let found = figures("header", said).unwrap();
        assert_eq!((found.runs, found.coverage), (1048, 412));
        assert_eq!(figures("header", "#2\tINITED cov: 3\n"), None);
    }

    #[test]
    fn refuses_a_target_that_does_not_exist() {
        let known = vec!["header".to_owned(), "quote".to_owned()];
        let error = chosen(known.clone(), &["heder".to_owned()]).unwrap_err();
        assert!(matches!(error, XtaskError::Usage(text) if text.contains("header, quote")));
        assert_eq!(chosen(known.clone(), &[]).unwrap(), known);
    }
}
