//! What a configuration may not be. Every refusal is told apart by its variant.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod good;

use dawnkey_agent::config::{Choice, Config, ConfigError};
use dawnkey_agent::discover::{Endpoint, message::Name, metadata::Cloud};
use dawnkey_attest::collect::{detect::Kind, tdx::WithoutRegister, vtpm::KeySource};
use dawnkey_dm::{Filesystem, Integrity, Wipe};
use dawnkey_proto::binding::SpkiDigest;
use dawnkey_proto::tls::Pin;
use good::{SPKI, changed, good, invalid_key, parse};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

#[test]
fn reads_every_field() {
    let config = parse(&good()).unwrap();
    assert_eq!(config.node_name, "node-1");
    let endpoints: Vec<_> = config
        .service
        .places
        .endpoints
        .iter()
        .map(Endpoint::to_string)
        .collect();
    assert_eq!(
        endpoints,
        ["10.0.2.100:8443", "[fd00::1]:8443", "keys.example:443"]
    );
    let places = &config.service.places;
    assert_eq!(
        places.domain.as_ref().map(Name::as_str),
        Some("fleet.example")
    );
    let resolvers: [SocketAddr; 2] = [
        "10.0.0.53:53".parse().unwrap(),
        "[fd00::53]:5353".parse().unwrap(),
    ];
    assert_eq!(places.resolvers, resolvers);
    let metadata = places.metadata.as_ref().unwrap();
    assert_eq!(metadata.cloud, Cloud::OpenStack);
    assert_eq!(metadata.address, "127.0.0.1:8081".parse().unwrap());
    assert_eq!(config.service.name.to_str(), "keyservice.dawnkey.internal");
    let Pin::Spki(SpkiDigest(digest)) = config.service.pin else {
        panic!("not an SPKI pin")
    };
    assert_eq!(digest[..3], [0x00, 0x11, 0x22]);
    assert_eq!(config.service.pace.budget, Duration::from_secs(30));
    assert_eq!(config.service.pace.attempt, Duration::from_secs(5));
    assert_eq!(config.tpm.tcti, "swtpm:host=127.0.0.1,port=2321");
    assert_eq!(config.tpm.event_log, Path::new("/log"));
    assert_eq!(config.tpm.attestation_key, KeySource::Gce);
    let attestation = &config.attestation;
    assert_eq!(attestation.kind, Choice::Kind(Kind::Tdx));
    assert_eq!(
        attestation.without_runtime_register,
        WithoutRegister::Report
    );
    assert_eq!(attestation.privlevel, Some(2));
    assert_eq!(attestation.quote_service, (3, 4051));
    assert_eq!(attestation.imds, "127.0.0.1:8080".parse().unwrap());
    let [volume, backups] = config.volumes.as_slice() else {
        panic!("not two volumes")
    };
    assert_eq!(volume.wanted.volume.as_u128() & 0xff, 1);
    assert_eq!(volume.wanted.name.as_str(), "state");
    assert_eq!(volume.wanted.device.as_deref(), Some(Path::new("/dev/vdb")));
    assert_eq!(volume.wanted.integrity, Integrity::None);
    assert_eq!(volume.wanted.filesystem, Some(Filesystem::Ext4));
    assert!(volume.required && !volume.adopted);
    assert_eq!(backups.wanted.name.as_str(), "backups");
    assert_eq!(backups.wanted.integrity, Integrity::Aegis128);
    let prefix_bytes = 256 << 20;
    assert_eq!(backups.wanted.wipe, Wipe::Behind { prefix_bytes });
    assert!(backups.wanted.journal_mac && backups.wanted.grow);
    assert!(!volume.wanted.journal_mac && !volume.wanted.grow);
    assert_eq!(volume.wanted.wipe, Wipe::default());
    assert!(!backups.required && backups.adopted);
    assert_eq!(config.swaps[0].device, Path::new("/dev/vdd"));
    assert_eq!(config.swaps[0].name.as_str(), "swap");
    assert!(!config.hold.enabled);
    assert_eq!(config.hold.wipe_rate, Some(64 << 20));
}

