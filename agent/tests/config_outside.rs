//! What may be said outside of the measured file, and what may not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod good;

use dawnkey_agent::config::{Config, ConfigError, Origin, Outside, Texts};
use dawnkey_agent::discover::{Endpoint, message::Name, metadata::Cloud};
use good::{FILE, SPKI, good};
use std::path::Path;

const STATE: &str = "5b1d1f0e-33b6-4d6e-8f2a-000000000001";

fn texts(command_line: &str, credentials: &[(&str, &str)]) -> Texts {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Texts {
        command_line: command_line.into(),
        credentials: credentials.iter().map(owned).collect(),
    }
}

fn parse(file: &str, texts: &Texts) -> Result<Config, ConfigError> {
    Config::parse(file, Path::new(FILE), &Outside::of(texts)?)
}

fn said(file: &str, command_line: &str) -> Result<Config, ConfigError> {
    parse(file, &texts(command_line, &[]))
}

#[test]
fn addresses_are_taken_from_everywhere() {
    let texts = texts(
        "rd.dawnkey.endpoint=10.9.0.1:1 rd.dawnkey.metadata=gcp rd.dawnkey.endpoint=[fd00::9]:1,k.test:2",
        &[
            ("domain", "cred.example"),
            ("endpoint", "10.8.0.1:1"),
            ("metadata", "aws"),
            ("resolver", "10.8.0.53, 10.8.0.54"),
        ],
    );
    let config = parse(&good(), &texts).unwrap();
    let places = &config.service.places;
    let endpoints: Vec<_> = places.endpoints.iter().map(Endpoint::to_string).collect();
    let wanted = [
        "10.8.0.1:1",
        "10.9.0.1:1",
        "[fd00::9]:1",
        "k.test:2",
        "10.0.2.100:8443",
        "[fd00::1]:8443",
        "keys.example:443",
    ];
    assert_eq!(endpoints, wanted);
    let domain = places.domain.as_ref().map(Name::as_str);
    assert_eq!(domain, Some("cred.example"));
    let cloud = places.metadata.as_ref().map(|metadata| metadata.cloud);
    assert_eq!(cloud, Some(Cloud::Gcp), "the command line speaks last");
    assert_eq!(places.resolvers.len(), 2);
}

#[test]
fn a_file_may_leave_all_addresses_and_the_nodes_name_to_others() {
    let (_, rest) = good()
        .split_once("name = \"keyservice")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let file = format!("[service]\nname = \"keyservice{rest}");
    let line = "rd.dawnkey.node_name=n7 rd.dawnkey.endpoint=10.0.0.1:1";
    assert_eq!(said(&file, line).unwrap().node_name, "n7");
    let error = said(&file, "rd.dawnkey.endpoint=10.0.0.1:1").unwrap_err();
    assert!(matches!(error, ConfigError::MissingField { .. }), "{error}");
    let error = said(&file, "rd.dawnkey.node_name=n7").unwrap_err();
    assert!(matches!(error, ConfigError::NoPlace { .. }), "{error}");
}

#[test]
fn refuses_every_trusted_field_outside_of_the_file_by_name() {
    // Every field that the program knows, in every spelling that one might try.
    let shown = parse(&good(), &Texts::default()).unwrap().rows;
    let keys = shown.iter().map(|row| row.key.as_str());
    let taken = ["node_name", "domain", "metadata"];
    let more = [
        "pin",
        "ca_file",
        "ca",
        "key",
        "policy",
        "volume_key",
        "recovery.key",
        "",
    ];
    for key in keys.chain(more) {
        let last = key.rsplit('.').next().unwrap();
        for name in [key, last].into_iter().filter(|name| !taken.contains(name)) {
            for texts in [
                texts(&format!("rd.dawnkey.{name}=x"), &[]),
                texts("", &[(name, "x")]),
            ] {
                let error = parse(&good(), &texts).expect_err(name);
                let ConfigError::NotFromThere { parameter, .. } = &error else {
                    panic!("{name}: {error}");
                };
                assert!(parameter.ends_with(&name.replace('-', "_")), "{error}");
            }
        }
    }
}

#[test]
fn a_pin_is_the_files_whatever_else_is_said() {
    let file = good().replace(SPKI, "");
    let line = format!("rd.dawnkey.{}", SPKI.replace(" = ", "="));
    let error = said(&file, &line.replace('"', "")).unwrap_err();
    assert!(matches!(error, ConfigError::NotFromThere { .. }), "{error}");
    let error = said(&file, "rd.dawnkey.endpoint=10.0.0.1:1").unwrap_err();
    assert!(matches!(error, ConfigError::PinMissing { .. }), "{error}");
}

