//! Mutations of the JSON, made by walking the real document: every member removed, joined by others, of another type,
//! out of its range, standing twice.

use serde_json::{Value, json};

use crate::lab::{Copies, Lab, Mutation, text};

/// Values that differ from header to header: a changed one is refused by its range, its form, or the seal.
const FREE: &[&str] = &[
    "tokens.0.epoch",
    "tokens.0.generation",
    "tokens.0.layout.journal_sections",
    "tokens.0.layout.data_sectors",
    "tokens.0.layout.ready_sectors",
    "tokens.0.nonce",
    "tokens.0.volume_key",
    "digests.0.salt",
    "digests.0.digest",
];

/// JSON pointers of all nodes below the root.
fn nodes(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect("", document, &mut found);
    found
}

fn collect(at: &str, node: &Value, found: &mut Vec<String>) {
    let mut below = |name: &str, node: &Value| {
        let pointer = format!("{at}/{name}");
        found.push(pointer.clone());
        collect(&pointer, node, found);
    };
    match node {
        Value::Object(members) => members.iter().for_each(|(name, node)| below(name, node)),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(at, node)| below(&at.to_string(), node));
        }
        _ => {}
    }
}

fn dotted(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}

fn parent(pointer: &str) -> (&str, &str) {
    pointer.rsplit_once('/').unwrap()
}

/// The generator: one document, each change in both copies and in either one.
pub struct Tree<'a> {
    lab: &'a Lab,
    document: Value,
    made: Vec<Mutation>,
}

impl<'a> Tree<'a> {
    pub fn mutations(lab: &'a Lab) -> Vec<Mutation> {
        let document: Value = serde_json::from_str(&text(&lab.good)).unwrap();
        let mut tree = Self {
            lab,
            document,
            made: Vec::new(),
        };
        for pointer in nodes(&tree.document) {
            tree.removed(&pointer);
            tree.retyped(&pointer);
            tree.out_of_range(&pointer);
            tree.twice(&pointer);
        }
        let containers = nodes(&tree.document).into_iter().chain([String::new()]);
        for pointer in containers {
            tree.joined(&pointer);
        }
        tree.made
    }

    fn push(&mut self, class: &'static str, label: &str, text: &str, expect: &[String]) {
        for copies in Copies::ALL {
            let region = copies.rewrite(&self.lab.good, text.as_bytes());
            let mut expect = expect.to_vec();
            // A changed copy that is canonical by itself beside one that it does not follow.
            if copies != Copies::Both && expect.iter().any(|reason| reason == "Seal") {
                expect.push("CopiesDiffer".into());
            }
            self.made.push(Mutation {
                class,
                label: format!("{label} ({copies:?})"),
                region,
                expect,
            });
        }
    }

    fn changed(&mut self, class: &'static str, label: &str, document: &Value, expect: &[String]) {
        let text = serde_json::to_string(document).unwrap();
        self.push(class, label, &text, expect);
    }

    fn removed(&mut self, pointer: &str) {
        let (above, name) = parent(pointer);
        let mut document = self.document.clone();
        let path = dotted(pointer);
        let expect = match document.pointer_mut(above).unwrap() {
            Value::Object(members) => {
                members.shift_remove(name).unwrap();
                match path.as_str() {
                    "segments" | "segments.0" => "Altered.Segments".into(),
                    "tokens" | "tokens.0" => "Altered.Tokens".into(),
                    "digests" | "digests.0" => "Altered.Digests".into(),
                    "segments.0.encryption" => "Altered.NullCipher".into(),
                    "segments.0.integrity" => "Altered.IntegrityDiffers".into(),
                    _ => format!("Altered.Missing {path}"),
                }
            }
            Value::Array(items) => {
                items.remove(name.parse().unwrap());
                format!("Altered.Value {}", dotted(above))
            }
            _ => unreachable!(),
        };
        self.changed("JSON member removed", &path, &document, &[expect]);
    }

    fn joined(&mut self, pointer: &str) {
        let path = dotted(pointer);
        let additions: &[(&str, Value)] = &[
            ("x", json!(null)),
            ("1", json!({})),
            ("flags", json!(["allow-discards"])),
            (
                "requirements",
                json!({"mandatory": ["online-reencrypt-v2"]}),
            ),
            ("\u{1b}[2J", json!("")),
        ];
        for (name, addition) in additions {
            let mut document = self.document.clone();
            let expect = match document.pointer_mut(pointer).unwrap() {
                Value::Object(members) => {
                    members.insert((*name).into(), addition.clone());
                    joined_reason(&path, name)
                }
                Value::Array(items) => {
                    items.push(addition.clone());
                    format!("Altered.Value {path}")
                }
                _ => continue,
            };
            let label = format!("{path} + {}", name.escape_debug());
            self.changed("JSON member added", &label, &document, &[expect]);
        }
    }

