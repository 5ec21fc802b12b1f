//! Fixtures: one machine with a software TPM, an event log that fits its PCRs, and a verifier that trusts its CA.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{fs, time::Duration};

use dawnkey_attest::{
    claims::{Claims, Verified},
    collect::{
        Attester as _,
        vtpm::{KeySource, Vtpm, VtpmConfig},
    },
    evidence::{Evidence, Exchange, VtpmEvidence},
    fake::{EkKind, LogBuilder, Swtpm, SwtpmCa},
    tpm::hash::Hash,
    verify::{
        self, Collateral, Roots, UnixTime, VerifyError, roots::certificates_from_pem,
        vtpm::VtpmError,
    },
};
use tempfile::TempDir;

pub const EXCHANGE: Exchange = Exchange([7; 64]);

/// A machine: TPM, CA and event log.
pub struct Machine {
    pub ca: SwtpmCa,
    pub tpm: Swtpm,
    dir: TempDir,
}

impl Machine {
    pub fn new(kind: EkKind) -> Self {
        let ca = SwtpmCa::new();
        let tpm = Swtpm::start(&ca, kind);
        let machine = Self {
            ca,
            tpm,
            dir: tempfile::tempdir().unwrap(),
        };
        machine.write_log(&LogBuilder::new(&[Hash::Sha256]).build());
        machine
    }

    pub fn write_log(&self, bytes: &[u8]) {
        fs::write(self.dir.path().join("log"), bytes).unwrap();
    }

    pub fn config(&self) -> VtpmConfig {
        VtpmConfig {
            tcti: self.tpm.tcti(),
            bank: Hash::Sha256,
            event_log: self.dir.path().join("log"),
            key: KeySource::Own,
        }
    }

    pub fn open(&self) -> Vtpm {
        Vtpm::open(self.config()).unwrap()
    }

    pub fn roots(&self) -> Roots {
        let tpm_ek = certificates_from_pem(&self.ca.root_pem()).unwrap();
        assert_eq!(tpm_ek.len(), 1);
        Roots {
            tpm_ek,
            ..Roots::default()
        }
    }

    pub fn collateral(&self) -> Collateral {
        Collateral {
            tpm_intermediates: certificates_from_pem(&self.ca.issuer_pem()).unwrap(),
            ..Collateral::default()
        }
    }

    pub fn verify(&self, evidence: &VtpmEvidence) -> Result<Verified<Claims>, VtpmError> {
        self.verify_for(evidence, &EXCHANGE)
    }

    pub fn verify_for(
        &self,
        evidence: &VtpmEvidence,
        exchange: &Exchange,
    ) -> Result<Verified<Claims>, VtpmError> {
        let evidence = Evidence::Vtpm(Box::new(evidence.clone()));
        let (roots, collateral) = (self.roots(), self.collateral());
        verify::verify(&evidence, &(*exchange).into(), &roots, &collateral, now()).map_err(
            |error| match error {
                VerifyError::Vtpm(error) => error,
                other => panic!("{other}"),
            },
        )
    }
}

pub fn collect(vtpm: &mut Vtpm) -> VtpmEvidence {
    match vtpm.collect(&EXCHANGE).unwrap() {
        Evidence::Vtpm(evidence) => *evidence,
        other => panic!("evidence of kind {}", other.kind()),
    }
}

/// The time of the certificates just made, plus some.
pub fn now() -> UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixTime::since_unix_epoch(since.unwrap() + Duration::from_secs(60))
}

pub fn in_years(years: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(now().as_secs() + years * 31_557_600))
}
