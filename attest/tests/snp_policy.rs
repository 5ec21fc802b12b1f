//! Every rule of the policy, judged on reports of a mock of AMD's hierarchy.
#![cfg(all(feature = "verify", feature = "fake"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod snp_common;

use dawnkey_attest::snp::SnpPolicy;
use dawnkey_attest::snp::fake::{ReportSpec, VekSpec};
use dawnkey_attest::snp::policy::{PolicyError, TcbFloors};
use dawnkey_attest::snp::product::Product;
use dawnkey_attest::snp::report::FirmwareVersion;
use dawnkey_attest::snp::tcb::TcbFloor;
use dawnkey_attest::snp::vek::VekKind;
use snp_common::Setup;

/// Judges a bent report by a bent default policy.
fn judged(
    bend: impl FnOnce(&mut ReportSpec),
    demand: impl FnOnce(&mut SnpPolicy),
) -> Result<(), PolicyError> {
    let mut setup = Setup::milan();
    bend(&mut setup.report);
    let mut policy = SnpPolicy::default();
    demand(&mut policy);
    setup.judge(&policy)
}

#[test]
fn refuses_debug_migration_and_foreign_privilege_levels_by_default() {
    assert_eq!(
        judged(|r| r.policy |= 1 << 19, |_| ()),
        Err(PolicyError::DebugEnabled)
    );
    assert_eq!(
        judged(|r| r.policy |= 1 << 19, |p| p.allow_debug = true),
        Ok(())
    );
    assert_eq!(
        judged(|r| r.policy |= 1 << 18, |_| ()),
        Err(PolicyError::MigrationAgentAllowed)
    );
    assert_eq!(
        judged(|r| r.policy |= 1 << 18, |p| p.allow_migration_agent = true),
        Ok(())
    );
    for vmpl in 1..=3 {
        assert_eq!(
            judged(|r| r.vmpl = vmpl, |_| ()),
            Err(PolicyError::VmplTooHigh { vmpl, max: 0 })
        );
        assert_eq!(judged(|r| r.vmpl = vmpl, |p| p.max_vmpl = 3), Ok(()));
    }
    for vmpl in [4, u32::MAX] {
        let result = judged(|r| r.vmpl = vmpl, |p| p.max_vmpl = 255);
        assert_eq!(result, Err(PolicyError::HostRequested { vmpl }));
    }
}

#[test]
fn refuses_provisional_firmware_by_default_but_not_newer_microcode() {
    let provisional = Err(PolicyError::ProvisionalFirmware);
    assert_eq!(
        judged(|r| r.committed_version = [42, 55, 1], |_| ()),
        provisional
    );
    assert_eq!(judged(|r| r.committed_tcb[6] -= 1, |_| ()), provisional);
    assert_eq!(
        judged(
            |r| r.committed_tcb[6] -= 1,
            |p| p.allow_provisional_firmware = true
        ),
        Ok(())
    );
    assert_eq!(judged(|r| r.current_tcb[7] += 1, |_| ()), Ok(()));
}

#[test]
fn refuses_a_masked_chip_id_by_default() {
    assert_eq!(
        judged(|r| r.chip_id = [0; 64], |_| ()),
        Err(PolicyError::ChipIdMasked)
    );
    assert_eq!(
        judged(|r| r.chip_id = [0; 64], |p| p.allow_masked_chip_id = true),
        Ok(())
    );
}

#[test]
fn refuses_reserved_bits_by_default() {
    let bends: [(usize, u8, usize); 8] = [
        (0x4c, 1, 0x4c),
        (0x48, 0x20, 0x48),
        (0x3b, 1, 0x38),
        (0x1e2, 1, 0x1e0),
        (0x1f5, 1, 0x1f0),
        (0x18b, 1, 0x18b),
        (0x0b, 0x04, 0x08),
        (0x29f, 1, 0x29f),
    ];
    for (at, value, field) in bends {
        let bend = |r: &mut ReportSpec| r.bent = vec![(at, value)];
        assert_eq!(
            judged(bend, |_| ()),
            Err(PolicyError::ReservedNotZero { at: field }),
            "{at:#x}"
        );
        assert_eq!(judged(bend, |p| p.allow_reserved = true), Ok(()), "{at:#x}");
    }
    assert_eq!(
        judged(|r| r.policy = 0x1_0000, |_| ()),
        Err(PolicyError::ReservedNotZero { at: 0x08 })
    );
}

