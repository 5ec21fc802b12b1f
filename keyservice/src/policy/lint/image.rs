//! Images: registers that are left free, values that were never measured, dates.

use super::{Findings, Severity};
use crate::policy::{Image, Policy, Register, Section};
use jiff::{SignedDuration, Timestamp};

pub(super) fn check(policy: &Policy, image: &Image, now: Timestamp, all: &mut Findings) {
    let used = |listed: &String| *listed == image.name;
    if !policy
        .volume_policies
        .values()
        .any(|rules| rules.images.iter().any(used))
    {
        all.add(
            Severity::Note,
            format!("image.{}.name", image.name),
            "no volume policy lists this image",
            "list it or remove it",
        );
    }
    if image.has(Section::Pcrs) {
        pcrs(image, all);
    }
    if image.has(Section::Snp) {
        snp(image, all);
    }
    if image.has(Section::Tdx) {
        tdx(image, all);
    }
    dates(image, now, all);
}

fn is_zero(image: &Image, register: Register) -> bool {
    let values = image.values.get(&register).into_iter().flatten();
    values
        .into_iter()
        .any(|value| value.iter().all(|byte| *byte == 0))
}

fn pcrs(image: &Image, all: &mut Findings) {
    for (pcr, what) in [
        (4, "the boot loader and kernel image"),
        (11, "the parts of the unified kernel image"),
        (12, "kernel arguments that were added at boot"),
    ] {
        let register = Register::Pcr(pcr);
        if !image.values.contains_key(&register) {
            all.add(
                Severity::Warning,
                format!("image.{}.pcrs.sha256", image.name),
                format!("PCR {pcr} is free: {what} can be anything"),
                "take the values from `dawnkey measure uki`",
            );
        } else if pcr != 12 && is_zero(image, register) {
            all.add(
                Severity::Warning,
                format!("image.{}.pcrs.sha256.{pcr}", image.name),
                format!("PCR {pcr} is all zero: {what} were not measured"),
                "take the values from `dawnkey measure uki`",
            );
        }
    }
}

fn snp(image: &Image, all: &mut Findings) {
    if is_zero(image, Register::SnpMeasurement) {
        all.add(
            Severity::Error,
            format!("image.{}.snp.measurement", image.name),
            "is all zero, which no launch measures",
            "take the value from `dawnkey measure snp`",
        );
    }
}

fn tdx(image: &Image, all: &mut Findings) {
    for (rtmr, what) in [
        (1, "the boot loader and kernel"),
        (2, "the kernel's command line and initrd"),
    ] {
        if !image.values.contains_key(&Register::Rtmr(rtmr)) {
            all.add(
                Severity::Warning,
                format!("image.{}.tdx.rtmr{rtmr}", image.name),
                format!("is free: {what} can be anything"),
                "take the values from `dawnkey measure tdx`",
            );
        }
    }
    if is_zero(image, Register::MrTd) {
        all.add(
            Severity::Error,
            format!("image.{}.tdx.mr_td", image.name),
            "is all zero, which no launch measures",
            "take the value from `dawnkey measure tdx`",
        );
    }
}

fn dates(image: &Image, now: Timestamp, all: &mut Findings) {
    if let Some(begin) = image.valid_from
        && now < begin
    {
        all.add(
            Severity::Note,
            format!("image.{}.valid_from", image.name),
            format!("nodes that boot this image are refused until {begin}"),
            "nothing, if that is meant",
        );
    }
    let key = format!("image.{}.valid_until", image.name);
    match image.valid_until {
        Some(end) if end <= now => all.add(
            Severity::Warning,
            key,
            format!("ended at {end}: nodes that boot this image are refused"),
            "remove the image or renew it",
        ),
        Some(end) if end.duration_since(now) < SignedDuration::from_hours(30 * 24) => all.add(
            Severity::Note,
            key,
            format!("ends at {end}, in less than 30 days"),
            "roll out a newer image or renew it",
        ),
        _ => {}
    }
}

/// Images that no evidence can tell from one another.
pub(super) fn twins(policy: &Policy, all: &mut Findings) {
    let images: Vec<&Image> = policy.images.values().collect();
    for (n, image) in images.iter().enumerate() {
        let same = |other: &&&Image| other.values == image.values;
        if let Some(twin) = images.iter().take(n).find(same) {
            let section = image
                .values
                .keys()
                .next()
                .map_or("", |r| r.section().name());
            all.add(
                Severity::Note,
                format!("image.{}.{section}", image.name),
                format!("has the values of image {}", twin.name),
                "keep one of them",
            );
        }
    }
}
