//! What a keyslot's key derivation may cost: a header must not make its reader run out of time or memory.

use super::error::ForeignError;
use super::json::{Kdf, clipped};
use super::rules::{is_hash, is_short_base64};

/// 1 GiB and 4 threads are cryptsetup's own ceilings of Argon2.
const MEMORY_KIB: std::ops::RangeInclusive<u64> = 32..=1 << 20;
const THREADS: std::ops::RangeInclusive<u64> = 1..=4;
/// Passes times memory: 16 GiB are 10 to 20 seconds of one processor.
const MEMORY_PASSES_KIB: std::ops::RangeInclusive<u64> = 32..=16 << 20;
/// Of PBKDF2; cryptsetup's two seconds are 2 to 5 millions.
pub(super) const ITERATIONS: std::ops::RangeInclusive<u64> = 1000..=20_000_000;

/// Judges the key derivation of `slot`.
pub(super) fn judge(slot: u32, kdf: &Kdf) -> Result<(), ForeignError> {
    match kdf.r#type.as_str() {
        "argon2id" | "argon2i" => argon2(slot, kdf)?,
        "pbkdf2" => pbkdf2(slot, kdf)?,
        other => {
            let found = clipped(other);
            return Err(ForeignError::Kdf { slot, found });
        }
    }
    if is_short_base64(&kdf.salt) {
        return Ok(());
    }
    Err(ForeignError::Keyslot {
        slot,
        field: "kdf.salt",
        found: clipped(&kdf.salt),
        wanted: "base64 of 16 to 64 bytes",
    })
}

fn argon2(slot: u32, kdf: &Kdf) -> Result<(), ForeignError> {
    let (memory, time, cpus) = (
        kdf.memory.unwrap_or(0),
        kdf.time.unwrap_or(0),
        kdf.cpus.unwrap_or(0),
    );
    let passes = time.saturating_mul(memory);
    let checks = [
        ("KiB of memory", memory, MEMORY_KIB, "32 to 1048576"),
        ("threads", cpus, THREADS, "1 to 4"),
        (
            "KiB of memory times passes",
            passes,
            MEMORY_PASSES_KIB,
            "at least one pass and at most 16777216",
        ),
    ];
    for (what, found, range, wanted) in checks {
        if !range.contains(&found) {
            return Err(cost(slot, what, found, wanted));
        }
    }
    match (&kdf.hash, kdf.iterations) {
        (None, None) => Ok(()),
        _ => Err(mixed(slot)),
    }
}

fn pbkdf2(slot: u32, kdf: &Kdf) -> Result<(), ForeignError> {
    let iterations = kdf.iterations.unwrap_or(0);
    if !ITERATIONS.contains(&iterations) {
        let wanted = "1000 to 20000000";
        return Err(cost(slot, "iterations", iterations, wanted));
    }
    let hash = kdf.hash.as_deref().unwrap_or_default();
    if !is_hash(hash) {
        return Err(ForeignError::Keyslot {
            slot,
            field: "kdf.hash",
            found: clipped(hash),
            wanted: "sha256 or sha512",
        });
    }
    match (kdf.memory, kdf.time, kdf.cpus) {
        (None, None, None) => Ok(()),
        _ => Err(mixed(slot)),
    }
}

fn cost(slot: u32, what: &'static str, found: u64, wanted: &'static str) -> ForeignError {
    ForeignError::KdfCost {
        slot,
        what,
        found,
        wanted,
    }
}

/// Members of one derivation in another.
fn mixed(slot: u32) -> ForeignError {
    ForeignError::Keyslot {
        slot,
        field: "kdf",
        found: "members of both Argon2 and PBKDF2".into(),
        wanted: "those of one",
    }
}
