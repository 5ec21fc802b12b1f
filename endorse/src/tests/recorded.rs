//! Recorded files of the real vendors, where they are at hand.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::exchange::{Imported, import};

/// The folder of recorded evidence, `None` (said so) where there is none.
fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/evidence");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "{folder:?} is absent");
    #[allow(clippy::print_stderr)]
    {
        eprintln!("skipped: no recorded evidence in {folder:?}");
    }
    None
}

fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

fn vendors() -> Trust {
    Trust {
        snp: AmdRoots::amd().unwrap(),
        tdx: dawnkey_attest::tdx::TdxRoots::intel().unwrap(),
        tpm: Vec::new(),
    }
}

fn refused(imported: &[Imported]) -> Vec<String> {
    let errors = imported.iter().filter_map(|one| {
        let error = one.outcome.as_ref().err()?;
        Some(format!("{}: {error}", one.path.display()))
    });
    errors.collect()
}

#[test]
fn recorded_collateral_of_intel_is_imported_whole() {
    let Some(folder) = folder() else { return };
    let mut sets = 0;
    for set in fs::read_dir(folder.join("shared/intel/collateral")).unwrap() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), Arc::new(vendors())).unwrap();
        let imported = import(&store, &files(&set.unwrap().path()), now()).unwrap();
        let items: Vec<_> = imported
            .iter()
            .filter_map(|one| one.outcome.as_ref().ok())
            .collect();
        if items.len() == 4 {
            assert_eq!(refused(&imported), Vec::<String>::new());
            sets += 1;
        }
        assert_eq!(store.list(now()).unwrap().len(), items.len());
    }
    assert!(sets >= 5, "{sets} whole sets");
}

#[test]
fn recorded_certificates_and_lists_of_amd_are_imported() {
    let Some(folder) = folder() else { return };
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Arc::new(vendors())).unwrap();
    let mut all = files(&folder.join("shared/amd"));
    for case in [
        "crl-milan-2025",
        "milan-vcek-azure-imds",
        "milan-vcek-enarx",
        "turin-vcek-virtee",
    ] {
        all.extend(files(&folder.join("amd-certs").join(case)));
    }
    let imported = import(&store, &all, now()).unwrap();
    assert_eq!(refused(&imported), Vec::<String>::new());
    assert!(imported.len() >= 11, "{imported:?}");
    let tampered = files(&folder.join("amd-certs/neg-crl-milan-tampered"));
    assert_eq!(refused(&import(&store, &tampered, now()).unwrap()).len(), 1);
}
