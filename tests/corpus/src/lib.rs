//! Judges recorded evidence and compares with what was written down for it.
//!
//! A folder has a `cases.json`; each case names its family, its files by role, the time of judging, a policy and what
//! must come of it. A case is turned into evidence by family and role alone ([`input`]), judged through
//! `dawnkey_attest::verify::verify` and the policies that judge claims ([`judge`]), and what the evidence says is
//! brought into the folder's field names ([`decode`]). No id, path or digest of a case decides about anything.
#![allow(clippy::indexing_slicing)] // only JSON is indexed, where what is absent is null

pub mod case;
pub mod compare;
pub mod decode;
pub mod input;
pub mod judge;
pub mod policy;

use std::path::Path;

use case::{Case, CorpusError};

/// What running a folder came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Cases that came out as written.
    pub passed: usize,
    /// Cases that did not.
    pub failed: usize,
    /// One line for each difference: `id: field: expected X, found Y`.
    pub mismatches: Vec<String>,
}

/// Judges every case of a folder.
///
/// # Errors
/// [`CorpusError`] where the folder or its list of cases cannot be read; a file of one case that cannot be read is a
/// mismatch of that case.
pub fn run(dir: &Path) -> Result<Summary, CorpusError> {
    let mut summary = Summary::default();
    for case in Case::load_all(dir)? {
        let differences = differences(&case);
        if differences.is_empty() {
            summary.passed += 1;
        } else {
            summary.failed += 1;
        }
        let lines = differences
            .into_iter()
            .map(|one| format!("{}: {one}", case.name()));
        summary.mismatches.extend(lines);
    }
    Ok(summary)
}

/// What came out otherwise than written, as `field: expected X, found Y`.
pub fn differences(case: &Case) -> Vec<String> {
    match judge::judge(case) {
        Ok(outcome) => compare::differences(case.expected(), &outcome),
        Err(error) => vec![error.to_string()],
    }
}
