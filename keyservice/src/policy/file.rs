//! Reading the policy file: unknown fields, duplicate names and dangling references are errors.

use super::{Enrol, Image, Policy, PolicyError, VolumePolicy};
use crate::release::Rollback;
use crate::volume::Digest32;
use dawnkey_attest::claims::TrustClass;
use dawnkey_attest::verify::Roots;
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// PCRs are numbered 0 to 23.
const LAST_PCR: u8 = 23;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    roots: RootFiles,
    #[serde(default)]
    image: Vec<ImageEntry>,
    #[serde(rename = "volume-policy", default)]
    volume_policy: BTreeMap<String, VolumePolicyEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RootFiles {
    tpm_ek: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageEntry {
    name: String,
    valid_until: Option<String>,
    pcrs: Banks,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Banks {
    sha256: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VolumePolicyEntry {
    trust_class: TrustClass,
    images: Vec<String>,
    pcrs_pre_cap: Vec<u8>,
    enrol: Enrol,
    rollback: Rollback,
    #[serde(default)]
    instances: Vec<String>,
}

impl Policy {
    /// Reads a policy file. Paths in it are relative to it.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let text = std::fs::read_to_string(path).map_err(|source| PolicyError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    /// Reads the text of a policy file that stands at `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, PolicyError> {
        let file: File = toml::from_str(text).map_err(|e| PolicyError::Syntax {
            path: path.to_owned(),
            problem: e.to_string().trim_end().to_owned(),
        })?;
        if file.version != 1 {
            return Err(PolicyError::Version {
                path: path.to_owned(),
                found: file.version,
            });
        }
        let policy = Self {
            digest: hex::encode(Sha256::digest(text)),
            roots: roots(path, &file.roots.tpm_ek)?,
            images: images(path, file.image)?,
            volume_policies: file
                .volume_policy
                .into_iter()
                .map(|(name, entry)| Ok((name.clone(), volume_policy(path, &name, entry)?)))
                .collect::<Result<_, PolicyError>>()?,
        };
        references(path, &policy)?;
        Ok(policy)
    }
}

fn value(path: &Path, key: String, problem: impl Into<String>) -> PolicyError {
    PolicyError::Value {
        path: path.to_owned(),
        key,
        problem: problem.into(),
    }
}

fn roots(path: &Path, files: &[String]) -> Result<Roots, PolicyError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut roots = Roots::default();
    for name in files {
        let file = directory.join(name);
        let pem = std::fs::read(&file).map_err(|source| PolicyError::Read {
            path: file.clone(),
            source,
        })?;
        roots
            .add_tpm_ek_pem(&pem)
            .map_err(|e| value(path, "roots.tpm_ek".into(), format!("{name}: {e}")))?;
    }
    Ok(roots)
}

fn images(path: &Path, entries: Vec<ImageEntry>) -> Result<BTreeMap<String, Image>, PolicyError> {
    let mut images = BTreeMap::new();
    for entry in entries {
        let image = image(path, entry)?;
        let name = image.name.clone();
        if images.insert(name.clone(), image).is_some() {
            return Err(PolicyError::DuplicateImage {
                path: path.to_owned(),
                name,
            });
        }
    }
    Ok(images)
}

fn image(path: &Path, entry: ImageEntry) -> Result<Image, PolicyError> {
    let name = entry.name;
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(value(path, "image.name".into(), "must be printable text"));
    }
    let mut pcrs = BTreeMap::new();
    for (index, digest) in entry.pcrs.sha256 {
        let key = format!("image.{name}.pcrs.sha256.{index}");
        let number = index
            .parse::<u8>()
            .ok()
            .filter(|n| *n <= LAST_PCR && n.to_string() == index)
            .ok_or_else(|| value(path, key.clone(), "a PCR is a number from 0 to 23"))?;
        let digest: Digest32 = digest
            .to_ascii_lowercase()
            .parse()
            .map_err(|e| value(path, key, format!("{e}, as a SHA-256 PCR is")))?;
        pcrs.insert(number, digest);
    }
    if pcrs.is_empty() {
        let key = format!("image.{name}.pcrs.sha256");
        return Err(value(
            path,
            key,
            "an image without PCRs would match every boot",
        ));
    }
    let valid_until = entry
        .valid_until
        .map(|text| {
            text.parse::<Timestamp>().map_err(|e| {
                let problem = format!("{e}; write it as \"2027-11-01T00:00:00Z\"");
                value(path, format!("image.{name}.valid_until"), problem)
            })
        })
        .transpose()?;
    Ok(Image {
        name,
        valid_until,
        pcrs,
    })
}

fn volume_policy(
    path: &Path,
    name: &str,
    entry: VolumePolicyEntry,
) -> Result<VolumePolicy, PolicyError> {
    let key = |field: &str| format!("volume-policy.{name}.{field}");
    if let Some(pcr) = entry.pcrs_pre_cap.iter().find(|pcr| **pcr > LAST_PCR) {
        let problem = format!("{pcr} is no PCR; they are numbered 0 to 23");
        return Err(value(path, key("pcrs_pre_cap"), problem));
    }
    let instances = entry
        .instances
        .iter()
        .map(|text| text.parse::<Digest32>())
        .collect::<Result<BTreeSet<_>, _>>()
        .map_err(|e| value(path, key("instances"), e.to_string()))?;
    Ok(VolumePolicy {
        trust_class: entry.trust_class,
        images: entry.images,
        pcrs_pre_cap: entry.pcrs_pre_cap.into_iter().collect(),
        enrol: entry.enrol,
        rollback: entry.rollback,
        instances,
    })
}