#[test]
fn each_tcb_has_its_own_floor_per_component_and_product() {
    let floor = TcbFloor {
        snp: Some(24),
        microcode: Some(219),
        ..TcbFloor::default()
    };
    let floors = |product| TcbFloors {
        product,
        reported: floor,
        committed: floor,
        current: floor,
        launch: floor,
    };
    assert_eq!(judged(|_| (), |p| p.floors = vec![floors(None)]), Ok(()));
    type Bend = fn(&mut ReportSpec);
    let bends: [(&str, Bend); 3] = [
        ("committed", |r| r.committed_tcb[6] = 23),
        ("current", |r| r.current_tcb[6] = 23),
        ("launch", |r| r.launch_tcb[6] = 23),
    ];
    for (which, bend) in bends {
        let refused = PolicyError::TcbTooOld {
            which,
            component: "snp",
            found: Some(23),
            min: 24,
        };
        let demand = |product| move |p: &mut SnpPolicy| p.floors = vec![floors(product)];
        assert_eq!(judged(bend, demand(None)), Err(refused.clone()));
        assert_eq!(judged(bend, demand(Some(Product::Milan))), Err(refused));
        let other = judged(bend, demand(Some(Product::Turin)));
        assert!(!matches!(other, Err(PolicyError::TcbTooOld { .. })));
    }
    let reported = TcbFloor {
        boot_loader: Some(5),
        ..TcbFloor::default()
    };
    let result = judged(
        |_| (),
        |p| {
            p.floors = vec![TcbFloors {
                reported,
                ..TcbFloors::default()
            }]
        },
    );
    assert!(matches!(
        result,
        Err(PolicyError::TcbTooOld {
            which: "reported",
            component: "boot_loader",
            ..
        })
    ));
}

#[test]
fn platform_and_guest_bits_are_demanded_each() {
    assert_eq!(judged(|_| (), |p| p.platform_info_set = 0x20), Ok(()));
    let missing = PolicyError::PlatformInfoBits {
        missing: 0x10,
        present: 0,
    };
    assert_eq!(judged(|_| (), |p| p.platform_info_set = 0x30), Err(missing));
    let present = PolicyError::PlatformInfoBits {
        missing: 0,
        present: 0x1,
    };
    assert_eq!(
        judged(|_| (), |p| p.platform_info_clear = 0x1),
        Err(present)
    );
    assert_eq!(
        judged(|_| (), |p| p.require_smt_off = true),
        Err(PolicyError::SmtEnabled)
    );
    assert_eq!(
        judged(|r| r.platform_info = 0x24, |p| p.require_smt_off = true),
        Ok(())
    );
    let swap = 1 << 25;
    let refused = PolicyError::GuestPolicyBits {
        missing: swap,
        present: 0,
    };
    assert_eq!(judged(|_| (), |p| p.guest_policy_set = swap), Err(refused));
    assert_eq!(
        judged(|r| r.policy |= swap, |p| p.guest_policy_set = swap),
        Ok(())
    );
    assert_eq!(
        judged(|_| (), |p| p.require_single_socket = true),
        Err(PolicyError::MultipleSocketsAllowed)
    );
    assert_eq!(
        judged(|_| (), |p| p.min_guest_svn = 1),
        Err(PolicyError::GuestSvnTooOld { found: 0, min: 1 })
    );
}

