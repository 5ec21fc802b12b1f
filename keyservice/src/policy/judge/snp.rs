//! Rules of an SNP platform: which key of the file asks for what, with both values.

use super::platform::Unmet;
use crate::policy::file::names;
use dawnkey_attest::snp::claims::SnpClaims;
use dawnkey_attest::snp::policy::{PolicyError, SnpPolicy};
use dawnkey_proto::message::Reason;

/// The first rule that a report does not meet.
pub(super) fn unmet(policy: &SnpPolicy, claims: &SnpClaims) -> Option<Unmet> {
    let error = policy.judge(claims).err()?;
    let (field, wanted) = asked(policy, claims, &error);
    let reason = reason(&error);
    Some(Unmet {
        key: format!("snp.{field}"),
        reason,
        detail: format!("{}: {error}; wants {wanted}", error.reason_class()),
        remedy: remedy(reason),
        foreign: matches!(error, PolicyError::ProductNotAllowed { .. }),
    })
}

fn reason(error: &PolicyError) -> Reason {
    match error {
        PolicyError::DebugEnabled
        | PolicyError::MigrationAgentAllowed
        | PolicyError::HostRequested { .. }
        | PolicyError::VmplTooHigh { .. }
        | PolicyError::GuestPolicyBits { .. }
        | PolicyError::MultipleSocketsAllowed
        | PolicyError::GuestSvnTooOld { .. } => Reason::GuestNotAllowed,
        PolicyError::TcbTooOld { .. }
        | PolicyError::FirmwareTooOld { .. }
        | PolicyError::MitigationsMissing { .. }
        | PolicyError::ProvisionalFirmware => Reason::TcbTooOld,
        PolicyError::ReportDataMismatch { .. }
        | PolicyError::MeasurementMismatch { .. }
        | PolicyError::HostDataMismatch { .. }
        | PolicyError::FamilyIdMismatch { .. }
        | PolicyError::ImageIdMismatch { .. }
        | PolicyError::IdKeyMismatch { .. }
        | PolicyError::AuthorKeyMissing
        | PolicyError::AuthorKeyMismatch { .. } => Reason::MeasurementMismatch,
        _ => Reason::PlatformNotAllowed,
    }
}

/// What to do about a platform that does not pass.
pub(super) fn remedy(reason: Reason) -> &'static str {
    match reason {
        Reason::GuestNotAllowed => "launch the guest as the policy wants it",
        Reason::TcbTooOld => "update the host's firmware and microcode and launch the guest anew",
        _ => "run the node on a listed platform, or list this one",
    }
}

/// The key below `snp`, and what it wants.
fn asked(policy: &SnpPolicy, claims: &SnpClaims, error: &PolicyError) -> (String, String) {
    let of = |key: &str, wanted: String| (key.to_owned(), wanted);
    let off = || "it off".to_owned();
    match error {
        PolicyError::DebugEnabled => of("allow_debug", off()),
        PolicyError::MigrationAgentAllowed => of("allow_migration_agent", off()),
        PolicyError::HostRequested { .. } => of("max_vmpl", "a report the guest asked for".into()),
        PolicyError::VmplTooHigh { max, .. } => of("max_vmpl", format!("{max} at most")),
        PolicyError::GuestPolicyBits { missing, .. } if *missing != 0 => of(
            "guest_policy_required",
            names::guest_policy(policy.guest_policy_set),
        ),
        PolicyError::GuestPolicyBits { .. } => of(
            "guest_policy_forbidden",
            format!("none of {}", names::guest_policy(policy.guest_policy_clear)),
        ),
        PolicyError::MultipleSocketsAllowed => of("require_single_socket", "one socket".into()),
        PolicyError::SigningKeyNotAllowed { .. } => {
            let kinds: Vec<_> = policy.signing_keys.iter().map(|k| k.name()).collect();
            of("signing_keys", kinds.join(", "))
        }
        PolicyError::ChipIdMasked => of("allow_masked_chip_id", "a chip id".into()),
        PolicyError::ChipNotAllowed { .. } => {
            let chips = policy.chip_ids.iter().flatten().map(hex::encode);
            of("chips", listed(chips))
        }
        PolicyError::ProviderNotAllowed { .. } => {
            of("csp_ids", listed(policy.csp_ids.iter().flatten().cloned()))
        }
        PolicyError::ProductNotAllowed { .. } => {
            let products = policy.products.iter().flatten().map(ToString::to_string);
            of("products", listed(products))
        }
        PolicyError::UnknownCpu { .. } => of("allow_unknown_cpu", "a known one".into()),
        PolicyError::ReportVersionTooOld { min, .. } => {
            of("min_report_version", format!("{min} at least"))
        }
        PolicyError::PlatformInfoBits { missing, .. } if *missing != 0 => of(
            "platform_info_required",
            names::platform_info(policy.platform_info_set),
        ),
        PolicyError::PlatformInfoBits { .. } => of(
            "platform_info_forbidden",
            format!(
                "none of {}",
                names::platform_info(policy.platform_info_clear)
            ),
        ),
        PolicyError::SmtEnabled => of("require_smt_off", off()),
        PolicyError::MitigationsMissing { which, .. } => {
            let wanted = match *which {
                "launch" => policy.launch_mitigations,
                _ => policy.current_mitigations,
            };
            of(&format!("{which}_mitigations"), format!("{wanted:#x}"))
        }
        PolicyError::ReservedNotZero { .. } => of("allow_reserved", "zero there".into()),
        PolicyError::TcbTooOld { which, min, .. } => (
            format!("tcb.{}.{which}", claims.product),
            format!("{min} at least"),
        ),
        PolicyError::FirmwareTooOld { min, .. } => of("min_firmware", format!("{min} at least")),
        PolicyError::ProvisionalFirmware => {
            let report = &claims.report;
            let wanted = format!(
                "committed what runs: firmware {} runs, {} is committed; TCB {} runs, {} is committed",
                report.current_version,
                report.committed_version,
                report.current_tcb.raw,
                report.committed_tcb.raw
            );
            of("allow_provisional_firmware", wanted)
        }
        // Values are compared with images.
        other => of(other.reason_class(), String::new()),
    }
}

/// A short list: the first few and how many more.
pub(super) fn listed(all: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = all.collect();
    match all.as_slice() {
        [] => "none at all".to_owned(),
        [first, second, third, _, ..] => {
            format!(
                "{first}, {second}, {third} or one of {} more",
                all.len() - 3
            )
        }
        few => few.join(" or "),
    }
}
