//! A second opinion: dcap-qvl judges the same quotes.
//!
//! It is no part of the product: it cannot tell causes apart, and it refuses every TD that is migratable or lacks
//! SEPT_VE_DISABLE before any policy is asked. Where both can judge they must agree; above all it must never accept
//! what we refuse by signature, nor refuse by signature what we accept.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod tdx_common;

use dawnkey_attest::tdx::{
    TcbStatus, TdxCollateral, TdxError, TdxVerified,
    fake::{MockCertificate, MockIntel, Spec},
    verify,
};
use dcap_qvl::verify::VerifiedReport;
use jiff::{SignedDuration, Timestamp};
use tdx_common::{Case, evidence_dir, qvl, qvl_collateral, unix};

fn theirs(
    quote: &[u8],
    collateral: &TdxCollateral,
    root: &[u8],
    now: Timestamp,
) -> Result<VerifiedReport, String> {
    let verifier = qvl(root).allow_debug(true).allow_service_td(true);
    let verified = verifier.verify(quote, &qvl_collateral(collateral), unix(now).as_secs());
    verified.map_err(|error| format!("{error:#}"))
}

/// Both verdicts agree, as far as dcap-qvl can tell.
fn agree(
    ours: &Result<TdxVerified, TdxError>,
    theirs: &Result<VerifiedReport, String>,
) -> Result<(), String> {
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => {
            let tcb = &ours.claims().tcb;
            let mut advisories = theirs.advisory_ids.clone();
            advisories.sort();
            // For TD 1.5, dcap-qvl reports the launch and a relaunch advice where we report the worse of the two.
            let relaunch = theirs.status.starts_with("TDRelaunchAdvised") && tcb.relaunch_advised;
            let same = relaunch || theirs.status == tcb.status.to_string();
            let listed = advisories.iter().all(|id| tcb.advisories.contains(id));
            if same && listed {
                Ok(())
            } else {
                Err(format!("{tcb:?} and {theirs:?}"))
            }
        }
        (Err(_), Err(_)) => Ok(()),
        (Ok(ours), Err(text)) => {
            let (claims, attributes) = (ours.claims(), ours.claims().td.td_attributes);
            let policy = !attributes.sept_ve_disable()
                || attributes.migratable()
                || attributes.reserved() != 0;
            let revoked = claims.tcb.status == TcbStatus::Revoked;
            if policy || revoked {
                Ok(())
            } else {
                Err(format!("we accept, it says: {text}"))
            }
        }
        (Err(error), Ok(_)) => Err(format!("it accepts, we say: {error}")),
    }
}

#[test]
fn agrees_on_every_recorded_quote_with_collateral() {
    let Some(dir) = evidence_dir() else { return };
    let mut judged = 0;
    for case in Case::family(&dir, "tdx") {
        let Some(collateral) = case.collateral() else {
            continue;
        };
        let quote = case.file("quote").expect("a quote");
        let root = case.file("intel_root").expect("a root");
        let ours = verify(&quote, Some(&collateral), &case.roots(), case.now());
        let theirs = theirs(&quote, &collateral, &root, case.time());
        agree(&ours, &theirs).unwrap_or_else(|problem| panic!("{}: {problem}", case.id()));
        judged += 1;
    }
    assert!(judged > 20, "{judged}");
}

#[test]
fn agrees_on_mock_platforms_of_every_kind() {
    let intel = MockIntel::new();
    let statuses = [
        TcbStatus::UpToDate,
        TcbStatus::SWHardeningNeeded,
        TcbStatus::ConfigurationNeeded,
        TcbStatus::ConfigurationAndSWHardeningNeeded,
        TcbStatus::OutOfDate,
        TcbStatus::OutOfDateConfigurationNeeded,
        TcbStatus::Revoked,
    ];
    let mut specs = Vec::new();
    for best_status in statuses {
        for body_type in [None, Some(2), Some(3), Some(4)] {
            for (qe_isv_svn, module) in [(5, 6), (4, 6), (5, 3), (4, 3), (2, 6), (5, 1)] {
                let tee_tcb_svn = [module, 1, 5];
                specs.push(Spec {
                    best_status,
                    body_type,
                    qe_isv_svn,
                    tee_tcb_svn,
                    ..Spec::default()
                });
            }
        }
    }
    let all = [
        MockCertificate::Pck,
        MockCertificate::PckCa,
        MockCertificate::TcbSigner,
    ];
    specs.extend(all.map(|kind| Spec {
        revoked: vec![kind],
        ..Spec::default()
    }));
    specs.extend(all.map(|kind| Spec {
        expired: Some(kind),
        ..Spec::default()
    }));
    specs.push(Spec {
        collateral_signed_by_pck: true,
        ..Spec::default()
    });
    specs.push(Spec {
        crl_left: SignedDuration::from_hours(-1),
        ..Spec::default()
    });
    specs.push(Spec {
        collateral_left: SignedDuration::from_hours(-1),
        ..Spec::default()
    });
    specs.push(Spec {
        component_svn: 2,
        ..Spec::default()
    });
    specs.push(Spec {
        component_svn: 3,
        ..Spec::default()
    });
    specs.push(Spec {
        tcb_info_fmspc: [1; 6],
        ..Spec::default()
    });
    specs.push(Spec {
        tcb_info_id: "SGX",
        ..Spec::default()
    });
    specs.push(Spec {
        qe_prod_id: 7,
        ..Spec::default()
    });
    specs.push(Spec {
        mr_signer_seam: [7; 48],
        ..Spec::default()
    });
    let roots = intel.roots();
    for spec in &specs {
        let (quote, collateral) = (intel.quote(spec), intel.collateral(spec));
        let ours = verify(&quote, Some(&collateral), &roots, unix(spec.now));
        let theirs = theirs(&quote, &collateral, intel.root_der(), spec.now);
        agree(&ours, &theirs).unwrap_or_else(|problem| panic!("{spec:?}: {problem}"));
    }
}

#[test]
fn agrees_on_damaged_quotes() {
    let (intel, spec) = (
        MockIntel::new(),
        Spec {
            body_type: Some(3),
            ..Spec::default()
        },
    );
    let (quote, collateral, roots) = (intel.quote(&spec), intel.collateral(&spec), intel.roots());
    let begins = |at: &usize| {
        quote
            .get(*at..)
            .is_some_and(|rest| rest.starts_with(b"-----BEGIN"))
    };
    let own_root = (0..quote.len()).rfind(begins).unwrap();
    for at in (0..quote.len()).step_by(7) {
        let mut changed = quote.clone();
        if let Some(byte) = changed.get_mut(at) {
            *byte ^= 1 << (at % 8);
        }
        let ours = verify(&changed, Some(&collateral), &roots, unix(spec.now));
        let theirs = theirs(&changed, &collateral, intel.root_der(), spec.now);
        // We also verify the root certificate in the quote, which dcap-qvl does not read.
        if let (Err(problem), true) = (agree(&ours, &theirs), at < own_root) {
            panic!("byte {at}: {problem}");
        }
    }
}
