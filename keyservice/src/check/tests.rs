//! Each problem is found, and all of them at once.
#![allow(clippy::unwrap_used)]

use super::*;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

/// A directory with everything that the configuration names, as it must be.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        let (ca, issuer) = authority();
        site.write("ca.pem", &ca, 0o644);
        let (certificate, key) = leaf(&issuer, |_| {});
        site.write("server.pem", &certificate, 0o644);
        site.write("server.key", &key, 0o600);
        site.write("policy.toml", "version = 1\n[roots]\ntpm_ek = []\n", 0o644);
        site
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        std::fs::write(self.at(name), text).unwrap();
        self.mode(name, mode);
    }

    fn mode(&self, name: &str, mode: u32) {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.at(name), mode).unwrap();
    }

    fn directory(&self, name: &str, mode: u32) {
        std::fs::create_dir(self.at(name)).unwrap();
        self.mode(name, mode);
    }

    fn configured(&self, more: &str) -> Config {
        let text = format!(
            r#"
service_id = "a0000000-0000-4000-8000-000000000001"
listen = {{ unlock = "127.0.0.1:0", admin = "127.0.0.1:0", metrics = "127.0.0.1:0" }}
tls = {{ certificate = "server.pem", key = "server.key", admin_ca = "ca.pem" }}
store = {{ kind = "redb", path = "state/dawnkey.redb" }}
policy = {{ file = "policy.toml" }}
audit = {{ file = "log/audit.log" }}
{more}
[[kek.provider]]
name = "cluster"
kind = "cluster"
salt = "{}"
master_secret = "operator"
"#,
            "00".repeat(32)
        );
        std::fs::write(self.at("keyservice.toml"), &text).unwrap();
        Config::parse(&self.at("keyservice.toml"), &text).unwrap()
    }

    fn found(&self) -> Found {
        self.found_with("")
    }

    fn found_with(&self, more: &str) -> Found {
        let config = self.configured(more);
        check(&self.at("keyservice.toml"), &config)
    }

    /// The only problem.
    fn problem(&self) -> String {
        let found = self.found();
        let [problem] = found.problems.as_slice() else {
            unreachable!("{:?}", found.problems);
        };
        assert!(!problem.contains('\n'));
        problem.clone()
    }
}

fn good() -> Site {
    let site = Site::new();
    site.directory("state", 0o700);
    site.directory("log", 0o750);
    site
}

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

