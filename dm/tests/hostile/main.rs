//! Headers that somebody with the disk wrote: each is refused under its own name, before the kernel is asked for
//! anything, in bounded time and memory, and not a byte of the disk changes.
//!
//! The mutations are made from a header that the code under test has written, by walking it, so that none is forgotten
//! when the template changes. Whoever has the disk mends checksums and salts; so do the mutations.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::print_stdout
)]

mod attacks;
mod fields;
mod kinds;
mod lab;
mod texts;
mod tree;

use std::collections::BTreeMap;
use std::time::Duration;

use dawnkey_dm::Integrity;

use lab::{Lab, Mutation, Shape};

/// Longest time that one header may take, on a machine that does much else.
const MOST_TIME: Duration = Duration::from_secs(2);
/// Most memory that all of them together may add.
const MOST_MEMORY_KIB: u64 = 64 << 10;

/// Presents all mutations and prints how many of each class were refused.
fn refuse_all(lab: &Lab, mutations: &[Mutation]) {
    let before = peak_memory_kib();
    let mut counts = BTreeMap::<_, usize>::new();
    let mut failures = Vec::new();
    for mutation in mutations {
        assert!(
            mutation.region != lab.good,
            "no mutation: {}",
            mutation.label
        );
        let refusal = lab.refusal(&mutation.region);
        let refused = refusal.as_deref().unwrap_or("OPENED");
        if !mutation.expect.iter().any(|reason| reason == refused) {
            let (class, label, expect) = (mutation.class, &mutation.label, &mutation.expect);
            failures.push(format!("{class}: {label}: {refused}, must be {expect:?}"));
        }
        *counts.entry(mutation.class).or_default() += 1;
    }
    for (class, count) in &counts {
        println!("{}: {class}: {count} refused by name", lab.shape);
    }
    println!(
        "{}: {} mutations, slowest {:?}",
        lab.shape,
        mutations.len(),
        lab.slowest()
    );
    assert!(
        failures.is_empty(),
        "{} of {}:\n{}",
        failures.len(),
        mutations.len(),
        failures.join("\n")
    );
    assert!(lab.slowest() < MOST_TIME);
    let grown = peak_memory_kib().saturating_sub(before);
    assert!(grown < MOST_MEMORY_KIB, "{grown} KiB");
}

/// `VmHWM`: the most memory that this process ever held. The kernel sums counters of several processors for it, so that it may fall by a few pages from one reading to the next.
fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.unwrap().split_whitespace().nth(1);
    number.unwrap().parse().unwrap()
}

#[test]
fn refuses_every_member_of_the_json_removed_joined_retyped_out_of_range_or_twice() {
    for shape in Shape::all() {
        let lab = Lab::new(shape);
        refuse_all(&lab, &tree::Tree::mutations(&lab));
    }
}

#[test]
fn refuses_every_binary_field_changed() {
    for shape in Shape::all() {
        let lab = Lab::new(shape);
        refuse_all(&lab, &fields::binary(&lab));
    }
}

#[test]
fn refuses_every_known_attack_under_its_name() {
    let lab = Lab::new(Shape::plain(Integrity::HmacSha256));
    refuse_all(&lab, &attacks::mutations(&lab));
}

/// The same volume with less protection, or more than it has: what one kind's header says of another kind.
#[test]
fn refuses_every_kind_of_volume_turned_into_every_other() {
    for shape in Shape::all() {
        let lab = Lab::new(shape);
        refuse_all(&lab, &kinds::mutations(&lab));
    }
}

#[test]
fn refuses_texts_made_for_the_parser() {
    let lab = Lab::new(Shape::plain(Integrity::HmacSha256));
    refuse_all(&lab, &texts::mutations(&lab));
}

#[test]
fn refuses_copies_that_differ_and_headers_of_other_volumes_epochs_and_keys() {
    let lab = Lab::new(Shape::plain(Integrity::HmacSha256));
    refuse_all(&lab, &fields::headers(&lab));
}

/// One copy destroyed, the other good: the volume opens as the old good one, and its header is whole afterwards.
#[test]
fn one_destroyed_copy_opens_the_good_volume_and_nothing_else() {
    for shape in Shape::all() {
        let lab = Lab::new(shape);
        let good = dawnkey_dm::header::parse(&lab.good).unwrap().header;
        let key = good.open(&lab::dek(7)).unwrap();
        let repaired = fields::repaired(&lab);
        for (label, region) in &repaired {
            let parsed = dawnkey_dm::header::parse(region).unwrap();
            assert_eq!(parsed.header, good, "{label}");
            let opened = parsed.header.open(&lab::dek(7)).unwrap();
            assert_eq!(opened.expose(), key.expose(), "{label}");
            assert_eq!(lab.refusal(region), None, "{label}");
        }
        println!("{shape}: {} destroyed copies repaired", repaired.len());
    }
}
