//! Evidence from files: this project's own form, or what vendors' tools write, which has to be named.

use crate::files;
use crate::outcome::Failure;
use clap::{Args, ValueEnum};
use dawnkey_attest::evidence::{
    AzureEvidence, Evidence, SnpEvidence, TdxCollateral, TdxEvidence, file,
};
use dawnkey_attest::snp::auxblob::CertificateTable;
use dawnkey_attest::snp::certs::Certificate;
use dawnkey_attest::verify::roots::certificates_from_pem;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Largest vendor's file, in bytes.
const MAX_RAW: u64 = 4 << 20;

/// What a vendor's file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// An SNP report, 1184 bytes
    Snp,
    /// A TD quote
    Tdx,
    /// An HCL report of an Azure VM, NV index 0x01400001
    Azure,
}

/// Where evidence is.
#[derive(Debug, Args)]
pub(crate) struct InputArgs {
    /// The evidence, as `dawnkey evidence save` writes it; with --kind a vendor's file
    evidence: PathBuf,
    /// The file is a vendor's, of this kind
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Certificate of the key that signed the SNP report (VCEK or VLEK), DER or PEM
    #[arg(long, value_name = "FILE", requires = "kind")]
    vek: Option<PathBuf>,
    /// Certificates above it (ASK or ASVK, ARK), DER or PEM; may be given several times
    #[arg(long, value_name = "FILE", requires = "kind")]
    chain: Vec<PathBuf>,
    /// Intel's collateral for the quote, JSON as dcap-qvl keeps it
    #[arg(long, value_name = "JSON", requires = "kind")]
    collateral: Option<PathBuf>,
    /// Event log of the TD: CCEL table area or JSON
    #[arg(long, value_name = "FILE", requires = "kind")]
    event_log: Option<PathBuf>,
    /// Quote over the HCL report of an Azure VM with TDX
    #[arg(long, value_name = "FILE", requires = "kind")]
    td_quote: Option<PathBuf>,
}

impl InputArgs {
    /// Where it is, for messages.
    pub(crate) fn place(&self) -> String {
        self.evidence.display().to_string()
    }

    /// Reads it. Nothing is verified.
    pub(crate) fn read(&self) -> Result<Evidence, Failure> {
        let raw = || files::read(&self.evidence, "the evidence", MAX_RAW);
        match self.kind {
            None => {
                let limit = u64::try_from(file::MAX_FILE).unwrap_or(u64::MAX);
                let bytes = files::read(&self.evidence, "the evidence", limit)?;
                file::read(&bytes).map_err(|e| {
                    let right = "a file of `dawnkey evidence save`, or --kind for a vendor's file";
                    Failure::local(e, self.evidence.display(), right)
                })
            }
            Some(Kind::Snp) => {
                self.only("snp", &[(self.collateral.is_some(), "--collateral")])?;
                Ok(Evidence::Snp(Box::new(SnpEvidence {
                    report: raw()?,
                    certificates: self.table()?,
                })))
            }
            Some(Kind::Tdx) => {
                let vek = self.vek.is_some() || !self.chain.is_empty();
                self.only("tdx", &[(vek, "--vek or --chain")])?;
                Ok(Evidence::Tdx(Box::new(TdxEvidence {
                    quote: raw()?,
                    event_log: read_some(self.event_log.as_deref(), "the event log")?,
                    collateral: self.tdx_collateral()?,
                })))
            }
            Some(Kind::Azure) => Ok(Evidence::Azure(Box::new(AzureEvidence {
                hcl_report: raw()?,
                certificates: self.table()?,
                td_quote: read_some(self.td_quote.as_deref(), "the TD quote")?,
                td_collateral: self.tdx_collateral()?,
                ..AzureEvidence::default()
            }))),
        }
    }

    fn only(&self, kind: &str, others: &[(bool, &str)]) -> Result<(), Failure> {
        match others.iter().find(|(given, _)| *given) {
            Some((_, option)) => Err(Failure::usage(
                format!("read the evidence: {option} does not belong to --kind {kind}"),
                self.evidence.display(),
                "options of that kind only",
            )),
            None => Ok(()),
        }
    }

    /// The certificates as a host would hand them out beside the report.
    fn table(&self) -> Result<Vec<u8>, Failure> {
        let mut table = CertificateTable::default();
        if let Some(path) = &self.vek {
            let der = certificates(path)?.into_iter().next();
            let vlek = der.as_deref().is_some_and(|der| {
                Certificate::parse(der).is_ok_and(|c| c.common_name() == Some("SEV-VLEK"))
            });
            match vlek {
                true => table.vlek = der,
                false => table.vcek = der,
            }
        }
        for path in &self.chain {
            for der in certificates(path)? {
                let root = Certificate::parse(&der).is_ok_and(|c| c.subject == c.issuer);
                match root {
                    true => table.ark = Some(der),
                    false => table.intermediates.push(der),
                }
            }
        }
        Ok(match table == CertificateTable::default() {
            true => Vec::new(),
            false => table.encode(),
        })
    }

    fn tdx_collateral(&self) -> Result<Option<TdxCollateral>, Failure> {
        let Some(path) = &self.collateral else {
            return Ok(None);
        };
        let text = files::read_text(path, "the collateral")?;
        let right = "JSON with tcb_info, qe_identity, their signatures and issuer chains, root_ca_crl and pck_crl";
        let unreadable =
            |e: String| Failure::local(format!("read the collateral: {e}"), path.display(), right);
        let json: CollateralFile =
            serde_json::from_str(&text).map_err(|e| unreadable(e.to_string()))?;
        json.into_collateral()
            .map(Some)
            .ok_or_else(|| unreadable("a list or signature is not in hex".to_owned()))
    }
}

/// Collateral as dcap-qvl and others write it: texts as they are, lists and signatures in hex.
#[derive(Deserialize)]
struct CollateralFile {
    pck_crl_issuer_chain: String,
    root_ca_crl: String,
    pck_crl: String,
    tcb_info_issuer_chain: String,
    tcb_info: String,
    tcb_info_signature: String,
    qe_identity_issuer_chain: String,
    qe_identity: String,
    qe_identity_signature: String,
}

impl CollateralFile {
    fn into_collateral(self) -> Option<TdxCollateral> {
        let bytes = |text: &str| hex::decode(text).ok();
        Some(TdxCollateral {
            root_ca_crl: bytes(&self.root_ca_crl)?,
            pck_crl: bytes(&self.pck_crl)?,
            tcb_info_signature: bytes(&self.tcb_info_signature)?,
            qe_identity_signature: bytes(&self.qe_identity_signature)?,
            pck_crl_issuer_chain: self.pck_crl_issuer_chain.into_bytes(),
            tcb_info_issuer_chain: self.tcb_info_issuer_chain.into_bytes(),
            tcb_info: self.tcb_info.into_bytes(),
            qe_identity_issuer_chain: self.qe_identity_issuer_chain.into_bytes(),
            qe_identity: self.qe_identity.into_bytes(),
        })
    }
}

fn read_some(path: Option<&Path>, what: &str) -> Result<Vec<u8>, Failure> {
    path.map_or(Ok(Vec::new()), |path| files::read(path, what, MAX_RAW))
}

/// The certificates of a file, DER or PEM.
pub(super) fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let bytes = files::read(path, "the certificate", files::MAX_TEXT)?;
    // DER begins with a SEQUENCE, which no PEM text does. What is in it is judged where it is used.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![bytes]);
    }
    certificates_from_pem(&bytes).map_err(|e| {
        let what = format!("read the certificate: {e}");
        Failure::local(what, path.display(), "an X.509 certificate, DER or PEM")
    })
}
