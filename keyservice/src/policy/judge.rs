//! Judging claims by a volume policy, with a trace that names the key of the file behind every step.

use super::{Image, Policy, VolumePolicy};
use crate::volume::Digest32;
use dawnkey_attest::claims::{Claims, TrustClass};
use dawnkey_proto::message::Reason;
use jiff::Timestamp;
use serde::Serialize;

/// One step of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TraceLine {
    /// The key of the policy file that asks for something.
    pub key: String,
    /// What it asks for and what the evidence shows.
    pub finding: String,
    /// Whether the evidence meets it.
    pub met: bool,
}

impl std::fmt::Display for TraceLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mark = if self.met { "met" } else { "NOT met" };
        write!(f, "{}: {}: {mark}", self.key, self.finding)
    }
}

/// What a volume policy says about claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The evidence is good enough.
    Approve {
        /// Name of the image that booted.
        image: String,
    },
    /// It is not.
    Deny {
        /// Stable code.
        reason: Reason,
        /// What was found and what was expected.
        detail: String,
        /// What would make it pass.
        remedy: String,
    },
}

/// A verdict with its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// Every step up to the one that decided, which is the last.
    pub trace: Vec<TraceLine>,
}

impl Decision {
    /// The key of the policy file that decided.
    #[must_use]
    pub fn rule(&self) -> &str {
        self.trace.last().map_or("volume-policy", |line| &line.key)
    }
}

struct Trace(Vec<TraceLine>);

impl Trace {
    fn step(&mut self, key: impl Into<String>, finding: impl Into<String>, met: bool) -> bool {
        self.0.push(TraceLine {
            key: key.into(),
            finding: finding.into(),
            met,
        });
        met
    }
}

fn deny(reason: Reason, detail: impl Into<String>, remedy: impl Into<String>) -> Verdict {
    Verdict::Deny {
        reason,
        detail: detail.into(),
        remedy: remedy.into(),
    }
}

impl Policy {
    /// Judges claims by the volume policy of that name.
    #[must_use]
    pub fn judge(&self, volume_policy: &str, claims: &Claims, now: Timestamp) -> Decision {
        let mut trace = Trace(Vec::new());
        let verdict = self.verdict(volume_policy, claims, now, &mut trace);
        Decision {
            verdict,
            trace: trace.0,
        }
    }

    fn verdict(&self, name: &str, claims: &Claims, now: Timestamp, trace: &mut Trace) -> Verdict {
        let at = format!("volume-policy.{name}");
        let Some(rules) = self.volume_policies.get(name) else {
            trace.step(at, "is not in the policy file", false);
            let detail = format!("the policy file has no [volume-policy.{name}]");
            return deny(
                Reason::Internal,
                detail,
                "add it, or create the volume under another policy",
            );
        };
        let (wanted, found) = (rules.trust_class, claims.trust_class);
        let shown = found.map_or("none", TrustClass::name);
        let finding = format!("wants {wanted}, evidence has {shown}");
        if !trace.step(format!("{at}.trust_class"), finding, Some(wanted) == found) {
            let detail = format!("evidence of trust class {shown}, policy wants {wanted}");
            let remedy = "run the node where its evidence has that class";
            return deny(Reason::TrustClass, detail, remedy);
        }
        if let Some(verdict) = pre_cap(&at, rules, claims, trace) {
            return verdict;
        }
        let images: Vec<&Image> = rules
            .images
            .iter()
            .filter_map(|image| self.images.get(image))
            .collect();
        booted(&at, &images, claims, now, trace)
    }
}

/// PCRs that the agent caps once a volume is open must still be zero.
fn pre_cap(at: &str, rules: &VolumePolicy, claims: &Claims, trace: &mut Trace) -> Option<Verdict> {
    let key = format!("{at}.pcrs_pre_cap");
    for pcr in &rules.pcrs_pre_cap {
        let Some(found) = claims.pcrs.get(pcr) else {
            return Some(absent(&key, *pcr, trace));
        };
        let zero = found.iter().all(|byte| *byte == 0);
        let shown = hex::encode(found);
        if !trace.step(
            key.clone(),
            format!("PCR {pcr} wants all zero, is {shown}"),
            zero,
        ) {
            let wanted = hex::encode([0; 32]);
            let detail = format!(
                "PCR {pcr} is {shown}, expected {wanted}: this boot has had its key already"
            );
            let remedy = "a key is given once per boot: reboot the node";
            return Some(deny(Reason::PcrMismatch, detail, remedy));
        }
    }
    None
}

