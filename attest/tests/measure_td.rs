//! Registers of a TD and launch digests of an SNP guest, predicted from small files and compared with values that
//! other tools publish. What recorded logs can show is compared in `measure/recorded.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod measure_common;

use dawnkey_attest::{
    measure::{
        self, MeasureError, SecureBoot, SecureBootMode,
        tdx::{
            Blobs, Boot, BootSeparator, BootSource, Machine, PageOrder, Platform, Td, TdError,
            TdMeasurements, Tdvf, TdvfError, td, td_hob,
        },
    },
    snp::launch::{GuestFeatures, Launch, Ovmf, VcpuType, Vmm, launch_digest},
    tdx::ccel::RtmrLog,
    tpm::hash::Hash,
};
use measure_common::{STUB_252, STUB_257, google_firmware, pe};
use proptest::prelude::*;

/// Published with google/gce-tcb-verifier, `verify/verifytest`, as `CleanTdxExampleMeasurement`.
const GOOGLE_MRTD: &str = "6e540be4917f24f74cc3292b59803d06dc7c38eb4a3c1fd6be9c735ba74bb7a23e25f98da94779d17508b243e4fb582b";
/// Published there as `CleanExampleMeasurement`.
const GOOGLE_SNP: &str = "20ec0dbd1c0a26d184a6f11ec5a796d68ec03c9d101bdd84c03f3d9cbbc4a292a9fad098edacfa04da0da58f20be885e";

#[test]
fn mrtd_agrees_with_the_value_google_publishes() {
    let firmware = google_firmware();
    let tdvf = Tdvf::parse(&firmware).unwrap();
    assert_eq!(hex::encode(tdvf.mr_td(PageOrder::PageByPage)), GOOGLE_MRTD);
    assert_ne!(
        tdvf.mr_td(PageOrder::AddThenMeasure),
        tdvf.mr_td(PageOrder::PageByPage)
    );
}

#[test]
fn the_launch_digest_agrees_with_the_value_google_publishes() {
    let firmware = google_firmware();
    let ovmf = Ovmf::parse(&firmware).unwrap();
    let launch = Launch {
        ovmf: &ovmf,
        vcpus: 1,
        vcpu_type: VcpuType::Milan,
        vmm: Vmm::Gce,
        features: GuestFeatures(1),
        kernel: None,
    };
    assert_eq!(hex::encode(launch_digest(&launch).unwrap()), GOOGLE_SNP);
}

/// A kernel that says its version where a bzImage does.
fn kernel() -> Vec<u8> {
    let mut kernel = pe(&[(".text", b"kernel code")]);
    kernel.resize(kernel.len().max(0x400), 0);
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x20e..0x210].copy_from_slice(&0x150u16.to_le_bytes());
    kernel[0x350..0x359].copy_from_slice(b"6.12.0-x\0");
    kernel
}

fn uki(stub: &[u8]) -> Vec<u8> {
    pe(&[
        (".sdmagic", stub),
        (".cmdline", b"quiet"),
        (".initrd", b"initrd!"),
        (".linux", &kernel()),
    ])
}

fn predict(platform: Option<Platform<'_>>, boot: Option<Boot<'_>>) -> TdMeasurements {
    let firmware = google_firmware();
    let firmware = Tdvf::parse(&firmware).unwrap();
    td(&Td {
        firmware: &firmware,
        order: PageOrder::PageByPage,
        separator: None,
        platform,
        boot,
    })
    .unwrap()
}

