//! Distinguished names as text, by RFC 4514: most specific part first, separators escaped.

use std::fmt::Write as _;

use x509_parser::{
    oid_registry::{self as oid, Oid, asn1_rs::oid as make_oid},
    x509::{AttributeTypeAndValue, X509Name},
};

/// `domainComponent`.
const DOMAIN_COMPONENT: Oid<'static> = make_oid!(0.9.2342.19200300.100.1.25);
/// `userId`.
const USER_ID: Oid<'static> = make_oid!(0.9.2342.19200300.100.1.1);

/// `name` as text; empty for an empty name. Control characters are escaped, so it can be printed.
pub(super) fn text(name: &X509Name<'_>) -> String {
    let rdns: Vec<String> = name
        .iter_rdn()
        .map(|rdn| {
            let parts: Vec<String> = rdn.iter().map(attribute).collect();
            parts.join("+")
        })
        .collect();
    let reversed: Vec<&str> = rdns.iter().rev().map(String::as_str).collect();
    reversed.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let kind = attribute.attr_type();
    let value = match attribute.as_str() {
        Ok(value) => escaped(value),
        Err(_) => format!("#{}", hex::encode(attribute.as_slice())),
    };
    match short_name(kind) {
        Some(name) => format!("{name}={value}"),
        None => format!("{}={value}", kind.to_id_string()),
    }
}

/// The names of RFC 4514 clause 3; others are written as numbers.
fn short_name(kind: &Oid<'_>) -> Option<&'static str> {
    let known = [
        (oid::OID_X509_COMMON_NAME, "CN"),
        (oid::OID_X509_LOCALITY_NAME, "L"),
        (oid::OID_X509_STATE_OR_PROVINCE_NAME, "ST"),
        (oid::OID_X509_ORGANIZATION_NAME, "O"),
        (oid::OID_X509_ORGANIZATIONAL_UNIT, "OU"),
        (oid::OID_X509_COUNTRY_NAME, "C"),
        (oid::OID_X509_STREET_ADDRESS, "STREET"),
        (DOMAIN_COMPONENT, "DC"),
        (USER_ID, "UID"),
    ];
    let found = known.into_iter().find(|(id, _)| id == kind);
    found.map(|(_, name)| name)
}

fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, c) in value.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => out.extend(['\\', c]),
            '#' if at == 0 => out.extend(['\\', c]),
            ' ' if at == 0 || at == last => out.extend(['\\', c]),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(out, "\\{byte:02X}");
                }
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_edges_and_control_characters_are_escaped() {
        assert_eq!(escaped("K:1, 3:x"), "K:1\\, 3:x");
        assert_eq!(escaped("#a+b"), "\\#a\\+b");
        assert_eq!(escaped(" a b "), "\\ a b\\ ");
        assert_eq!(escaped("a\u{1b}[2J\0"), "a\\1B[2J\\00");
    }
}
