//! What a PCK certificate says about its platform.
//!
//! The SGX extension (OID 1.2.840.113741.1.13.1) is a sequence of pairs of OID and value: 1 PPID, 2 TCB (1 to 16
//! component SVNs, 17 PCESVN, 18 CPUSVN), 3 PCEID, 4 FMSPC, 5 SGX type, 6 platform instance id, 7 configuration.
//! Source: Intel SGX PCK Certificate and CRL Profile Specification, 1.3.5.

use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::certificate::Certificate;
use crate::bytes::Bytes;
use crate::der::{Reader, single, tag};

/// Content bytes of OID 1.2.840.113741.1.13.1.
const SGX: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];

/// Platform identity and TCB in a PCK certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PckPlatform {
    /// Id of the platform's processor package(s), stable over its life.
    pub ppid: Bytes<16>,
    /// Platform model.
    pub fmspc: Bytes<6>,
    /// Id of the provisioning certification enclave.
    pub pce_id: Bytes<2>,
    /// Security version of that enclave.
    pub pce_svn: u16,
    /// CPUSVN, raw.
    pub cpu_svn: Bytes<16>,
    /// SVNs of the 16 SGX TCB components.
    pub components: [u8; 16],
}

impl PckPlatform {
    pub(super) fn parse(cert: &Certificate) -> Result<Self, &'static str> {
        let (_, cert) =
            X509Certificate::from_der(&cert.der).map_err(|_| "it is not a certificate")?;
        let mut found = cert
            .extensions()
            .iter()
            .filter(|extension| extension.oid.as_bytes() == SGX);
        let (Some(extension), None) = (found.next(), found.next()) else {
            return Err("it must have the SGX extension once: it is not a PCK certificate");
        };
        parse(extension.value).ok_or("its SGX extension is malformed")
    }
}

fn parse(der: &[u8]) -> Option<PckPlatform> {
    let fields = single(der, tag::SEQUENCE)?.content;
    let tcb = field(fields, &[2], tag::SEQUENCE)?;
    let mut components = [0; 16];
    for (number, component) in (1u8..).zip(components.iter_mut()) {
        *component = u8::try_from(integer(field(tcb, &[2, number], tag::INTEGER)?)?).ok()?;
    }
    Some(PckPlatform {
        ppid: array(field(fields, &[1], tag::OCTET_STRING)?)?,
        fmspc: array(field(fields, &[4], tag::OCTET_STRING)?)?,
        pce_id: array(field(fields, &[3], tag::OCTET_STRING)?)?,
        pce_svn: integer(field(tcb, &[2, 17], tag::INTEGER)?)?,
        cpu_svn: array(field(tcb, &[2, 18], tag::OCTET_STRING)?)?,
        components,
    })
}

fn array<const N: usize>(bytes: &[u8]) -> Option<Bytes<N>> {
    Some(Bytes(bytes.try_into().ok()?))
}

/// A non-negative DER INTEGER of at most 16 bits.
fn integer(content: &[u8]) -> Option<u16> {
    match *content {
        [low] if low < 0x80 => Some(low.into()),
        [high, low] if high < 0x80 && (high != 0 || low >= 0x80) => {
            Some(u16::from_be_bytes([high, low]))
        }
        [0, high, low] if high >= 0x80 => Some(u16::from_be_bytes([high, low])),
        _ => None,
    }
}

/// The value with tag `wanted` that stands behind OID `SGX` + `suffix` in a sequence of pairs; it must be there once.
fn field<'a>(pairs: &'a [u8], suffix: &[u8], wanted: u8) -> Option<&'a [u8]> {
    let mut pairs = Reader::new(pairs);
    let mut found = None;
    while !pairs.is_empty() {
        let mut pair = Reader::new(pairs.expect(tag::SEQUENCE)?.content);
        let oid = pair.expect(tag::OID)?.content;
        if oid.strip_prefix(SGX) != Some(suffix) {
            continue;
        }
        let value = pair.expect(wanted)?.content;
        if !pair.is_empty() || found.replace(value).is_some() {
            return None;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_component_svn_255_with_its_sign_byte() {
        assert_eq!(integer(&[0, 0xff]), Some(255));
        assert_eq!(integer(&[0x7f]), Some(127));
        assert_eq!(integer(&[0xff]), None, "negative");
        assert_eq!(integer(&[0, 1]), None, "not minimal");
        assert_eq!(integer(&[]), None);
    }

    #[test]
    fn refuses_a_field_that_is_there_twice() {
        let pair = [
            &[tag::SEQUENCE, 15, tag::OID, 10][..],
            SGX,
            &[3, tag::OCTET_STRING, 1, 7],
        ]
        .concat();
        assert_eq!(field(&pair, &[3], tag::OCTET_STRING), Some(&[7][..]));
        assert_eq!(
            field(&[&pair[..], &pair].concat(), &[3], tag::OCTET_STRING),
            None
        );
    }
}
