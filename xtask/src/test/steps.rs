//! The steps of a run, in the order in which they find mistakes soonest.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::builder::PossibleValuesParser;
use dawnkey_qemu_tests::{command, lab as vm_lab};

use super::count::{Count, cargo_test, closing};
use super::servers;
use crate::build::{self, Profile};
use crate::error::{XtaskError, io};
use crate::progress::Progress;
use crate::workspace::Workspace;
use crate::{corpus as recorded, fuzz, lab, tidy};

/// One step.
pub struct Step {
    /// Its name, for `--only`.
    pub name: &'static str,
    /// What it does; gives what it proved.
    pub run: fn(&Run<'_>) -> Result<Count, XtaskError>,
}

/// What steps work with.
pub struct Run<'a> {
    /// Where things lie.
    pub workspace: &'a Workspace,
    /// What watches.
    pub progress: &'a Progress,
    /// Whether machines boot with unoptimised programs.
    pub dev: bool,
}

/// All steps.
pub const ALL: &[Step] = &[
    Step {
        name: "fmt",
        run: fmt,
    },
    Step {
        name: "clippy",
        run: clippy,
    },
    Step {
        name: "deny",
        run: deny,
    },
    Step {
        name: "doc",
        run: doc,
    },
    Step {
        name: "unit",
        run: unit,
    },
    Step {
        name: "servers",
        run: servers::run,
    },
    Step {
        name: "corpus",
        run: corpus,
    },
    Step {
        name: "release",
        run: release,
    },
    Step {
        name: "tidy",
        run: tidy,
    },
    Step {
        name: "fuzz",
        run: fuzz,
    },
    Step {
        name: "vm",
        run: vm,
    },
];

/// Long enough for each fuzz target to catch a parser that panics on the first odd byte.
const FUZZ: fuzz::Options = fuzz::Options {
    seconds: 20,
    jobs: 2,
    targets: Vec::new(),
};

/// Names for the command line.
pub fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(ALL.iter().map(|step| step.name))
}

fn fmt(run: &Run<'_>) -> Result<Count, XtaskError> {
    logged(
        run.workspace,
        "fmt",
        run.workspace.cargo().args(["fmt", "--all", "--check"]),
    )?;
    Ok(Count::one())
}

fn clippy(run: &Run<'_>) -> Result<Count, XtaskError> {
    let mut cargo = run.workspace.cargo();
    cargo.args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]);
    logged(run.workspace, "clippy", &mut cargo)?;
    Ok(Count::one())
}

fn deny(run: &Run<'_>) -> Result<Count, XtaskError> {
    logged(
        run.workspace,
        "deny",
        run.workspace.cargo().args([
            "deny",
            "--all-features",
            "check",
            "bans",
            "licenses",
            "sources",
        ]),
    )?;
    Ok(Count::one())
}

fn doc(run: &Run<'_>) -> Result<Count, XtaskError> {
    let mut cargo = run.workspace.cargo();
    cargo
        .args([
            "doc",
            "--workspace",
            "--no-deps",
            "--all-features",
            "--locked",
        ])
        .env("RUSTDOCFLAGS", "-D warnings");
    logged(run.workspace, "doc", &mut cargo)?;
    Ok(Count::one())
}

/// Everything that needs no machine and no server. The harness crate is tested without its feature `vm`.
fn unit(run: &Run<'_>) -> Result<Count, XtaskError> {
    let mut cargo = run.workspace.cargo();
    cargo.args([
        "test",
        "--workspace",
        "--exclude",
        "dawnkey-qemu-tests",
        "--exclude",
        "dawnkey-server-tests",
        "--all-features",
        "--locked",
    ]);
    let mut count = cargo_test(&logged(run.workspace, "unit", &mut cargo)?)?;
    let mut cargo = run.workspace.cargo();
    cargo.args(["test", "-p", "dawnkey-qemu-tests", "--locked"]);
    count.add(cargo_test(&logged(
        run.workspace,
        "unit-harness",
        &mut cargo,
    )?)?);
    Ok(count)
}

