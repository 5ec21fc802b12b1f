//! An Azure VM of mocks: HCL report over a mock SNP report or TD quote, and a vTPM that is one RSA key.
#![allow(
    dead_code, // each test binary uses its part
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use dawnkey_attest::{
    azure::{
        AzureError,
        fake::{HclSpec, hcl_snp, hcl_tdx},
    },
    claims::Claims,
    evidence::{AzureEvidence, Binder, Evidence, Exchange, PcrValue},
    fake::{LogBuilder, SoftTpm},
    snp::{
        auxblob::CertificateTable,
        fake::{Authority, MockAmd, ReportSpec, VekSpec},
        product::Product,
        roots::Roots as SnpRoots,
        vek::VekKind,
        verify::CrlRule,
    },
    tdx::fake::{MockIntel, Spec},
    tpm::{hash::Hash, public::Key},
    verify::{Collateral, Roots, UnixTime, VerifyError, verify},
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SubjectPublicKeyInfo, date_time_ymd,
};

/// The exchange that evidence here is made for.
pub const EXCHANGE: Exchange = Exchange([7; 64]);

fn amd() -> &'static MockAmd {
    static AMD: OnceLock<MockAmd> = OnceLock::new();
    AMD.get_or_init(|| MockAmd::new(Product::Milan))
}

fn intel() -> Arc<MockIntel> {
    static INTEL: OnceLock<Arc<MockIntel>> = OnceLock::new();
    INTEL.get_or_init(|| Arc::new(MockIntel::new())).clone()
}

/// One of two keys, each time the other.
fn key_pair() -> &'static RsaKeyPair {
    static KEYS: OnceLock<[RsaKeyPair; 2]> = OnceLock::new();
    thread_local!(static NEXT: Cell<usize> = const { Cell::new(0) });
    let keys =
        KEYS.get_or_init(|| [(); 2].map(|()| RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));
    &keys[NEXT.replace(NEXT.get() ^ 1)]
}

/// A VM's evidence and a verifier that trusts its mocks.
#[derive(Clone)]
pub struct Vm {
    pub evidence: AzureEvidence,
    pub roots: Roots,
    pub now: u64,
    pub key: Key,
    pub intel: Arc<MockIntel>,
    pub td: Spec,
    pair: &'static RsaKeyPair,
}

impl Vm {
    pub fn snp() -> Self {
        Self::snp_with(|_| ())
    }

    pub fn snp_with(change: impl FnOnce(&mut HclSpec)) -> Self {
        Self::build_snp(change, |_| ())
    }

    pub fn snp_report(change: impl FnOnce(&mut ReportSpec)) -> Self {
        Self::build_snp(|_| (), change)
    }

    fn build_snp(hcl: impl FnOnce(&mut HclSpec), report: impl FnOnce(&mut ReportSpec)) -> Self {
        let mut vm = Self::without_hardware();
        let mut spec = HclSpec::for_key(&vm.key);
        hcl(&mut spec);
        let (kind, product) = (VekKind::Vcek, amd().product());
        let mut snp = ReportSpec::new(product, kind);
        report(&mut snp);
        let vek = amd().issue(&VekSpec::new(kind, product));
        vm.evidence.hcl_report = hcl_snp(&spec, &vek, snp);
        let table = CertificateTable {
            vcek: Some(vek.der),
            intermediates: vec![amd().der(Authority::Ask).to_vec()],
            ..CertificateTable::default()
        };
        vm.evidence.certificates = table.encode();
        vm
    }

    pub fn tdx() -> Self {
        let mut vm = Self::without_hardware();
        let spec = HclSpec::for_key(&vm.key);
        let (hcl, quote) = hcl_tdx(&spec, &vm.intel, &vm.td);
        vm.evidence.hcl_report = hcl;
        vm.evidence.td_quote = quote;
        vm.evidence.td_collateral = Some(vm.intel.collateral(&vm.td));
        vm
    }

