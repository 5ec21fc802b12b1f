//! TCB statuses of a mock platform, and what policy makes of them and of attributes.
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
    Bytes, Flag, Level, TcbStatus, TdxError, TdxPolicy, TdxRefusal,
    fake::{MockIntel, Spec},
};
use jiff::SignedDuration;
use tdx_common::{check, outcome};

fn refusals(spec: &Spec, policy: &TdxPolicy) -> Vec<TdxRefusal> {
    policy.judge(&outcome(spec).expect("a genuine quote"), spec.now)
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
