//! Mutations that attacks on LUKS2 are known to make, each under its name.

use serde_json::{Value, json};

use crate::lab::{Copies, Lab, Mutation, text};

/// A keyslot as `cryptsetup` writes one, so that only its presence can be the reason.
fn keyslot(kdf: &Value, area: &Value) -> Value {
    json!({
        "type": "luks2", "key_size": 96,
        "af": {"type": "luks1", "stripes": 4000, "hash": "sha256"},
        "area": area, "kdf": kdf,
    })
}

fn area(offset: &str, size: &str, encryption: &str) -> Value {
    json!({"type": "raw", "offset": offset, "size": size, "encryption": encryption, "key_size": 64})
}

fn costs() -> Vec<(&'static str, Value)> {
    let salt = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    vec![
        (
            "pbkdf2 of 2^31 rounds",
            json!({"type": "pbkdf2", "hash": "sha256", "iterations": 2_147_483_647_u32, "salt": salt}),
        ),
        (
            "argon2id of 4 TiB",
            json!({"type": "argon2id", "time": 4, "memory": 4_294_967_295_u32, "cpus": 4, "salt": salt}),
        ),
        (
            "argon2i of 2^32 passes",
            json!({"type": "argon2i", "time": 4_294_967_295_u32, "memory": 1_048_576, "cpus": 4, "salt": salt}),
        ),
    ]
}

type Change = Box<dyn Fn(&mut Value)>;

