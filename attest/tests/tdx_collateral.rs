//! Mock collateral: changed, revoked, expired or of something else, each refused by name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr
)]

mod tdx_common;

use dawnkey_attest::tdx::{
    Chain, Level, Part, TdxCollateral, TdxError,
    fake::{MockCertificate, MockIntel, Spec},
    verify,
};
use dawnkey_attest::verify::Crypto;
use jiff::SignedDuration;
use tdx_common::{outcome, unix};

fn with_collateral(change: impl FnOnce(&mut TdxCollateral)) -> TdxError {
    let (intel, spec) = (MockIntel::new(), Spec::default());
    let mut collateral = intel.collateral(&spec);
    change(&mut collateral);
    let verified = verify(
        &intel.quote(&spec),
        Some(&collateral),
        &intel.roots(),
        unix(spec.now),
    );
    verified.expect_err("changed collateral")
}

#[test]
fn refuses_svns_below_every_level() {
    for (spec, wanted) in [
        (
            Spec {
                component_svn: 2,
                ..Spec::default()
            },
            Level::Launch,
        ),
        (
            Spec {
                tee_tcb_svn: [1, 1, 5],
                ..Spec::default()
            },
            Level::Module,
        ),
        (
            Spec {
                qe_isv_svn: 2,
                ..Spec::default()
            },
            Level::Qe,
        ),
    ] {
        let error = outcome(&spec).unwrap_err();
        assert!(
            matches!(error, TdxError::NoTcbLevel { level, .. } if level == wanted),
            "{error}"
        );
        assert_eq!(
            (error.reason_class(), error.crypto()),
            ("tcb_no_matching_level", Crypto::Valid)
        );
    }
}

#[test]
fn refuses_revocation_at_each_level() {
    for (kind, chain) in [
        (MockCertificate::Pck, Chain::Pck),
        (MockCertificate::PckCa, Chain::PckCrl),
        (MockCertificate::TcbSigner, Chain::TcbInfo),
    ] {
        let error = outcome(&Spec {
            revoked: vec![kind],
            ..Spec::default()
        })
        .unwrap_err();
        assert!(
            matches!(error, TdxError::Revoked { chain: found, .. } if found == chain),
            "{kind:?}: {error}"
        );
    }
}

#[test]
fn refuses_expired_certificates_at_each_level() {
    for (kind, chain) in [
        (MockCertificate::Pck, Chain::Pck),
        (MockCertificate::PckCa, Chain::PckCrl),
        (MockCertificate::TcbSigner, Chain::TcbInfo),
    ] {
        let error = outcome(&Spec {
            expired: Some(kind),
            ..Spec::default()
        })
        .unwrap_err();
        assert!(
            matches!(error, TdxError::CertificateExpired { chain: found, .. } if found == chain),
            "{kind:?}: {error}"
        );
        assert_eq!(error.crypto(), Crypto::Valid);
    }
}

#[test]
fn refuses_collateral_and_crls_outside_their_dates() {
    let ended = SignedDuration::from_hours(-1);
    let error = outcome(&Spec {
        collateral_left: ended,
        ..Spec::default()
    })
    .unwrap_err();
    assert!(
        matches!(
            error,
            TdxError::CollateralExpired {
                part: Part::TcbInfo,
                ..
            }
        ),
        "{error}"
    );
    let error = outcome(&Spec {
        crl_left: ended,
        ..Spec::default()
    })
    .unwrap_err();
    assert!(
        matches!(
            error,
            TdxError::CrlExpired {
                part: Part::RootCrl,
                ..
            }
        ),
        "{error}"
    );

    let (intel, spec) = (MockIntel::new(), Spec::default());
    let early = spec
        .now
        .checked_sub(SignedDuration::from_hours(25))
        .unwrap();
    let error = verify(
        &intel.quote(&spec),
        Some(&intel.collateral(&spec)),
        &intel.roots(),
        unix(early),
    );
    assert!(
        matches!(error, Err(TdxError::CollateralNotYetValid { .. })),
        "{error:?}"
    );
}

