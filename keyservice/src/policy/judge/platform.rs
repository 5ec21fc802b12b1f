//! Whether one of the listed platforms is what a TEE's report shows.

use super::{Bench, Trace, Verdict, deny, snp, tdx};
use crate::policy::Platform;
use dawnkey_attest::claims::TrustClass;
use dawnkey_proto::message::Reason;

/// A rule of a platform that evidence does not meet.
pub(super) struct Unmet {
    /// Key below `platform.NAME`.
    pub key: String,
    /// Stable code.
    pub reason: Reason,
    /// What was found and what is wanted.
    pub detail: String,
    /// What would make it pass.
    pub remedy: &'static str,
    /// Whether the evidence is of another sort of platform altogether.
    pub foreign: bool,
}

impl Bench<'_> {
    /// The platform that runs the node; `None` for evidence without a TEE's report.
    pub(super) fn platform(&self, trace: &mut Trace) -> Result<Option<String>, Verdict> {
        if self.rules.trust_class == TrustClass::Hypervisor {
            return Ok(None);
        }
        let mut nearest: Option<(String, Unmet)> = None;
        let names = self.rules.platforms.iter();
        let listed = names.filter_map(|name| Some((name, self.policy.platforms.get(name)?)));
        for (name, platform) in listed {
            let Some(unmet) = self.unmet(platform) else {
                trace.step(format!("platform.{name}"), "all of its rules are met", true);
                let finding = format!("lists {name}");
                trace.step(self.key("platforms"), finding, true);
                return Ok(Some(name.clone()));
            };
            let key = format!("platform.{name}.{}", unmet.key);
            trace.step(key, unmet.detail.clone(), false);
            if nearest
                .as_ref()
                .is_none_or(|(_, n)| n.foreign && !unmet.foreign)
            {
                nearest = Some((name.clone(), unmet));
            }
        }
        let Some((name, unmet)) = nearest else {
            let key = self.key("platforms");
            trace.step(key.clone(), "lists no platform", false);
            let detail = format!("{key} is empty, so that no hardware is accepted");
            let remedy = "add a [platform.NAME] and list it";
            return Err(deny(Reason::PlatformNotAllowed, detail, remedy));
        };
        let detail = format!("{} (platform {name})", unmet.detail);
        // What decided stands last.
        let key = format!("platform.{name}.{}", unmet.key);
        if trace.0.last().is_none_or(|line| line.key != key) {
            trace.step(key, unmet.detail, false);
        }
        Err(deny(unmet.reason, detail, unmet.remedy))
    }

    fn unmet(&self, platform: &Platform) -> Option<Unmet> {
        let foreign = |wanted: &str| {
            Some(Unmet {
                key: wanted.to_lowercase(),
                reason: Reason::PlatformNotAllowed,
                detail: format!(
                    "evidence of kind {}, wants a report of {wanted}",
                    self.claims.kind
                ),
                remedy: "list a platform of that kind",
                foreign: true,
            })
        };
        match platform {
            Platform::Snp(policy) => match &self.claims.snp {
                Some(claims) => snp::unmet(policy, claims),
                None => foreign("SNP"),
            },
            Platform::Tdx(policy) => match &self.claims.tdx {
                Some(claims) => tdx::unmet(policy, claims, self.now),
                None => foreign("TDX"),
            },
        }
    }
}
