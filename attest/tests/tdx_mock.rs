//! Verdicts over a mock of Intel's PKI: every TCB status, attribute, revocation and date, each refused by name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr
)]

mod tdx_common;

use std::collections::BTreeSet;

use dawnkey_attest::tdx::{
    Bytes, Chain, Crypto, Flag, GenuineQuote, Level, Part, QuoteError, TcbStatus, TdxClaims,
    TdxCollateral, TdxError, TdxPolicy, TdxRefusal, TdxRoots,
    fake::{MockCertificate, MockIntel, Spec},
    verify,
};
use jiff::SignedDuration;
use tdx_common::unix;

fn check(intel: &MockIntel, spec: &Spec) -> Result<TdxClaims, TdxError> {
    let (quote, collateral) = (intel.quote(spec), intel.collateral(spec));
    verify(&quote, Some(&collateral), &intel.roots(), unix(spec.now))
        .map(|verified| verified.into_claims())
}

fn outcome(spec: &Spec) -> Result<TdxClaims, TdxError> {
    check(&MockIntel::new(), spec)
}

fn refusals(spec: &Spec, policy: &TdxPolicy) -> Vec<TdxRefusal> {
    policy.judge(&outcome(spec).expect("a genuine quote"), spec.now)
}

fn with_collateral(change: impl FnOnce(&mut TdxCollateral)) -> TdxError {
    let (intel, spec) = (MockIntel::new(), Spec::default());
    let mut collateral = intel.collateral(&spec);
    change(&mut collateral);
    verify(
        &intel.quote(&spec),
        Some(&collateral),
        &intel.roots(),
        unix(spec.now),
    )
    .expect_err("changed collateral")
}

#[test]
fn accepts_every_body_type_with_the_default_policy() {
    for body_type in [None, Some(2), Some(3), Some(4)] {
        let spec = Spec {
            body_type,
            ..Spec::default()
        };
        let claims = outcome(&spec).unwrap_or_else(|error| panic!("{body_type:?}: {error}"));
        assert_eq!(claims.body_type, body_type);
        assert_eq!(claims.tcb.status, TcbStatus::UpToDate);
        assert_eq!(claims.td15.is_some(), matches!(body_type, Some(3 | 4)));
        assert_eq!(claims.td15_ex.is_some(), body_type == Some(4));
        assert_eq!(TdxPolicy::default().judge(&claims, spec.now), []);
    }
}

