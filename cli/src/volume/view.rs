//! Volume records as they are shown.

use crate::outcome::{Exit, Failure};
use crate::output::{Output, dash, fields, table};
use crate::status;
use dawnkey_proto::message::printable;
use dawnkey_proto::wire::VolumeRecord;
use serde::Serialize;

/// A volume record as `--json` shows it; absent values are `null`.
#[derive(Debug, Serialize)]
pub(super) struct VolumeView {
    id: String,
    label: String,
    policy: String,
    state: String,
    kind: String,
    epoch: u32,
    /// The epoch that waits for the node's next unlock.
    next_epoch: Option<u32>,
    generation: u64,
    pending_generation: Option<u64>,
    instance: Option<String>,
    lease: Option<LeaseView>,
    /// How much of the volume its node could use when it last said so.
    ready: Option<ReadyView>,
    created: String,
    last_unlock: Option<String>,
}

#[derive(Debug, Serialize)]
struct LeaseView {
    holder: String,
    expires: String,
    fencing_token: u64,
    /// A holder on the node renews it.
    held: bool,
}

#[derive(Debug, Serialize)]
struct ReadyView {
    ready_bytes: u64,
    total_bytes: u64,
}

impl ReadyView {
    /// `58 % of 1024 MiB`; whole percents, rounded down.
    fn text(&self) -> String {
        let percent = u128::from(self.ready_bytes) * 100 / u128::from(self.total_bytes.max(1));
        format!("{percent} % of {} MiB", self.total_bytes >> 20)
    }
}

impl From<VolumeRecord> for VolumeView {
    fn from(record: VolumeRecord) -> Self {
        let lease = present(&record.lease_holder).map(|holder| LeaseView {
            holder,
            expires: printable(&record.lease_expires),
            fencing_token: record.fencing_token,
            held: record.held,
        });
        let ready = (record.total_bytes != 0).then_some(ReadyView {
            ready_bytes: record.ready_bytes,
            total_bytes: record.total_bytes,
        });
        Self {
            id: status::id(&record.volume_id),
            label: printable(&record.label),
            policy: printable(&record.policy),
            state: printable(&record.state),
            kind: printable(&record.kind),
            epoch: record.epoch,
            next_epoch: (record.next_epoch != 0).then_some(record.next_epoch),
            generation: record.generation,
            pending_generation: (record.pending_generation != 0)
                .then_some(record.pending_generation),
            instance: present(&record.instance),
            lease,
            ready,
            created: printable(&record.created),
            last_unlock: present(&record.last_unlock),
        }
    }
}

fn present(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| printable(text))
}

impl VolumeView {
    /// Prints one record.
    pub(super) fn show(&self, output: Output) -> Result<Exit, Failure> {
        output.show(self, || {
            let generation = match self.pending_generation {
                Some(pending) => format!("{}, {pending} pending", self.generation),
                None => self.generation.to_string(),
            };
            let lease = self.lease.as_ref().map_or_else(String::new, |lease| {
                let held = if lease.held { "held by" } else { "of" };
                format!(
                    "{held} {} until {} (fencing token {})",
                    lease.holder, lease.expires, lease.fencing_token
                )
            });
            let epoch = match self.next_epoch {
                Some(next) => {
                    format!("{}, {next} from the node's next unlock on", self.epoch)
                }
                None => self.epoch.to_string(),
            };
            fields(&[
                ("id", self.id.clone()),
                ("label", self.label.clone()),
                ("policy", self.policy.clone()),
                ("state", self.state.clone()),
                ("header", self.kind.clone()),
                ("epoch", epoch),
                ("generation", generation),
                ("instance", self.instance.clone().unwrap_or_default()),
                ("lease", lease),
                (
                    "ready",
                    self.ready
                        .as_ref()
                        .map_or_else(String::new, ReadyView::text),
                ),
                ("created", self.created.clone()),
                ("last unlock", self.last_unlock.clone().unwrap_or_default()),
            ])
        })?;
        Ok(Exit::Done)
    }

    fn row(&self) -> [String; 7] {
        [
            self.id.clone(),
            self.state.clone(),
            self.policy.clone(),
            self.generation.to_string(),
            match &self.lease {
                Some(lease) if lease.held => "held",
                Some(_) => "unlocking",
                None => "-",
            }
            .to_owned(),
            dash(self.last_unlock.as_deref().unwrap_or_default()),
            dash(&self.label),
        ]
    }
}

/// Prints all records.
pub(super) fn show_list(records: Vec<VolumeRecord>, output: Output) -> Result<Exit, Failure> {
    let views: Vec<VolumeView> = records.into_iter().map(Into::into).collect();
    output.show(&views, || {
        if views.is_empty() {
            return "no volume; `dawnkey volume create --policy NAME` makes one\n".to_owned();
        }
        let rows: Vec<[String; 7]> = views.iter().map(VolumeView::row).collect();
        table(
            [
                "ID",
                "STATE",
                "POLICY",
                "GENERATION",
                "LEASE",
                "LAST UNLOCK",
                "LABEL",
            ],
            &rows,
        )
    })?;
    Ok(Exit::Done)
}
