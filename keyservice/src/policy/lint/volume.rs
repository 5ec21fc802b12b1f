//! Volume policies.

use super::{Findings, Severity};
use crate::policy::{Approval, Enrol, Owner, Platform, Policy, Reopening, Section, VolumePolicy};
use crate::release::Rollback;
use dawnkey_attest::claims::TrustClass;
use dawnkey_proto::message::OnLoss;

pub(super) fn check(policy: &Policy, name: &str, rules: &VolumePolicy, all: &mut Findings) {
    let mut found = |severity, field: &str, problem: &str, remedy: &str| {
        all.add(
            severity,
            format!("volume-policy.{name}.{field}"),
            problem,
            remedy,
        );
    };
    if rules.images.is_empty() {
        found(
            Severity::Error,
            "images",
            "no image is listed, so that no node can pass",
            "add one with `dawnkey policy add-image` and list it here",
        );
    }
    if rules.rollback == Rollback::Warn {
        found(
            Severity::Warning,
            "rollback",
            "an older copy of the disk is accepted",
            "set it back to \"refuse\" once the disk has unlocked",
        );
    }
    life(rules, &mut found);
    match rules.trust_class {
        TrustClass::Hypervisor => hypervisor(rules, &mut found),
        TrustClass::Tee | TrustClass::TeeVtpm => tee(policy, rules, &mut found),
    }
    anchors(policy, name, rules, all);
    pre_cap(policy, name, rules, all);
}

type Found<'a> = &'a mut dyn FnMut(Severity, &str, &str, &str);

/// Leases, maintenance, and headers that are not ours.
fn life(rules: &VolumePolicy, found: Found<'_>) {
    let listed = !rules.instances.is_empty() || !rules.nodes.is_empty();
    let alone = rules.instances.len() == 1 && rules.nodes.is_empty();
    let several = (listed && !alone) || rules.owner == Owner::Any;
    match (rules.hold, rules.on_loss) {
        (false, Some(_)) => found(
            Severity::Warning,
            "on_loss",
            "has no effect: no lease is held that could be lost",
            "hold = true, or remove it",
        ),
        (false, None) if several => found(
            Severity::Note,
            "hold",
            "the lease ends when a volume is unlocked, so that two machines can run copies of it until one of them reboots",
            "hold = true, and the lease holder on the nodes",
        ),
        (true, Some(OnLoss::Nothing)) => found(
            Severity::Note,
            "on_loss",
            "a machine that has lost its volume to another goes on writing to its own disk",
            "on_loss = \"suspend\" or \"power-off\"",
        ),
        _ => {}
    }
    if rules.reopen == Reopening::Allow {
        found(
            Severity::Warning,
            "reopen",
            "whatever runs as root in a booted system can ask for the key again",
            "set it back to \"refuse\" after the maintenance",
        );
    }
    if rules.adopted {
        found(
            Severity::Warning,
            "adopted",
            "volumes with other makers' headers are opened: they have no generations, so that an older copy of the disk is not noticed",
            "migrate them, and remove it",
        );
    }
}

fn hypervisor(rules: &VolumePolicy, found: Found<'_>) {
    if !rules.platforms.is_empty() {
        found(
            Severity::Warning,
            "platforms",
            "has no effect: evidence of class hypervisor carries no report of a platform",
            "remove it, or ask for trust_class \"tee\" or \"tee-vtpm\"",
        );
    }
    let listed = !rules.instances.is_empty() || !rules.nodes.is_empty();
    let open = !listed && rules.approval == Approval::Automatic;
    match (rules.enrol, open, rules.owner) {
        (_, true, Owner::Any) => found(
            Severity::Warning,
            "owner",
            "any enrolled machine that boots a listed image may take a volume over",
            "owner = \"instance\", or list the instances, or approval = \"required\"",
        ),
        (Enrol::Endorsed, true, Owner::Instance) => found(
            Severity::Note,
            "instances",
            "any endorsed machine that boots a listed image first owns a new volume",
            "list the instances if you know them, or set approval = \"required\"",
        ),
        (Enrol::Never, ..) => found(
            Severity::Note,
            "enrol",
            "only machines that are enrolled already can pass",
            "enrol = \"endorsed\" to let new ones in",
        ),
        (Enrol::Endorsed, false, _) => {}
    }
}

