//! Headers of one kind of volume that say what another kind's would.

use serde_json::Value;

use crate::lab::{Copies, Lab, Mutation, Shape, text};

/// Everything that says how a volume is protected, taken from another kind of volume; the sealed key cut or lengthened
/// to fit it. Refused because the configuration wants another kind, or else by the seal.
pub fn mutations(lab: &Lab) -> Vec<Mutation> {
    let document: Value = serde_json::from_str(&text(&lab.good)).unwrap();
    let mut made = Vec::new();
    for shape in Shape::all().into_iter().filter(|shape| *shape != lab.shape) {
        let other: Value = serde_json::from_str(&text(&Lab::new(shape).good)).unwrap();
        let mut document = document.clone();
        document["segments"] = other["segments"].clone();
        let nonce = document["tokens"]["0"]["nonce"].clone();
        document["tokens"] = other["tokens"].clone();
        document["tokens"]["0"]["nonce"] = nonce;
        let expect = if shape.integrity != lab.shape.integrity {
            "IntegrityDiffers"
        } else if shape.journal_mac != lab.shape.journal_mac {
            "JournalMacDiffers"
        } else {
            "Seal"
        };
        let text = serde_json::to_string(&document).unwrap();
        for copies in Copies::ALL {
            let expect = if copies == Copies::Both {
                expect
            } else {
                "CopiesDiffer"
            };
            made.push(Mutation::new(
                "another kind of volume",
                format!("{shape} ({copies:?})"),
                copies.rewrite(&lab.good, text.as_bytes()),
                &[expect],
            ));
        }
    }
    made.extend(parts_of_other_kinds(lab, &document));
    made
}

/// One statement alone from another kind.
fn parts_of_other_kinds(lab: &Lab, document: &Value) -> Vec<Mutation> {
    let mut made = Vec::new();
    for (pointer, values) in [
        (
            "/segments/0/encryption",
            &["aes-xts-plain64", "aes-gcm-random", "aegis128-random"][..],
        ),
        ("/segments/0/integrity/type", &["hmac(sha256)", "aead"]),
        (
            "/segments/0/integrity/journal_integrity",
            &["none", "hmac(sha256)"],
        ),
    ] {
        for value in values {
            let mut document = document.clone();
            match document.pointer_mut(pointer) {
                Some(place) if *place != *value => *place = (*value).into(),
                _ => continue,
            }
            let text = serde_json::to_string(&document).unwrap();
            let expect = [
                "Altered.Value tokens.0.layout.tag_bytes",
                "Altered.Value tokens.0.layout.interleave_sectors",
                "Altered.Value segments.0.integrity.type",
                "Altered.Value tokens.0.volume_key",
                "Altered.Missing segments.0.integrity",
                "Altered.IntegrityDiffers",
                "JournalMacDiffers",
            ];
            made.push(Mutation::new(
                "part of another kind",
                format!("{pointer} = {value}"),
                Copies::Both.rewrite(&lab.good, text.as_bytes()),
                &expect,
            ));
        }
    }
    made
}
