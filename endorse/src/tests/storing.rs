//! The directory.

use super::*;
use crate::store::{Put, StoreError};

#[test]
fn an_item_is_put_once_and_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let vcek = checked(&VCEK.der, None);
    assert_eq!(vcek.item, vcek_item());
    let store_ = store(directory.path());
    assert_eq!(store_.put(&vcek, now()).unwrap(), Put::Added);
    assert_eq!(store_.put(&vcek, now()).unwrap(), Put::Unchanged);
    let again = store(directory.path())
        .get(&vcek_item(), now())
        .unwrap()
        .unwrap();
    assert_eq!(*again, vcek);
    let ask = checked(AMD.der(Authority::Ask), None);
    store_.put(&ask, now()).unwrap();
    let text = std::fs::read_to_string(directory.path().join("amd/milan/ask.pem")).unwrap();
    assert!(text.starts_with("-----BEGIN CERTIFICATE-----\n"));
}

#[test]
fn tcb_info_never_goes_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let of = |number, hours: i64| {
        let spec = Spec::default();
        let now = spec.now + jiff::SignedDuration::from_hours(hours);
        checked_tcb(&Spec {
            evaluation_number: number,
            now,
            ..spec
        })
    };
    assert_eq!(store.put(&of(20, 0), now()).unwrap(), Put::Added);
    assert_eq!(store.put(&of(20, 24), now()).unwrap(), Put::Replaced);
    for older in [of(20, 0), of(19, 48)] {
        let refused = store.put(&older, now()).unwrap_err();
        assert!(matches!(refused, StoreError::Older { .. }), "{refused}");
    }
    assert_eq!(store.put(&of(21, 0), now()).unwrap(), Put::Replaced);
    let kept = store.get(&fmspc(), now()).unwrap().unwrap();
    assert_eq!(kept.number, 21);
}

#[test]
fn revocation_lists_never_go_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let list = |days: u64| checked(&amd_crl(now() - days * DAY, now() + 90 * DAY), None);
    store.put(&list(5), now()).unwrap();
    assert_eq!(store.put(&list(2), now()).unwrap(), Put::Replaced);
    let refused = store.put(&list(3), now()).unwrap_err();
    assert!(matches!(refused, StoreError::Older { .. }), "{refused}");
    // Not even when somebody writes into the directory of a running service.
    let path = directory.path().join("amd/milan/vcek-crl.der");
    store.get(&Item::VcekCrl(Product::Milan), now()).unwrap();
    std::fs::write(&path, amd_crl(now() - 9 * DAY, now() + 90 * DAY)).unwrap();
    let refused = store
        .get(&Item::VcekCrl(Product::Milan), now())
        .unwrap_err();
    assert!(matches!(refused, StoreError::Older { .. }), "{refused}");
}

#[test]
fn a_file_is_trusted_for_its_signature_not_for_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    store.put(&checked(&VCEK.der, None), now()).unwrap();
    let place = directory.path().join(vcek_item().path());

    let mut spec = vek_spec();
    spec.hwid[0] ^= 1;
    std::fs::write(&place, AMD.issue(&spec).der).unwrap();
    let refused = store.get(&vcek_item(), now()).unwrap_err();
    assert!(matches!(refused, StoreError::Misplaced { .. }), "{refused}");

    let forged = MockAmd::new(Product::Milan).issue(&vek_spec());
    std::fs::write(&place, forged.der).unwrap();
    let refused = store.get(&vcek_item(), now()).unwrap_err();
    assert!(matches!(refused, StoreError::Refused { .. }), "{refused}");
    assert!(refused.to_string().contains("amd/milan/vcek/"), "{refused}");

    assert_eq!(
        store.put(&checked(&VCEK.der, None), now()).unwrap(),
        Put::Replaced
    );
    assert!(store.get(&vcek_item(), now()).unwrap().is_some());
}

#[test]
fn other_roots_make_the_whole_store_untrusted() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    store.put(&checked(&VCEK.der, None), now()).unwrap();
    assert!(store.get(&vcek_item(), now()).unwrap().is_some());
    store.set_trust(Arc::new(Trust::from(&Roots {
        snp: AmdRoots::amd().unwrap(),
        ..roots()
    })));
    let refused = store.get(&vcek_item(), now()).unwrap_err();
    assert!(matches!(refused, StoreError::Refused { .. }), "{refused}");
}

#[test]
fn a_list_names_what_is_good_what_is_refused_and_what_does_not_belong() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    store.put(&checked(&VCEK.der, None), now()).unwrap();
    store.put(&checked_tcb(&Spec::default()), now()).unwrap();
    let at = |path: &str| directory.path().join(path);
    std::fs::write(at("intel/qe-identity.json"), "{}").unwrap();
    std::fs::write(at("amd/notes.txt"), "hello").unwrap();
    std::fs::write(at("intel/.new"), "half a file").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", at("intel/root-ca-crl.der")).unwrap();
    let listed = store.list(now()).unwrap();
    let names: Vec<_> = listed
        .iter()
        .map(|file| {
            let kind = match &file.outcome {
                Ok(_) => "good",
                Err(StoreError::Foreign { .. }) => "foreign",
                Err(StoreError::Refused { .. }) => "refused",
                Err(_) => "other",
            };
            (
                file.path.file_name().unwrap().to_str().unwrap().to_owned(),
                kind,
            )
        })
        .collect();
    let expected = [
        ("04010000000018db.der", "good"),
        ("notes.txt", "foreign"),
        ("qe-identity.json", "refused"),
        ("root-ca-crl.der", "refused"),
        ("00806f050000.json", "good"),
    ];
    let expected = expected.map(|(name, kind)| (name.to_owned(), kind));
    assert_eq!(names, expected);
}
