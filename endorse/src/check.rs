//! Checks one document against the roots and says which item it is.
//!
//! Store, import and fetch all come through here, and none of them believes a file name, a URL or a header: a
//! document is the item that its signed content says. Dates are told, not judged; that is for whoever uses the item.

use std::time::Duration;

use dawnkey_attest::snp::certs::Certificate;
use dawnkey_attest::snp::chain::{Chain, Collateral, verify_intermediate};
use dawnkey_attest::snp::crl::Crl;
use dawnkey_attest::snp::product::Product;
use dawnkey_attest::snp::roots::Roots;
use dawnkey_attest::snp::{SnpError, certs};
use dawnkey_attest::tdx::{Bytes, Statement, Subject, TdxError, TdxRoots};
use dawnkey_attest::verify::chain::{ChainError, Purpose, validate};
use rustls_pki_types::UnixTime;
use sha2::{Digest, Sha256};
use x509_parser::{
    certificate::X509Certificate, prelude::FromDer as _, revocation_list::CertificateRevocationList,
};

use crate::answer;
use crate::item::Item;

/// Largest document, bytes: the largest revocation list that is accepted.
pub const MAX_DOCUMENT: usize = 4 << 20;

/// The roots that everything must lead to.
#[derive(Clone, Debug)]
pub struct Trust {
    /// AMD's, with intermediates.
    pub snp: Roots,
    /// Intel's.
    pub tdx: TdxRoots,
    /// TPM vendors', DER.
    pub tpm: Vec<Vec<u8>>,
}

/// What lies between roots and documents. Nothing in it is trusted.
#[derive(Clone, Debug, Default)]
pub struct Helpers {
    /// ASKs and ASVKs, DER.
    pub authorities: Vec<Vec<u8>>,
    /// Issuer chains of Intel's statements, PEM, leaf first.
    pub chains: Vec<Vec<u8>>,
    /// CAs of TPM vendors, DER.
    pub tpm: Vec<Vec<u8>>,
}

/// A document whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What it is.
    pub item: Item,
    /// DER, or for TCB info and QE identity the JSON answer of Intel's service.
    pub document: Vec<u8>,
    /// The issuer chain that it was checked with (PEM), if it needed one.
    pub chain: Option<Vec<u8>>,
    /// When it was made, seconds since 1970.
    pub issued: u64,
    /// Last second of its validity, since 1970.
    pub until: u64,
    /// `tcbEvaluationDataNumber`, else 0.
    pub number: u32,
}

impl From<&dawnkey_attest::verify::Roots> for Trust {
    fn from(roots: &dawnkey_attest::verify::Roots) -> Self {
        Self {
            snp: roots.snp.clone(),
            tdx: roots.tdx.clone(),
            tpm: [roots.tpm_ek.as_slice(), &roots.tpm_ak].concat(),
        }
    }
}

impl Checked {
    /// Whether `other` is a later statement about the same item: higher evaluation number, then later date.
    #[must_use]
    pub fn is_older_than(&self, other: &Self) -> bool {
        (self.number, self.issued) < (other.number, other.issued)
    }
}