fn references(path: &Path, policy: &Policy) -> Result<(), PolicyError> {
    for (name, volume_policy) in &policy.volume_policies {
        if let Some(image) = volume_policy
            .images
            .iter()
            .find(|image| !policy.images.contains_key(*image))
        {
            return Err(PolicyError::UnknownImage {
                path: path.to_owned(),
                policy: name.clone(),
                image: image.clone(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::{FILE, parse};
    use super::*;

    #[test]
    fn reads_the_documented_file() {
        let policy = parse(FILE).unwrap();
        let state = &policy.volume_policies["state"];
        assert_eq!(state.images, ["node-2026-11"]);
        assert_eq!(state.rollback, Rollback::Refuse);
        assert_eq!(policy.images["node-2026-11"].pcrs.len(), 3);
        assert_eq!(policy.roots.tpm_ek.len(), 1);
    }

    #[test]
    fn refuses_unknown_fields_everywhere() {
        for (at, extra) in [
            ("version = 1", "surprise = 1\nversion = 1"),
            ("[roots]", "[roots]\nsnp = []"),
            ("[[image]]", "[[image]]\npcr = 4"),
            (
                "[image.pcrs.sha256]",
                "[image.pcrs.sha1]\n4 = \"00\"\n[image.pcrs.sha256]",
            ),
            ("enrol =", "enroll = \"never\"\nenrol ="),
        ] {
            let bent = FILE.replacen(at, extra, 1);
            assert!(
                matches!(parse(&bent), Err(PolicyError::Syntax { .. })),
                "{extra}"
            );
        }
    }

    #[test]
    fn refuses_missing_roots() {
        let none = FILE.replacen("[roots]\ntpm_ek = [\"ek-ca.pem\"]", "", 1);
        assert!(matches!(parse(&none), Err(PolicyError::Syntax { .. })));
        let no_list = FILE.replacen("tpm_ek = [\"ek-ca.pem\"]", "", 1);
        assert!(matches!(parse(&no_list), Err(PolicyError::Syntax { .. })));
    }

    #[test]
    fn refuses_roots_that_cannot_be_read_or_hold_no_certificate() {
        let absent = FILE.replacen("ek-ca.pem", "absent.pem", 1);
        assert!(matches!(parse(&absent), Err(PolicyError::Read { .. })));
        let empty = FILE.replacen("ek-ca.pem", "empty.pem", 1);
        assert!(matches!(
            parse(&empty),
            Err(PolicyError::Value { key, .. }) if key == "roots.tpm_ek"
        ));
    }

    #[test]
    fn refuses_missing_fields_without_guessing() {
        for line in FILE.lines().filter(|l| {
            [
                "trust_class",
                "images",
                "pcrs_pre_cap",
                "enrol",
                "rollback",
                "version",
            ]
            .iter()
            .any(|key| l.starts_with(key))
        }) {
            let bent = FILE.replacen(line, "", 1);
            assert!(
                matches!(parse(&bent), Err(PolicyError::Syntax { .. })),
                "{line}"
            );
        }
    }

    #[test]
    fn refuses_bad_hex_and_bad_pcr_numbers() {
        for (at, bent) in [
            ("4 = \"4444", "4 = \"zz44"),
            ("4 = \"4444", "4 = \"44"),
            ("\n4 = ", "\n24 = "),
            ("\n4 = ", "\n04 = "),
        ] {
            let text = FILE.replacen(at, bent, 1);
            assert!(
                matches!(parse(&text), Err(PolicyError::Value { key, .. }) if key.starts_with("image.node-2026-11.pcrs.sha256.")),
                "{bent}"
            );
        }
    }

    #[test]
    fn refuses_duplicate_image() {
        let (_, image) = FILE.split_once("[[image]]").unwrap();
        let (image, _) = image.split_once("[volume-policy").unwrap();
        let twice = format!("{FILE}\n[[image]]{image}");
        assert!(matches!(
            parse(&twice),
            Err(PolicyError::DuplicateImage { name, .. }) if name == "node-2026-11"
        ));
    }

    #[test]
    fn refuses_unknown_image_reference() {
        let bent = FILE.replacen("images = [\"node-2026-11\"]", "images = [\"node-2027\"]", 1);
        assert!(matches!(
            parse(&bent),
            Err(PolicyError::UnknownImage { image, .. }) if image == "node-2027"
        ));
    }

    #[test]
    fn refuses_another_version() {
        let bent = FILE.replacen("version = 1", "version = 2", 1);
        assert!(matches!(
            parse(&bent),
            Err(PolicyError::Version { found: 2, .. })
        ));
    }

    #[test]
    fn refuses_image_without_pcrs_bad_date_and_bad_instance() {
        let no_pcrs = FILE
            .lines()
            .filter(|l| !l.starts_with(|c: char| c.is_ascii_digit()))
            .collect::<Vec<_>>()
            .join("\n");
        assert!(matches!(parse(&no_pcrs), Err(PolicyError::Value { .. })));
        let date = FILE.replacen("2027-11-01T00:00:00Z", "next year", 1);
        assert!(matches!(
            parse(&date),
            Err(PolicyError::Value { key, .. }) if key.ends_with("valid_until")
        ));
        let instance = FILE.replacen("instances = []", "instances = [\"12\"]", 1);
        assert!(matches!(
            parse(&instance),
            Err(PolicyError::Value { key, .. }) if key.ends_with("instances")
        ));
    }
}
