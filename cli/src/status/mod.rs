//! `dawnkey status`: the key service as it sees itself, and its fleet at a glance.

mod fleet;

use crate::admin::Admin;
use crate::outcome::{Exit, Failure};
use crate::output::{Output, fields};
use crate::profile::ProfileArgs;
use clap::Args;
use dawnkey_proto::message::printable;
use dawnkey_proto::wire;
use fleet::Fleet;
use serde::Serialize;
use uuid::Uuid;

/// Arguments of `dawnkey status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    profile: ProfileArgs,
}

/// The answer as `--json` shows it.
#[derive(Debug, Serialize)]
struct StatusView {
    service_id: String,
    version: String,
    uptime_seconds: u64,
    kek: String,
    store: String,
    policy_sha256: String,
    audit_records: u64,
    audit_head: String,
    warnings: Vec<String>,
    fleet: Fleet,
}

impl StatusView {
    fn new(answer: wire::StatusAnswer, fleet: Fleet) -> Self {
        Self {
            service_id: id(&answer.service_id),
            version: printable(&answer.version),
            uptime_seconds: answer.uptime_seconds,
            kek: printable(&answer.kek),
            store: printable(&answer.store),
            policy_sha256: printable(&answer.policy_digest),
            audit_records: answer.audit_records,
            audit_head: printable(&answer.audit_head),
            warnings: answer.warnings.iter().map(|text| printable(text)).collect(),
            fleet,
        }
    }
}

/// A UUID from the wire, or its bytes in hex when it is none.
pub(crate) fn id(bytes: &[u8]) -> String {
    Uuid::from_slice(bytes).map_or_else(|_| hex::encode(bytes), |id| id.to_string())
}

impl StatusArgs {
    /// Asks and prints.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let mut admin = Admin::connect(self.profile.load()?)?;
        let answer = admin.call("read the status", "the service", async |client| {
            client.status(wire::StatusRequest {}).await
        })?;
        let view = StatusView::new(answer, Fleet::ask(&mut admin)?);
        output.show(&view, || {
            let [volumes, nodes] = view.fleet.fields();
            let mut text = fields(&[
                ("service id", view.service_id.clone()),
                ("version", view.version.clone()),
                ("up", uptime(view.uptime_seconds)),
                ("KEK", view.kek.clone()),
                ("store", view.store.clone()),
                ("policy sha256", view.policy_sha256.clone()),
                ("audit records", view.audit_records.to_string()),
                ("audit head", view.audit_head.clone()),
                volumes,
                nodes,
            ]);
            for line in view.fleet.lines() {
                text.push_str(&format!("to do: {line}\n"));
            }
            for warning in &view.warnings {
                text.push_str(&format!("warning: {warning}\n"));
            }
            text
        })?;
        Ok(Exit::Done)
    }
}

/// Days, hours, minutes and seconds, the two largest units that are not zero.
fn uptime(seconds: u64) -> String {
    let (d, h, m, s) = (
        seconds / 86_400,
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    );
    match (d, h, m) {
        (0, 0, 0) => format!("{s} s"),
        (0, 0, _) => format!("{m} min {s} s"),
        (0, _, _) => format!("{h} h {m} min"),
        _ => format!("{d} d {h} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_shows_the_two_largest_units() {
        assert_eq!(uptime(59), "59 s");
        assert_eq!(uptime(61), "1 min 1 s");
        assert_eq!(uptime(3_661), "1 h 1 min");
        assert_eq!(uptime(90_061), "1 d 1 h");
    }
}