#[test]
fn refuses_changed_collateral_by_part() {
    let flip = |bytes: &mut Vec<u8>, at: usize| bytes[at] ^= 1;
    let error = with_collateral(|it| flip(&mut it.tcb_info, 30));
    assert_eq!(
        error,
        TdxError::CollateralSignature {
            part: Part::TcbInfo
        }
    );
    let error = with_collateral(|it| flip(&mut it.qe_identity_signature, 30));
    assert_eq!(
        error,
        TdxError::CollateralSignature {
            part: Part::QeIdentity
        }
    );
    for (part, field) in [(Part::RootCrl, 0), (Part::PckCrl, 1)] {
        let error = with_collateral(|it| {
            let crl = if field == 0 {
                &mut it.root_ca_crl
            } else {
                &mut it.pck_crl
            };
            let last = crl.len() - 5;
            crl[last] ^= 1;
        });
        assert_eq!(error, TdxError::CrlSignature { part });
    }
    let error = with_collateral(|it| it.pck_crl = it.root_ca_crl.clone());
    assert!(
        matches!(
            error,
            TdxError::CrlIssuer {
                part: Part::PckCrl,
                ..
            }
        ),
        "{error}"
    );
    let error = with_collateral(|it| it.root_ca_crl.push(0));
    assert!(
        matches!(
            error,
            TdxError::Collateral {
                part: Part::RootCrl,
                ..
            }
        ),
        "{error}"
    );
    let error = with_collateral(|it| it.tcb_info_issuer_chain.clear());
    assert!(
        matches!(
            error,
            TdxError::Certificate {
                chain: Chain::TcbInfo,
                ..
            }
        ),
        "{error}"
    );
    let error = with_collateral(|it| it.pck_crl_issuer_chain = it.tcb_info_issuer_chain.clone());
    assert!(
        matches!(
            error,
            TdxError::ChainInvalid {
                chain: Chain::PckCrl,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn refuses_collateral_that_a_pck_signed() {
    let error = outcome(&Spec {
        collateral_signed_by_pck: true,
        ..Spec::default()
    })
    .unwrap_err();
    assert!(
        matches!(
            error,
            TdxError::ChainInvalid {
                chain: Chain::TcbInfo,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn refuses_collateral_of_another_platform_or_tee() {
    let error = outcome(&Spec {
        tcb_info_fmspc: [9; 6],
        ..Spec::default()
    })
    .unwrap_err();
    assert!(matches!(error, TdxError::FmspcMismatch { .. }), "{error}");
    let error = outcome(&Spec {
        tcb_info_pce_id: [0, 1],
        ..Spec::default()
    })
    .unwrap_err();
    assert!(matches!(error, TdxError::PceIdMismatch { .. }), "{error}");
    let error = outcome(&Spec {
        tcb_info_id: "SGX",
        ..Spec::default()
    })
    .unwrap_err();
    assert!(
        matches!(
            error,
            TdxError::CollateralKind {
                part: Part::TcbInfo,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn refuses_another_quoting_enclave_and_another_module() {
    let error = outcome(&Spec {
        qe_prod_id: 1,
        ..Spec::default()
    })
    .unwrap_err();
    assert!(
        matches!(
            error,
            TdxError::QeIdentityMismatch {
                field: "ISVPRODID",
                ..
            }
        ),
        "{error}"
    );
    let error = outcome(&Spec {
        mr_signer_seam: [1; 48],
        ..Spec::default()
    })
    .unwrap_err();
    assert!(
        matches!(
            error,
            TdxError::ModuleMismatch {
                field: "MRSIGNERSEAM",
                ..
            }
        ),
        "{error}"
    );
    let error = outcome(&Spec {
        tee_tcb_svn: [6, 9, 5],
        ..Spec::default()
    })
    .unwrap_err();
    assert!(
        matches!(
            error,
            TdxError::ModuleMismatch {
                field: "version",
                ..
            }
        ),
        "{error}"
    );
}
