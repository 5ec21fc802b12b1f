//! The fleet at a glance: how many volumes and nodes are in which state, and what waits for an operator.

use crate::admin::Admin;
use crate::outcome::Failure;
use dawnkey_proto::message::printable;
use dawnkey_proto::wire::{
    InstanceRecord, ListInstancesRequest, ListNodesRequest, ListVolumesRequest, NodeRecord,
    VolumeRecord,
};
use serde::Serialize;

/// Counts, and what an operator should do; as `--json` shows it.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Fleet {
    volumes: Volumes,
    nodes: Nodes,
    to_do: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Volumes {
    total: usize,
    provisioning: usize,
    active: usize,
    retired: usize,
    /// With a lease that a holder renews.
    held: usize,
    /// Unlocked by a node that has not confirmed it.
    unconfirmed: usize,
    /// Waiting for their node to take up the next epoch.
    rotating: usize,
    /// Whose wipe goes on behind the filesystem.
    wiping: usize,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Nodes {
    /// Enrolled attestation keys.
    enrolled: usize,
    /// When one was seen last, RFC 3339; empty: never.
    last_seen: String,
    pending: usize,
    denied: usize,
    revoked: usize,
}

impl Fleet {
    /// Asks the service.
    pub(super) fn ask(admin: &mut Admin) -> Result<Self, Failure> {
        let what = "the service";
        let volumes = admin.call("list the volumes", what, async |client| {
            client.list_volumes(ListVolumesRequest {}).await
        })?;
        let instances = admin.call("list the instances", what, async |client| {
            client.list_instances(ListInstancesRequest {}).await
        })?;
        let nodes = admin.call("list the nodes", what, async |client| {
            client.list_nodes(ListNodesRequest {}).await
        })?;
        Ok(Self::new(
            &volumes.volumes,
            &instances.instances,
            &nodes.nodes,
        ))
    }

    fn new(volumes: &[VolumeRecord], instances: &[InstanceRecord], nodes: &[NodeRecord]) -> Self {
        let fleet = Self {
            volumes: Volumes::new(volumes),
            nodes: Nodes::new(instances, nodes),
            to_do: Vec::new(),
        };
        let to_do = fleet.to_do();
        Self { to_do, ..fleet }
    }

    fn to_do(&self) -> Vec<String> {
        let mut to_do = Vec::new();
        if self.nodes.pending > 0 {
            let many = self.nodes.pending;
            to_do.push(format!(
                "{many} to approve or deny: dawnkey node list --pending"
            ));
        }
        if self.volumes.unconfirmed > 0 {
            let many = self.volumes.unconfirmed;
            to_do.push(format!(
                "{many} unlocked and not confirmed: dawnkey volume status; a node that does not come back has failed after its unlock"
            ));
        }
        to_do
    }

    /// Lines for people.
    pub(super) fn fields(&self) -> [(&'static str, String); 2] {
        let v = &self.volumes;
        let states = counted(&[
            (v.active, "active"),
            (v.provisioning, "provisioning"),
            (v.retired, "retired"),
        ]);
        let now = counted(&[
            (v.held, "held"),
            (v.unconfirmed, "unconfirmed"),
            (v.rotating, "rotating"),
            (v.wiping, "wiping"),
        ]);
        let parts: Vec<String> = [states, now].into_iter().flatten().collect();
        let volumes = match parts.is_empty() {
            true => "none".to_owned(),
            false => parts.join("; "),
        };
        let n = &self.nodes;
        let mut nodes = format!("{} enrolled", n.enrolled);
        let others = [
            (n.pending, "waiting for approval"),
            (n.denied, "denied"),
            (n.revoked, "revoked"),
        ];
        if let Some(others) = counted(&others) {
            nodes.push_str(&format!(", {others}"));
        }
        if !n.last_seen.is_empty() {
            nodes.push_str(&format!("; last seen {}", n.last_seen));
        }
        [("volumes", volumes), ("nodes", nodes)]
    }

    /// What an operator should do, one line each.
    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        self.to_do.iter().map(String::as_str)
    }
}

/// `3 active, 1 retired`; nothing where every count is zero.
fn counted(counts: &[(usize, &str)]) -> Option<String> {
    let some = counts.iter().filter(|(many, _)| *many > 0);
    let texts: Vec<String> = some.map(|(many, what)| format!("{many} {what}")).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

impl Volumes {
    fn new(records: &[VolumeRecord]) -> Self {
        let count = |is: &dyn Fn(&VolumeRecord) -> bool| records.iter().filter(|v| is(v)).count();
        Self {
            total: records.len(),
            provisioning: count(&|v| v.state == "provisioning"),
            active: count(&|v| v.state == "active"),
            retired: count(&|v| v.state == "retired"),
            held: count(&|v| v.held && !v.lease_holder.is_empty()),
            unconfirmed: count(&|v| v.pending_generation != 0),
            rotating: count(&|v| v.next_epoch != 0),
            wiping: count(&|v| v.ready_bytes < v.total_bytes),
        }
    }
}

impl Nodes {
    fn new(instances: &[InstanceRecord], nodes: &[NodeRecord]) -> Self {
        let count = |standing: &str| nodes.iter().filter(|n| n.standing == standing).count();
        // RFC 3339 in UTC: the latest is the largest text.
        let last_seen = instances.iter().map(|i| i.last_seen.as_str()).max();
        Self {
            enrolled: instances.len(),
            last_seen: printable(last_seen.unwrap_or_default()),
            pending: count("pending"),
            denied: count("denied"),
            revoked: count("revoked"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(state: &str) -> VolumeRecord {
        VolumeRecord {
            state: state.into(),
            ..VolumeRecord::default()
        }
    }

    fn node(standing: &str) -> NodeRecord {
        NodeRecord {
            standing: standing.into(),
            ..NodeRecord::default()
        }
    }

    #[test]
    fn a_fleet_is_counted_by_state_and_what_waits_is_named_with_its_command() {
        let mut busy = volume("active");
        (busy.held, busy.lease_holder) = (true, "00ff".into());
        (busy.pending_generation, busy.next_epoch) = (8, 2);
        (busy.ready_bytes, busy.total_bytes) = (1, 2);
        let seen = |at: &str| InstanceRecord {
            last_seen: at.into(),
            ..InstanceRecord::default()
        };
        let instances = [
            seen("2026-11-22T20:31:07Z"),
            seen(""),
            seen("2026-11-22T20:31:08Z"),
        ];
        let fleet = Fleet::new(
            &[busy, volume("active"), volume("provisioning")],
            &instances,
            &[node("pending"), node("revoked"), node("approved")],
        );
        let [(_, volumes), (_, nodes)] = fleet.fields();
        assert_eq!(
            volumes,
            "2 active, 1 provisioning; 1 held, 1 unconfirmed, 1 rotating, 1 wiping"
        );
        assert_eq!(
            nodes,
            "3 enrolled, 1 waiting for approval, 1 revoked; last seen 2026-11-22T20:31:08Z"
        );
        let to_do: Vec<&str> = fleet.lines().collect();
        assert!(
            to_do[0].contains("dawnkey node list --pending"),
            "{to_do:?}"
        );
        assert!(to_do[1].contains("dawnkey volume status"), "{to_do:?}");
    }

    #[test]
    fn a_new_service_has_no_volume_no_node_and_nothing_to_do() {
        let fleet = Fleet::new(&[], &[], &[]);
        assert_eq!(
            fleet.fields().map(|(_, text)| text),
            ["none".to_owned(), "0 enrolled".to_owned()]
        );
        assert_eq!(fleet.lines().count(), 0);
    }

    #[test]
    fn a_finished_wipe_and_a_lease_without_a_holder_are_not_counted() {
        let mut done = volume("active");
        (done.ready_bytes, done.total_bytes, done.lease_holder) = (5, 5, "00ff".into());
        let counts = Volumes::new(&[done]);
        assert_eq!((counts.wiping, counts.held), (0, 0));
    }
}