/// Recorded evidence, where it is at hand; CI must have it.
fn corpus(run: &Run<'_>) -> Result<Count, XtaskError> {
    let dir = match recorded::evidence(run.workspace) {
        Ok(dir) => dir,
        Err(dir) if std::env::var_os("CI").is_some() => {
            let dir = dir.display();
            return Err(XtaskError::Usage(format!(
                "CI has no recorded evidence at {dir}"
            )));
        }
        Err(dir) => {
            let dir = dir.display();
            run.progress.say(&format!(
                "no recorded evidence at {dir}: nothing was judged"
            ));
            return Ok(Count::default());
        }
    };
    let program = recorded::build(run.workspace)?;
    let output = logged(run.workspace, "corpus", Command::new(program).arg(dir))?;
    closing(&output).ok_or_else(|| XtaskError::Usage("the corpus runner gave no count".to_owned()))
}

fn release(run: &Run<'_>) -> Result<Count, XtaskError> {
    build::release(run.workspace)?;
    Ok(Count::one())
}

/// After the release build, so that the binaries are looked into.
fn tidy(run: &Run<'_>) -> Result<Count, XtaskError> {
    Ok(Count {
        passed: tidy::run(run.workspace)?,
        ..Count::default()
    })
}

fn fuzz(run: &Run<'_>) -> Result<Count, XtaskError> {
    Ok(Count {
        passed: fuzz::run(run.workspace, &FUZZ, run.progress)?,
        ..Count::default()
    })
}

/// Boots machines. Each test's time is printed; libtest shows it behind an unstable flag only.
fn vm(run: &Run<'_>) -> Result<Count, XtaskError> {
    let profile = if run.dev {
        Profile::Dev
    } else {
        Profile::Release
    };
    let binaries = build::programs(run.workspace, profile)?;
    let dir = run.progress.step("images for the VM tests", || {
        lab::prepare(run.workspace, &binaries)
    })?;
    let mut cargo = run.workspace.cargo();
    cargo.args(["test", "-p", "dawnkey-qemu-tests", "--features", "vm"]);
    cargo.args(["--test", "*", "--locked", "--no-fail-fast"]);
    // For the test programs alone: in cargo's own environment it would rebuild everything.
    cargo.args([
        "--config",
        r#"target."cfg(all())".runner = ["env", "RUSTC_BOOTSTRAP=1"]"#,
    ]);
    cargo.args([
        "--",
        // Tests of one story wait for its one teller; machines take turns by themselves.
        "--test-threads=64",
        "-Z",
        "unstable-options",
        "--report-time",
        "--show-output",
    ]);
    cargo.env(vm_lab::VARIABLE, dir);
    let output = logged(run.workspace, "vm", &mut cargo)?;
    for line in output
        .lines()
        .filter(|line| is_result(line) || line.starts_with("measured: "))
    {
        run.progress.say(&format!("        {line}"));
    }
    cargo_test(&output)
}

/// A line of libtest about one test.
fn is_result(line: &str) -> bool {
    line.starts_with("test ") && line.contains(" ... ")
}

/// Runs a command with all output in a log file, and gives it.
pub(super) fn logged(
    workspace: &Workspace,
    step: &str,
    cargo: &mut Command,
) -> Result<String, XtaskError> {
    let dir = workspace.scratch("logs");
    fs::create_dir_all(&dir).map_err(io(format!("create {}", dir.display())))?;
    let path: PathBuf = dir.join(format!("{step}.log"));
    let create = || fs::File::create(&path).map_err(io(format!("create {}", path.display())));
    let out = create()?;
    let err = out.try_clone().map_err(io("duplicate a log file"))?;
    let line = command::line(cargo);
    let status = cargo
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .status()
        .map_err(io(format!("run {line}")))?;
    if status.success() {
        return Ok(command::tail(&path, usize::MAX));
    }
    Err(XtaskError::Step {
        step: step.to_owned(),
        log: path.display().to_string(),
        tail: command::tail(&path, 120),
    })
}
