//! Verifies a TD quote: signatures first, then dates, then what the collateral says about its TCB.

use jiff::Timestamp;
use rustls_pki_types::UnixTime;
use sha2::{Digest as _, Sha256};

use super::{
    ccel::{CcelError, RtmrLog},
    certificate::{TdxRoots, VerifiedChain, read_chain, verify_chain, verify_fixed},
    claims::{CollateralClaims, PlatformClaims, QeClaims, TdxClaims, TdxVerified},
    collateral::CheckedCollateral,
    error::{Chain, TdxError},
    pck::PckPlatform,
    quote::Quote,
    tcb,
};
use crate::{
    evidence::{Binder, TdxCollateral, TdxEvidence},
    verify::Crypto,
};

/// A quote whose own signatures and PCK chain hold. Says nothing about dates, revocation or TCB.
#[derive(Debug, Clone)]
pub struct GenuineQuote<'a> {
    quote: Quote<'a>,
    chain: VerifiedChain,
    platform: PckPlatform,
}

impl<'a> GenuineQuote<'a> {
    /// Parses a quote and verifies its signatures up to a trusted root: PCK chain, the QE's report by the PCK, the
    /// attestation key by the QE's report, header and body by the attestation key.
    pub fn check(bytes: &'a [u8], roots: &TdxRoots) -> Result<Self, TdxError> {
        let quote = Quote::parse(bytes)?;
        let certs = read_chain(quote.signature.pck_chain, Chain::Pck)?;
        let chain = verify_chain(certs, 1, Chain::Pck, roots)?;
        let platform = PckPlatform::parse(&chain.leaf).map_err(|why| TdxError::Certificate {
            chain: Chain::Pck,
            why: why.into(),
        })?;
        let data = &quote.signature;
        if !verify_fixed(
            &chain.leaf.public_key,
            data.qe_report_bytes,
            data.qe_report_signature,
        ) {
            return Err(TdxError::QeReportSignature);
        }
        let bound = Sha256::new()
            .chain_update(data.attestation_key)
            .chain_update(data.qe_auth_data)
            .finalize();
        let (hash, rest) = data.qe_report.report_data.0.split_at(32);
        if hash != bound.as_slice() || rest.iter().any(|byte| *byte != 0) {
            return Err(TdxError::QeBinding);
        }
        let mut key = [4; 65];
        key[1..].copy_from_slice(data.attestation_key);
        if !verify_fixed(&key, quote.signed, data.quote_signature) {
            return Err(TdxError::QuoteSignature);
        }
        Ok(Self {
            quote,
            chain,
            platform,
        })
    }

    /// The quote.
    pub fn quote(&self) -> &Quote<'a> {
        &self.quote
    }

    /// Platform identity in its PCK certificate.
    pub fn platform(&self) -> PlatformClaims {
        PlatformClaims::of(&self.chain.leaf, &self.platform)
    }

    /// Judges dates, revocation and TCB at `now`.
    pub fn judge(
        &self,
        collateral: &CheckedCollateral,
        now: UnixTime,
    ) -> Result<TdxVerified, TdxError> {
        let now = i64::try_from(now.as_secs())
            .ok()
            .and_then(|now| Timestamp::from_second(now).ok());
        let now = now.unwrap_or(Timestamp::MAX);
        collateral.check_current(now)?;
        self.check_pck(collateral, now)?;
        let info = &collateral.tcb_info;
        if info.fmspc != self.platform.fmspc {
            let (found, wanted) = (info.fmspc, self.platform.fmspc);
            return Err(TdxError::FmspcMismatch { found, wanted });
        }
        if info.pce_id != self.platform.pce_id {
            let (found, wanted) = (info.pce_id, self.platform.pce_id);
            return Err(TdxError::PceIdMismatch { found, wanted });
        }
        let quote = &self.quote;
        let tcb = tcb::assess(
            info,
            &collateral.qe_identity,
            &self.platform,
            &quote.report,
            quote.report15.as_ref().map(|report| &report.tee_tcb_svn2),
            &quote.signature.qe_report,
        )?;
        Ok(TdxVerified::new(TdxClaims {
            quote_version: quote.version,
            body_type: quote.body_type,
            attestation_key_type: quote.attestation_key_type,
            td: quote.report.clone(),
            td15: quote.report15.clone(),
            td15_ex: quote.report15_ex.clone(),
            platform: self.platform(),
            qe: QeClaims::of(&quote.signature.qe_report),
            tcb,
            collateral: CollateralClaims {
                valid_from: collateral.valid_from(),
                valid_until: collateral.valid_until(),
            },
        }))
    }

    fn check_pck(&self, collateral: &CheckedCollateral, now: Timestamp) -> Result<(), TdxError> {
        let (chain, root_crl, pck_crl) = (&self.chain, &collateral.root_crl, &collateral.pck_crl);
        chain.check_dates(Chain::Pck, now)?;
        root_crl.check_issuer(&chain.root)?;
        pck_crl.check_issuer(chain.issuer())?;
        if let Some(ca) = &chain.intermediate {
            root_crl.check_revoked(Chain::Pck, ca)?;
        }
        pck_crl.check_revoked(Chain::Pck, &chain.leaf)
    }
}