fn leaf(
    issuer: &Issuer<'static, KeyPair>,
    change: impl FnOnce(&mut CertificateParams),
) -> (String, String) {
    let mut params = CertificateParams::new(vec!["keyservice.test".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    (
        params.signed_by(&key, issuer).unwrap().pem(),
        key.serialize_pem(),
    )
}

#[test]
fn what_is_as_it_must_be_gives_no_problem_and_nothing_is_made() {
    let site = good();
    assert_eq!(site.found().problems, Vec::<String>::new());
    assert!(
        std::fs::read_dir(site.at("state"))
            .unwrap()
            .next()
            .is_none()
    );
    assert!(std::fs::read_dir(site.at("log")).unwrap().next().is_none());
    site.write("state/dawnkey.redb", "", 0o600);
    site.write("log/audit.log", "", 0o600);
    assert_eq!(site.found().problems, Vec::<String>::new());
}

#[test]
fn lists_every_problem_and_not_just_the_first() {
    let site = Site::new();
    site.directory("state", 0o777);
    site.write("server.key", "no key", 0o644);
    site.write("policy.toml", "version = 7", 0o644);
    let nobody = site.at("socket/kms.sock");
    let more = format!("kubernetes_kms = {{ socket = {nobody:?} }}");
    let problems = site.found_with(&more).problems;
    for (place, right) in [
        ("state", "chmod 700"),
        ("log", "install -d -m 700"),
        ("server.key", "chmod 600"),
        ("policy.toml", "version"),
        ("socket", "install -d"),
    ] {
        let told = |line: &&String| line.contains(place) && line.contains(right);
        assert!(
            problems.iter().any(|line| told(&line)),
            "{place}: {problems:?}"
        );
    }
    assert_eq!(problems.len(), 5, "{problems:?}");
}

#[test]
fn finds_a_store_or_log_that_others_read_or_that_is_no_file() {
    let site = good();
    site.write("state/dawnkey.redb", "", 0o640);
    assert!(site.problem().contains("mode 0640"));
    site.mode("state/dawnkey.redb", 0o600);
    site.directory("log/audit.log", 0o700);
    assert!(site.problem().contains("no regular file"));
    std::fs::remove_dir(site.at("log/audit.log")).unwrap();
    symlink("/dev/null", site.at("log/audit.log")).unwrap();
    assert!(site.problem().contains("no regular file"));
}

#[test]
fn finds_tls_files_that_do_not_belong_together_or_are_not_of_now() {
    let site = good();
    let (_, issuer) = authority();
    let (certificate, key) = leaf(&issuer, |_| {});
    site.write("server.key", &key, 0o600);
    site.problem();
    site.write("server.pem", &certificate, 0o644);
    assert_eq!(site.found().problems, Vec::<String>::new());
    let (old, key) = leaf(&issuer, |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    site.write("server.pem", &old, 0o644);
    site.write("server.key", &key, 0o600);
    let found = site.found();
    assert_eq!(found.problems, Vec::<String>::new());
    assert!(found.notes.iter().any(|note| note.contains("it ended at")));
    // A pair that does not match is told beside a CA that is not there.
    site.write("server.pem", &certificate, 0o644);
    std::fs::remove_file(site.at("ca.pem")).unwrap();
    assert_eq!(site.found().problems.len(), 2);
}

#[test]
fn says_how_long_a_certificate_is_good_for() {
    use crate::server::{Validity, validity};
    let site = good();
    let (_, issuer) = authority();
    let (pem, _) = leaf(&issuer, |params| {
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 3, 1);
    });
    site.write("server.pem", &pem, 0o644);
    let at = |text: &str| validity(&site.at("server.pem"), text.parse().unwrap()).unwrap();
    assert_eq!(at("2026-01-02T00:00:00Z"), Validity::Good);
    assert_eq!(at("2026-02-20T00:00:00Z"), Validity::Soon(9));
    assert!(matches!(at("2026-03-02T00:00:00Z"), Validity::Not(_)));
    assert!(matches!(at("2025-12-31T00:00:00Z"), Validity::Not(_)));
}

#[test]
fn finds_credentials_that_others_read_or_that_are_missing_in_any_section() {
    let site = good();
    site.write("token", "t", 0o644);
    let more = format!(
        "[[kek.provider]]\nname = \"kms\"\nkind = \"kmip\"\naddress = \"kms.test:5696\"\nca = \"/ca\"\ncertificate = \"/c\"\n\
         key = \"file:{}\"\nusername = \"u\"\npassword = \"file:/nowhere/p\"\nkey_id = \"1\"\n",
        site.at("token").display()
    );
    let found = site.found_with(&format!("[kek]\nactive = \"cluster\"\n{more}"));
    let text = found.problems.join("\n");
    assert_eq!(found.problems.len(), 2, "{text}");
    assert!(
        text.contains("kek.provider.key") && text.contains("mode 0644"),
        "{text}"
    );
    assert!(
        text.contains("kek.provider.password") && text.contains("/nowhere/p"),
        "{text}"
    );
}

#[tokio::test]
async fn live_opens_the_store_and_the_providers_and_changes_neither() {
    let site = good();
    let text = "live";
    let config = site.configured("");
    let mut found = Found::default();
    live::live(&config, None, None, &mut found).await;
    assert_eq!(found.problems, Vec::<String>::new(), "{text}");
    let notes = found.notes.join("\n");
    assert!(
        notes.contains("there is none yet") && notes.contains("an operator gives"),
        "{notes}"
    );
    assert!(!site.at("state/dawnkey.redb").exists());

    let open = config.store.open().await.unwrap();
    let mut found = Found::default();
    live::live(&config, None, None, &mut found).await;
    assert!(
        found
            .notes
            .join("\n")
            .contains("a running service has it open")
    );
    drop(open);
    let before = std::fs::read(site.at("state/dawnkey.redb")).unwrap();
    let mut found = Found::default();
    live::live(&config, None, None, &mut found).await;
    assert_eq!(found.problems, Vec::<String>::new());
    assert_eq!(
        std::fs::read(site.at("state/dawnkey.redb")).unwrap(),
        before
    );
    site.write("state/dawnkey.redb", "no store", 0o600);
    live::live(&config, None, None, &mut found).await;
    assert_eq!(found.problems.len(), 1, "{:?}", found.problems);
}
