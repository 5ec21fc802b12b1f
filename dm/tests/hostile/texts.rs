//! Mutations of the JSON as text.

use serde_json::Value;

use crate::lab::{Copies, JSON, Lab, Mutation, text};

/// Texts that are made for the parser: too long, too deep, not ended, not text, written in another way.
pub fn mutations(lab: &Lab) -> Vec<Mutation> {
    let good = text(&lab.good);
    let room = 16_384 - JSON;
    let mut made = Vec::new();
    let mut add = |label: String, text: &[u8], expect: &str| {
        for copies in Copies::ALL {
            let region = copies.rewrite(&lab.good, text);
            let label = format!("{label} ({copies:?})");
            made.push(Mutation::new(
                "text for the parser",
                label,
                region,
                &[expect],
            ));
        }
    };
    for filler in [b'[', b'{', b'"', b' ', b'1', b'a', 0xff, 0x80] {
        let label = |what| format!("{what} of {filler:#x}");
        add(label("area full"), &vec![filler; room], "Altered.JsonArea");
        let expect = if filler < 0x80 {
            "Altered.Json"
        } else {
            "Altered.JsonArea"
        };
        add(label("longest text"), &vec![filler; room - 1], expect);
    }
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for depth in [2, 100, 127, 128, 129, 6000] {
        let expect = if depth < 128 {
            "Altered.Segments"
        } else {
            "Altered.Json"
        };
        add(format!("{depth} lists"), nested(depth).as_bytes(), expect);
    }
    for depth in [100, 5000] {
        let text = good.replacen(
            "{\"keyslots\":{}",
            &format!("{{\"keyslots\":{{}},\"x\":{}", nested(depth)),
            1,
        );
        let expect = if depth < 128 {
            "Altered.Unknown x"
        } else {
            "Altered.Json"
        };
        add(
            format!("{depth} lists in a member"),
            text.as_bytes(),
            expect,
        );
    }
    let many: String = (0..900).map(|n| format!("\"k{n}\":{{}},")).collect();
    add(
        "900 keyslots".into(),
        good.replacen(
            "\"keyslots\":{",
            &format!("\"keyslots\":{{{}", many.trim_end_matches(',')),
            1,
        )
        .as_bytes(),
        "Altered.Keyslot",
    );
    add(
        "900 members".into(),
        good.replacen('{', &format!("{{{many}"), 1).as_bytes(),
        "Altered.Unknown k0",
    );
    for (at, letter) in good.char_indices() {
        if matches!(letter, ',' | ':' | '}' | '{') {
            let spaced = format!("{} {}", &good[..at], &good[at..]);
            // A space within a text is another value; elsewhere it is another writing of the same one.
            if serde_json::from_str::<Value>(&spaced).ok() == serde_json::from_str(&good).ok() {
                add(
                    format!("space at {at}"),
                    spaced.as_bytes(),
                    "Altered.NotCanonical JSON area",
                );
            }
        }
        if letter.is_ascii_alphanumeric() && at % 7 == 0 {
            let escaped = format!(
                "{}\\u{:04x}{}",
                &good[..at],
                u32::from(letter),
                &good[at + 1..]
            );
            if serde_json::from_str::<Value>(&escaped).ok() == serde_json::from_str(&good).ok() {
                add(
                    format!("escape at {at}"),
                    escaped.as_bytes(),
                    "Altered.NotCanonical JSON area",
                );
            }
        }
    }
    for cut in (0..good.len()).step_by(11) {
        add(
            format!("cut at {cut}"),
            &good.as_bytes()[..cut],
            "Altered.Json",
        );
    }
    for (label, tail) in [
        ("second document", "{}"),
        ("comma", ","),
        ("line break", "\n"),
    ] {
        let expect = if tail == "\n" {
            "Altered.NotCanonical JSON area"
        } else {
            "Altered.Json"
        };
        add(
            format!("{label} behind"),
            format!("{good}{tail}").as_bytes(),
            expect,
        );
    }
    add(
        "bytes behind the text".into(),
        format!("{good}\0{{}}").as_bytes(),
        "Altered.NotCanonical JSON area",
    );
    add(
        "byte order mark".into(),
        format!("\u{feff}{good}").as_bytes(),
        "Altered.Json",
    );
    made
}
