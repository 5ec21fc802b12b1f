//! Recorded evidence as the tests of TDX read it.
#![allow(
    dead_code, // each test binary uses its part
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr
)]

use std::path::{Path, PathBuf};

use dawnkey_attest::tdx::{
    TdxClaims, TdxCollateral, TdxError, TdxRoots,
    fake::{MockIntel, Spec},
    verify,
};
use jiff::Timestamp;
use rustls_pki_types::UnixTime;
use serde_json::Value;
use sha2::Digest as _;

/// The folder of recorded evidence, or `None` (said in one line) where it is absent; in CI that fails.
pub fn evidence_dir() -> Option<PathBuf> {
    let dir = match std::env::var_os("DAWNKEY_EVIDENCE") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/evidence"),
    };
    if dir.join("cases.json").is_file() {
        return Some(dir);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "no recorded evidence in {}",
        dir.display()
    );
    eprintln!(
        "no recorded evidence in {}: set DAWNKEY_EVIDENCE; nothing was tested",
        dir.display()
    );
    None
}

/// One recorded case.
pub struct Case {
    dir: PathBuf,
    pub json: Value,
}

impl Case {
    /// All cases of a family.
    pub fn family(dir: &Path, family: &str) -> Vec<Self> {
        let text = std::fs::read(dir.join("cases.json")).expect("cases.json is readable");
        let json: Value = serde_json::from_slice(&text).expect("cases.json is JSON");
        let cases = json["cases"].as_array().expect("a list of cases");
        let of_family = cases.iter().filter(|case| case["family"] == family);
        of_family
            .map(|json| Self {
                dir: dir.to_path_buf(),
                json: json.clone(),
            })
            .collect()
    }

    pub fn id(&self) -> &str {
        self.json["id"].as_str().expect("an id")
    }

    pub fn file(&self, role: &str) -> Option<Vec<u8>> {
        let path = self.json["files"][role].as_str()?;
        Some(std::fs::read(self.dir.join(path)).unwrap_or_else(|error| panic!("{path}: {error}")))
    }

    pub fn expected(&self, field: &str) -> &str {
        self.json["expected"][field]
            .as_str()
            .unwrap_or_else(|| panic!("{}: expected.{field}", self.id()))
    }

    pub fn decoded(&self) -> &Value {
        &self.json["expected"]["decoded"]
    }

    pub fn time(&self) -> Timestamp {
        self.json["verify_time"]
            .as_str()
            .and_then(|time| time.parse().ok())
            .expect("a time")
    }

    pub fn now(&self) -> UnixTime {
        unix(self.time())
    }

    pub fn roots(&self) -> TdxRoots {
        let root = self.file("intel_root").expect("a root");
        TdxRoots::new([root.as_slice()]).expect("a usable root")
    }

    /// All parts, or `None` where one was not recorded.
    pub fn collateral(&self) -> Option<TdxCollateral> {
        let signature = |role| {
            let text = String::from_utf8(self.file(role)?).expect("hex text");
            Some(hex::decode(text.trim()).expect("hex text"))
        };
        Some(TdxCollateral {
            pck_crl_issuer_chain: self.file("pck_crl_issuer_chain")?,
            root_ca_crl: self.file("root_ca_crl")?,
            pck_crl: self.file("pck_crl")?,
            tcb_info_issuer_chain: self.file("tcb_info_issuer_chain")?,
            tcb_info: self.file("tcb_info")?,
            tcb_info_signature: signature("tcb_info_signature")?,
            qe_identity_issuer_chain: self.file("qe_identity_issuer_chain")?,
            qe_identity: self.file("qe_identity")?,
            qe_identity_signature: signature("qe_identity_signature")?,
        })
    }
}

pub fn unix(time: Timestamp) -> UnixTime {
    let seconds = u64::try_from(time.as_second()).expect("after 1970");
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}

/// dcap-qvl over the cryptography we use.
pub struct Qvl;

impl dcap_qvl::config::Config for Qvl {
    type X509 = dcap_qvl::x509::X509CertBackend;
    type SigEncoder = dcap_qvl::signature::DerSigEncoder;
    type Crypto = Self;
}

impl dcap_qvl::config::CryptoProvider for Qvl {
    fn sig_algo() -> &'static dyn rustls_pki_types::SignatureVerificationAlgorithm {
        webpki::aws_lc_rs::ECDSA_P256_SHA256
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        sha2::Sha256::digest(data).into()
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        sha2::Sha384::digest(data).into()
    }
}

/// dcap-qvl with a root of its own.
pub fn qvl(root: &[u8]) -> dcap_qvl::verify::QuoteVerifier<Qvl> {
    dcap_qvl::verify::QuoteVerifier::new_with_config(root.to_vec())
}

/// The same collateral for dcap-qvl. It never gets a PCK chain of its own: the quote's is the one to verify.
pub fn qvl_collateral(collateral: &TdxCollateral) -> dcap_qvl::QuoteCollateralV3 {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    dcap_qvl::QuoteCollateralV3 {
        pck_crl_issuer_chain: text(&collateral.pck_crl_issuer_chain),
        root_ca_crl: collateral.root_ca_crl.clone(),
        pck_crl: collateral.pck_crl.clone(),
        tcb_info_issuer_chain: text(&collateral.tcb_info_issuer_chain),
        tcb_info: text(&collateral.tcb_info),
        tcb_info_signature: collateral.tcb_info_signature.clone(),
        qe_identity_issuer_chain: text(&collateral.qe_identity_issuer_chain),
        qe_identity: text(&collateral.qe_identity),
        qe_identity_signature: collateral.qe_identity_signature.clone(),
        pck_certificate_chain: None,
    }
}

/// Verifies what a mock platform makes, with its own collateral and root.
pub fn check(intel: &MockIntel, spec: &Spec) -> Result<TdxClaims, TdxError> {
    let (quote, collateral) = (intel.quote(spec), intel.collateral(spec));
    let verified = verify(&quote, Some(&collateral), &intel.roots(), unix(spec.now))?;
    Ok(verified.into_claims())
}

/// [`check`] with keys of its own.
pub fn outcome(spec: &Spec) -> Result<TdxClaims, TdxError> {
    check(&MockIntel::new(), spec)
}
