//! `dawnkey volume status`: how every volume is, one line each.

use super::{reference, subject};
use crate::admin::Admin;
use crate::outcome::{Exit, Failure};
use crate::output::{Output, dash, table};
use crate::profile::ProfileArgs;
use crate::status;
use clap::Args;
use dawnkey_proto::message::printable;
use dawnkey_proto::wire::{ListVolumesRequest, VolumeRecord};
use serde::Serialize;
use uuid::Uuid;

/// Show how volumes are: state, generation, lease and background wipe, one line each
///
/// The wipe is shown as the node said last: in its unlock, and while a holder renews its lease. `dawnkey volume show` has
/// everything that the service knows of one volume.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey volume status
  dawnkey volume status 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11
  dawnkey volume status --json | jq '.[] | select(.wipe.ready_bytes < .wipe.total_bytes) | .id'")]
pub(crate) struct StatusArgs {
    /// Only this volume
    id: Option<Uuid>,
}

/// One volume as `--json` shows it; absent values are `null`.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Line {
    id: String,
    state: String,
    epoch: u32,
    next_epoch: Option<u32>,
    generation: u64,
    pending_generation: Option<u64>,
    lease: Option<Lease>,
    wipe: Option<Wipe>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Lease {
    holder: String,
    until: String,
    /// A holder on the node renews it.
    renewed: bool,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Wipe {
    ready_bytes: u64,
    total_bytes: u64,
}

impl From<VolumeRecord> for Line {
    fn from(record: VolumeRecord) -> Self {
        let lease = (!record.lease_holder.is_empty()).then(|| Lease {
            holder: printable(&record.lease_holder),
            until: printable(&record.lease_expires),
            renewed: record.held,
        });
        let wipe = (record.total_bytes != 0).then_some(Wipe {
            ready_bytes: record.ready_bytes,
            total_bytes: record.total_bytes,
        });
        let pending = record.pending_generation;
        Self {
            id: status::id(&record.volume_id),
            state: printable(&record.state),
            epoch: record.epoch,
            next_epoch: (record.next_epoch != 0).then_some(record.next_epoch),
            generation: record.generation,
            pending_generation: (pending != 0).then_some(pending),
            lease,
            wipe,
        }
    }
}

impl Line {
    fn cells(&self) -> [String; 6] {
        let lease = self.lease.as_ref().map(|lease| {
            let how = if lease.renewed { ", renewed" } else { "" };
            format!("{} until {}{how}", short(&lease.holder), lease.until)
        });
        [
            self.id.clone(),
            self.state.clone(),
            with_next(&self.generation, self.pending_generation.as_ref()),
            with_next(&self.epoch, self.next_epoch.as_ref()),
            dash(&lease.unwrap_or_default()),
            dash(&self.wipe.as_ref().map(Wipe::text).unwrap_or_default()),
        ]
    }
}

impl Wipe {
    /// `done`, or percent and MiB; percents are rounded down, so that 100 % is not said too early.
    fn text(&self) -> String {
        if self.ready_bytes >= self.total_bytes {
            return "done".to_owned();
        }
        let percent = u128::from(self.ready_bytes) * 100 / u128::from(self.total_bytes.max(1));
        let (ready, total) = (self.ready_bytes >> 20, self.total_bytes >> 20);
        format!("{percent} %, {ready} of {total} MiB")
    }
}

/// A value, and the one that is on its way.
fn with_next<T: ToString>(now: &T, next: Option<&T>) -> String {
    match next {
        Some(next) => format!("{}→{}", now.to_string(), next.to_string()),
        None => now.to_string(),
    }
}

/// Enough of an instance id to tell instances apart in a table.
fn short(instance: &str) -> String {
    instance.chars().take(12).collect()
}

impl StatusArgs {
    /// Asks and prints.
    pub(crate) fn run(&self, profile: &ProfileArgs, output: Output) -> Result<Exit, Failure> {
        let mut admin = Admin::connect(profile.load()?)?;
        let records = match self.id {
            Some(id) => vec![admin.call("show a volume", &subject(id), async |client| {
                client.show_volume(reference(id)).await
            })?],
            None => {
                admin
                    .call("list the volumes", "the service", async |client| {
                        client.list_volumes(ListVolumesRequest {}).await
                    })?
                    .volumes
            }
        };
        let lines: Vec<Line> = records.into_iter().map(Into::into).collect();
        output.show(&lines, || {
            let rows: Vec<[String; 6]> = lines.iter().map(Line::cells).collect();
            table(
                ["ID", "STATE", "GENERATION", "EPOCH", "LEASE", "WIPE"],
                &rows,
            )
        })?;
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_what_is_pending_and_how_far_the_wipe_is() {
        let record = VolumeRecord {
            volume_id: vec![0; 16],
            state: "active".into(),
            epoch: 1,
            next_epoch: 2,
            generation: 7,
            pending_generation: 8,
            lease_holder: "00ff".repeat(8),
            lease_expires: "2026-11-22T20:00:00Z".into(),
            held: true,
            ready_bytes: (1 << 30) - 1,
            total_bytes: 1 << 30,
            ..VolumeRecord::default()
        };
        let cells = Line::from(record).cells();
        assert_eq!(cells[2..4], ["7→8", "1→2"]);
        assert_eq!(
            cells[4..],
            [
                "00ff00ff00ff until 2026-11-22T20:00:00Z, renewed",
                "99 %, 1023 of 1024 MiB"
            ]
        );
    }

    #[test]
    fn absent_values_are_dashes_and_a_finished_wipe_is_done() {
        let mut record = VolumeRecord {
            state: "provisioning".into(),
            ..VolumeRecord::default()
        };
        let cells = Line::from(record.clone()).cells();
        assert_eq!(cells[4..], ["-", "-"]);
        (record.ready_bytes, record.total_bytes) = (5, 5);
        assert_eq!(Line::from(record).cells()[5], "done");
    }
}
