//! What the file may and may not say about TEEs.
#![allow(clippy::unwrap_used, clippy::panic)]
use crate::policy::testing::{FILE, parse, tee_file};
use crate::policy::{Owner, Platform, PolicyError, Register, Section};
use dawnkey_attest::snp::vek::VekKind;
use dawnkey_attest::tdx::{Flag, TcbStatus};

/// The key that a file is refused for.
fn refused(text: &str) -> String {
    match parse(text).unwrap_err() {
        PolicyError::Value { key, .. } => key,
        PolicyError::Syntax { problem, .. } => problem,
        other => panic!("{other}"),
    }
}

#[test]
fn reads_a_policy_for_tees() {
    let policy = parse(&tee_file()).unwrap();
    assert_eq!(policy.roots.snp.roots().len(), 1);
    assert_eq!(policy.roots.snp.intermediates().len(), 1);
    assert!(!policy.roots.tdx.is_empty() && policy.roots.tpm_ek.is_empty());
    let image = &policy.images["node"];
    assert!(image.has(Section::Snp) && image.has(Section::Tdx) && !image.has(Section::Pcrs));
    assert_eq!(image.values[&Register::Rtmr(2)], [vec![0x22; 48]]);
    let state = &policy.volume_policies["state"];
    assert_eq!((state.owner, state.platforms.len()), (Owner::Instance, 2));
    let Platform::Snp(snp) = &policy.platforms["milan"] else {
        panic!("not SNP");
    };
    assert_eq!(snp.signing_keys, [VekKind::Vcek]);
    assert_eq!(snp.platform_info_set, 0x20);
    assert_eq!(snp.floors[0].launch.snp, Some(24));
    assert!(!snp.allow_debug && !snp.allow_migration_agent && snp.max_vmpl == 0);
}

#[test]
fn reads_every_key_of_a_platform() {
    let text = tee_file()
        .replacen(
            "products = [\"Milan\"]",
            "products = [\"Milan\", \"Turin\"]\nsigning_keys = [\"vcek\", \"vlek\"]\nchips = [\"0102030405060708\"]\n\
             csp_ids = [\"CN=x\"]\nmax_vmpl = 3\nmin_report_version = 3\nmin_firmware = \"1.55.22\"\n\
             guest_policy_required = [\"ciphertext_hiding\", \"mem_aes_256_xts\", \"rapl_dis\"]\n\
             guest_policy_forbidden = [\"smt\", \"cxl_allow\"]\nplatform_info_forbidden = [\"tio_enabled\"]\n\
             launch_mitigations = 1\ncurrent_mitigations = 3\nrequire_smt_off = true\nrequire_single_socket = true\n\
             allow_debug = true\nallow_migration_agent = true\nallow_provisional_firmware = true\n\
             allow_masked_chip_id = true\nallow_unknown_cpu = true\nallow_reserved = true",
            1,
        )
        .replacen(
            "[platform.xeon.tdx]",
            "[platform.xeon.tdx]\nallowed_tcb_status = [\"UpToDate\", \"SWHardeningNeeded\"]\nout_of_date_grace_days = 14\n\
             accepted_advisories = [\"INTEL-SA-1\"]\nmin_tee_tcb_svn = \"05010200000000000000000000000000\"\n\
             ppids = [\"00112233445566778899aabbccddeeff\"]\nrequire_sept_ve_disable = false\nallow_debug = true\n\
             allow_service_td = true\nmigratable = \"any\"\npks = \"forbidden\"\nkey_locker = \"required\"\nperfmon = \"forbidden\"",
            1,
        );
    let policy = parse(&text).unwrap();
    let (Platform::Snp(snp), Platform::Tdx(tdx)) =
        (&policy.platforms["milan"], &policy.platforms["xeon"])
    else {
        panic!("kinds");
    };
    assert_eq!(snp.guest_policy_set, 1 << 24 | 1 << 22 | 1 << 23);
    assert_eq!(snp.guest_policy_clear, 1 << 16 | 1 << 21);
    assert_eq!((snp.platform_info_clear, snp.max_vmpl), (1 << 7, 3));
    assert_eq!((snp.launch_mitigations, snp.current_mitigations), (1, 3));
    assert!(snp.allow_debug && snp.allow_reserved && snp.require_smt_off);
    assert_eq!(snp.chip_ids, Some(vec![vec![1, 2, 3, 4, 5, 6, 7, 8]]));
    assert!(
        tdx.allowed_tcb_status
            .contains(&TcbStatus::SWHardeningNeeded)
    );
    assert_eq!(tdx.out_of_date_grace.unwrap().as_hours(), 14 * 24);
    assert_eq!(
        (tdx.migratable, tdx.pks, tdx.key_locker),
        (Flag::Any, Flag::Forbidden, Flag::Required)
    );
    assert!(tdx.allow_service_td && !tdx.require_sept_ve_disable && tdx.platforms.is_some());
}

