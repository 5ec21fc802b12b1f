//! `dawnkey endorsements` with the real binary: vendors' files in, a vendor on loopback, an export carried over.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use common::{Run, dawnkey};
use dawnkey_attest::snp::fake::{Authority, MockAmd, VekSpec};
use dawnkey_attest::snp::product::Product;
use dawnkey_attest::snp::vek::VekKind;
use dawnkey_endorse::fake::{Canned, FakeVendor};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs()
}

/// A mock of AMD, files of its, and a policy that trusts it.
struct Site {
    dir: tempfile::TempDir,
    amd: MockAmd,
    vcek: Vec<u8>,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let amd = MockAmd::new(Product::Milan);
        let spec = VekSpec::new(VekKind::Vcek, amd.product());
        let vcek = amd.issue(&spec).der;
        let site = Self { dir, amd, vcek };
        let pem = [Authority::Ark, Authority::Ask, Authority::Asvk].map(|which| site.pem(which));
        site.write("amd.pem", pem.concat().as_bytes());
        site.write(
            "policy.toml",
            b"version = 1\n[roots]\namd = [\"amd.pem\"]\n",
        );
        site.write("vcek.der", &site.vcek);
        site.write(
            "cert_chain",
            [site.pem(Authority::Ask), site.pem(Authority::Ark)]
                .concat()
                .as_bytes(),
        );
        site.write("crl.der", &site.crl(1));
        site
    }

    fn pem(&self, which: Authority) -> String {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let text = STANDARD.encode(self.amd.der(which));
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    }

    /// A list that was made some days ago and lives for thirty.
    fn crl(&self, days: u64) -> Vec<u8> {
        let issued = now() - days * DAY;
        self.amd
            .crl(Authority::Ark, &[], (issued, issued + 30 * DAY))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn run(&self, command: &str, store: &str, more: &[&str]) -> Run {
        let (policy, store) = (self.path("policy.toml"), self.path(store));
        let mut args = vec!["--json", "endorsements", command];
        args.extend([
            "--policy",
            policy.to_str().unwrap(),
            "--store",
            store.to_str().unwrap(),
        ]);
        args.extend(more);
        dawnkey(self.dir.path(), &args)
    }
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{e}: {run:?}"))
}

fn outcomes(run: &Run) -> Vec<String> {
    let rows = json(run);
    let name = |row: &Value| row["outcome"].as_str().unwrap().to_owned();
    rows.as_array().unwrap().iter().map(name).collect()
}

/// What a store lists, without what changes while the test runs.
fn listed(site: &Site, store: &str) -> Value {
    let mut rows = json(&site.run("list", store, &[]));
    for row in rows.as_array_mut().unwrap() {
        row.as_object_mut().unwrap().remove("days_left").unwrap();
    }
    rows
}

#[test]
fn vendors_files_are_imported_exported_and_imported_elsewhere() {
    let site = Site::new();
    let files = ["vcek.der", "cert_chain", "crl.der"];
    let run = site.run("import", "one", &files);
    assert_eq!(
        (run.code, outcomes(&run)),
        (0, vec!["added".to_owned(); 4]),
        "{run:?}"
    );
    for to in ["all.tar", "all"] {
        let run = site.run("export", "one", &[to]);
        assert_eq!(
            (run.code, json(&run)["files"].as_u64()),
            (0, Some(4)),
            "{run:?}"
        );
        let second = format!("from-{to}");
        let run = site.run("import", &second, &[to]);
        assert_eq!(
            (run.code, outcomes(&run)),
            (0, vec!["added".to_owned(); 4]),
            "{run:?}"
        );
        assert_eq!(listed(&site, "one"), listed(&site, &second));
    }
    let run = site.run("export", "one", &["all.tar"]);
    assert_eq!(run.code, 5, "never overwritten: {run:?}");
}

