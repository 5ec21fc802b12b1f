//! `[[node]]`: what a machine is known by.

use super::{PolicyError, bytes, value};
use crate::policy::NodeRule;
use crate::policy::identity::hashed;
use crate::volume::Digest32;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use uuid::Uuid;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    name: String,
    #[serde(default)]
    labels: BTreeSet<String>,
    /// As `dawnkey node list` and `dawnkey instance list` show it.
    instance: Option<String>,
    /// Of an SNP report or of the certificate of its endorsement key.
    chip_id: Option<String>,
    /// Of the PCK certificate of a TDX platform.
    ppid: Option<String>,
    /// SHA-256 of the SubjectPublicKeyInfo of the TPM's endorsement key.
    ek_sha256: Option<String>,
    /// Subject of the certificate of the TPM's endorsement key.
    ek_subject: Option<String>,
    /// SHA-256 of the SubjectPublicKeyInfo of an attestation key that a cloud certifies.
    ak_sha256: Option<String>,
    /// The same of the attestation key of an Azure vTPM.
    azure_ak_sha256: Option<String>,
    #[serde(default)]
    volumes: BTreeSet<Uuid>,
}

pub(super) fn read_all(
    path: &Path,
    entries: Vec<Entry>,
) -> Result<BTreeMap<String, NodeRule>, PolicyError> {
    let mut nodes = BTreeMap::new();
    for entry in entries {
        let rule = read(path, entry)?;
        if nodes.contains_key(&rule.name) {
            return Err(PolicyError::DuplicateNode {
                path: path.to_owned(),
                name: rule.name,
            });
        }
        nodes.insert(rule.name.clone(), rule);
    }
    Ok(nodes)
}

fn read(path: &Path, entry: Entry) -> Result<NodeRule, PolicyError> {
    let key = |field: &str| format!("node.{}.{field}", entry.name);
    if entry.name.is_empty() || entry.name.starts_with("label:") {
        let problem = "must be a name; `label:` begins what names a label";
        return Err(value(path, "node.name".into(), problem));
    }
    let mut instances = BTreeSet::new();
    for (field, given) in [
        ("instance", &entry.instance),
        ("ek_sha256", &entry.ek_sha256),
    ] {
        if let Some(text) = given {
            instances.insert(Digest32(bytes::<32>(path, &key(field), text)?));
        }
    }
    if let Some(text) = &entry.chip_id {
        let chip = bytes::<64>(path, &key("chip_id"), text)?;
        instances.insert(hashed("snp-chip", &chip));
    }
    if let Some(text) = &entry.ppid {
        let ppid = bytes::<16>(path, &key("ppid"), text)?;
        instances.insert(hashed("tdx-platform", &ppid));
    }
    if let Some(text) = &entry.ak_sha256 {
        let ak = bytes::<32>(path, &key("ak_sha256"), text)?;
        instances.insert(hashed("tpm-ak", &ak));
    }
    if let Some(text) = &entry.azure_ak_sha256 {
        let ak = bytes::<32>(path, &key("azure_ak_sha256"), text)?;
        instances.insert(hashed("azure-vtpm", &ak));
    }
    let subjects: BTreeSet<String> = entry.ek_subject.into_iter().collect();
    if instances.is_empty() && subjects.is_empty() {
        let problem = "is known by nothing; give one of `instance`, `chip_id`, `ppid`, `ek_sha256`, `ek_subject`, `ak_sha256`, `azure_ak_sha256`";
        return Err(value(path, format!("node.{}", entry.name), problem));
    }
    Ok(NodeRule {
        name: entry.name,
        labels: entry.labels,
        instances,
        subjects,
        volumes: entry.volumes,
    })
}
