//! Opening a volume again in a boot that is closed, for maintenance.
//!
//! The boot's last register says which volumes the boot was closed with, but only as a digest. So the request names them, and
//! each must be one that the service confirmed for this very instance at its last boot. The value that these leave
//! in the register is then compared with the evidence ([`crate::policy`]). Volumes that were reopened meanwhile have
//! later generations; the register knows those of the boot.

use super::refuse;
use crate::approval::Node;
use crate::volume::{InstanceId, State, VolumeRecord};
use dawnkey_proto::closing::{Opened, closed_pcr, closed_rtmr};
use dawnkey_proto::message::{Ask, Reason, Refusal, Reopen};
use uuid::Uuid;

/// What the last register must show in a boot that was closed with known volumes. Only [`closed_boot`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedBoot {
    /// PCR 15 of the SHA-256 bank.
    pub pcr: [u8; 32],
    /// RTMR 3 of a TD.
    pub rtmr: [u8; 48],
}

/// The closed boot that a request to reopen `volume` names, if `records` bear it out: those of the volumes it
/// names, as far as they exist.
pub fn closed_boot(
    reopen: &Reopen,
    volume: Uuid,
    records: &[VolumeRecord],
    instance: InstanceId,
    service_id: Uuid,
) -> Result<ClosedBoot, Refusal> {
    let named = &reopen.closed_with;
    if !named.iter().any(|opened| opened.volume == volume) {
        let problem = format!("does not name volume {volume} itself");
        return Err(mismatch(&problem));
    }
    for (n, opened) in named.iter().enumerate() {
        if named
            .iter()
            .take(n)
            .any(|before| before.volume == opened.volume)
        {
            return Err(mismatch(&format!("names volume {} twice", opened.volume)));
        }
        if !records
            .iter()
            .any(|record| bears_out(record, opened, instance))
        {
            return Err(mismatch(&format!(
                "names generation {} of volume {}, which was not confirmed for instance {instance} at its last boot",
                opened.generation, opened.volume
            )));
        }
    }
    Ok(ClosedBoot {
        pcr: closed_pcr(service_id, named),
        rtmr: closed_rtmr(service_id, named),
    })
}

fn bears_out(record: &VolumeRecord, opened: &Opened, instance: InstanceId) -> bool {
    record.id == opened.volume
        && record.state == State::Active
        && record.instance == Some(instance)
        && record.booted == Some(opened.generation)
}

fn mismatch(problem: &str) -> Refusal {
    refuse(
        Reason::ReopenMismatch,
        format!("the list of volumes that the boot was closed with {problem}"),
        "reboot the node",
    )
}

/// Whether the request fits the moment: keys are given before a boot is closed, and after that only to reopen.
///
/// Where no register can be capped, a launch whose Confirm has come has had its key: who asks now is whatever runs there
/// later. And only that launch can reopen.
pub(super) fn moment(node: &Node, ask: &Ask, record: &VolumeRecord) -> Result<(), Refusal> {
    let confirmed = node.boot.is_some() && node.boot == record.boot;
    match (ask, node.reopens) {
        (Ask::Reopen(_), true) if node.boot.is_none() || confirmed => Ok(()),
        (Ask::Reopen(_), true) => Err(mismatch("is of another launch than this one")),
        (Ask::Reopen(_), false) => Err(refuse(
            Reason::ReopenNotAllowed,
            format!("volume {} is opened at boot only", record.id),
            "reboot the node, or set reopen = \"allow\" in its volume policy for the time of the maintenance",
        )),
        (_, true) => Err(refuse(Reason::Internal, "approved to reopen only", "")),
        (_, false) => match node.boot {
            Some(boot) if confirmed => Err(refuse(
                Reason::BootClosed,
                format!(
                    "the launch with report id {boot} has confirmed generation {} of volume {}: it has had its key already",
                    record.confirmed, record.id
                ),
                "a key is given once per launch: stop the guest and start it anew",
            )),
            _ => Ok(()),
        },
    }
}