#[test]
fn mitigations_need_version_5_and_every_bit() {
    assert_eq!(judged(|_| (), |p| p.launch_mitigations = 0x0b), Ok(()));
    let missing = PolicyError::MitigationsMissing {
        which: "launch",
        missing: 4,
    };
    assert_eq!(
        judged(|_| (), |p| p.launch_mitigations = 0x0f),
        Err(missing)
    );
    assert_eq!(judged(|_| (), |p| p.current_mitigations = 0x0f), Ok(()));
    let missing = PolicyError::MitigationsMissing {
        which: "current",
        missing: 1,
    };
    assert_eq!(
        judged(|r| r.version = 3, |p| p.current_mitigations = 1),
        Err(missing)
    );
    let old = PolicyError::ReportVersionTooOld { found: 3, min: 5 };
    assert_eq!(
        judged(|r| r.version = 3, |p| p.min_report_version = 5),
        Err(old)
    );
    let min = FirmwareVersion {
        major: 1,
        minor: 55,
        build: 44,
    };
    let result = judged(|_| (), |p| p.min_firmware = Some(min));
    assert!(matches!(result, Err(PolicyError::FirmwareTooOld { .. })));
}

#[test]
fn demanded_values_are_compared_whole() {
    assert_eq!(judged(|_| (), |p| p.report_data = Some([0; 64])), Ok(()));
    let mut other = [0; 64];
    other[63] = 1;
    let result = judged(|_| (), |p| p.report_data = Some(other));
    assert!(matches!(
        result,
        Err(PolicyError::ReportDataMismatch { .. })
    ));
    assert_eq!(
        judged(|_| (), |p| p.measurements = Some(vec![[1; 48], [0x3d; 48]])),
        Ok(())
    );
    let result = judged(|_| (), |p| p.measurements = Some(vec![]));
    assert!(matches!(
        result,
        Err(PolicyError::MeasurementMismatch { .. })
    ));
    let result = judged(|_| (), |p| p.host_data = Some(vec![[1; 32]]));
    assert!(matches!(result, Err(PolicyError::HostDataMismatch { .. })));
    let result = judged(|_| (), |p| p.family_ids = Some(vec![[1; 16]]));
    assert!(matches!(result, Err(PolicyError::FamilyIdMismatch { .. })));
    let result = judged(|_| (), |p| p.image_ids = Some(vec![[1; 16]]));
    assert!(matches!(result, Err(PolicyError::ImageIdMismatch { .. })));
    let result = judged(|_| (), |p| p.id_key_digests = Some(vec![[1; 48]]));
    assert!(matches!(result, Err(PolicyError::IdKeyMismatch { .. })));
    let author = |p: &mut SnpPolicy| p.author_key_digests = Some(vec![[1; 48]]);
    assert_eq!(
        judged(|r| r.author_key_digest = [1; 48], author),
        Err(PolicyError::AuthorKeyMissing)
    );
    assert!(matches!(
        judged(|r| r.key_info = 1, author),
        Err(PolicyError::AuthorKeyMismatch { .. })
    ));
    let keyed = |r: &mut ReportSpec| (r.key_info, r.author_key_digest) = (1, [1; 48]);
    assert_eq!(judged(keyed, author), Ok(()));
}

#[test]
fn chips_providers_and_products_can_be_listed() {
    let hwid = VekSpec::new(VekKind::Vcek, &Product::Milan).hwid;
    assert_eq!(
        judged(|_| (), |p| p.chip_ids = Some(vec![hwid.clone()])),
        Ok(())
    );
    let result = judged(|_| (), |p| p.chip_ids = Some(vec![vec![1; 64]]));
    assert!(matches!(result, Err(PolicyError::ChipNotAllowed { .. })));
    let vlek = Setup::new(Product::Genoa, VekKind::Vlek);
    let mut policy = SnpPolicy {
        csp_ids: Some(vec!["CN=mock.cloud.example".into()]),
        ..SnpPolicy::permissive()
    };
    assert_eq!(vlek.judge(&policy), Ok(()));
    policy.csp_ids = Some(vec!["CN=other".into()]);
    assert!(matches!(
        vlek.judge(&policy),
        Err(PolicyError::ProviderNotAllowed { .. })
    ));
    policy.csp_ids = None;
    policy.chip_ids = Some(vec![hwid]);
    assert!(matches!(
        vlek.judge(&policy),
        Err(PolicyError::ChipNotAllowed { .. })
    ));
    let result = judged(
        |_| (),
        |p| p.products = Some(vec![Product::Genoa, Product::Turin]),
    );
    assert_eq!(
        result,
        Err(PolicyError::ProductNotAllowed {
            found: Product::Milan
        })
    );
}
