//! Certificates and revocation lists of AMD judged alone.

use rustls_pki_types::UnixTime;

use super::{
    claims::{AmdCertificateClaims, AmdCrlClaims},
    error::PartError,
};
use crate::{
    part::{AmdCertificatePart, AmdCrlPart},
    snp::{
        self, SnpError,
        certs::{Certificate, rfc3339},
        claims::VekClaims,
        crl::Crl,
        error::Role,
        vek::Vek,
        verify::verify_chain,
    },
    verify::{Collateral, Roots},
};

pub(super) fn certificate(
    part: &AmdCertificatePart,
    roots: &Roots,
    collateral: &Collateral,
    now: UnixTime,
) -> Result<AmdCertificateClaims, PartError> {
    let crls = [part.crls.as_slice(), &collateral.snp_crls].concat();
    let chain = verify_chain(
        &snp::chain::Collateral {
            vek: Some(&part.certificate),
            intermediates: &borrowed(&part.intermediates),
            roots: &borrowed(&part.roots),
            crls: &borrowed(&crls),
        },
        &roots.snp,
        roots.snp_crl,
        now,
    )?;
    Ok(AmdCertificateClaims {
        vek: VekClaims::new(&chain.certificate, &chain.vek),
    })
}

pub(super) fn read_certificate(
    part: &AmdCertificatePart,
) -> Result<AmdCertificateClaims, PartError> {
    let certificate = parse(&part.certificate, Role::Vek)?;
    let vek = Vek::parse(&certificate).map_err(|source| SnpError::Certificate {
        role: Role::Vek,
        source,
    })?;
    Ok(AmdCertificateClaims {
        vek: VekClaims::new(&certificate, &vek),
    })
}

/// A list must be current, and must not revoke the intermediate beside it.
pub(super) fn crl(
    part: &AmdCrlPart,
    roots: &Roots,
    now: UnixTime,
) -> Result<AmdCrlClaims, PartError> {
    let trusted = roots.snp.roots().iter();
    let given = |root: &&Certificate| {
        part.roots.is_empty() || part.roots.iter().any(|der| der == root.der())
    };
    let issuers: Vec<Certificate> = trusted.filter(given).cloned().collect();
    let crl = signed(&part.crl, &issuers, part)?;
    crl.current_at(now.as_secs())?;
    let claims = claims(&crl, part)?;
    if claims.ask_revoked == Some(true) {
        return Err(PartError::Amd(SnpError::Revoked {
            role: Role::Ask,
            serial: claims.ask_serial.unwrap_or_default(),
        }));
    }
    Ok(claims)
}

pub(super) fn read_crl(part: &AmdCrlPart) -> Result<AmdCrlClaims, PartError> {
    let issuers = part.roots.iter().map(|der| parse(der, Role::Ark));
    let issuers = issuers.collect::<Result<Vec<_>, _>>()?;
    claims(&signed(&part.crl, &issuers, part)?, part)
}

/// The list, signed by one of `issuers`.
fn signed(der: &[u8], issuers: &[Certificate], part: &AmdCrlPart) -> Result<Crl, PartError> {
    let mut refusal = None;
    for issuer in issuers {
        match Crl::verify(der, issuer) {
            Ok(crl) => return Ok(crl),
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    let given = part
        .roots
        .first()
        .and_then(|der| Certificate::parse(der).ok());
    let subject = given.as_ref().and_then(Certificate::common_name);
    let untrusted = SnpError::RootNotTrusted {
        subject: subject.unwrap_or("unnamed").to_owned(),
    };
    Err(refusal.unwrap_or(untrusted).into())
}

fn claims(crl: &Crl, part: &AmdCrlPart) -> Result<AmdCrlClaims, PartError> {
    let intermediate = part.intermediate.as_deref();
    let intermediate = intermediate.map(|der| parse(der, Role::Ask)).transpose()?;
    Ok(AmdCrlClaims {
        issuer: crl.issuer_name(),
        this_update: rfc3339(crl.this_update),
        next_update: rfc3339(crl.next_update),
        revoked_serials: crl.revoked.iter().map(|digits| serial(digits)).collect(),
        ask_serial: intermediate.as_ref().map(|ask| serial(&ask.serial)),
        ask_revoked: intermediate.as_ref().map(|ask| crl.revokes(ask)),
    })
}

/// A serial number as `0x10001`.
fn serial(digits: &[u8]) -> String {
    let text = hex::encode(digits);
    let text = text.trim_start_matches('0');
    format!("0x{}", if text.is_empty() { "0" } else { text })
}

fn parse(der: &[u8], role: Role) -> Result<Certificate, SnpError> {
    Certificate::parse(der).map_err(|source| SnpError::Certificate { role, source })
}

fn borrowed(list: &[Vec<u8>]) -> Vec<&[u8]> {
    list.iter().map(Vec::as_slice).collect()
}