fn absent(key: &str, pcr: u8, trace: &mut Trace) -> Verdict {
    trace.step(key, format!("PCR {pcr} was not quoted"), false);
    let detail = format!("PCR {pcr} of the SHA-256 bank was not quoted, policy needs it");
    deny(
        Reason::PcrSelection,
        detail,
        "quote all 24 PCRs of the SHA-256 bank",
    )
}

/// How far a boot is from an image.
struct Distance<'a> {
    image: &'a Image,
    /// PCR, expected and found value of every difference.
    differs: Vec<(u8, Digest32, Vec<u8>)>,
    /// Whether a PCR that the image does not leave at zero agrees.
    kin: bool,
}

impl Distance<'_> {
    fn words(&self) -> String {
        self.differs
            .iter()
            .map(|(pcr, expected, found)| {
                format!("PCR {pcr} is {}, expected {expected}", hex::encode(found))
            })
            .collect::<Vec<_>>()
            .join("; ")
    }
}

fn distance<'a>(image: &'a Image, claims: &Claims) -> Result<Distance<'a>, u8> {
    let (mut differs, mut kin) = (Vec::new(), false);
    for (pcr, expected) in &image.pcrs {
        let found = claims.pcrs.get(pcr).ok_or(*pcr)?;
        if found.as_slice() != expected.0 {
            differs.push((*pcr, *expected, found.clone()));
        } else if expected.0 != [0; 32] {
            kin = true;
        }
    }
    Ok(Distance {
        image,
        differs,
        kin,
    })
}

