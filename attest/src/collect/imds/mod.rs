//! Azure's instance metadata service: quotes over TDREPORTs, and the certificates of an SNP chip.
//!
//! Source: Azure, "Trusted Hardware Identity Management" (`/metadata/THIM/amd/certification`), and `/acc/tdquote` as the
//! attestation clients for Azure's TDs use it. The service answers by plain HTTP; nothing it says is trusted.

mod http;

pub use http::{Answer, parse_answer, parse_response};

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde::Deserialize;

use crate::snp::auxblob::CertificateTable;

/// Where it is in every Azure VM.
pub const ADDRESS: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 169, 254)),
    80,
);
/// Time for one request, connection included.
pub const BUDGET: Duration = Duration::from_secs(10);
/// Largest answer read, bytes.
pub const MAX_ANSWER: usize = 256 << 10;
/// Most certificates of a chain.
const MAX_CHAIN: usize = 4;

const TD_QUOTE: &str = "/acc/tdquote";
const CERTIFICATION: &str = "/metadata/THIM/amd/certification";

/// Base64url as the service takes and gives it, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why the metadata service gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ImdsError {
    /// There is no connection.
    #[error("connect to the metadata service at {address}: {source}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The connection failed.
    #[error("ask the metadata service for {path}: {source}")]
    Transport {
        /// What was asked for.
        path: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// No complete answer in time.
    #[error("the metadata service gave no complete answer for {path} within {} ms", budget.as_millis())]
    TimedOut {
        /// What was asked for.
        path: &'static str,
        /// Time it had.
        budget: Duration,
    },
    /// The answer is larger than any that makes sense.
    #[error("the metadata service's answer for {path} is larger than {MAX_ANSWER} bytes")]
    TooLarge {
        /// What was asked for.
        path: &'static str,
    },
    /// The answer is no HTTP.
    #[error("the metadata service's answer for {path} is malformed: {problem}")]
    Malformed {
        /// What was asked for.
        path: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// The answer is a refusal.
    #[error("the metadata service answered {path} with status {status}, expected 200")]
    Status {
        /// What was asked for.
        path: &'static str,
        /// HTTP status.
        status: u16,
    },
    /// The answer's content is not what it should be.
    #[error("the metadata service's answer for {path} does not hold {wanted}")]
    Content {
        /// What was asked for.
        path: &'static str,
        /// What should be there.
        wanted: &'static str,
    },
}

/// The service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imds {
    /// Where it is.
    pub address: SocketAddr,
    /// Time for one request.
    pub budget: Duration,
}

impl Default for Imds {
    fn default() -> Self {
        Self {
            address: ADDRESS,
            budget: BUDGET,
        }
    }
}

#[derive(Deserialize)]
struct QuoteAnswer {
    quote: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CertificationAnswer {
    vcek_cert: String,
    certificate_chain: String,
}

impl Imds {
    /// A TD quote over `td_report`.
    ///
    /// # Errors
    /// [`ImdsError`].
    pub fn td_quote(&self, td_report: &[u8]) -> Result<Vec<u8>, ImdsError> {
        let body = format!("{{\"report\":\"{}\"}}", BASE64.encode(td_report));
        let answer = self.ask("POST", TD_QUOTE, &body)?;
        let wanted = |wanted| ImdsError::Content {
            path: TD_QUOTE,
            wanted,
        };
        let answer: QuoteAnswer = serde_json::from_slice(&answer)
            .map_err(|_| wanted("a JSON object with the text \"quote\""))?;
        let quote = BASE64
            .decode(answer.quote.trim_ascii())
            .map_err(|_| wanted("a quote in base64url"))?;
        if quote.is_empty() || quote.len() > crate::tdx::quote::MAX_QUOTE_LEN {
            return Err(wanted("a quote of 1 to 65536 bytes"));
        }
        Ok(quote)
    }

    /// The chip's certificates as certificate table, DER: VCEK, ASK, ARK.
    ///
    /// # Errors
    /// [`ImdsError`].
    pub fn snp_certificates(&self) -> Result<Vec<u8>, ImdsError> {
        let answer = self.ask("GET", CERTIFICATION, "")?;
        let wanted = |wanted| ImdsError::Content {
            path: CERTIFICATION,
            wanted,
        };
        let answer: CertificationAnswer = serde_json::from_slice(&answer)
            .map_err(|_| wanted("a JSON object with vcekCert and certificateChain"))?;
        let vcek = certificates(&answer.vcek_cert);
        let vcek = vcek.ok_or_else(|| wanted("a PEM certificate in vcekCert"))?;
        let chain = certificates(&answer.certificate_chain);
        let chain = chain.ok_or_else(|| wanted("1 to 4 PEM certificates in certificateChain"))?;
        let mut chain = chain.into_iter();
        let table = CertificateTable {
            vcek: vcek.into_iter().next(),
            intermediates: chain.next().into_iter().collect(),
            ark: chain.next(),
            ..CertificateTable::default()
        };
        Ok(table.encode())
    }

    fn ask(
        &self,
        method: &'static str,
        path: &'static str,
        body: &str,
    ) -> Result<Vec<u8>, ImdsError> {
        http::exchange(self.address, self.budget, method, path, body)
    }
}

/// DER of a PEM text's certificates; none if there is no or a broken one, or too many.
fn certificates(pem: &str) -> Option<Vec<Vec<u8>>> {
    let found = CertificateDer::pem_slice_iter(pem.as_bytes())
        .take(MAX_CHAIN + 1)
        .map(|one| one.map(|der| der.to_vec()))
        .collect::<Result<Vec<_>, _>>()
        .ok()?;
    (1..=MAX_CHAIN).contains(&found.len()).then_some(found)
}

#[cfg(test)]
mod tests;
