//! Roots that a volume policy needs and the file does not have.

use super::{Findings, Severity};
use crate::policy::{Enrol, Platform, Policy, VolumePolicy};
use dawnkey_attest::claims::TrustClass;
use dawnkey_attest::snp::CrlRule;

pub(super) fn check(policy: &Policy, name: &str, rules: &VolumePolicy, all: &mut Findings) {
    let roots = &policy.roots;
    let none = roots.tpm_ek.is_empty() && roots.tpm_ak.is_empty();
    if rules.trust_class == TrustClass::Hypervisor && rules.enrol == Enrol::Endorsed && none {
        all.add(
            Severity::Error,
            "roots.tpm_ek",
            format!("is empty, so that volume policy {name} can enrol no machine"),
            "name files with the CA certificates of your TPMs' endorsement keys",
        );
    }
    if rules.trust_class == TrustClass::Hypervisor {
        return;
    }
    let listed = |platform: &String| policy.platforms.get(platform);
    for platform in rules.platforms.iter().filter_map(listed) {
        let (key, missing) = match platform {
            Platform::Snp(_) => ("roots.amd", roots.snp.roots().is_empty()),
            Platform::Tdx(_) => ("roots.intel", roots.tdx.is_empty()),
        };
        if missing {
            all.add(
                Severity::Error,
                key,
                format!("is absent, so that no platform of volume policy {name} can pass"),
                "set it to \"built-in\" for the vendor's own roots",
            );
        } else if key == "roots.amd" && roots.snp_crl == CrlRule::IfPresent {
            all.add(
                Severity::Warning,
                "roots.require_crl",
                "is false: an intermediate that AMD revoked passes where no list is at hand",
                "set it to true and give the service AMD's revocation lists",
            );
        }
    }
}
