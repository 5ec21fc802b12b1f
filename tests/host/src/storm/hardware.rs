//! What speaks for a node: a chip of AMD's, or a virtual TPM whose key the cloud's CA has certified.

use crate::world::guest::Host;
use dawnkey_attest::evidence::{Evidence, Exchange, VtpmEvidence};
use dawnkey_attest::fake::{LogBuilder, SoftTpm};
use dawnkey_attest::tpm::hash::Hash;
use dawnkey_attest::tpm::{name, public::Public};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SubjectPublicKeyInfo,
};
use std::sync::Arc;

/// `EV_IPL`, with which boot loaders and systemd-stub measure.
const EV_IPL: u32 = 0x0d;

/// One node's hardware.
#[derive(Clone)]
pub enum Hardware {
    /// An SNP guest of this host.
    Snp(Arc<Host>),
    /// A machine with a virtual TPM.
    Vtpm(Arc<Machine>),
}

impl Hardware {
    /// The rules of [`super::policy`] that its volume is under.
    pub(super) fn rules(&self) -> &'static str {
        match self {
            Self::Snp(_) => "state",
            Self::Vtpm(_) => "vtpm",
        }
    }

    /// Evidence of the n-th launch of the node of this number.
    pub(super) fn evidence(&self, exchange: &Exchange, number: usize, launch: u64) -> Evidence {
        match self {
            Self::Snp(host) => {
                // The firmware gives every launch of every guest a report id of its own.
                let mut id = [0; 32];
                id[..8].copy_from_slice(&(number as u64).to_be_bytes());
                id[8..16].copy_from_slice(&launch.to_be_bytes());
                host.report(exchange, &id)
            }
            Self::Vtpm(machine) => machine.evidence(exchange),
        }
    }
}

/// A machine with a virtual TPM, booted from the good image.
pub struct Machine {
    tpm: SoftTpm,
    certificate: Vec<u8>,
    cloud: Arc<Cloud>,
}

impl Machine {
    fn evidence(&self, exchange: &Exchange) -> Evidence {
        let log = &self.cloud.log;
        let key = Public::parse(&self.tpm.ak_public).unwrap();
        let mut parts = self.tpm.honest(exchange, log.pcrs());
        // The certified key is a primary key beside the endorsement key.
        parts.signer = name::qualified_under_endorsement(key.name_alg, &key.name());
        let evidence = self
            .tpm
            .evidence(&parts, log.pcrs(), self.cloud.bytes.clone());
        Evidence::Vtpm(Box::new(VtpmEvidence {
            ek_public: Vec::new(),
            ak_certificate: self.certificate.clone(),
            ..evidence
        }))
    }
}

/// A cloud that certifies its virtual TPMs' keys, and the log of its machines' boot.
pub struct Cloud {
    params: CertificateParams,
    key: KeyPair,
    log: LogBuilder,
    bytes: Vec<u8>,
}

impl Default for Cloud {
    fn default() -> Self {
        Self::new()
    }
}

impl Cloud {
    /// With a new CA.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let common_name = "virtual TPMs";
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        let log = log();
        Self {
            params,
            key: KeyPair::generate().unwrap(),
            bytes: log.clone().build(),
            log,
        }
    }

    /// The CA's certificate as a policy's file.
    pub fn root(&self) -> String {
        self.params.self_signed(&self.key).unwrap().pem()
    }

    /// A policy's `[image.pcrs.sha256]` of its machines.
    pub fn pcrs(&self) -> String {
        let mut text = String::from("[image.pcrs.sha256]\n");
        // Nothing is added to the command line: PCR 12 stays as it is.
        for pcr in [4, 11, 12] {
            let value = self
                .log
                .pcrs()
                .get(&pcr)
                .map_or_else(|| "00".repeat(32), hex::encode);
            text += &format!("{pcr} = \"{value}\"\n");
        }
        text
    }

    /// A machine with a TPM of its own.
    pub fn machine(self: &Arc<Self>) -> Machine {
        let tpm = SoftTpm::new();
        let key = Public::parse(&tpm.ak_public).unwrap().key;
        let mut params = CertificateParams::default();
        let usage = vec![2, 23, 133, 8, 3];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(usage)];
        let spki = SubjectPublicKeyInfo::from_der(&key.spki()).unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        Machine {
            certificate: params.signed_by(&spki, &issuer).unwrap().der().to_vec(),
            tpm,
            cloud: Arc::clone(self),
        }
    }
}

/// The log of a boot with secure boot and a unified kernel image: sizes and number of events are those of such machines.
fn log() -> LogBuilder {
    let mut log = LogBuilder::new(&[Hash::Sha256]).event(0, 0x8, b"firmware 1");
    // SecureBoot, PK, KEK, db, dbx.
    for size in [53, 900, 3_000, 5_400, 17_000] {
        log = log.event(7, 0x8000_0001, &vec![0x5a; size]);
    }
    for pcr in 0..8 {
        log = log.event(pcr, 0x4, &[0; 4]);
    }
    log = log
        .event(4, 0x8000_0003, &[4; 160])
        .event(5, 0x8000_0006, &[5; 1200]);
    // Name and contents of each section of the image.
    for section in 0..16u8 {
        log = log.event(11, EV_IPL, &[section; 16]);
    }
    log
}

/// So many SNP guests.
pub fn snp(host: &Arc<Host>, nodes: usize) -> Vec<Hardware> {
    vec![Hardware::Snp(Arc::clone(host)); nodes]
}

/// So many machines.
pub fn vtpm(cloud: &Arc<Cloud>, nodes: usize) -> Vec<Hardware> {
    let machine = |_| Hardware::Vtpm(Arc::new(cloud.machine()));
    (0..nodes).map(machine).collect()
}

/// So many of both, in turn.
pub fn mixed(host: &Arc<Host>, cloud: &Arc<Cloud>, nodes: usize) -> Vec<Hardware> {
    let both = |node| match node % 2 {
        0 => Hardware::Snp(Arc::clone(host)),
        _ => Hardware::Vtpm(Arc::new(cloud.machine())),
    };
    (0..nodes).map(both).collect()
}