fn booted(
    at: &str,
    images: &[&Image],
    claims: &Claims,
    now: Timestamp,
    trace: &mut Trace,
) -> Verdict {
    let mut nearest: Option<Distance<'_>> = None;
    let mut expired: Option<(&Image, Timestamp)> = None;
    for image in images {
        let key = format!("image.{}.pcrs.sha256", image.name);
        let distance = match distance(image, claims) {
            Ok(distance) => distance,
            Err(pcr) => return absent(&key, pcr, trace),
        };
        if distance.differs.is_empty() {
            trace.step(key, format!("all {} PCRs agree", image.pcrs.len()), true);
            let until = format!("image.{}.valid_until", image.name);
            match image.valid_until {
                Some(end) if end <= now => {
                    trace.step(until, format!("ended at {end}"), false);
                    expired = Some((image, end));
                    continue;
                }
                Some(end) => trace.step(until, format!("until {end}"), true),
                None => true,
            };
            trace.step(
                format!("{at}.images"),
                format!("lists {}", image.name),
                true,
            );
            let image = image.name.clone();
            return Verdict::Approve { image };
        }
        trace.step(key, distance.words(), false);
        if nearest
            .as_ref()
            .is_none_or(|n| distance.differs.len() < n.differs.len())
        {
            nearest = Some(distance);
        }
    }
    trace.step(format!("{at}.images"), "no listed image has booted", false);
    if let Some((image, end)) = expired {
        let detail = format!("image {} has booted, but was valid until {end}", image.name);
        return deny(
            Reason::ImageExpired,
            detail,
            "boot a newer image, or renew its valid_until",
        );
    }
    let Some(nearest) = nearest else {
        let detail = format!("{at}.images is empty, so that nothing may boot");
        return deny(Reason::ImageUnknown, detail, "add an image to the policy");
    };
    let detail = format!("{} (image {})", nearest.words(), nearest.image.name);
    if nearest.kin {
        let remedy = "boot that image unchanged, or add the one that booted to the policy";
        deny(Reason::PcrMismatch, detail, remedy)
    } else {
        let remedy = "add the image that booted to the policy, or boot a listed one";
        deny(Reason::ImageUnknown, detail, remedy)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::super::testing::{FILE, claims, parse};
    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    fn judge(text: &str, claims: &Claims) -> Decision {
        parse(text).unwrap().judge("state", claims, now())
    }

    fn denied(decision: &Decision) -> (Reason, String) {
        match &decision.verdict {
            Verdict::Deny { reason, detail, .. } => (*reason, detail.clone()),
            Verdict::Approve { image } => panic!("approved as {image}"),
        }
    }

    #[test]
    fn approves_the_listed_image_and_says_which_lines_decided() {
        let decision = judge(FILE, &claims(1));
        let image = "node-2026-11".to_owned();
        assert_eq!(decision.verdict, Verdict::Approve { image });
        let keys: Vec<_> = decision.trace.iter().map(|l| l.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "volume-policy.state.trust_class",
                "volume-policy.state.pcrs_pre_cap",
                "image.node-2026-11.pcrs.sha256",
                "image.node-2026-11.valid_until",
                "volume-policy.state.images",
            ]
        );
        assert!(decision.trace.iter().all(|line| line.met));
    }

    #[test]
    fn refuses_changed_pcr_and_names_it_with_both_values() {
        let mut changed = claims(1);
        changed.pcrs.insert(12, vec![0xcc; 32]);
        let decision = judge(FILE, &changed);
        let (reason, detail) = denied(&decision);
        assert_eq!(reason, Reason::PcrMismatch);
        assert!(detail.contains("PCR 12 is cccccccc"), "{detail}");
        assert!(detail.contains("expected 00000000"), "{detail}");
        assert_eq!(decision.rule(), "volume-policy.state.images");
    }

    #[test]
    fn refuses_unknown_measurement() {
        let mut other = claims(1);
        other.pcrs.insert(4, vec![1; 32]);
        other.pcrs.insert(11, vec![2; 32]);
        let (reason, detail) = denied(&judge(FILE, &other));
        assert_eq!(reason, Reason::ImageUnknown);
        assert!(detail.contains("PCR 4 is 0101") && detail.contains("PCR 11 is 0202"));
    }

    #[test]
    fn refuses_second_request_after_the_boot_was_closed() {
        let mut capped = claims(1);
        capped.pcrs.insert(15, vec![9; 32]);
        let (reason, detail) = denied(&judge(FILE, &capped));
        assert_eq!(reason, Reason::PcrMismatch);
        assert!(detail.starts_with("PCR 15 is 0909"), "{detail}");
    }

    #[test]
    fn refuses_another_trust_class() {
        let mut tee = claims(1);
        tee.trust_class = Some(TrustClass::Tee);
        assert_eq!(denied(&judge(FILE, &tee)).0, Reason::TrustClass);
        let wants_tee = FILE.replacen("\"hypervisor\"", "\"tee\"", 1);
        let decision = judge(&wants_tee, &claims(1));
        assert_eq!(denied(&decision).0, Reason::TrustClass);
        assert_eq!(decision.rule(), "volume-policy.state.trust_class");
    }

    #[test]
    fn refuses_quote_without_a_pcr_that_policy_needs() {
        for pcr in [4, 15] {
            let mut partial = claims(1);
            partial.pcrs.remove(&pcr);
            let (reason, detail) = denied(&judge(FILE, &partial));
            assert_eq!(reason, Reason::PcrSelection);
            assert!(detail.contains(&format!("PCR {pcr} ")));
        }
    }

    #[test]
    fn refuses_expired_image() {
        let expired = FILE.replacen("2027-11-01", "2026-11-01", 1);
        let decision = judge(&expired, &claims(1));
        assert_eq!(denied(&decision).0, Reason::ImageExpired);
    }

    #[test]
    fn refuses_everything_while_no_image_is_listed() {
        let none = FILE.replacen("images = [\"node-2026-11\"]", "images = []", 1);
        assert_eq!(denied(&judge(&none, &claims(1))).0, Reason::ImageUnknown);
    }

    #[test]
    fn refuses_volume_policy_that_is_not_in_the_file() {
        let decision = parse(FILE).unwrap().judge("gone", &claims(1), now());
        assert_eq!(denied(&decision).0, Reason::Internal);
        assert_eq!(decision.rule(), "volume-policy.gone");
    }
}