/// Class, label, change of the document, reason.
fn changes() -> Vec<(&'static str, String, Change, &'static str)> {
    let mut all: Vec<(&'static str, String, Change, &'static str)> = Vec::new();
    let mut add = |class, label: &str, expect, change: Change| {
        all.push((class, label.to_owned(), change, expect));
    };
    for cipher in [
        "cipher_null-ecb",
        "null-ecb",
        "capi:ecb(cipher_null)-plain64",
    ] {
        add(
            "null cipher",
            cipher,
            "Altered.NullCipher",
            Box::new(move |json| {
                json["segments"]["0"]["encryption"] = cipher.into();
            }),
        );
        add(
            "null cipher",
            &format!("{cipher} in a keyslot"),
            "Altered.Keyslot",
            Box::new(move |json| {
                json["keyslots"]["0"] = keyslot(&costs()[0].1, &area("32768", "258048", cipher));
            }),
        );
    }
    add(
        "null cipher",
        "linear segment",
        "Altered.NullCipher",
        Box::new(|json| {
            json["segments"]["0"] =
                json!({"type": "linear", "offset": "16777216", "size": "dynamic"});
        }),
    );
    for cipher in [
        "aes-ecb",
        "aes-cbc-plain",
        "aes-xts-plain",
        "des3_ede-cbc-plain64",
        "aes-ctr-plain64",
        "serpent-xts-plain64",
    ] {
        add(
            "weaker cipher",
            cipher,
            "Altered.Cipher",
            Box::new(move |json| {
                json["segments"]["0"]["encryption"] = cipher.into();
            }),
        );
    }
    add(
        "integrity",
        "taken away",
        "Altered.IntegrityDiffers",
        Box::new(|json| {
            json["segments"]["0"]
                .as_object_mut()
                .unwrap()
                .shift_remove("integrity");
        }),
    );
    add(
        "integrity",
        "taken away with its tags",
        "Altered.Value tokens.0.layout.interleave_sectors",
        Box::new(|json| {
            json["segments"]["0"]
                .as_object_mut()
                .unwrap()
                .shift_remove("integrity");
            json["tokens"]["0"]["layout"]["tag_bytes"] = 0.into();
            json["tokens"]["0"]["layout"]["journal_sections"] = 0.into();
        }),
    );
    add(
        "integrity",
        "taken away with its layout",
        "Altered.Value tokens.0.volume_key",
        Box::new(|json| {
            json["segments"]["0"]
                .as_object_mut()
                .unwrap()
                .shift_remove("integrity");
            let layout = &mut json["tokens"]["0"]["layout"];
            for name in ["tag_bytes", "journal_sections", "interleave_sectors"] {
                layout[name] = 0.into();
            }
        }),
    );
    add(
        "integrity",
        "taken away with its layout and key",
        "IntegrityDiffers",
        Box::new(|json| {
            json["segments"]["0"]
                .as_object_mut()
                .unwrap()
                .shift_remove("integrity");
            let token = &mut json["tokens"]["0"];
            for name in ["tag_bytes", "journal_sections", "interleave_sectors"] {
                token["layout"][name] = 0.into();
            }
            let key = token["volume_key"].as_str().unwrap();
            // 80 bytes: 106 letters hold 79.5; the last one's free bits must be zero.
            token["volume_key"] = format!("{}A=", &key[..106]).into();
        }),
    );
    for kind in ["crc32c", "none", "hmac(sha1)", "poly1305", "aead"] {
        add(
            "integrity",
            kind,
            "Altered.Value segments.0.integrity.type",
            Box::new(move |json| {
                json["segments"]["0"]["integrity"]["type"] = kind.into();
            }),
        );
    }
    for (label, kdf) in costs() {
        let expensive = kdf.clone();
        add(
            "costly key derivation",
            &format!("{label} in a keyslot"),
            "Altered.Keyslot",
            Box::new(move |json| {
                json["keyslots"]["0"] =
                    keyslot(&expensive, &area("32768", "258048", "aes-xts-plain64"));
            }),
        );
        add(
            "costly key derivation",
            &format!("{label} in a second digest"),
            "Altered.Digests",
            Box::new(move |json| {
                let mut digest = json["digests"]["0"].clone();
                digest["iterations"] = kdf["iterations"].clone();
                json["digests"]["1"] = digest;
            }),
        );
    }
    add(
        "costly key derivation",
        "in the digest",
        "Altered.Iterations",
        Box::new(|json| {
            json["digests"]["0"]["iterations"] = 2_147_483_647_u32.into();
        }),
    );
    for (offset, size) in [
        ("0", "32768"),
        ("16384", "32768"),
        ("16777216", "258048"),
        ("18446744073709551615", "1"),
        ("32768", "18446744073709551615"),
    ] {
        add(
            "overlapping or outside area",
            &format!("keyslot at {offset}+{size}"),
            "Altered.Keyslot",
            Box::new(move |json| {
                json["keyslots"]["0"] =
                    keyslot(&costs()[0].1, &area(offset, size, "aes-xts-plain64"));
            }),
        );
    }
    for offset in [
        "0",
        "16384",
        "32768",
        "16777215",
        "16781312",
        "18446744073709547520",
    ] {
        add(
            "overlapping or outside area",
            &format!("segment at {offset}"),
            "Altered.Value segments.0.offset",
            Box::new(move |json| {
                json["segments"]["0"]["offset"] = offset.into();
            }),
        );
    }
    for (member, value) in [
        ("json_size", "16384"),
        ("json_size", "4190208"),
        ("keyslots_size", "0"),
        ("keyslots_size", "16777216"),
        ("keyslots_size", "134217728"),
    ] {
        let expect = if member == "json_size" {
            "Altered.Value config.json_size"
        } else {
            "Altered.Value config.keyslots_size"
        };
        add(
            "overlapping or outside area",
            &format!("{member} = {value}"),
            expect,
            Box::new(move |json| {
                json["config"][member] = value.into();
            }),
        );
    }
    add(
        "extra object",
        "second segment",
        "Altered.Segments",
        Box::new(|json| {
            json["segments"]["1"] = json["segments"]["0"].clone();
        }),
    );
    add(
        "extra object",
        "second digest",
        "Altered.Digests",
        Box::new(|json| {
            json["digests"]["1"] = json["digests"]["0"].clone();
        }),
    );
    for token in ["systemd-tpm2", "luks2-keyring", "clevis", "dawnkey"] {
        add(
            "extra object",
            &format!("second token {token}"),
            "Altered.Tokens",
            Box::new(move |json| {
                json["tokens"]["1"] = json!({"type": token, "keyslots": []});
            }),
        );
        if token != "dawnkey" {
            add(
                "extra object",
                &format!("token turned into {token}"),
                "Altered.TokenType",
                Box::new(move |json| {
                    json["tokens"]["0"]["type"] = token.into();
                }),
            );
        }
    }
    for flag in [
        "allow-discards",
        "same-cpu-crypt",
        "submit-from-crypt-cpus",
        "no-journal",
        "no-read-workqueue",
    ] {
        add(
            "flags and requirements",
            flag,
            "Altered.Flags",
            Box::new(move |json| {
                json["config"]["flags"] = json!([flag]);
            }),
        );
    }
    for requirement in [
        "offline-reencrypt",
        "online-reencrypt",
        "online-reencrypt-v2",
        "online-reencrypt-v3",
        "inline-hw-tags",
        "opal",
    ] {
        add(
            "flags and requirements",
            requirement,
            "Altered.Requirements",
            Box::new(move |json| {
                json["config"]["requirements"] = json!({"mandatory": [requirement]});
            }),
        );
    }
    reencryption(&mut add);
    all
}

