//! Pieces of evidence that come alone.

use dawnkey_attest::{
    evidence::Evidence,
    part::{
        AmdCertificatePart, AmdCrlPart, CertificatePart, EventLogPart, ImaPart, Part, PublicKey,
        QuotePart, QuoteSignature, RtmrLogPart, SignedQuote,
    },
    tpm::hash::Hash,
};

use super::pcrs;
use crate::case::{Case, CorpusError, field};

/// How roles of quotes end, in the order in which the list names quotes: by bank.
const SUFFIXES: [&str; 5] = ["_sha1", "_sha256", "_sha384", "_sha512", ""];

fn part(part: Part) -> Evidence {
    Evidence::Part(Box::new(part))
}

pub(super) fn quote(case: &Case) -> Result<Evidence, CorpusError> {
    let mut found = QuotePart {
        event_log: case.file("event_log")?.unwrap_or_default(),
        ak_certificate: case.der("ak_cert")?.unwrap_or_default(),
        ak_chain: case.ders(&["ak_intermediate", "ak_intermediate2"])?,
        pcrs: pcrs::of_file(case, "pcrs")?,
        ..QuotePart::default()
    };
    if found.pcrs.is_empty()
        && let Some(dump) = case.file("pcrs_tpm2tools")?
    {
        found.pcrs = pcrs::of_tools(&dump).map_err(|error| field("pcrs_tpm2tools", error))?;
    }
    found
        .keys
        .extend(case.file("ak_public")?.map(PublicKey::Tpmt));
    found
        .keys
        .extend(case.file("ak_public_tpm2b")?.map(PublicKey::Tpm2b));
    for role in ["ak_public_spki", "ak_public_pem"] {
        found.keys.extend(case.der(role)?.map(PublicKey::Spki));
    }
    for suffix in SUFFIXES {
        let Some(message) = case.file(&format!("quote_msg{suffix}"))? else {
            continue;
        };
        let structured = case.file(&format!("quote_sig{suffix}"))?;
        let signature = match case.file(&format!("quote_rawsig{suffix}"))? {
            Some(bare) if structured.is_none() => QuoteSignature::Bare(bare),
            _ => QuoteSignature::Tpmt(structured.unwrap_or_default()),
        };
        found.quotes.push(SignedQuote { message, signature });
    }
    Ok(part(Part::Quote(found)))
}

/// The list keeps recorded PCR values among what must be found; they are what the log is compared with.
pub(super) fn event_log(case: &Case) -> Result<Evidence, CorpusError> {
    let mut recorded = pcrs::of_file(case, "pcrs")?;
    recorded.extend(recorded_pcrs(case)?);
    let mut quote = None;
    for suffix in SUFFIXES {
        quote = quote.or(case.file(&format!("quote_msg{suffix}"))?);
    }
    Ok(part(Part::EventLog(EventLogPart {
        log: case.needed("event_log")?,
        recorded,
        quote,
    })))
}

fn recorded_pcrs(case: &Case) -> Result<dawnkey_attest::part::PcrValues, CorpusError> {
    let values = &case.expected()["decoded"]["recorded_pcrs"];
    pcrs::of_json(values, "expected.decoded.recorded_pcrs")
}

pub(super) fn rtmr_log(case: &Case) -> Result<Evidence, CorpusError> {
    Ok(part(Part::RtmrLog(RtmrLogPart {
        log: case.needed("event_log")?,
        quote: case.file("quote")?,
    })))
}

pub(super) fn ima(case: &Case) -> Result<Evidence, CorpusError> {
    Ok(part(Part::Ima(ImaPart {
        list: case.needed("ima_log")?,
        hash: Hash::Sha1,
    })))
}

/// Without a root there is nothing to judge a path by: the certificate is read.
pub(super) fn certificate(case: &Case) -> Result<Evidence, CorpusError> {
    let file = case.ders(&["cert"])?;
    let mut file = file.into_iter();
    let certificate = file
        .next()
        .ok_or_else(|| field("files", "the role cert is missing"))?;
    let roles: Vec<&str> = case.roles().collect();
    let helpers = roles.iter().filter(|role| role.starts_with("intermediate"));
    let helpers: Vec<&str> = helpers.copied().collect();
    let rooted = roles
        .iter()
        .any(|role| *role == "root" || role.ends_with("_tpm_root"));
    let mut chain: Vec<Vec<u8>> = file.collect();
    chain.extend(case.ders(&helpers)?);
    Ok(part(Part::Certificate(CertificatePart {
        certificate,
        chain: rooted.then_some(chain),
    })))
}

/// A revocation list, or an endorsement certificate, with a list beside it or not.
pub(super) fn amd(case: &Case) -> Result<Evidence, CorpusError> {
    let roots = case.ders(&["ark"])?;
    let intermediates = case.ders(&["ask", "asvk"])?;
    let crls = case.ders(&["crl"])?;
    let vek = case.der("vcek")?.or(case.der("vlek")?);
    Ok(part(match (vek, crls.first()) {
        (Some(certificate), _) => Part::AmdCertificate(AmdCertificatePart {
            certificate,
            intermediates,
            roots,
            crls,
        }),
        (None, Some(crl)) => Part::AmdCrl(AmdCrlPart {
            crl: crl.clone(),
            roots,
            intermediate: intermediates.into_iter().next(),
        }),
        (None, None) => return Err(field("files", "there is neither certificate nor list")),
    }))
}
