//! A whole fleet: the volumes of an inventory, several nodes at once, one line for each, and a state file that makes a run
//! that broke off go on.

use super::Source;
use super::one::{Terms, open};
use crate::files;
use crate::outcome::{Exit, Failure};
use crate::output::{self, Output};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use uuid::Uuid;

/// How a fleet is opened.
#[derive(Debug, Args)]
pub(super) struct FleetArgs {
    /// Open the volumes of an inventory
    #[arg(long, requires_all = ["inventory", "yes"])]
    all: bool,
    /// With --all: TOML with `[[node]]` sections: address, volumes
    #[arg(long, value_name = "FILE", requires = "all")]
    inventory: Option<PathBuf>,
    /// With --all: what is open already; made if absent
    #[arg(
        long,
        value_name = "FILE",
        default_value = "recover.state",
        requires = "all"
    )]
    state: PathBuf,
    /// With --all: nodes at once
    #[arg(long, value_name = "N", default_value = "4", requires = "all", value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: u8,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inventory {
    node: Vec<Node>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    /// Where it listens, HOST:PORT.
    address: String,
    /// In the order in which the node opens them.
    volumes: Vec<Uuid>,
}

/// One volume's end, a line of the state file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ended {
    volume: Uuid,
    node: String,
    /// `opened`, `before` (by an earlier run) or `failed`.
    outcome: String,
    /// Why it is not open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Summary {
    opened: usize,
    before: usize,
    failed: usize,
    volumes: Vec<Ended>,
}

/// The state file and what it says.
struct State {
    file: Mutex<File>,
    path: PathBuf,
    open: BTreeSet<Uuid>,
}

impl FleetArgs {
    /// Runs it.
    pub(super) fn run(
        &self,
        terms: &Terms<'_>,
        source: &Source,
        output: Output,
    ) -> Result<Exit, Failure> {
        let Some(path) = &self.inventory else {
            let right = "NODE, --request FILE or --all";
            return Err(Failure::usage(
                "recover: which node",
                "the command line",
                right,
            ));
        };
        let nodes = inventory(path)?;
        let state = State::open(&self.state)?;
        let total: usize = nodes.iter().map(|node| node.volumes.len()).sum();
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let ended = Mutex::new(Vec::new());
        let work = || -> Result<(), Failure> {
            while let Some(node) = nodes.get(next.fetch_add(1, Ordering::Relaxed)) {
                for one in state.node(terms, source, node)? {
                    let number = done.fetch_add(1, Ordering::Relaxed) + 1;
                    let why = one.error.as_deref().unwrap_or_default();
                    let line = format!(
                        "{number} of {total}: {} {}: {} {why}",
                        one.node, one.volume, one.outcome
                    );
                    output::note(line.trim_end());
                    ended.lock().unwrap_or_else(|e| e.into_inner()).push(one);
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.parallel).map(|_| scope.spawn(work)).collect();
            let mut outcome = Ok(());
            for worker in workers {
                let ended = worker.join().unwrap_or_else(|_| {
                    Err(Failure::local(
                        "a worker broke off",
                        "this machine",
                        "running it again",
                    ))
                });
                outcome = outcome.and(ended);
            }
            outcome
        })?;
        let mut volumes = ended.into_inner().unwrap_or_else(|e| e.into_inner());
        volumes.sort_by(|a, b| (&a.node, a.volume).cmp(&(&b.node, b.volume)));
        let count = |name: &str| volumes.iter().filter(|one| one.outcome == name).count();
        let summary = Summary {
            opened: count("opened"),
            before: count("before"),
            failed: count("failed"),
            volumes: volumes.clone(),
        };
        output.show(&summary, || {
            format!(
                "{} opened, {} open before, {} failed\n",
                summary.opened, summary.before, summary.failed
            )
        })?;
        Ok(match summary.failed {
            0 => Exit::Done,
            failed => Exit::failures(failed),
        })
    }
}

fn inventory(path: &Path) -> Result<Vec<Node>, Failure> {
    let text = files::read_text(path, "the inventory")?;
    let right = "`[[node]]` sections with address = \"HOST:PORT\" and volumes = [\"ID\", …]";
    let inventory: Inventory = toml::from_str(&text)
        .map_err(|e| Failure::local(format!("read the inventory: {e}"), path.display(), right))?;
    let mut seen = BTreeSet::new();
    for volume in inventory.node.iter().flat_map(|node| &node.volumes) {
        if !seen.insert(*volume) {
            let what = format!("read the inventory: volume {volume} is there twice");
            return Err(Failure::local(what, path.display(), "each volume once"));
        }
    }
    Ok(inventory.node)
}

impl State {
    fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |e: &dyn std::fmt::Display| {
            let what = format!("open the state file: {e}");
            Failure::local(
                what,
                path.display(),
                "a file that an earlier run wrote, or none",
            )
        };
        let mut open = BTreeSet::new();
        if path.exists() {
            // The end of a line that a power cut has left is no record of anything.
            let text = files::read_text(path, "the state file")?;
            for line in text
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'))
            {
                let ended: Ended = serde_json::from_str(line).map_err(|e| failed(&e))?;
                if ended.outcome == "opened" {
                    open.insert(ended.volume);
                }
            }
        }
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(files::PRIVATE)
            .open(path);
        Ok(Self {
            file: Mutex::new(file.map_err(|e| failed(&e))?),
            path: path.to_owned(),
            open,
        })
    }

    /// Opens what is not open of one node.
    fn node(&self, terms: &Terms<'_>, source: &Source, node: &Node) -> Result<Vec<Ended>, Failure> {
        let ended = |volume, outcome: &str, error| Ended {
            volume,
            node: node.address.clone(),
            outcome: outcome.to_owned(),
            error,
        };
        let mut all = Vec::new();
        for volume in &node.volumes {
            if self.open.contains(volume) {
                all.push(ended(*volume, "before", None));
                continue;
            }
            let opened = source.keeper().and_then(|mut keeper| {
                open(terms, &mut keeper, &node.address, *volume, |_| Ok(()))
            });
            let one = match opened {
                Ok(_) => ended(*volume, "opened", None),
                Err(failure) => ended(*volume, "failed", Some(failure.to_string())),
            };
            self.write(&one)?;
            all.push(one);
        }
        Ok(all)
    }

    fn write(&self, ended: &Ended) -> Result<(), Failure> {
        let failed = |e: &dyn std::fmt::Display| {
            let what = format!("write the state file: {e}");
            Failure::local(what, self.path.display(), "a disk with room for it")
        };
        let line = serde_json::to_string(ended).map_err(|e| failed(&e))?;
        let mut file = self.file.lock().unwrap_or_else(|e| e.into_inner());
        let written = file
            .write_all(format!("{line}\n").as_bytes())
            .and_then(|()| file.sync_data());
        written.map_err(|e| failed(&e))
    }
}
