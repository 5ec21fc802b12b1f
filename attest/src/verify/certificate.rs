//! Keys and signatures of X.509 certificates, as far as endorsement paths need them.

use x509_parser::{
    certificate::X509Certificate,
    oid_registry::{self as oid, Oid},
    prelude::FromDer as _,
    x509::SubjectPublicKeyInfo,
};

use super::signature::{self, SignatureError};
use crate::tpm::{
    hash::Hash,
    public::{Curve, Key, left_pad},
    signature::{Signature, Value},
};

/// Checks the signature of `child` under the key of `issuer`.
pub(super) fn verify_signature(
    issuer: &X509Certificate<'_>,
    child: &X509Certificate<'_>,
) -> Result<(), String> {
    if child.signature_algorithm != child.tbs_certificate.signature {
        return Err("the signature algorithms inside and outside differ".to_owned());
    }
    let algorithm = &child.signature_algorithm.algorithm;
    let (hash, ecdsa) = signature_algorithm(algorithm)
        .ok_or_else(|| format!("signature algorithm {algorithm} is not accepted"))?;
    let value = child.signature_value.data.as_ref();
    let value = if ecdsa {
        let (r, s) = ecdsa_numbers(value).ok_or("the ECDSA signature is malformed")?;
        Value::Ecdsa { r, s }
    } else {
        Value::RsaSsa(value.to_vec())
    };
    let signed = Signature {
        hash: hash.id(),
        value,
    };
    let key = key_of(issuer)?;
    match signature::check(&key, child.tbs_certificate.as_ref(), &signed) {
        Ok(_) => Ok(()),
        Err(SignatureError::Invalid) => Err("the signature does not verify".to_owned()),
        Err(other) => Err(other.to_string()),
    }
}

fn signature_algorithm(algorithm: &Oid<'_>) -> Option<(Hash, bool)> {
    let known = [
        (oid::OID_PKCS1_SHA256WITHRSA, Hash::Sha256, false),
        (oid::OID_PKCS1_SHA384WITHRSA, Hash::Sha384, false),
        (oid::OID_PKCS1_SHA512WITHRSA, Hash::Sha512, false),
        (oid::OID_SIG_ECDSA_WITH_SHA256, Hash::Sha256, true),
        (oid::OID_SIG_ECDSA_WITH_SHA384, Hash::Sha384, true),
        (oid::OID_SIG_ECDSA_WITH_SHA512, Hash::Sha512, true),
    ];
    known
        .into_iter()
        .find(|(id, ..)| id == algorithm)
        .map(|(_, hash, ecdsa)| (hash, ecdsa))
}

/// The two numbers of a DER `Ecdsa-Sig-Value` of a curve up to P-521 (lengths below 256).
fn ecdsa_numbers(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (body, rest) = der_value(der, 0x30)?;
    let (r, more) = der_value(body, 0x02)?;
    let (s, end) = der_value(more, 0x02)?;
    (rest.is_empty() && end.is_empty()).then(|| (r.to_vec(), s.to_vec()))
}

fn der_value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0x81 => rest.split_first()?,
        short if *short < 0x80 => (length, rest),
        _ => return None,
    };
    (*head == tag).then(|| rest.split_at_checked(usize::from(*length)))?
}

/// The key of a certificate, whatever identifier its algorithm has (`rsaEncryption` or `id-RSAES-OAEP`).
pub(super) fn key_of(certificate: &X509Certificate<'_>) -> Result<Key, &'static str> {
    key_of_info(certificate.public_key())
}

/// The key in a DER `SubjectPublicKeyInfo`.
pub(super) fn key_of_spki(der: &[u8]) -> Result<Key, &'static str> {
    match SubjectPublicKeyInfo::from_der(der) {
        Ok(([], info)) => key_of_info(&info),
        Ok(_) => Err("bytes follow behind the key"),
        Err(_) => Err("the key is no SubjectPublicKeyInfo"),
    }
}

fn key_of_info(info: &SubjectPublicKeyInfo<'_>) -> Result<Key, &'static str> {
    use x509_parser::public_key::PublicKey;
    match info.parsed().map_err(|_| "the key is malformed")? {
        PublicKey::RSA(rsa) => {
            let digits = rsa.modulus.iter().skip_while(|byte| **byte == 0).copied();
            let exponent = left_pad(rsa.exponent, 4).ok_or("the RSA exponent is above 32 bits")?;
            let exponent = exponent
                .try_into()
                .map_err(|_| "the RSA exponent is malformed")?;
            Ok(Key::Rsa {
                modulus: digits.collect(),
                exponent: u32::from_be_bytes(exponent),
            })
        }
        PublicKey::EC(point) => {
            let parameters = info.algorithm.parameters.as_ref();
            let curve = parameters.and_then(|any| any.as_oid().ok());
            let curve = match curve {
                Some(id) if id == oid::OID_EC_P256 => Curve::P256,
                Some(id) if id == oid::OID_NIST_EC_P384 => Curve::P384,
                Some(id) if id == oid::OID_NIST_EC_P521 => Curve::P521,
                _ => return Err("the curve is not P-256, P-384 or P-521"),
            };
            match point.data().split_first() {
                Some((0x04, xy)) if xy.len() == 2 * curve.size() => {
                    let (x, y) = xy.split_at(curve.size());
                    Ok(Key::Ecc {
                        curve,
                        x: x.to_vec(),
                        y: y.to_vec(),
                    })
                }
                _ => Err("the point is not in uncompressed form"),
            }
        }
        _ => Err("the key is neither RSA nor ECC"),
    }
}