/// Why a document is not used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CheckError {
    /// It is too large.
    #[error("{found} bytes, at most {MAX_DOCUMENT} are accepted")]
    TooLarge {
        /// Its length.
        found: usize,
    },
    /// It is nothing a store keeps.
    #[error(
        "it is neither a certificate nor a revocation list of AMD, Intel or a TPM vendor, nor an answer of Intel's provisioning service: {0}"
    )]
    Unknown(&'static str),
    /// AMD's signature or form.
    #[error(transparent)]
    Amd(#[from] SnpError),
    /// Intel's signature or form.
    #[error(transparent)]
    Intel(#[from] TdxError),
    /// No chain that leads from the statement to the root.
    #[error("no issuer chain for it is at hand; save the answer's …-Issuer-Chain header beside it")]
    NoChain,
    /// A TPM vendor's certificate.
    #[error(transparent)]
    Tpm(#[from] ChainError),
}

/// Checks a document: DER of a certificate or a revocation list, or a JSON answer. `vlek` says of a list that AMD's
/// root signed where it was published, which the list itself does not. `now` is used for TPM vendors' paths only.
///
/// # Errors
/// [`CheckError`].
pub fn check(
    document: &[u8],
    vlek: bool,
    trust: &Trust,
    helpers: &Helpers,
    now: u64,
) -> Result<Checked, CheckError> {
    if document.len() > MAX_DOCUMENT {
        let found = document.len();
        return Err(CheckError::TooLarge { found });
    }
    if document.first() == Some(&b'{') {
        return statement(document, trust, helpers);
    }
    if let Ok((rest, list)) = CertificateRevocationList::from_der(document) {
        if !rest.is_empty() {
            return Err(CheckError::Unknown("bytes follow after a revocation list"));
        }
        return revocations(document, list.issuer().as_raw(), vlek, trust, helpers);
    }
    let (_, x509) = X509Certificate::from_der(document)
        .map_err(|_| CheckError::Unknown("it is no DER of that kind"))?;
    let until = u64::try_from(x509.validity.not_after.timestamp()).unwrap_or_default();
    match Certificate::parse(document) {
        Ok(certificate) => match certificate.common_name().unwrap_or_default() {
            "SEV-VCEK" | "SEV-VLEK" => key(document, trust, helpers),
            name if name.starts_with("ARK-") => root(&certificate, trust),
            name if name.starts_with("SEV-") => authority(&certificate, trust),
            _ => tpm(document, until, trust, helpers, now),
        },
        Err(_) => tpm(document, until, trust, helpers, now),
    }
}

/// An endorsement key's certificate. A better authority at hand does not hide a worse one: all are tried.
fn key(document: &[u8], trust: &Trust, helpers: &Helpers) -> Result<Checked, CheckError> {
    let intermediates: Vec<&[u8]> = helpers.authorities.iter().map(Vec::as_slice).collect();
    let verify = |intermediates: &[&[u8]]| {
        let collateral = Collateral {
            vek: Some(document),
            intermediates,
            ..Collateral::default()
        };
        Chain::verify(&collateral, &trust.snp, None)
    };
    let chain = verify(&[]).or_else(|error| match intermediates.as_slice() {
        [] => Err(error),
        some => verify(some),
    })?;
    let item = Item::of_vek(&chain.vek).ok_or(CheckError::Unknown(
        "the endorsement key names no product line",
    ))?;
    Ok(of_certificate(item, &chain.certificate))
}

fn root(certificate: &Certificate, trust: &Trust) -> Result<Checked, CheckError> {
    let subject = certificate.common_name().unwrap_or_default().to_owned();
    let trusted = trust
        .snp
        .roots()
        .iter()
        .any(|root| root.der() == certificate.der());
    if !trusted {
        return Err(SnpError::RootNotTrusted { subject }.into());
    }
    let product = line(&subject, "ARK-")?;
    Ok(of_certificate(Item::Ark(product), certificate))
}

fn authority(certificate: &Certificate, trust: &Trust) -> Result<Checked, CheckError> {
    let checked = verify_intermediate(certificate.der(), &trust.snp)?;
    let name = checked.common_name().unwrap_or_default();
    let item = match name.strip_prefix("SEV-VLEK-") {
        Some(_) => Item::Asvk(line(name, "SEV-VLEK-")?),
        None => Item::Ask(line(name, "SEV-")?),
    };
    Ok(of_certificate(item, &checked))
}

fn line(name: &str, prefix: &str) -> Result<Product, CheckError> {
    name.strip_prefix(prefix)
        .and_then(Product::from_certificate_name)
        .ok_or(CheckError::Unknown("its name has no product line"))
}

fn of_certificate(item: Item, certificate: &Certificate) -> Checked {
    Checked {
        item,
        document: certificate.der().to_vec(),
        chain: None,
        issued: certificate.not_before,
        until: certificate.not_after,
        number: 0,
    }
}

fn revocations(
    document: &[u8],
    issuer: &[u8],
    vlek: bool,
    trust: &Trust,
    helpers: &Helpers,
) -> Result<Checked, CheckError> {
    // A root that has the name of the list's issuer decides; its error is the one worth telling.
    if let Some(root) = trust.snp.roots().iter().find(|root| root.subject == issuer) {
        let list = Crl::verify(document, root)?;
        let product = line(root.common_name().unwrap_or_default(), "ARK-")?;
        return Ok(Checked {
            item: if vlek {
                Item::VlekCrl(product)
            } else {
                Item::VcekCrl(product)
            },
            document: document.to_vec(),
            chain: None,
            issued: list.this_update,
            until: list.next_update,
            number: 0,
        });
    }
    let failure = match Statement::root_crl(document, &trust.tdx) {
        Ok(statement) => return Ok(of_statement(document, None, &statement)),
        Err(TdxError::RootNotTrusted { root, .. }) if root.contains("PCK") => CheckError::NoChain,
        Err(error) => return Err(error.into()),
    };
    try_chains(helpers, failure, |chain| {
        Statement::pck_crl(document, chain, &trust.tdx)
            .map(|statement| of_statement(document, Some(chain), &statement))
    })
}

/// Tries the chains at hand; the error is that of the one that fits, if any does.
fn try_chains(
    helpers: &Helpers,
    otherwise: CheckError,
    check: impl Fn(&Vec<u8>) -> Result<Checked, TdxError>,
) -> Result<Checked, CheckError> {
    let mut failure = otherwise;
    for chain in &helpers.chains {
        match check(chain) {
            Ok(checked) => return Ok(checked),
            // Chains of the signer and of both PCK CAs lie side by side.
            Err(
                TdxError::ChainInvalid { .. }
                | TdxError::CrlIssuer { .. }
                | TdxError::Certificate { .. },
            ) => {}
            Err(error) => failure = error.into(),
        }
    }
    Err(failure)
}

fn statement(document: &[u8], trust: &Trust, helpers: &Helpers) -> Result<Checked, CheckError> {
    let answer = answer::parse(document).ok_or(CheckError::Unknown(
        "it is no JSON object of tcbInfo or enclaveIdentity and signature",
    ))?;
    let (text, signature) = (answer.text.as_bytes(), &answer.signature);
    try_chains(helpers, CheckError::NoChain, |chain| {
        let checked = match answer.kind {
            answer::Kind::TcbInfo => Statement::tcb_info(text, signature, chain, &trust.tdx),
            answer::Kind::QeIdentity => Statement::qe_identity(text, signature, chain, &trust.tdx),
        };
        checked.map(|statement| of_statement(document, Some(chain), &statement))
    })
}

fn of_statement(document: &[u8], chain: Option<&Vec<u8>>, statement: &Statement) -> Checked {
    let seconds = |at: jiff::Timestamp| u64::try_from(at.as_second()).unwrap_or_default();
    Checked {
        item: match statement.subject {
            Subject::TcbInfo(fmspc) => Item::TcbInfo(fmspc),
            Subject::QeIdentity => Item::QeIdentity,
            Subject::RootCrl => Item::RootCrl,
            Subject::PckCrl(ca) => Item::PckCrl(ca),
        },
        document: document.to_vec(),
        chain: chain.cloned(),
        issued: seconds(statement.issued),
        until: seconds(statement.until),
        number: statement.number,
    }
}

fn tpm(
    document: &[u8],
    until: u64,
    trust: &Trust,
    helpers: &Helpers,
    now: u64,
) -> Result<Checked, CheckError> {
    let (_, x509) = X509Certificate::from_der(document)
        .map_err(|_| CheckError::Unknown("it is no certificate"))?;
    if !x509.is_ca() {
        return Err(CheckError::Unknown("the certificate is no CA's"));
    }
    let others: Vec<&[u8]> = helpers.tpm.iter().map(Vec::as_slice).collect();
    let time = UnixTime::since_unix_epoch(Duration::from_secs(now.min(until)));
    validate(document, &others, &trust.tpm, time, Purpose::Any)?;
    Ok(Checked {
        item: Item::TpmIntermediate(Bytes(Sha256::digest(document).into())),
        document: document.to_vec(),
        chain: None,
        issued: u64::try_from(x509.validity.not_before.timestamp()).unwrap_or_default(),
        until,
        number: 0,
    })
}

/// The documents of a file: each certificate or list of a PEM text, or the file itself.
///
/// # Errors
/// [`CheckError::Unknown`] for damaged PEM.
pub fn documents(file: &[u8]) -> Result<Vec<Vec<u8>>, CheckError> {
    if file.len() > MAX_DOCUMENT {
        return Err(CheckError::TooLarge { found: file.len() });
    }
    let trimmed = file.trim_ascii_start();
    if trimmed.first() == Some(&b'{') {
        return Ok(vec![trimmed.trim_ascii_end().to_vec()]);
    }
    certs::documents(file).map_err(|_| CheckError::Unknown("its PEM form is damaged"))
}