/// What `cryptsetup reencrypt` leaves when it is interrupted, whole and in parts.
fn reencryption(add: &mut dyn FnMut(&'static str, &str, &'static str, Change)) {
    for mode in ["encrypt", "decrypt", "reencrypt"] {
        let slot = json!({
            "type": "reencrypt", "key_size": 1, "mode": mode, "direction": "forward",
            "area": {"type": "checksum", "offset": "32768", "size": "4096", "hash": "sha256", "sector_size": 4096},
        });
        let only = slot.clone();
        add(
            "reencryption",
            &format!("keyslot to {mode}"),
            "Altered.Keyslot",
            Box::new(move |json| {
                json["keyslots"]["0"] = only.clone();
            }),
        );
        add(
            "reencryption",
            &format!("interrupted {mode}"),
            "Altered.Keyslot",
            Box::new(move |json| {
                json["keyslots"]["0"] = slot.clone();
                let old = json["segments"]["0"].clone();
                json["segments"] = json!({
                    "0": {"type": "crypt", "offset": "16777216", "size": "4096", "iv_tweak": "0",
                          "encryption": "cipher_null-ecb", "sector_size": 4096, "flags": ["in-reencryption"]},
                    "1": old, "2": {"type": "linear", "offset": "16777216", "size": "dynamic", "flags": ["backup-final"]},
                });
                json["config"]["requirements"] = json!({"mandatory": ["online-reencrypt-v2"]});
            }),
        );
    }
    for flag in [
        "in-reencryption",
        "backup-previous",
        "backup-final",
        "backup-moved-segment",
    ] {
        add(
            "reencryption",
            &format!("segment marked {flag}"),
            "Altered.SegmentFlags",
            Box::new(move |json| {
                json["segments"]["0"]["flags"] = json!([flag]);
            }),
        );
    }
}

/// All of them, in both copies and in either one.
pub fn mutations(lab: &Lab) -> Vec<Mutation> {
    let document: Value = serde_json::from_str(&text(&lab.good)).unwrap();
    let mut made = Vec::new();
    for (class, label, change, expect) in changes() {
        let mut document = document.clone();
        change(&mut document);
        let text = serde_json::to_string(&document).unwrap();
        for copies in Copies::ALL {
            let region = copies.rewrite(&lab.good, text.as_bytes());
            // One canonical copy without integrity beside one with it.
            let expect = match (copies, expect) {
                (Copies::Primary | Copies::Secondary, "IntegrityDiffers") => "CopiesDiffer",
                _ => expect,
            };
            made.push(Mutation::new(
                class,
                format!("{label} ({copies:?})"),
                region,
                &[expect],
            ));
        }
    }
    made
}