    fn retyped(&mut self, pointer: &str) {
        let path = dotted(pointer);
        let old = self.document.pointer(pointer).unwrap().clone();
        let others = [
            json!(null),
            json!(true),
            json!(7),
            json!("7"),
            json!([]),
            json!({}),
            json!([old]),
            json!({ "0": old }),
        ];
        for other in others {
            let same = std::mem::discriminant(&old) == std::mem::discriminant(&other);
            if same {
                continue;
            }
            let mut document = self.document.clone();
            *document.pointer_mut(pointer).unwrap() = other.clone();
            let mut expect = vec![format!("Altered.Type {path}")];
            // Sections are counted before anything else is looked at.
            let counted: Option<String> = match path.as_str() {
                "keyslots" => Some("Altered.Keyslot".into()),
                // A list's first item is the segment, and has no cipher.
                "segments" if other == json!([old]) => Some("Altered.NullCipher".into()),
                "segments" => Some("Altered.Segments".into()),
                "tokens" => Some("Altered.Tokens".into()),
                "digests" => Some("Altered.Digests".into()),
                _ => None,
            };
            expect.extend(counted);
            self.changed(
                "JSON member retyped",
                &format!("{path} = {other}"),
                &document,
                &expect,
            );
        }
    }

    fn out_of_range(&mut self, pointer: &str) {
        let path = dotted(pointer);
        let old = self.document.pointer(pointer).unwrap().clone();
        for other in others_of_its_type(&old) {
            if other == old {
                continue;
            }
            let mut document = self.document.clone();
            *document.pointer_mut(pointer).unwrap() = other.clone();
            let mut label = format!("{path} = {other}");
            label.truncate(80);
            let expect = range_reasons(&path, &other);
            self.changed("JSON value out of range", &label, &document, &expect);
        }
    }

    /// The member a second time in front of itself: with its own value, and with one that another reader might take.
    fn twice(&mut self, pointer: &str) {
        let (above, name) = parent(pointer);
        let Value::Object(members) = self.document.pointer(above).unwrap() else {
            return;
        };
        for second in [
            members[name].clone(),
            json!("cipher_null-ecb"),
            json!({"0": {}}),
        ] {
            // Marked under another name, then renamed in the text.
            let mut document = self.document.clone();
            let members = document
                .pointer_mut(above)
                .unwrap()
                .as_object_mut()
                .unwrap();
            let place = members.keys().position(|key| key == name).unwrap();
            members.shift_insert(place, "twice".into(), second);
            let text = serde_json::to_string(&document).unwrap();
            let text = text.replace("\"twice\":", &format!("\"{name}\":"));
            self.push(
                "JSON member twice",
                &dotted(pointer),
                &text,
                &["Altered.Duplicate".into()],
            );
        }
    }
}

fn joined_reason(path: &str, name: &str) -> String {
    match (path, name) {
        ("keyslots", _) => "Altered.Keyslot".into(),
        ("segments", _) => "Altered.Segments".into(),
        ("tokens", _) => "Altered.Tokens".into(),
        ("digests", _) => "Altered.Digests".into(),
        ("segments.0", "flags") => "Altered.SegmentFlags".into(),
        ("config", "flags") => "Altered.Flags".into(),
        ("config", "requirements") => "Altered.Requirements".into(),
        ("", name) => format!("Altered.Unknown {}", name.escape_debug()),
        (path, name) => format!("Altered.Unknown {path}.{}", name.escape_debug()),
    }
}

fn others_of_its_type(old: &Value) -> Vec<Value> {
    match old {
        Value::Number(number) => {
            let next = number.as_u64().unwrap() + 1;
            let huge: [Value; 5] = [
                json!(0),
                json!(u32::MAX),
                json!(u64::from(u32::MAX) + 1),
                json!(i64::MAX),
                json!(u64::MAX),
            ];
            let odd = [json!(-1), json!(1.5), json!(1e300), json!(next)];
            huge.into_iter().chain(odd).collect()
        }
        Value::String(text) => {
            let mut bent = text.clone();
            let last = bent.pop().unwrap_or('A');
            bent.push(if last == '1' { '2' } else { '1' });
            let texts = [
                String::new(),
                "0".into(),
                "1".into(),
                "-1".into(),
                "18446744073709551615".into(),
                "18446744073709551616".into(),
                format!("0{text}"),
                format!(" {text}"),
                format!("{text}\u{0}"),
                format!("{text}{text}"),
                text.to_uppercase(),
                bent,
                "A".repeat(8192),
            ];
            texts.into_iter().map(Value::String).collect()
        }
        _ => Vec::new(),
    }
}

fn range_reasons(path: &str, other: &Value) -> Vec<String> {
    let positive = other.as_u64().is_some();
    let reasons: &[&str] = match path {
        "digests.0.iterations" if positive => &["Altered.Iterations"],
        "tokens.0.version" if positive => {
            &["Altered.FormatVersion", "Altered.Value tokens.0.version"]
        }
        "segments.0.encryption" => &["Altered.Cipher"],
        "tokens.0.type" => &["Altered.TokenType"],
        "tokens.0.layout.tag_bytes" if other == &json!(0) => &["Altered.IntegrityDiffers"],
        "tokens.0.layout.tag_bytes" if positive => &[
            "Altered.IntegrityDiffers",
            "Altered.Value tokens.0.layout.tag_bytes",
        ],
        _ => &[],
    };
    if !reasons.is_empty() {
        return reasons.iter().map(|&reason| reason.into()).collect();
    }
    let mut expect = vec![format!("Altered.Value {path}")];
    if FREE.contains(&path) {
        let free = [
            "Seal",
            "Altered.Layout",
            "Altered.NotCanonical JSON area",
            "Shrunk",
            "EpochDiffers",
            "GenerationNotHigher",
        ];
        expect.extend(free.map(str::to_owned));
    }
    expect
}
