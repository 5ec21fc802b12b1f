//! Which of the listed images has booted, or how the nearest one differs.

use super::pre_cap::{absent, mismatch};
use super::{Bench, Trace, Verdict, deny};
use crate::policy::{Image, Register, Section};
use dawnkey_attest::claims::TrustClass;
use dawnkey_proto::message::Reason;
use jiff::Timestamp;

/// How far a boot is from an image.
struct Distance<'a> {
    image: &'a Image,
    /// Every difference: reason and words.
    differs: Vec<(Reason, String)>,
    /// Number of values compared.
    compared: usize,
    /// Whether a register that the image does not leave at zero agrees.
    kin: bool,
}

impl Distance<'_> {
    fn words(&self) -> String {
        let words: Vec<&str> = self.differs.iter().map(|(_, words)| &**words).collect();
        words.join("; ")
    }

    fn compare(&mut self, register: Register, expected: &[Vec<u8>], found: &[u8]) {
        self.compared += 1;
        if expected.iter().any(|one| one == found) {
            self.kin |= found.iter().any(|byte| *byte != 0);
            return;
        }
        let wanted: Vec<String> = expected.iter().map(hex::encode).collect();
        let (found, wanted) = (hex::encode(found), wanted.join(" or "));
        let words = format!("{register} is {found}, expected {wanted}");
        self.differs.push((mismatch(register), words));
    }
}

/// What became of one image.
enum Match<'a> {
    Booted,
    /// It has booted, but the time is not its own; what that means.
    Untimely(String),
    Differs(Distance<'a>),
    /// It has no values that such evidence could show.
    Unfit(String),
}

impl Bench<'_> {
    pub(super) fn booted(&self, trace: &mut Trace) -> Result<String, Verdict> {
        let mut nearest: Option<Distance<'_>> = None;
        let mut untimely = None;
        let mut unfit = None;
        for image in self.images() {
            match self.try_image(image, trace)? {
                Match::Booted => {
                    let finding = format!("lists {}", image.name);
                    trace.step(self.key("images"), finding, true);
                    return Ok(image.name.clone());
                }
                Match::Untimely(why) => untimely = Some(why),
                Match::Unfit(why) => unfit = Some(why),
                Match::Differs(distance) => {
                    let closer = |n: &Distance<'_>| {
                        (!distance.kin, distance.differs.len()) < (!n.kin, n.differs.len())
                    };
                    if nearest.as_ref().is_none_or(closer) {
                        nearest = Some(distance);
                    }
                }
            }
        }
        trace.step(self.key("images"), "no listed image has booted", false);
        if let Some(detail) = untimely {
            let remedy = "boot an image of this time, or change its valid_from or valid_until";
            return Err(deny(Reason::ImageExpired, detail, remedy));
        }
        Err(match (nearest, unfit) {
            (Some(nearest), _) => unknown(&nearest),
            (None, Some(detail)) => deny(
                Reason::ImageUnknown,
                detail,
                "add its values with `dawnkey measure` and `dawnkey policy add-image`",
            ),
            (None, None) => deny(
                Reason::ImageUnknown,
                format!("{} is empty, so that nothing may boot", self.key("images")),
                "add an image to the policy",
            ),
        })
    }

    fn try_image<'b>(&self, image: &'b Image, trace: &mut Trace) -> Result<Match<'b>, Verdict> {
        let at = format!("image.{}", image.name);
        let anchor = self.anchor();
        let key = format!("{at}.{}", anchor.name());
        if !image.has(anchor) {
            let why = format!("image {} has no [image.{}]", image.name, anchor.name());
            trace.step(key, "has no values for such evidence", false);
            return Ok(Match::Unfit(why));
        }
        let distance = self.distance(image, anchor, &at, trace)?;
        if !distance.differs.is_empty() {
            trace.step(key, distance.words(), false);
            return Ok(Match::Differs(distance));
        }
        let what = match anchor {
            Section::Pcrs => "PCRs",
            Section::Snp | Section::Tdx => "values",
        };
        let finding = format!("all {} {what} agree", distance.compared);
        trace.step(key, finding, true);
        Ok(match timely(image, &at, self.now, trace) {
            Ok(()) => Match::Booted,
            Err(why) => Match::Untimely(why),
        })
    }

    /// The section that must prove the image: a TEE's own report, or the PCRs of a TPM.
    fn anchor(&self) -> Section {
        match self.rules.trust_class {
            TrustClass::Hypervisor | TrustClass::TeeVtpm => Section::Pcrs,
            TrustClass::Tee if self.claims.tdx.is_some() => Section::Tdx,
            TrustClass::Tee => Section::Snp,
        }
    }

    /// Compares the anchor and, of a vTPM's own TEE, what the image says of it.
    fn distance<'b>(
        &self,
        image: &'b Image,
        anchor: Section,
        at: &str,
        trace: &mut Trace,
    ) -> Result<Distance<'b>, Verdict> {
        let mut distance = Distance {
            image,
            differs: Vec::new(),
            compared: 0,
            kin: false,
        };
        let of_tee = |section| section != Section::Pcrs && Section::is_shown(section, self.claims);
        for (register, expected) in &image.values {
            let section = register.section();
            if section != anchor && !of_tee(section) {
                continue;
            }
            let Some(found) = register.found(self.claims) else {
                let key = format!("{at}.{}", section.name());
                return Err(absent(&key, *register, trace));
            };
            distance.compare(*register, expected, &found);
        }
        if let Some(snp) = &self.claims.snp
            && snp.report.guest_svn < image.min_guest_svn
        {
            let (found, least) = (snp.report.guest_svn, image.min_guest_svn);
            let words =
                format!("the SNP guest's security version is {found}, expected at least {least}");
            distance.differs.push((Reason::MeasurementMismatch, words));
        }
        Ok(distance)
    }
}

fn timely(image: &Image, at: &str, now: Timestamp, trace: &mut Trace) -> Result<(), String> {
    let name = &image.name;
    if let Some(begin) = image.valid_from {
        let met = begin <= now;
        if !trace.step(format!("{at}.valid_from"), format!("from {begin}"), met) {
            return Err(format!(
                "image {name} has booted, but is valid from {begin} only"
            ));
        }
    }
    if let Some(end) = image.valid_until {
        let met = now < end;
        let finding = if met { "until" } else { "ended at" };
        if !trace.step(format!("{at}.valid_until"), format!("{finding} {end}"), met) {
            return Err(format!(
                "image {name} has booted, but was valid until {end}"
            ));
        }
    }
    Ok(())
}

fn unknown(nearest: &Distance<'_>) -> Verdict {
    let detail = format!("{} (image {})", nearest.words(), nearest.image.name);
    match nearest.differs.first() {
        Some((reason, _)) if nearest.kin => deny(
            *reason,
            detail,
            "boot that image unchanged, or add the one that booted to the policy",
        ),
        _ => deny(
            Reason::ImageUnknown,
            detail,
            "add the image that booted to the policy, or boot a listed one",
        ),
    }
}