fn extend(parts: &[&[u8]]) -> String {
    let value = parts.iter().fold(vec![0; 48], |value, part| {
        Hash::Sha384.digest(&[&value, &Hash::Sha384.digest(&[part])])
    });
    hex::encode(value)
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Event types of a register, in order.
fn types(found: &TdMeasurements, rtmr: u8) -> Vec<&str> {
    let events = found.events.iter().filter(|event| event.pcr == rtmr);
    events.map(|event| event.event_type.as_str()).collect()
}

const ACTION: &str = "EV_EFI_ACTION";
const IMAGE: &str = "EV_EFI_BOOT_SERVICES_APPLICATION";

#[test]
fn a_kernel_handed_over_by_qemu_is_measured_before_the_boot_action() {
    let kernel = kernel();
    let boot = Boot::Kernel {
        kernel: &kernel,
        initrd: Some(b"initrd"),
        cmdline: "root=x",
    };
    let found = predict(None, Some(boot));
    assert_eq!(
        types(&found, 1),
        [IMAGE, ACTION, "EV_SEPARATOR", ACTION, ACTION]
    );
    assert_eq!(
        found.rtmr[&2],
        extend(&[&utf16("root=x initrd=initrd\0"), b"initrd"])
    );
    assert!(!found.rtmr.contains_key(&0) && !found.rtmr.contains_key(&3));
    assert_eq!(found.mr_td, GOOGLE_MRTD);
}

#[test]
fn a_kernel_without_an_initrd_gets_the_command_line_alone() {
    let kernel = kernel();
    let boot = |cmdline| Boot::Kernel {
        kernel: &kernel,
        initrd: None,
        cmdline,
    };
    let found = predict(None, Some(boot("quiet")));
    assert_eq!(found.rtmr[&2], extend(&[&utf16("quiet\0")]));
    for (cmdline, why) in [("", "not certain"), ("ä", "not plain ASCII")] {
        let found = predict(None, Some(boot(cmdline)));
        assert!(!found.rtmr.contains_key(&2), "{cmdline}");
        assert!(
            found.notes.iter().any(|note| note.contains(why)),
            "{:?}",
            found.notes
        );
    }
}

#[test]
fn a_uki_is_measured_by_firmware_stub_and_kernel() {
    let image = uki(STUB_252);
    let source = BootSource::Unpartitioned;
    let boot = Boot::Uki {
        image: &image,
        source,
    };
    let found = predict(None, Some(boot));
    assert_eq!(
        types(&found, 1),
        [ACTION, "EV_SEPARATOR", IMAGE, IMAGE, ACTION, ACTION]
    );
    let by_kernel = extend(&[&utf16("quiet\0"), b"initrd!"]);
    assert_eq!(
        found.rtmr[&2], by_kernel,
        "stub 252 measures nothing of a TD"
    );
    let image = uki(STUB_257);
    let source = BootSource::Qemu;
    let boot = Boot::Uki {
        image: &image,
        source,
    };
    let found = predict(None, Some(boot));
    assert_eq!(
        types(&found, 1),
        [IMAGE, ACTION, "EV_SEPARATOR", IMAGE, ACTION, ACTION]
    );
    let sections = types(&found, 2)
        .iter()
        .filter(|kind| **kind == "EV_IPL")
        .count();
    assert_eq!(
        sections, 6,
        "name and content of .linux, .cmdline and .initrd"
    );
}

fn blobs(mode: SecureBootMode) -> Blobs<'static> {
    Blobs {
        td_hob: b"hob".to_vec(),
        secure_boot: SecureBoot::without_keys(mode),
        others: vec![
            ("etc/acpi/tables".to_owned(), b"tables".as_slice()),
            ("BootOrder".to_owned(), b"\0\0".as_slice()),
        ],
    }
}

#[test]
fn rtmr_0_is_made_of_the_given_blobs_and_the_firmwares_variables() {
    let firmware = google_firmware();
    let platform = Platform::Blobs(blobs(SecureBootMode::Off));
    let found = predict(Some(platform), None);
    assert_eq!(
        types(&found, 0),
        [
            "EV_EFI_HANDOFF_TABLES2",
            "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
            "EV_EFI_VARIABLE_DRIVER_CONFIG",
            "EV_EFI_VARIABLE_DRIVER_CONFIG",
            "EV_EFI_VARIABLE_DRIVER_CONFIG",
            "EV_EFI_VARIABLE_DRIVER_CONFIG",
            "EV_EFI_VARIABLE_DRIVER_CONFIG",
            "EV_SEPARATOR",
            "EV_PLATFORM_CONFIG_FLAGS",
            "EV_EFI_VARIABLE_BOOT",
        ]
    );
    let cfv = hex::encode(Hash::Sha384.digest(&[&firmware[..0x2_0000]]));
    assert_eq!(found.events[1].digest, cfv);
}