fn tee(policy: &Policy, rules: &VolumePolicy, found: Found<'_>) {
    if rules.platforms.is_empty() {
        found(
            Severity::Error,
            "platforms",
            "no platform is listed, so that no node can pass",
            "add a [platform.NAME] and list it here",
        );
    }
    if rules.enrol == Enrol::Endorsed {
        found(
            Severity::Note,
            "enrol",
            "has no effect: keys of TEEs are vouched for in the evidence and not enrolled",
            "remove it",
        );
    }
    let vlek = |name: &String| match policy.platforms.get(name) {
        Some(Platform::Snp(snp)) => snp.signing_keys.iter().any(|k| k.name() == "VLEK"),
        _ => false,
    };
    match rules.owner {
        Owner::Any if rules.instances.is_empty() && rules.nodes.is_empty() => found(
            Severity::Note,
            "owner",
            "any guest that meets the policy may take a volume over once its lease has ended",
            "owner = \"instance\" where guests stay on their machine",
        ),
        Owner::Instance
            if rules.trust_class == TrustClass::Tee && rules.platforms.iter().any(vlek) =>
        {
            found(
                Severity::Note,
                "owner",
                "the instance is the chip: a guest that its provider moves loses its volume, and hosts that mask chip ids cannot pass",
                "owner = \"any\"",
            );
        }
        Owner::Any | Owner::Instance => {}
    }
}

/// Every listed image needs the values that this class of evidence is judged by.
fn anchors(policy: &Policy, name: &str, rules: &VolumePolicy, all: &mut Findings) {
    let kind = |name: &String| match policy.platforms.get(name)? {
        Platform::Snp(_) => Some(Section::Snp),
        Platform::Tdx(_) => Some(Section::Tdx),
    };
    let sections: Vec<Section> = match rules.trust_class {
        TrustClass::Tee => rules.platforms.iter().filter_map(kind).collect(),
        TrustClass::TeeVtpm | TrustClass::Hypervisor => vec![Section::Pcrs],
    };
    if sections.is_empty() {
        return;
    }
    let images = rules
        .images
        .iter()
        .filter_map(|name| policy.images.get(name));
    for image in images.filter(|image| !sections.iter().any(|s| image.has(*s))) {
        let names: Vec<String> = sections
            .iter()
            .map(|s| format!("[image.{}]", s.name()))
            .collect();
        all.add(
            Severity::Error,
            format!("image.{}", image.name),
            format!(
                "has no {}, so that volume policy {name} of class {} never accepts it",
                names.join(" or "),
                rules.trust_class
            ),
            "add the values that `dawnkey measure` prints",
        );
    }
}

fn pre_cap(policy: &Policy, name: &str, rules: &VolumePolicy, all: &mut Findings) {
    let key = |field: &str| format!("volume-policy.{name}.{field}");
    if rules.trust_class != TrustClass::Tee {
        if !rules.pcrs_pre_cap.contains(&15) {
            all.add(
                Severity::Warning,
                key("pcrs_pre_cap"),
                "PCR 15 is not asked for, so that the running system can ask for the key again",
                "pcrs_pre_cap = [15]",
            );
        }
        return;
    }
    let tdx = |name: &String| matches!(policy.platforms.get(name), Some(Platform::Tdx(_)));
    let capped = rules.rtmrs_pre_cap.as_ref().is_some_and(|r| r.contains(&3));
    if rules.platforms.iter().any(tdx) && !capped {
        all.add(
            Severity::Warning,
            key("rtmrs_pre_cap"),
            "RTMR 3 is not asked for, so that the running system can ask for the key again",
            "rtmrs_pre_cap = [3]",
        );
    }
}