#[test]
fn built_in_roots_are_trusted_by_name_only() {
    let named = FILE.replacen(
        "[roots]",
        "[roots]\namd = \"built-in\"\nintel = \"built-in\"",
        1,
    );
    let roots = parse(&named).unwrap().roots;
    assert_eq!(roots.snp.roots().len(), 3);
    assert!(!roots.tdx.is_empty());
    let roots = parse(FILE).unwrap().roots;
    assert!(roots.snp.roots().is_empty() && roots.tdx.is_empty());
    for word in ["\"builtin\"", "true", "1"] {
        let text = FILE.replacen("[roots]", &format!("[roots]\namd = {word}"), 1);
        assert!(
            refused(&text).contains("\"built-in\" or a list of files"),
            "{word}"
        );
    }
    let none = FILE.replacen("[roots]", "[roots]\namd = []", 1);
    assert_eq!(refused(&none), "roots.amd");
    let no_root = FILE.replacen("[roots]", "[roots]\namd = [\"ask.pem\"]", 1);
    assert_eq!(refused(&no_root), "roots.amd");
    let not_intel = FILE.replacen("[roots]", "[roots]\nintel = [\"ask.pem\"]", 1);
    assert_eq!(refused(&not_intel), "roots.intel");
}

#[test]
fn refuses_values_of_wrong_sizes_and_numbers() {
    for (from, to, key) in [
        (
            "measurement = \"3d",
            "measurement = \"",
            "image.node.snp.measurement",
        ),
        (
            "measurement = \"3d",
            "measurement = \"xx",
            "image.node.snp.measurement",
        ),
        (
            "[image.snp]",
            "[image.snp]\nmeasurements = []",
            "image.node.snp.measurement",
        ),
        (
            "[image.snp]",
            "[image.snp]\nid_key_digests = []",
            "image.node.snp.id_key_digests",
        ),
        ("rtmr1 = \"21", "rtmr1 = \"", "image.node.tdx.rtmr1"),
        (
            "products = [\"Milan\"]",
            "products = []",
            "platform.milan.snp.products",
        ),
        ("tcb.Milan", "tcb.Genoa", "platform.milan.snp.tcb.Genoa"),
        (
            "products =",
            "max_vmpl = 4\nproducts =",
            "platform.milan.snp.max_vmpl",
        ),
        (
            "products =",
            "chips = [\"01\"]\nproducts =",
            "platform.milan.snp.chips",
        ),
        (
            "[platform.xeon.tdx]",
            "[platform.xeon.tdx]\nppids = [\"01\"]",
            "platform.xeon.tdx.ppids",
        ),
        (
            "rtmrs_pre_cap = [3]",
            "rtmrs_pre_cap = [4]",
            "volume-policy.state.rtmrs_pre_cap",
        ),
        (
            "rtmrs_pre_cap = [3]",
            "",
            "volume-policy.state.rtmrs_pre_cap",
        ),
        (
            "\"tee\"",
            "\"tee-vtpm\"",
            "volume-policy.state.pcrs_pre_cap",
        ),
        (
            "\"tee\"",
            "\"hypervisor\"",
            "volume-policy.state.pcrs_pre_cap",
        ),
    ] {
        assert_eq!(refused(&tee_file().replacen(from, to, 1)), key, "{to}");
    }
    let zero = format!("[image.snp]\nauthor_key_digests = [\"{}\"]", "0".repeat(96));
    let text = tee_file().replacen("[image.snp]", &zero, 1);
    assert_eq!(refused(&text), "image.node.snp.author_key_digests");
}

#[test]
fn refuses_an_image_that_would_match_every_boot_or_no_time() {
    let (head, _) = tee_file()
        .split_once("[image.snp]")
        .map(|(a, b)| (a.to_owned(), b.len()))
        .unwrap();
    assert_eq!(refused(&head), "image.node");
    let dates = "name = \"node\"\nvalid_from = \"2027-01-01T00:00:00Z\"\nvalid_until = \"2026-01-01T00:00:00Z\"";
    let text = tee_file().replacen("name = \"node\"", dates, 1);
    assert_eq!(refused(&text), "image.node.valid_until");
}

#[test]
fn refuses_a_platform_of_two_kinds_of_none_or_that_is_not_there() {
    let both = tee_file().replacen("platform.xeon.tdx", "platform.milan.tdx", 1);
    assert_eq!(refused(&both), "platform.milan");
    let gone = tee_file().replacen("\"xeon\"]", "\"gone\"]", 1);
    assert!(matches!(
        parse(&gone),
        Err(PolicyError::UnknownPlatform { platform, .. }) if platform == "gone"
    ));
}