#[test]
fn the_boot_separator_goes_where_it_is_said_to_go() {
    let firmware = google_firmware();
    let firmware = Tdvf::parse(&firmware).unwrap();
    let kernel = kernel();
    let predict = |separator| {
        td(&Td {
            firmware: &firmware,
            order: PageOrder::PageByPage,
            separator: Some(separator),
            platform: Some(Platform::Blobs(blobs(SecureBootMode::Unsupported))),
            boot: Some(Boot::Kernel {
                kernel: &kernel,
                initrd: None,
                cmdline: "x",
            }),
        })
        .unwrap()
    };
    let (old, new) = (predict(BootSeparator::Rtmr0), predict(BootSeparator::Rtmr1));
    let separators = |found: &TdMeasurements, rtmr| {
        types(found, rtmr)
            .iter()
            .filter(|kind| **kind == "EV_SEPARATOR")
            .count()
    };
    assert_eq!((separators(&old, 0), separators(&old, 1)), (2, 0));
    assert_eq!((separators(&new, 0), separators(&new, 1)), (1, 1));
}

/// A log in JSON of these events of (register, type, content).
fn log(events: &[(u32, u32, &[u8])]) -> RtmrLog {
    let events: Vec<_> = events
        .iter()
        .map(|(rtmr, kind, content)| {
            let digest = hex::encode(Hash::Sha384.digest(&[content]));
            serde_json::json!({ "imr": rtmr, "event_type": kind, "digest": digest, "event": "", "event_payload": "" })
        })
        .collect();
    RtmrLog::parse_json(serde_json::to_string(&events).unwrap().as_bytes()).unwrap()
}

#[test]
fn rtmr_0_is_taken_from_a_recorded_log_of_the_same_firmware_only() {
    let firmware = google_firmware();
    let cfv = &firmware[..0x2_0000];
    let events: [(u32, u32, &[u8]); 6] = [
        (0, 0x8000_000b, b"hob"),
        (0, 0x8000_000a, cfv),
        (0, 4, &[0; 4]),
        (1, 0x8000_0007, b"Calling EFI Application from Boot Option"),
        (0, 4, &[0; 4]),
        (1, 0x8000_0003, b"another image"),
    ];
    let recorded = log(&events);
    let kernel = kernel();
    let boot = Boot::Kernel {
        kernel: &kernel,
        initrd: None,
        cmdline: "x",
    };
    let found = predict(Some(Platform::Recorded(&recorded)), Some(boot));
    assert_eq!(found.rtmr[&0], extend(&[b"hob", cfv, &[0; 4], &[0; 4]]));
    assert_eq!(
        types(&found, 1),
        [IMAGE, ACTION, ACTION, ACTION],
        "as this firmware separates"
    );

    let tdvf = Tdvf::parse(&firmware).unwrap();
    let refused = |recorded: &RtmrLog| {
        td(&Td {
            firmware: &tdvf,
            order: PageOrder::PageByPage,
            separator: None,
            platform: Some(Platform::Recorded(recorded)),
            boot: None,
        })
        .unwrap_err()
    };
    let mut other = events;
    other[1].2 = b"other variables";
    assert!(matches!(
        refused(&log(&other)),
        TdError::OtherFirmware { .. }
    ));
    assert!(matches!(
        refused(&log(&events[1..])),
        TdError::NotFirmwareLog { .. }
    ));
    assert!(matches!(refused(&log(&[])), TdError::NotFirmwareLog { .. }));
}