    fn without_hardware() -> Self {
        let pair = key_pair();
        // RSAPublicKey of a 2048-bit key: headers, a sign octet, the modulus, the exponent.
        let modulus = pair.public_key().as_ref()[9..265].to_vec();
        let td = Spec::default();
        let mut vm = Self {
            evidence: AzureEvidence::default(),
            roots: Roots {
                snp: SnpRoots::new([amd().der(Authority::Ark)]).unwrap(),
                snp_crl: CrlRule::IfPresent,
                tdx: intel().roots(),
                ..Roots::default()
            },
            now: u64::try_from(td.now.as_second()).unwrap(),
            key: Key::Rsa {
                modulus,
                exponent: 65_537,
            },
            intel: intel(),
            td,
            pair,
        };
        vm.quote(None);
        vm.evidence.event_log = Self::log().build();
        vm
    }

    /// The event log of a boot, not yet closed.
    pub fn log() -> LogBuilder {
        LogBuilder::new(&[Hash::Sha256])
            .event(4, 0x8000_0003, b"a boot loader")
            .event(11, 0x0000_000d, b"a kernel")
    }

    pub fn modulus(&self) -> &[u8] {
        match &self.key {
            Key::Rsa { modulus, .. } => modulus,
            Key::Ecc { .. } => &[],
        }
    }

    /// Quotes these PCRs only.
    pub fn quote_selection(&mut self, pcrs: &[u8]) {
        self.quote(Some(pcrs));
    }

    fn quote(&mut self, only: Option<&[u8]>) {
        let tpm = SoftTpm::new();
        let log = Self::log();
        let pcrs: &BTreeMap<u8, Vec<u8>> = log.pcrs();
        let mut parts = tpm.honest(&EXCHANGE, pcrs);
        let mut banks = tpm.evidence(&parts, pcrs, Vec::new()).pcrs;
        if let Some(only) = only {
            let quoted = |value: &PcrValue| only.iter().any(|pcr| u32::from(*pcr) == value.index);
            banks[0].values.retain(quoted);
            let values: Vec<&[u8]> = banks[0]
                .values
                .iter()
                .map(|v| v.digest.as_slice())
                .collect();
            parts.pcr_digest = Hash::Sha256.digest(&values);
            parts.selections = vec![(Hash::Sha256.id(), only.to_vec())];
        }
        self.evidence.quote = tpm.evidence(&parts, pcrs, Vec::new()).quote;
        self.evidence.signature = self.sign(&self.evidence.quote);
        self.evidence.pcrs = banks;
    }

    /// `TPMT_SIGNATURE` (RSASSA, SHA-256) by the vTPM's key.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; 256];
        let random = SystemRandom::new();
        self.pair
            .sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
            .unwrap();
        [&[0x00, 0x14, 0x00, 0x0b, 0x01, 0x00], &signature[..]].concat()
    }

    pub fn verify(&self) -> Result<Claims, AzureError> {
        self.verify_for(&Binder::Exchange(EXCHANGE))
    }

    pub fn verify_for(&self, binder: &Binder) -> Result<Claims, AzureError> {
        let evidence = Evidence::Azure(Box::new(self.evidence.clone()));
        // Through the wire form, as a node's evidence comes.
        let evidence = Evidence::decode(evidence.kind(), &evidence.encode()).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(self.now));
        match verify(&evidence, binder, &self.roots, &Collateral::default(), now) {
            Ok(verified) => Ok(verified.claims().clone()),
            Err(VerifyError::Azure(error)) => Err(error),
            Err(other) => panic!("{other}"),
        }
    }

    pub fn refusal(&self) -> AzureError {
        self.verify().expect_err("accepted")
    }
}

/// A CA for certificates of attestation keys.
pub struct Ca {
    params: CertificateParams,
    key: KeyPair,
}

impl Ca {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "mock virtual TPM root");
        let (from, until) = (date_time_ymd(2024, 1, 1), date_time_ymd(2034, 1, 1));
        (params.not_before, params.not_after) = (from, until);
        let key = KeyPair::generate().unwrap();
        Self { params, key }
    }

    pub fn root(&self) -> Vec<u8> {
        self.params.self_signed(&self.key).unwrap().der().to_vec()
    }

    /// A certificate as Azure's CA makes them.
    pub fn issue(&self, key: &Key, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let name = "vm.ConfidentialVM.example";
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 3])];
        let (from, until) = (date_time_ymd(2024, 1, 1), date_time_ymd(2034, 1, 1));
        (params.not_before, params.not_after) = (from, until);
        change(&mut params);
        let spki = SubjectPublicKeyInfo::from_der(&key.spki()).unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        params.signed_by(&spki, &issuer).unwrap().der().to_vec()
    }
}