#[test]
fn refuses_values_that_cannot_be_used_with_their_origin() {
    for (name, value) in [
        ("endpoint", "10.0.0.1"),
        ("endpoint", ""),
        ("endpoint", "10.0.0.1:1,nonsense"),
        ("domain", "a b"),
        ("metadata", "digital"),
        ("resolver", "1.1.1.1,1.1.1.2,1.1.1.3,1.1.1.4"),
        ("node_name", ""),
    ] {
        let error = parse(&good(), &texts("", &[(name, value)])).expect_err(name);
        let ConfigError::Outside {
            origin, parameter, ..
        } = error
        else {
            panic!("{name}={value}: {error}");
        };
        assert_eq!(origin, Origin::Credential);
        assert_eq!(parameter, format!("dawnkey.{name}"));
    }
    let error = said(&good(), "rd.dawnkey.config=../run/evil").unwrap_err();
    assert!(matches!(error, ConfigError::Outside { .. }), "{error}");
    said(&good(), "rd.dawnkey.config=agent").unwrap();
    let many = "10.0.0.1:1,".repeat(5000);
    let error = said(&good(), &format!("rd.dawnkey.endpoint={many}")).unwrap_err();
    assert!(matches!(error, ConfigError::Outside { .. }));
}

#[test]
fn nothing_that_the_file_says_is_said_again_differently() {
    for line in [
        "rd.dawnkey.node_name=other".to_owned(),
        format!("rd.luks.name={STATE}=other"),
    ] {
        let error = said(&good(), &line).expect_err(&line);
        assert!(matches!(error, ConfigError::Closed { .. }), "{error}");
    }
    let same = format!("rd.dawnkey.node_name=node-1 rd.luks.name={STATE}=state");
    said(&good(), &same).unwrap();
}

#[test]
fn names_that_the_file_leaves_open_come_from_the_luks_parameters() {
    let open = good().replace("name = \"state\"\n", "");
    let name = |line: &str| said(&open, line).map(|c| c.volumes[0].wanted.name.to_string());
    let given = [
        (format!("rd.luks.name={STATE}=root"), "root".to_owned()),
        (format!("luks.name=luks-{STATE}=root"), "root".to_owned()),
        (format!("rd.luks.uuid={STATE}"), format!("luks-{STATE}")),
        (
            format!("rd.luks.uuid=luks-{STATE}"),
            format!("luks-{STATE}"),
        ),
    ];
    for (line, wanted) in given {
        assert_eq!(name(&line).unwrap(), wanted, "{line}");
    }
    let error = name("rd.luks.name=5b1d1f0e-33b6-4d6e-8f2a-0000000000ff=x").unwrap_err();
    assert!(
        matches!(&error, ConfigError::MissingField { key, .. } if key == "volume[1].name"),
        "{error}"
    );
    let error = name(&format!("rd.luks.name={STATE}=../x")).unwrap_err();
    assert!(matches!(error, ConfigError::Outside { .. }), "{error}");
    // A name that another volume has is refused as it is in the file.
    let error = name(&format!("rd.luks.name={STATE}=backups")).unwrap_err();
    assert!(matches!(error, ConfigError::Twice { .. }), "{error}");
}

#[test]
fn luks_parameters_do_not_change_how_a_volume_is_opened() {
    for line in [
        format!("rd.luks.options={STATE}=discard"),
        format!("rd.luks.options={STATE}=headless=1,nofail"),
        format!("luks.options={STATE}=header=/evil"),
        "rd.luks.options=tpm2-device=auto".to_owned(),
        format!("rd.luks.key={STATE}=/keyfile:LABEL=evil"),
        format!("rd.luks.data={STATE}=/dev/evil"),
    ] {
        let error = said(&good(), &line).expect_err(&line);
        assert!(matches!(error, ConfigError::Outside { .. }), "{error}");
    }
    let other = "5b1d1f0e-33b6-4d6e-8f2a-0000000000ff";
    for line in [
        format!("rd.luks.options={STATE}=headless=1,timeout=0,x-systemd.device-timeout=9"),
        format!("rd.luks.options={other}=discard rd.luks.key={other}=/k rd.luks.data={other}=/d"),
        "rd.luks.options=x-initrd.attach rd.luks=0 rd.luks.key=/generic".to_owned(),
    ] {
        said(&good(), &line).expect(&line);
    }
}

#[test]
fn shows_each_value_with_its_origin() {
    let open = good().replace("name = \"state\"\n", "");
    let line = format!("rd.luks.name={STATE}=root rd.dawnkey.domain=cmd.example");
    let config = parse(&open, &texts(&line, &[("endpoint", "10.8.0.1:1")])).unwrap();
    let of = |key: &str| {
        let rows = config.rows.iter().filter(|row| row.key == key);
        rows.map(|row| (row.value.as_str(), row.origin))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of("service.domain"),
        [("\"cmd.example\"", Origin::CommandLine)]
    );
    assert_eq!(of("volume[1].name"), [("\"root\"", Origin::CommandLine)]);
    assert_eq!(of("volume[2].name"), [("\"backups\"", Origin::File)]);
    assert_eq!(of("service.budget_seconds"), [("30", Origin::File)]);
    assert_eq!(of("failure.delay_seconds"), [("10", Origin::Default)]);
    let endpoints = of("service.endpoints");
    assert!(matches!(
        endpoints.as_slice(),
        [(_, Origin::File), ("\"10.8.0.1:1\"", Origin::Credential)]
    ));
    let lines = config.lines(Path::new(FILE));
    assert_eq!(lines.len(), config.rows.len());
    assert!(
        lines
            .iter()
            .any(|l| l.starts_with("volume[1].name ") && l.ends_with("kernel command line"))
    );
}