/// Verifies a quote with its collateral at `now`; policy is judged afterwards ([`super::TdxPolicy`]).
///
/// Without collateral the quote's own signatures are checked all the same; where they hold the outcome is
/// [`TdxError::NoCollateral`]. A service that sees many quotes of a platform model keeps a [`CheckedCollateral`] and
/// calls [`GenuineQuote`] itself.
pub fn verify(
    quote: &[u8],
    collateral: Option<&TdxCollateral>,
    roots: &TdxRoots,
    now: UnixTime,
) -> Result<TdxVerified, TdxError> {
    let quote = GenuineQuote::check(quote, roots)?;
    let Some(collateral) = collateral else {
        let fmspc = quote.platform.fmspc;
        return Err(TdxError::NoCollateral { fmspc });
    };
    let collateral = CheckedCollateral::check_beside(collateral, roots, Some(&quote.chain))?;
    quote.judge(&collateral, now)
}

/// A TD's evidence, verified and bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxBound {
    /// The quote.
    pub verified: TdxVerified,
    /// The event log where one was sent; it replays to the quote's registers.
    pub event_log: Option<RtmrLog>,
}

/// Why a TD's evidence is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TdxEvidenceError {
    /// The quote or its collateral.
    #[error(transparent)]
    Quote(#[from] TdxError),
    /// The quote was made for something else than this exchange.
    #[error("the quote's report data is not the binder of this exchange: it was made for another")]
    Binder,
    /// The event log.
    #[error(transparent)]
    EventLog(#[from] CcelError),
}

impl TdxEvidenceError {
    /// A short stable name of the cause.
    pub fn reason_class(&self) -> &'static str {
        match self {
            Self::Quote(error) => error.reason_class(),
            Self::Binder => "report_data_mismatch",
            Self::EventLog(error) => error.reason_class(),
        }
    }

    /// Whether the quote's signatures, chains and bindings hold all the same.
    pub fn crypto(&self) -> Crypto {
        match self {
            Self::Quote(error) => error.crypto(),
            Self::Binder | Self::EventLog(_) => Crypto::Valid,
        }
    }
}

/// Verifies a TD's evidence: the quote, that it was made for `binder`, and that the event log replays to it.
///
/// `own` is the verifier's collateral and goes before what the node sent.
pub fn verify_evidence(
    evidence: &TdxEvidence,
    binder: &Binder,
    own: Option<&TdxCollateral>,
    roots: &TdxRoots,
    now: UnixTime,
) -> Result<TdxBound, TdxEvidenceError> {
    let collateral = own.or(evidence.collateral.as_ref());
    let verified = verify(&evidence.quote, collateral, roots, now)?;
    let td = &verified.claims().td;
    if !binder.admits_report_data(&td.report_data.0) {
        return Err(TdxEvidenceError::Binder);
    }
    let event_log = match evidence.event_log.as_slice() {
        [] => None,
        bytes => {
            let log = RtmrLog::parse(bytes)?;
            log.check(&td.rtmr)?;
            Some(log)
        }
    };
    Ok(TdxBound {
        verified,
        event_log,
    })
}
