//! Export and import.

use std::path::PathBuf;

use super::*;
use crate::exchange::{ImportError, import};
use crate::pem;
use crate::store::{Put, StoreError};

fn file(name: &str, bytes: impl Into<Vec<u8>>) -> (PathBuf, Vec<u8>) {
    (PathBuf::from(name), bytes.into())
}

#[tokio::test(start_paused = true)]
async fn an_export_fills_another_store() {
    let world = World::new();
    for evidence in [snp(false), tdx(None)] {
        world.endorsements.collateral_for(&evidence).await;
    }
    let exported = world.endorsements.store().files(now()).unwrap();
    assert_eq!(exported.len(), 6 + 2, "items and their chains");
    let other = tempfile::tempdir().unwrap();
    let second = store(other.path());
    let imported = import(&second, &exported, now()).unwrap();
    for one in &imported {
        assert!(matches!(one.outcome, Ok((_, Put::Added))), "{one:?}");
    }
    assert_eq!(imported.len(), 6);
    assert_eq!(second.files(now()).unwrap(), exported);

    world.vendor.set_down(true);
    let endorsements = open(other.path(), &world.vendor, &world.time);
    for evidence in [snp(false), tdx(None)] {
        let collateral = endorsements.collateral_for(&evidence).await;
        assert_eq!(judge(&evidence, &collateral), Ok(()));
    }
}

#[test]
fn loose_files_of_vendors_are_recognised_by_content() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let c = INTEL.collateral(&Spec::default());
    let headers = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTCB-Info-Issuer-Chain: {}\r\n\r\n",
        header_of_chain(&c.tcb_info_issuer_chain)
    );
    let chain = [Authority::Ask, Authority::Ark].map(|which| pem::certificate(AMD.der(which)));
    let files = [
        file("tcb.json", tcb_answer(&c)),
        file("tcb.headers", headers),
        file("qe_identity.json", c.qe_identity.clone()),
        file("qe_identity.sig", hex::encode(&c.qe_identity_signature)),
        file("pck.crl", c.pck_crl.clone()),
        file("pck.pem", c.pck_crl_issuer_chain.clone()),
        file("IntelSGXRootCA.der", c.root_ca_crl.clone()),
        file("cert_chain", chain.concat()),
        file("key.bin", VCEK.der.clone()),
        file("milan-vlek-crl", amd_crl(now() - DAY, now() + DAY)),
    ];
    let imported = import(&store, &files, now()).unwrap();
    let mut items: Vec<_> = imported
        .into_iter()
        .map(|one| {
            one.outcome
                .map_err(|e| format!("{:?}: {e}", one.path))
                .unwrap()
                .0
        })
        .collect();
    items.sort();
    let mut expected = vec![
        Item::Ark(Product::Milan),
        Item::Ask(Product::Milan),
        Item::VlekCrl(Product::Milan),
        vcek_item(),
        Item::RootCrl,
        pck_crl(),
        fmspc(),
        Item::QeIdentity,
    ];
    expected.sort();
    assert_eq!(items, expected);
}

#[test]
fn what_is_refused_is_named_and_the_rest_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let newer = checked(&amd_crl(now() - DAY, now() + DAY), None);
    store.put(&newer, now()).unwrap();
    let forged = MockAmd::new(Product::Milan);
    let foreign = MockIntel::new().collateral(&Spec::default());
    let files = [
        file("good", VCEK.der.clone()),
        file("ark.pem", pem::certificate(forged.der(Authority::Ark))),
        file("forged.der", forged.issue(&vek_spec()).der),
        file("old.crl", amd_crl(now() - 2 * DAY, now() + DAY)),
        file("tcb.json", tcb_answer(&INTEL.collateral(&Spec::default()))),
        file("root.crl", foreign.root_ca_crl),
        file("chain.pem", foreign.tcb_info_issuer_chain),
        file("readme.txt", "hello"),
        file("empty", ""),
    ];
    let imported = import(&store, &files, now()).unwrap();
    let outcome = |name: &str| {
        let mut of = imported.iter().filter(|one| one.path.as_os_str() == name);
        of.next().map(|one| &one.outcome)
    };
    assert!(matches!(outcome("good"), Some(Ok((_, Put::Added)))));
    assert!(matches!(
        outcome("old.crl"),
        Some(Err(ImportError::Store(StoreError::Older { .. })))
    ));
    for name in [
        "ark.pem",
        "forged.der",
        "tcb.json",
        "root.crl",
        "chain.pem",
        "readme.txt",
        "empty",
    ] {
        let found = outcome(name);
        assert!(
            matches!(found, Some(Err(ImportError::Check(_)))),
            "{name}: {found:?}"
        );
    }
    assert_eq!(store.files(now()).unwrap().len(), 2);
}
