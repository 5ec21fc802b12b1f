//! Reading the policy file: unknown fields, duplicate names and dangling references are errors.

mod data_key;
mod image;
pub(super) mod names;
mod node;
mod roots;
mod snp;
mod tdx;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_node;
#[cfg(test)]
mod tests_tee;
mod volume;

use super::{NodeRef, Platform, Policy, PolicyError};
use dawnkey_attest::bytes::Bytes;
use dawnkey_attest::claims::TrustClass;
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// PCRs are numbered 0 to 23.
const LAST_PCR: u8 = 23;
/// RTMRs are numbered 0 to 3.
const LAST_RTMR: u8 = 3;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    roots: roots::Entry,
    #[serde(default)]
    image: Vec<image::Entry>,
    #[serde(default)]
    data_key: Vec<data_key::Entry>,
    #[serde(default)]
    node: Vec<node::Entry>,
    #[serde(default)]
    platform: BTreeMap<String, PlatformEntry>,
    #[serde(rename = "volume-policy", default)]
    volume_policy: BTreeMap<String, volume::Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlatformEntry {
    snp: Option<snp::Entry>,
    tdx: Option<tdx::Entry>,
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
        let platforms = file.platform.into_iter();
        let volume_policies = file.volume_policy.into_iter();
        let policy = Self {
            digest: hex::encode(Sha256::digest(text)),
            roots: roots::read(path, &file.roots)?,
            images: image::read_all(path, file.image)?,
            platforms: platforms
                .map(|(name, entry)| Ok((name.clone(), platform(path, &name, entry)?)))
                .collect::<Result<_, PolicyError>>()?,
            data_keys: data_key::read_all(path, file.data_key)?,
            nodes: node::read_all(path, file.node)?,
            volume_policies: volume_policies
                .map(|(name, entry)| Ok((name.clone(), volume::read(path, &name, entry)?)))
                .collect::<Result<_, PolicyError>>()?,
        };
        references(path, &policy)?;
        Ok(policy)
    }
}

fn platform(path: &Path, name: &str, entry: PlatformEntry) -> Result<Platform, PolicyError> {
    let at = format!("platform.{name}");
    match (entry.snp, entry.tdx) {
        (Some(snp), None) => Ok(Platform::Snp(Box::new(snp::read(path, &at, snp)?))),
        (None, Some(tdx)) => Ok(Platform::Tdx(Box::new(tdx::read(path, &at, tdx)?))),
        _ => Err(value(
            path,
            at,
            "must have either an `snp` or a `tdx` table: one platform is of one kind",
        )),
    }
}

fn value(path: &Path, key: String, problem: impl Into<String>) -> PolicyError {
    PolicyError::Value {
        path: path.to_owned(),
        key,
        problem: problem.into(),
    }
}

/// `N` bytes in hex.
fn bytes<const N: usize>(path: &Path, key: &str, text: &str) -> Result<[u8; N], PolicyError> {
    let found = Bytes::<N>::from_hex(text).map(|bytes| bytes.0);
    found.ok_or_else(|| {
        let shown: String = text.chars().take(2 * N + 8).collect();
        let problem = format!("`{shown}` is not {N} bytes in hex, {} digits", 2 * N);
        value(path, key.to_owned(), problem)
    })
}

fn time(path: &Path, key: String, text: &str) -> Result<Timestamp, PolicyError> {
    text.parse().map_err(|e| {
        let problem = format!("{e}; write it as \"2027-11-01T00:00:00Z\"");
        value(path, key, problem)
    })
}

fn references(path: &Path, policy: &Policy) -> Result<(), PolicyError> {
    for (name, rules) in &policy.volume_policies {
        let image = |image: &&String| !policy.images.contains_key(*image);
        if let Some(image) = rules.images.iter().find(image) {
            return Err(PolicyError::UnknownImage {
                path: path.to_owned(),
                policy: name.clone(),
                image: image.clone(),
            });
        }
        let unknown = |node: &&NodeRef| !policy.nodes.values().any(|rule| node.names(rule));
        if let Some(node) = rules.nodes.iter().find(unknown) {
            return Err(PolicyError::UnknownNode {
                path: path.to_owned(),
                policy: name.clone(),
                node: node.to_string(),
            });
        }
        let platform = |platform: &&String| !policy.platforms.contains_key(*platform);
        if let Some(platform) = rules.platforms.iter().find(platform) {
            return Err(PolicyError::UnknownPlatform {
                path: path.to_owned(),
                policy: name.clone(),
                platform: platform.clone(),
            });
        }
        let tdx = |name: &String| matches!(policy.platforms.get(name), Some(Platform::Tdx(_)));
        if rules.trust_class == TrustClass::Tee
            && rules.platforms.iter().any(tdx)
            && rules.rtmrs_pre_cap.is_none()
        {
            let key = format!("volume-policy.{name}.rtmrs_pre_cap");
            let problem = "must be given where a TDX platform is listed; [3] is what agents cap";
            return Err(value(path, key, problem));
        }
    }
    Ok(())
}