#[test]
fn secure_boot_needs_a_platform_key_and_an_image_it_lets_run() {
    let firmware = google_firmware();
    let tdvf = Tdvf::parse(&firmware).unwrap();
    let image = uki(STUB_257);
    let refused = |blobs| {
        td(&Td {
            firmware: &tdvf,
            order: PageOrder::PageByPage,
            separator: None,
            platform: Some(Platform::Blobs(blobs)),
            boot: Some(Boot::Uki {
                image: &image,
                source: BootSource::Unpartitioned,
            }),
        })
        .unwrap_err()
    };
    let mut on = blobs(SecureBootMode::On);
    assert_eq!(
        refused(on.clone()),
        TdError::Image(MeasureError::NoPlatformKey)
    );
    on.secure_boot.pk =
        measure::signature_list::of_certificates(measure::guid::Guid([1; 16]), [b"pk".as_slice()]);
    assert!(matches!(
        refused(on),
        TdError::Image(MeasureError::NotAuthenticated { .. })
    ));
}

#[test]
fn memory_is_laid_out_for_possible_machines_only() {
    let firmware = google_firmware();
    let tdvf = Tdvf::parse(&firmware).unwrap();
    assert!(td_hob(&tdvf, Machine::Qemu, 2048).is_ok());
    for (machine, mib) in [
        (Machine::Qemu, 0),
        (Machine::Qemu, u64::MAX),
        (Machine::Gce, 352 * 1024),
    ] {
        assert!(matches!(
            td_hob(&tdvf, machine, mib),
            Err(TdError::Memory { .. })
        ));
    }
}

#[test]
fn refuses_firmware_whose_metadata_does_not_add_up() {
    let firmware = google_firmware();
    let refused = |at: usize, value: u32| {
        let mut bytes = firmware.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        Tdvf::parse(&bytes).unwrap_err()
    };
    let section = |index: usize, field: usize| 0x120 + 32 * index + field;
    assert!(
        matches!(refused(0x110, 0), TdvfError::Metadata(_)),
        "signature"
    );
    assert!(
        matches!(refused(0x118, 2), TdvfError::Metadata(_)),
        "version"
    );
    assert!(
        matches!(refused(0x11c, u32::MAX), TdvfError::Metadata(_)),
        "sections"
    );
    assert!(
        matches!(refused(0x114, 16), TdvfError::Metadata(_)),
        "length"
    );
    for (index, field, value) in [
        (0, 0, u32::MAX),
        (0, 4, 0),
        (0, 8, 0x1001),
        (0, 16, 0x1000),
        (0, 12, u32::MAX),
        (2, 4, 16),
        (2, 28, 3),
        (2, 28, 4),
    ] {
        let found = refused(section(index, field), value);
        let is_section = matches!(found, TdvfError::Section { .. } | TdvfError::Metadata(_));
        assert!(is_section, "{index} {field} {value}: {found:?}");
    }
    assert_eq!(
        refused(section(3, 24), 9),
        TdvfError::Kind { index: 3, kind: 9 }
    );
    assert!(
        matches!(refused(section(3, 24), 2), TdvfError::Metadata(_)),
        "two TD HOBs"
    );
    let end = firmware.len();
    assert!(
        matches!(
            refused(end - 32 - 18 - 66, u32::MAX),
            TdvfError::Metadata(_)
        ),
        "offset"
    );
    assert_eq!(refused(end - 32 - 18 - 60, 0), TdvfError::NoMetadata);
    assert!(matches!(refused(end - 48, 0), TdvfError::Table(_)));
    assert_eq!(
        Tdvf::parse(&vec![0; (64 << 20) + 1]).unwrap_err(),
        TdvfError::TooLarge {
            found: (64 << 20) + 1
        }
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn parsing_is_total(changes in proptest::collection::vec((0usize..208, any::<u8>()), 1..8)) {
        let mut bytes = google_firmware();
        for (at, value) in changes {
            bytes[0x110 + at] = value;
        }
        let _ = Tdvf::parse(&bytes);
    }
}