#[test]
fn refuses_another_root_of_the_same_name() {
    let spec = Spec::default();
    let (intel, other) = (MockIntel::new(), MockIntel::new());
    let error = verify(
        &intel.quote(&spec),
        Some(&intel.collateral(&spec)),
        &other.roots(),
        unix(spec.now),
    );
    let error = error.expect_err("another root");
    assert!(
        matches!(
            error,
            TdxError::RootNotTrusted {
                chain: Chain::Pck,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(error.crypto(), Crypto::Invalid);
}

#[test]
fn production_trust_refuses_what_the_mock_signs() {
    let (intel, spec) = (MockIntel::new(), Spec::default());
    let roots = TdxRoots::intel().unwrap();
    let error = verify(
        &intel.quote(&spec),
        Some(&intel.collateral(&spec)),
        &roots,
        unix(spec.now),
    );
    assert!(matches!(error, Err(TdxError::RootNotTrusted { .. })));
}

#[test]
fn finds_the_right_one_among_several_roots_of_the_same_name() {
    let (intel, other, spec) = (MockIntel::new(), MockIntel::new(), Spec::default());
    let roots = TdxRoots::new([other.root_der(), intel.root_der()]).unwrap();
    assert!(
        verify(
            &intel.quote(&spec),
            Some(&intel.collateral(&spec)),
            &roots,
            unix(spec.now)
        )
        .is_ok()
    );
    // Collateral of one trusted root says nothing about platforms of another.
    let error = verify(
        &intel.quote(&spec),
        Some(&other.collateral(&spec)),
        &roots,
        unix(spec.now),
    );
    assert!(
        matches!(error, Err(TdxError::CrlIssuer { .. })),
        "{error:?}"
    );
}

#[test]
fn refuses_roots_that_are_none() {
    assert!(matches!(TdxRoots::new([]), Err(TdxError::Root { .. })));
    assert!(matches!(
        TdxRoots::new([&b"junk"[..]]),
        Err(TdxError::Root { number: 0, .. })
    ));
}

#[test]
fn is_indeterminate_without_collateral_but_checks_signatures() {
    let (intel, spec) = (MockIntel::new(), Spec::default());
    let mut quote = intel.quote(&spec);
    let error = verify(&quote, None, &intel.roots(), unix(spec.now)).unwrap_err();
    assert_eq!(
        error,
        TdxError::NoCollateral {
            fmspc: Bytes(spec.fmspc)
        }
    );
    assert!(error.is_indeterminate());
    quote[60] ^= 1;
    let error = verify(&quote, None, &intel.roots(), unix(spec.now)).unwrap_err();
    assert_eq!(error, TdxError::QuoteSignature);
}

#[test]
fn merges_platform_module_and_qe_status_for_every_level() {
    use TcbStatus::*;
    let all = [
        UpToDate,
        SWHardeningNeeded,
        ConfigurationNeeded,
        ConfigurationAndSWHardeningNeeded,
        OutOfDate,
        OutOfDateConfigurationNeeded,
        Revoked,
    ];
    let intel = MockIntel::new();
    for status in all {
        let spec = Spec {
            best_status: status,
            ..Spec::default()
        };
        let claims = check(&intel, &spec).unwrap();
        assert_eq!(
            (claims.tcb.status, claims.tcb.platform_status),
            (status, status)
        );
        let refused = TdxPolicy::default().judge(&claims, spec.now);
        let classes: Vec<_> = refused.iter().map(TdxRefusal::reason_class).collect();
        assert_eq!(
            classes,
            if status == UpToDate {
                vec![]
            } else {
                vec![status.reason_class()]
            }
        );
        let allowed = TdxPolicy {
            allowed_tcb_status: BTreeSet::from([status]),
            ..TdxPolicy::default()
        };
        assert_eq!(allowed.judge(&claims, spec.now), []);
    }
    let qe = Spec {
        qe_isv_svn: 4,
        best_status: ConfigurationNeeded,
        ..Spec::default()
    };
    let claims = check(&intel, &qe).unwrap();
    assert_eq!(claims.tcb.qe_status, OutOfDate);
    assert_eq!(claims.tcb.status, OutOfDateConfigurationNeeded);
    let module = Spec {
        tee_tcb_svn: [3, 1, 5],
        ..Spec::default()
    };
    let claims = check(&intel, &module).unwrap();
    assert_eq!(claims.tcb.platform_status, OutOfDate);
    assert_eq!(claims.tcb.module.as_ref().unwrap().status, OutOfDate);
    let revoked = Spec {
        qe_isv_svn: 3,
        qe_lower_status: Revoked,
        ..Spec::default()
    };
    assert_eq!(check(&intel, &revoked).unwrap().tcb.status, Revoked);
}

#[test]
fn judges_both_launch_and_current_module() {
    let intel = MockIntel::new();
    let base = Spec {
        body_type: Some(3),
        ..Spec::default()
    };
    let updated = Spec {
        tee_tcb_svn: [3, 1, 5],
        tee_tcb_svn2: [6, 1, 5],
        ..base.clone()
    };
    let claims = check(&intel, &updated).unwrap();
    assert_eq!(claims.tcb.status, TcbStatus::OutOfDate);
    assert_eq!(claims.tcb.current_status, Some(TcbStatus::UpToDate));
    assert!(claims.tcb.relaunch_advised);
    let rolled_back = Spec {
        tee_tcb_svn: [6, 1, 5],
        tee_tcb_svn2: [3, 1, 5],
        ..base.clone()
    };
    let claims = check(&intel, &rolled_back).unwrap();
    assert_eq!(claims.tcb.status, TcbStatus::OutOfDate);
    assert!(!claims.tcb.relaunch_advised);
    let unknown = Spec {
        tee_tcb_svn2: [6, 1, 0],
        ..base
    };
    let error = check(&intel, &unknown).unwrap_err();
    assert!(
        matches!(
            error,
            TdxError::NoTcbLevel {
                level: Level::Current,
                ..
            }
        ),
        "{error}"
    );
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

#[test]
fn names_each_broken_signature_of_a_quote() {
    let (intel, spec) = (MockIntel::new(), Spec::default());
    let quote = intel.quote(&spec);
    let data = 48 + 584 + 4;
    for (at, wanted) in [
        (100, TdxError::QuoteSignature),                     // body
        (data + 3, TdxError::QuoteSignature),                // signature
        (data + 64 + 3, TdxError::QeBinding),                // attestation key
        (data + 134 + 70, TdxError::QeReportSignature),      // QE report
        (data + 134 + 384 + 3, TdxError::QeReportSignature), // its signature
        (data + 134 + 448 + 2, TdxError::QeBinding),         // authentication data
    ] {
        let mut changed = quote.clone();
        changed[at] ^= 4;
        assert_eq!(
            GenuineQuote::check(&changed, &intel.roots()).map(|_| ()),
            Err(wanted),
            "byte {at}"
        );
    }
}

#[test]
fn refuses_what_is_not_a_td_quote() {
    let (intel, spec) = (
        MockIntel::new(),
        Spec {
            body_type: Some(3),
            ..Spec::default()
        },
    );
    let quote = intel.quote(&spec);
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = quote.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        match verify(&changed, None, &intel.roots(), unix(spec.now)) {
            Err(TdxError::Quote(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        with(0, &[3, 0, 2, 0, 0, 0, 0, 0]),
        QuoteError::NotTdx { found: 0 }
    );
    assert_eq!(with(0, &[9]), QuoteError::Version { found: 9 });
    assert_eq!(with(0, &[0, 4]), QuoteError::Version { found: 0x400 });
    assert_eq!(with(2, &[3]), QuoteError::KeyType { found: 3 });
    assert_eq!(with(4, &[0]), QuoteError::NotTdx { found: 0 });
    assert!(matches!(with(12, &[0]), QuoteError::QeVendor { .. }));
    assert_eq!(with(48, &[1]), QuoteError::BodyType { found: 1 });
    assert_eq!(
        with(48, &[2]),
        QuoteError::BodySize {
            kind: 2,
            found: 648,
            wanted: 584
        }
    );
    assert!(matches!(
        with(54 + 648, &[1, 0, 0, 0]),
        QuoteError::Malformed(_)
    ));
    assert!(matches!(
        with(54 + 648 + 4 + 128, &[5]),
        QuoteError::CertificationType { found: 5, .. }
    ));
    for cut in [0, 1, 47, 600, 54 + 648 + 4 + 10, quote.len() - 1] {
        let error = verify(&quote[..cut], None, &intel.roots(), unix(spec.now)).unwrap_err();
        assert_eq!(error.reason_class(), "malformed", "cut to {cut}");
    }
    let huge = vec![0; 65_537];
    let error = verify(&huge, None, &intel.roots(), unix(spec.now)).unwrap_err();
    assert_eq!(
        error,
        TdxError::Quote(QuoteError::TooLarge { found: 65_537 })
    );
}

#[test]
fn policy_refuses_attributes_by_name() {
    let sept = 1u64 << 28;
    for (attributes, class) in [
        (sept | 1, "debug_enabled"),
        (sept | 1 << 5, "debug_enabled"),
        (sept | 1 << 29, "migratable"),
        (sept | 1 << 17, "service_td_bound"),
        (sept | 1 << 40, "attributes_reserved"),
        (0, "sept_ve_disable_off"),
    ] {
        let found = refusals(
            &Spec {
                td_attributes: attributes,
                ..Spec::default()
            },
            &TdxPolicy::default(),
        );
        let classes: Vec<_> = found.iter().map(TdxRefusal::reason_class).collect();
        assert_eq!(classes, [class], "{attributes:#x}");
    }
    let harmless = Spec {
        td_attributes: sept | 1 << 30 | 1 << 31 | 1 << 63,
        ..Spec::default()
    };
    assert_eq!(refusals(&harmless, &TdxPolicy::default()), []);
    let strict = TdxPolicy {
        pks: Flag::Forbidden,
        perfmon: Flag::Forbidden,
        ..TdxPolicy::default()
    };
    assert_eq!(refusals(&harmless, &strict).len(), 2);
    let demanding = TdxPolicy {
        pks: Flag::Required,
        ..TdxPolicy::default()
    };
    assert_eq!(
        refusals(&Spec::default(), &demanding)[0].reason_class(),
        "attribute_pks"
    );
}

#[test]
fn policy_refuses_a_bound_service_td_unless_allowed() {
    let spec = Spec {
        body_type: Some(3),
        mr_service_td: [7; 48],
        ..Spec::default()
    };
    let wanted = TdxRefusal::ServiceTd {
        hash: Bytes([7; 48]),
    };
    assert_eq!(refusals(&spec, &TdxPolicy::default()), [wanted]);
    let lax = TdxPolicy {
        allow_service_td: true,
        ..TdxPolicy::default()
    };
    assert_eq!(refusals(&spec, &lax), []);
}

#[test]
fn policy_grants_grace_to_what_became_out_of_date_only() {
    let graced = |days: i64| TdxPolicy {
        out_of_date_grace: Some(SignedDuration::from_hours(24 * days)),
        ..TdxPolicy::default()
    };
    // The lower level is of 2025-05-14, the mock's time is 2026-09-21: 495 days.
    let spec = Spec {
        component_svn: 4,
        ..Spec::default()
    };
    assert_eq!(refusals(&spec, &graced(496)), []);
    assert_eq!(
        refusals(&spec, &graced(490))[0].reason_class(),
        "tcb_status_out_of_date"
    );
    let configuration = Spec {
        lower_status: TcbStatus::OutOfDateConfigurationNeeded,
        ..spec.clone()
    };
    assert_eq!(refusals(&configuration, &graced(496)).len(), 1);
    let revoked = Spec {
        lower_status: TcbStatus::Revoked,
        ..spec
    };
    assert_eq!(
        refusals(&revoked, &graced(10_000))[0].reason_class(),
        "tcb_status_revoked"
    );
}

#[test]
fn policy_judges_advisories_numbers_platforms_and_values() {
    let spec = Spec {
        advisories: vec!["INTEL-SA-1", "INTEL-SA-2"],
        ..Spec::default()
    };
    let accepting = |ids: &[&str]| TdxPolicy {
        accepted_advisories: Some(ids.iter().map(|id| id.to_string()).collect()),
        ..TdxPolicy::default()
    };
    assert_eq!(
        refusals(
            &spec,
            &accepting(&["INTEL-SA-1", "INTEL-SA-2", "INTEL-SA-3"])
        ),
        []
    );
    let wanted = TdxRefusal::Advisory {
        id: "INTEL-SA-2".into(),
    };
    assert_eq!(refusals(&spec, &accepting(&["INTEL-SA-1"])), [wanted]);

    let number = TdxPolicy {
        min_tcb_evaluation_data_number: Some(21),
        ..TdxPolicy::default()
    };
    assert_eq!(refusals(&spec, &number).len(), 2);
    let elsewhere = TdxPolicy {
        platforms: Some(BTreeSet::from([Bytes([0; 16])])),
        ..TdxPolicy::default()
    };
    assert_eq!(
        refusals(&spec, &elsewhere),
        [TdxRefusal::Platform {
            ppid: Bytes([0x77; 16])
        }]
    );

    let mut least = [0; 16];
    least[0] = 6;
    let svn = TdxPolicy {
        min_tee_tcb_svn: Some(Bytes(least)),
        ..TdxPolicy::default()
    };
    let old = Spec {
        body_type: Some(3),
        tee_tcb_svn2: [5, 1, 5],
        ..Spec::default()
    };
    assert!(matches!(
        refusals(&old, &svn)[..],
        [TdxRefusal::TeeTcbSvn {
            field: "tee_tcb_svn2",
            ..
        }]
    ));

    let mut policy = TdxPolicy::default();
    policy.expected.report_data = Some(Bytes([0; 64]));
    policy.expected.rtmr[2] = Some(Bytes([0x22; 48]));
    policy.expected.rtmr[3] = Some(Bytes([0; 48]));
    let classes: Vec<_> = refusals(&spec, &policy)
        .iter()
        .map(TdxRefusal::reason_class)
        .collect();
    assert_eq!(classes, ["report_data_mismatch", "rtmr3_mismatch"]);
}