#[test]
fn absent_options_take_the_safe_value() {
    let text = good();
    let (one, _) = text
        .split_once("[[volume]]\nid = \"5b1d1f0e-33b6-4d6e-8f2a-000000000002\"")
        .unwrap();
    let text = one
        .replace("device = \"/dev/vdb\"", "")
        .replace("integrity = \"none\"", "")
        .replace("filesystem = \"ext4\"", "");
    let config = parse(&without_evidence(&text, "[attestation]\nkind = \"auto\"")).unwrap();
    assert_eq!(config.attestation.kind, Choice::Auto);
    let refuse = WithoutRegister::Refuse;
    assert_eq!(config.attestation.without_runtime_register, refuse);
    assert_eq!(config.attestation.privlevel, None);
    assert_eq!(config.attestation.quote_service, (2, 4050));
    let imds = "169.254.169.254:80".parse().unwrap();
    assert_eq!(config.attestation.imds, imds);
    assert_eq!(config.tpm.attestation_key, KeySource::Own);
    let volume = &config.volumes[0];
    assert_eq!(volume.wanted.device, None);
    assert_eq!(volume.wanted.integrity, Integrity::HmacSha256);
    assert_eq!(volume.wanted.filesystem, None);
    assert_eq!(config.tpm.tcti, "device:/dev/tpmrm0");
    assert!(config.swaps.is_empty());
    assert!(config.hold.enabled);
    assert_eq!(config.hold.wipe_rate, None);
}

/// A text with other sections about evidence.
fn without_evidence(text: &str, sections: &str) -> String {
    let (head, tail) = text.split_once("[attestation]").unwrap();
    let (_, volume) = tail.split_once("[[volume]]").unwrap();
    format!("{head}{sections}\n[[volume]]{volume}")
}

#[test]
fn a_file_with_a_tpm_and_no_choice_means_the_tpm() {
    let config = parse(&without_evidence(&good(), "[tpm]")).unwrap();
    assert_eq!(config.attestation.kind, Choice::Kind(Kind::Vtpm));
}

#[test]
fn a_file_that_says_nothing_about_evidence_is_refused() {
    let error = parse(&without_evidence(&good(), "")).unwrap_err();
    assert!(
        matches!(&error, ConfigError::MissingField { key, .. } if key == "attestation.kind"),
        "{error}"
    );
    let error = parse(&without_evidence(&good(), "[attestation]\nprivlevel = 0")).unwrap_err();
    assert!(
        matches!(&error, ConfigError::MissingField { key, .. } if key == "attestation.kind"),
        "{error}"
    );
}

#[test]
fn refuses_unknown_field_in_every_section() {
    for (section, key) in [
        ("node_name", "colour"),
        ("[service]", "service.colour"),
        ("[attestation]", "attestation.colour"),
        ("[tpm]", "tpm.colour"),
        (
            "[[volume]]\nid = \"5b1d1f0e-33b6-4d6e-8f2a-000000000002\"",
            "volume[2].colour",
        ),
        ("[[swap]]", "swap[1].colour"),
        ("[hold]", "hold.colour"),
    ] {
        let line = "colour = 1\n";
        let to = if section.starts_with('[') {
            format!("{section}\n{line}")
        } else {
            format!("{line}{section}")
        };
        let error = changed(section, &to);
        let text = error.to_string();
        let ConfigError::UnknownField { key: found, .. } = error else {
            panic!("expected an unknown field, got {error}")
        };
        assert_eq!(found, key);
        assert!(text.starts_with("/etc/dawnkey/agent.toml: unknown field"));
    }
}

#[test]
fn refuses_unknown_section() {
    let error = parse(&format!("{}\n[debug]\n", good())).unwrap_err();
    assert!(matches!(error, ConfigError::UnknownField { key, .. } if key == "debug"));
}

#[test]
fn refuses_missing_field() {
    for (line, key) in [
        ("node_name = \"node-1\"", "node_name"),
        ("name = \"keyservice.dawnkey.internal\"", "service.name"),
        (
            "id = \"5b1d1f0e-33b6-4d6e-8f2a-000000000001\"",
            "volume[1].id",
        ),
        ("name = \"state\"", "volume[1].name"),
    ] {
        let error = changed(line, "");
        assert!(
            matches!(&error, ConfigError::MissingField { key: k, .. } if k == key),
            "{key}: {error}"
        );
    }
    assert!(matches!(
        parse("node_name = \"n\""),
        Err(ConfigError::MissingField { key, .. }) if key == "service"
    ));
}

#[test]
fn refuses_missing_pin() {
    let error = changed(SPKI, "");
    assert!(matches!(error, ConfigError::PinMissing { .. }));
}

#[test]
fn refuses_two_pins() {
    let error = changed(SPKI, &format!("{SPKI}\nca_file = \"ca.pem\""));
    assert!(matches!(error, ConfigError::PinTwice { .. }));
}

#[test]
fn refuses_pin_of_wrong_shape() {
    for bad in [
        "",
        "00",
        &"zz".repeat(32),
        &"00".repeat(33),
        &"é0".repeat(21),
    ] {
        let error = changed(SPKI, &format!("spki_sha256 = {bad:?}"));
        assert_eq!(invalid_key(error), "service.spki_sha256");
    }
}

