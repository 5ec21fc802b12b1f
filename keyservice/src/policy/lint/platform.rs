//! Platforms: what hardware may do that it should not.

use super::{Findings, Severity};
use crate::policy::{Platform, Policy};
use dawnkey_attest::snp::policy::SnpPolicy;
use dawnkey_attest::tdx::{Flag, TcbStatus, TdxPolicy};

pub(super) fn check(policy: &Policy, name: &str, platform: &Platform, all: &mut Findings) {
    let used = |listed: &String| listed == name;
    if !policy
        .volume_policies
        .values()
        .any(|rules| rules.platforms.iter().any(used))
    {
        all.add(
            Severity::Note,
            format!("platform.{name}"),
            "no volume policy lists this platform",
            "list it or remove it",
        );
    }
    match platform {
        Platform::Snp(rules) => snp(name, rules, all),
        Platform::Tdx(rules) => tdx(name, rules, all),
    }
}

/// What to do about a rule that is laxer than the default.
const OFF: &str = "leave it out: the default refuses";

/// Adds warnings about keys below `table`: key, problem, remedy.
fn warner(table: String, all: &mut Findings) -> impl FnMut(&str, &str, &str) {
    move |field, problem, remedy| {
        all.add(
            Severity::Warning,
            format!("{table}.{field}"),
            problem,
            remedy,
        );
    }
}

fn snp(name: &str, rules: &SnpPolicy, all: &mut Findings) {
    let mut weak = warner(format!("platform.{name}.snp"), all);
    for (on, field, problem) in [
        (
            rules.allow_debug,
            "allow_debug",
            "the host may read and change the guest's memory",
        ),
        (
            rules.allow_migration_agent,
            "allow_migration_agent",
            "a migration agent may take the guest's state to any machine that it likes",
        ),
        (
            rules.allow_provisional_firmware,
            "allow_provisional_firmware",
            "firmware that runs can be rolled back to one with known holes",
        ),
        (
            rules.max_vmpl > 0,
            "max_vmpl",
            "reports of less privileged levels pass: what runs below them is not the measured image alone",
        ),
        (
            rules.allow_reserved,
            "allow_reserved",
            "bits pass whose meaning is not known here",
        ),
        (
            rules.allow_unknown_cpu,
            "allow_unknown_cpu",
            "CPUs pass of which nothing is known here",
        ),
    ] {
        if on {
            weak(field, problem, OFF);
        }
    }
    for product in rules.products.iter().flatten() {
        let own = |floors: &&dawnkey_attest::snp::policy::TcbFloors| {
            floors.product.as_ref().is_none_or(|p| p == product)
        };
        let unset = dawnkey_attest::snp::tcb::TcbFloor::default();
        let floors: Vec<_> = rules.floors.iter().filter(own).collect();
        let key = format!("tcb.{product}");
        let remedy = "take floors from AMD's security bulletins and raise them with every update";
        if floors
            .iter()
            .all(|f| f.reported == unset && f.committed == unset)
        {
            let problem =
                "no floor on the reported or committed TCB: firmware with known holes passes";
            weak(&key, problem, remedy);
        } else if floors.iter().all(|f| f.launch == unset) {
            let problem =
                "no floor on the launch TCB: a guest that was launched on older firmware passes";
            weak(&key, problem, remedy);
        }
    }
}

fn tdx(name: &str, rules: &TdxPolicy, all: &mut Findings) {
    let mut weak = warner(format!("platform.{name}.tdx"), all);
    for (on, field, problem) in [
        (
            rules.allow_debug,
            "allow_debug",
            "the host may read and change the TD's memory",
        ),
        (
            rules.allow_service_td,
            "allow_service_td",
            "a service TD of the host's choice may be bound to the TD",
        ),
        (
            rules.migratable != Flag::Forbidden,
            "migratable",
            "the TD may be moved by whatever migration TD the host binds",
        ),
        (
            !rules.require_sept_ve_disable,
            "require_sept_ve_disable",
            "the host can raise #VE in the TD at any access",
        ),
        (
            rules.allowed_tcb_status.contains(&TcbStatus::Revoked),
            "allowed_tcb_status",
            "Revoked is accepted: Intel says that such platforms must not be trusted",
        ),
    ] {
        if on {
            weak(field, problem, OFF);
        }
    }
    let old = [
        TcbStatus::OutOfDate,
        TcbStatus::OutOfDateConfigurationNeeded,
    ];
    if old
        .iter()
        .any(|status| rules.allowed_tcb_status.contains(status))
    {
        weak(
            "allowed_tcb_status",
            "an out-of-date TCB is accepted for ever",
            "use out_of_date_grace_days, which ends by itself",
        );
    }
    drop(weak);
    if rules.min_tcb_evaluation_data_number.is_none() {
        all.add(
            Severity::Note,
            format!("platform.{name}.tdx.min_tcb_evaluation_data_number"),
            "is absent: older collateral passes until it expires, as much as 30 days later",
            "set it to the number that Intel published last",
        );
    }
}
