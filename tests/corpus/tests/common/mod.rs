//! Recorded evidence as the tests find it.
#![allow(
    dead_code, // each test binary uses its part
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

use std::path::{Path, PathBuf};

use dawnkey_attest::evidence::Evidence;
use dawnkey_attest::{part::Part, verify::verify};
use dawnkey_corpus::{case::Case, input::Input};

/// The folder of recorded evidence, or `None` (said in one line) where it is absent; in CI that fails.
pub fn evidence_dir() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence");
    let dir = std::env::var_os("DAWNKEY_EVIDENCE").map_or_else(beside, PathBuf::from);
    if dir.join("cases.json").is_file() {
        return Some(dir);
    }
    let shown = dir.display();
    assert!(
        std::env::var_os("CI").is_none(),
        "no recorded evidence in {shown}"
    );
    eprintln!("no recorded evidence in {shown}: set DAWNKEY_EVIDENCE; nothing was tested");
    None
}

/// The accepted cases of a family that `wanted` takes, smallest evidence first as far as the list's order tells.
pub fn accepted(family: &str, wanted: impl Fn(&Case) -> bool) -> Option<Vec<(Case, Input)>> {
    let dir = evidence_dir()?;
    let cases = Case::load_all(&dir).unwrap().into_iter().filter(|case| {
        case.family() == family && case.expected()["verdict"] == "accept" && wanted(case)
    });
    let cases: Vec<_> = cases
        .map(|case| {
            let input = Input::of(&case).unwrap();
            assert!(passes(&input), "{} is accepted as recorded", case.name());
            (case, input)
        })
        .collect();
    assert!(!cases.is_empty(), "no accepted case of {family}");
    Some(cases)
}

/// Whether evidence passes the one entry point.
pub fn passes(input: &Input) -> bool {
    verify(
        &input.evidence,
        &input.binder,
        &input.roots,
        &input.collateral,
        input.now,
    )
    .is_ok()
}

/// The piece of an input that has one.
pub fn part(input: &mut Input) -> &mut Part {
    match &mut input.evidence {
        Evidence::Part(part) => part,
        other => panic!("{} is no piece", other.kind()),
    }
}