#[test]
fn refuses_values_out_of_shape_by_their_key() {
    for (from, to, key) in [
        ("\"10.0.2.100:8443\"", "\"10.0.2.100\"", "service.endpoints"),
        (
            "\"10.0.2.100:8443\"",
            "\"10.0.2.100:0\"",
            "service.endpoints",
        ),
        ("\"10.0.2.100:8443\"", "\"a b:8443\"", "service.endpoints"),
        (
            "\"[fd00::1]:8443\"",
            "\"fd00::1:8443\"",
            "service.endpoints",
        ),
        ("\"10.0.2.100:8443\"", "8443", "service.endpoints"),
        ("\"keyservice.dawnkey.internal\"", "\"a b\"", "service.name"),
        (
            "budget_seconds = 30",
            "budget_seconds = 0",
            "service.budget_seconds",
        ),
        (
            "budget_seconds = 30",
            "budget_seconds = -1",
            "service.budget_seconds",
        ),
        (
            "budget_seconds = 30",
            "budget_seconds = 86401",
            "service.budget_seconds",
        ),
        (
            "attempt_seconds = 5",
            "attempt_seconds = 31",
            "service.attempt_seconds",
        ),
        (
            "attempt_seconds = 5",
            "attempt_seconds = \"5\"",
            "service.attempt_seconds",
        ),
        (
            "\"swtpm:host=127.0.0.1,port=2321\"",
            "\"cmd:sh\"",
            "tpm.tcti",
        ),
        ("\"/log\"", "\"log\"", "tpm.event_log"),
        ("\"gce\"", "\"aws\"", "tpm.attestation_key"),
        ("\"tdx\"", "\"sgx\"", "attestation.kind"),
        (
            "\"report\"",
            "\"ignore\"",
            "attestation.without_runtime_register",
        ),
        ("privlevel = 2", "privlevel = 4", "attestation.privlevel"),
        ("privlevel = 2", "privlevel = -1", "attestation.privlevel"),
        ("vsock:3:4051", "vsock:3", "attestation.quote_service"),
        ("vsock:3:4051", "tcp:3:4051", "attestation.quote_service"),
        ("127.0.0.1:8080", "imds:80", "attestation.imds"),
        (
            "5b1d1f0e-33b6-4d6e-8f2a-000000000001",
            "00000000-0000-0000-0000-000000000000",
            "volume[1].id",
        ),
        ("\"state\"", "\"../state\"", "volume[1].name"),
        ("\"state\"", "\"control\"", "volume[1].name"),
        ("\"state\"", "\"\"", "volume[1].name"),
        ("\"/dev/vdb\"", "\"vdb\"", "volume[1].device"),
        ("\"none\"", "\"crc32\"", "volume[1].integrity"),
        ("\"ext4\"", "\"xfs\"", "volume[1].filesystem"),
        ("\"aegis128\"", "\"aes\"", "volume[2].integrity"),
        ("\"behind\"", "\"never\"", "volume[2].wipe"),
        ("\"behind\"", "\"up-front\"", "volume[2].wipe_prefix"),
        ("256MiB", "15 MiB", "volume[2].wipe_prefix"),
        ("256MiB", "2 TiB", "volume[2].wipe_prefix"),
        ("grow = true", "grow = 1", "volume[2].grow"),
        ("required = false", "required = 0", "volume[2].required"),
        ("adopted = true", "adopted = \"yes\"", "volume[2].adopted"),
        ("\"/dev/vdd\"", "\"vdd\"", "swap[1].device"),
        ("\"swap\"", "\"\"", "swap[1].name"),
        ("enabled = false", "enabled = \"no\"", "hold.enabled"),
        ("\"64 MiB\"", "\"64\"", "hold.wipe_rate"),
        ("\"64 MiB\"", "\"64 MB\"", "hold.wipe_rate"),
        ("\"64 MiB\"", "\"-64 MiB\"", "hold.wipe_rate"),
        ("\"64 MiB\"", "\"6 4 MiB\"", "hold.wipe_rate"),
        ("\"64 MiB\"", "\"MiB\"", "hold.wipe_rate"),
        ("\"64 MiB\"", "\"99999999999999 TiB\"", "hold.wipe_rate"),
        ("\"64 MiB\"", "\"4 KiB\"", "hold.wipe_rate"),
        ("\"64 MiB\"", "64", "hold.wipe_rate"),
        ("\"node-1\"", "\"\"", "node_name"),
        ("\"node-1\"", "\"a\\u001bb\"", "node_name"),
    ] {
        assert_eq!(invalid_key(changed(from, to)), key, "{to}");
    }
}