#[test]
fn an_older_list_is_refused_and_the_store_keeps_the_newer() {
    let site = Site::new();
    assert_eq!(site.run("import", "store", &["crl.der"]).code, 0);
    site.write("old.der", &site.crl(9));
    let run = site.run("import", "store", &["old.der"]);
    assert_eq!(run.code, 1, "{run:?}");
    let problem = json(&run)[0]["problem"].as_str().unwrap().to_owned();
    assert!(
        problem.contains("not replaced by an older one"),
        "{problem}"
    );
    let kept = std::fs::read(site.path("store/amd/milan/vcek-crl.der")).unwrap();
    assert_eq!(kept, std::fs::read(site.path("crl.der")).unwrap());
}

#[test]
fn list_is_negative_once_something_has_expired_or_is_refused() {
    let site = Site::new();
    assert_eq!(
        site.run("import", "store", &["crl.der", "vcek.der"]).code,
        0
    );
    let run = site.run("list", "store", &[]);
    assert_eq!(run.code, 0, "{run:?}");
    let days: Vec<_> = json(&run)
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["days_left"].as_i64())
        .collect();
    assert!(
        days.contains(&Some(28)) || days.contains(&Some(29)),
        "{days:?}"
    );

    let issued = now() - 40 * DAY;
    let expired = site
        .amd
        .crl(Authority::Ark, &[], (issued, issued + 30 * DAY));
    site.write("expired.der", &expired);
    assert_eq!(site.run("import", "other", &["expired.der"]).code, 0);
    let run = site.run("list", "other", &[]);
    assert_eq!(
        (run.code, &json(&run)[0]["state"]),
        (1, &Value::from("expired")),
        "{run:?}"
    );

    site.write("store/amd/milan/vcek-crl.der", b"nonsense");
    let run = site.run("list", "store", &[]);
    assert_eq!(run.code, 1, "{run:?}");
    let refused = json(&run)
        .as_array()
        .unwrap()
        .iter()
        .any(|row| row["state"] == "refused");
    assert!(refused, "{run:?}");
    let run = site.run("list", "absent", &[]);
    assert_eq!(run.code, 5, "{run:?}");
}

/// Serves a vendor on loopback for as long as the runtime lives.
fn serve(vendor: &FakeVendor) -> (tokio::runtime::Runtime, String) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let vendor = vendor.clone();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
    let listener = listener.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(vendor.clone().serve(stream));
        }
    });
    (runtime, url)
}

#[test]
fn sync_fetches_what_is_named_and_tells_what_could_not_be_had() {
    let site = Site::new();
    let vendor = FakeVendor::default();
    let chain = [site.pem(Authority::Ask), site.pem(Authority::Ark)].concat();
    vendor.answer("/vcek/v1/Milan/cert_chain", Canned::ok(chain));
    vendor.answer("/vcek/v1/Milan/crl", Canned::ok(site.crl(1)));
    let spec = VekSpec::new(VekKind::Vcek, &Product::Milan);
    let (chip, tcb) = (hex::encode(&spec.hwid), hex::encode(spec.tcb));
    vendor.answer(
        format!("/vcek/v1/Milan/{chip}?blSPL=4&teeSPL=1&snpSPL=24&ucodeSPL=219"),
        Canned::ok(site.vcek.clone()),
    );
    let (_runtime, url) = serve(&vendor);
    let args = [
        "--amd-url",
        &url,
        "--ca-bundle",
        "amd.pem",
        "--patience",
        "0",
        "--product",
        "milan",
        "--chip",
        &chip,
        "--tcb",
        &tcb,
    ];
    let run = site.run("sync", "store", &args);
    assert_eq!(
        run.code, 1,
        "the service has no ASVK and no second list: {run:?}"
    );
    let mut found = outcomes(&run);
    found.sort();
    assert_eq!(
        found,
        ["added", "added", "added", "refused", "refused"],
        "{run:?}"
    );
    assert!(Path::new(&site.path("store/amd/milan/vcek").join(&chip)).is_dir());
    assert_eq!(site.run("list", "store", &[]).code, 0);

    let run = site.run(
        "sync",
        "store",
        &["--product", "milan", "--amd-url", "http://kds.example"],
    );
    assert_eq!(run.code, 5, "plain HTTP to another machine: {run:?}");
    let run = site.run("sync", "store", &[]);
    assert_eq!(run.code, 2, "nothing named: {run:?}");
}
