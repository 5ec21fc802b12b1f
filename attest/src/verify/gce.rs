//! Google's extension of the EK and AK certificates of Compute Engine: which instance the vTPM belongs to.
//!
//! Source: `server/instance_info.go` of go-tpm-tools.
//!
//! ```text
//! SEQUENCE { zone UTF8String, projectNumber INTEGER, projectId UTF8String, instanceId INTEGER,
//!            instanceName UTF8String, [0] SEQUENCE { [0] securityVersion, [1] isProduction, … } OPTIONAL }
//! ```

use serde::{Deserialize, Serialize};
use x509_parser::{
    certificate::X509Certificate,
    oid_registry::{Oid, asn1_rs::oid as make_oid},
};

use crate::der::{self, Reader, Tlv, tag};

/// `1.3.6.1.4.1.11129.2.1.21`.
const INSTANCE: Oid<'static> = make_oid!(1.3.6.1.4.1.11129.2.1.21);
/// `[1]`, constructed.
const CONTEXT_1: u8 = 0xa1;
/// Longest name, bytes.
const MAX_TEXT: usize = 256;
const MALFORMED: &str =
    "the extension 1.3.6.1.4.1.11129.2.1.21 (Compute Engine instance) is malformed";

/// A Compute Engine instance, as Google's CA names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GceInstance {
    /// Zone.
    pub zone: String,
    /// Number of the project; never used again for another.
    pub project_number: u64,
    /// Id of the project.
    pub project_id: String,
    /// Number of the instance.
    pub instance_id: u64,
    /// Name of the instance, chosen by its owner.
    pub instance_name: String,
    /// Whether the vTPM is of Google's production, where they say so.
    pub production: Option<bool>,
}

/// The instance a certificate names, if it names one.
pub(super) fn of(certificate: &X509Certificate<'_>) -> Result<Option<GceInstance>, &'static str> {
    let mut found = certificate
        .extensions()
        .iter()
        .filter(|extension| extension.oid == INSTANCE);
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some(extension), None) => parse(extension.value).map(Some).ok_or(MALFORMED),
        (Some(_), Some(_)) => Err("the Compute Engine instance extension is twice there"),
    }
}

fn parse(bytes: &[u8]) -> Option<GceInstance> {
    let mut reader = Reader::new(der::single(bytes, tag::SEQUENCE)?.content);
    Some(GceInstance {
        zone: text(&reader.expect(tag::UTF8_STRING)?)?,
        project_number: number(&reader.expect(tag::INTEGER)?)?,
        project_id: text(&reader.expect(tag::UTF8_STRING)?)?,
        instance_id: number(&reader.expect(tag::INTEGER)?)?,
        instance_name: text(&reader.expect(tag::UTF8_STRING)?)?,
        production: match reader.optional(tag::CONTEXT_0) {
            Some(properties) => production(&properties)?,
            None => None,
        },
    })
}

/// Fields that later certificates add are passed over.
fn production(properties: &Tlv<'_>) -> Option<Option<bool>> {
    let mut reader = Reader::new(der::single(properties.content, tag::SEQUENCE)?.content);
    while !reader.is_empty() {
        let field = reader.any()?;
        if field.tag == CONTEXT_1 {
            return match der::single(field.content, tag::BOOLEAN)?.content {
                [0x00] => Some(Some(false)),
                [0xff] => Some(Some(true)),
                _ => None,
            };
        }
    }
    Some(None)
}

fn text(tlv: &Tlv<'_>) -> Option<String> {
    let text = std::str::from_utf8(tlv.content).ok()?;
    let sane = text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
    sane.then(|| text.to_owned())
}

fn number(tlv: &Tlv<'_>) -> Option<u64> {
    let digits = der::unsigned(tlv)?;
    let sum = |sum: u64, digit: &u8| (sum << 8) | u64::from(*digit);
    (digits.len() <= 8).then(|| digits.iter().fold(0, sum))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const EXTENSION: &str = "302f0c05617a6f6e6502020539\
         0c0770726f6a656374020711223344556677\
         0c02766da00c300aa003020101a1030101ff";

    #[test]
    fn reads_instance_and_production() {
        let instance = parse(&hex::decode(EXTENSION).unwrap()).unwrap();
        assert_eq!(
            instance,
            GceInstance {
                zone: "azone".into(),
                project_number: 1337,
                project_id: "project".into(),
                instance_id: 0x11_2233_4455_6677,
                instance_name: "vm".into(),
                production: Some(true),
            }
        );
    }

    proptest! {
        #[test]
        fn reading_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..80), at in 0usize..50, value: u8) {
            let _ = parse(&bytes);
            let mut near = hex::decode(EXTENSION).unwrap();
            if let Some(byte) = near.get_mut(at) {
                *byte = value;
            }
            let _ = parse(&near);
        }
    }
}