#[test]
fn refuses_an_id_a_device_or_a_name_that_is_given_twice() {
    for (from, to, first, second) in [
        (
            "000000000002",
            "000000000001",
            "volume[1].id",
            "volume[2].id",
        ),
        (
            "\"backups\"",
            "\"state\"",
            "volume[1].name",
            "volume[2].name",
        ),
        (
            "\"backups\"",
            "\"state_dif\"",
            "volume[1].name",
            "volume[2].name",
        ),
        (
            "\"state\"",
            "\"backups_whole\"",
            "volume[1].name",
            "volume[2].name",
        ),
        ("\"swap\"", "\"backups\"", "volume[2].name", "swap[1].name"),
        (
            "/dev/vdc",
            "/dev/vdb",
            "volume[1].device",
            "volume[2].device",
        ),
        ("/dev/vdd", "/dev/vdb", "volume[1].device", "swap[1].device"),
    ] {
        let error = changed(from, to);
        assert!(
            matches!(&error, ConfigError::Twice { first: f, key, .. } if f == first && key == second),
            "{error}"
        );
    }
}

#[test]
fn refuses_a_file_without_volumes_and_a_single_volume_table() {
    let (head, _) = good()
        .split_once("[[volume]]")
        .map(|(h, t)| (h.to_owned(), t.to_owned()))
        .unwrap();
    let error = parse(&head).unwrap_err();
    assert!(matches!(error, ConfigError::MissingField { key, .. } if key == "volume"));
    let table = format!("{head}[volume]\nname = \"state\"\n");
    assert_eq!(invalid_key(parse(&table).unwrap_err()), "volume");
}

#[test]
fn refuses_text_that_is_not_toml() {
    assert!(matches!(
        parse("node_name"),
        Err(ConfigError::Syntax { .. })
    ));
}

#[test]
fn refuses_absent_and_oversized_files() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.toml");
    assert!(matches!(Config::load(&file), Err(ConfigError::Read { .. })));
    std::fs::write(&file, vec![b'#'; 300 << 10]).unwrap();
    assert!(matches!(
        Config::load(&file),
        Err(ConfigError::TooLarge { .. })
    ));
}

#[test]
fn reads_the_ca_beside_the_file_and_refuses_one_without_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.toml");
    std::fs::write(&file, good().replace(SPKI, "ca_file = \"ca.pem\"")).unwrap();
    assert!(
        matches!(Config::load(&file), Err(ConfigError::Read { file, .. }) if file.ends_with("ca.pem"))
    );
    std::fs::write(dir.path().join("ca.pem"), "no certificate").unwrap();
    assert_eq!(
        invalid_key(Config::load(&file).unwrap_err()),
        "service.ca_file"
    );
    let ca = rcgen::generate_simple_self_signed(vec!["ca".into()]).unwrap();
    std::fs::write(dir.path().join("ca.pem"), ca.cert.pem()).unwrap();
    let config = Config::load(&file).unwrap();
    assert!(matches!(config.service.pin, Pin::Ca(certificates) if certificates.len() == 1));
}

/// The good file with these lines in `[service]`.
#[cfg(feature = "trustee")]
fn with_service(lines: &str) -> Result<Config, ConfigError> {
    parse(&good().replace("[service]\n", &format!("[service]\n{lines}\n")))
}

#[cfg(feature = "trustee")]
#[test]
fn a_key_broker_has_its_resources_named_and_formats_nothing_unless_told_to() {
    use dawnkey_agent::config::Protocol;
    assert_eq!(parse(&good()).unwrap().service.protocol, Protocol::Dawnkey);
    let broker = |lines| match with_service(lines).unwrap().service.protocol {
        Protocol::Trustee(broker) => broker,
        Protocol::Dawnkey => panic!("no key broker"),
    };
    let given = broker("protocol = \"trustee\"\nresources = \"default/dawnkey\"");
    assert_eq!(given.resources.as_str(), "default/dawnkey");
    assert!(!given.provision);
    let given = "protocol = \"trustee\"\nresources = \"default/dawnkey\"\nprovision = true";
    assert!(broker(given).provision);
    let missing = with_service("protocol = \"trustee\"").unwrap_err();
    assert!(
        matches!(missing, ConfigError::MissingField { .. }),
        "{missing}"
    );
    let wrong = with_service("protocol = \"trustee\"\nresources = \"../x\"").unwrap_err();
    assert!(matches!(wrong, ConfigError::Invalid { .. }), "{wrong}");
    let wrong = with_service("protocol = \"kbs\"").unwrap_err();
    assert!(matches!(wrong, ConfigError::Invalid { .. }), "{wrong}");
    // What only a broker has is unknown beside the key service.
    let unknown = with_service("provision = true").unwrap_err();
    assert!(
        matches!(unknown, ConfigError::UnknownField { .. }),
        "{unknown}"
    );
}

#[cfg(feature = "trustee")]
#[test]
fn a_key_broker_without_a_pin_is_refused() {
    let broker = "protocol = \"trustee\"\nresources = \"default/dawnkey\"";
    let text = good().replace(SPKI, broker);
    assert!(matches!(parse(&text), Err(ConfigError::PinMissing { .. })));
}
