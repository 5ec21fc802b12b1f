//! `[volume-policy.NAME]`: what a volume demands.

use super::{LAST_PCR, LAST_RTMR, PolicyError, value};
use crate::policy::{Approval, Enrol, NodeRef, Owner, Reopening, VolumePolicy};
use crate::release::Rollback;
use crate::volume::Digest32;
use dawnkey_attest::claims::TrustClass;
use dawnkey_proto::message::OnLoss;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    trust_class: TrustClass,
    images: Vec<String>,
    #[serde(default)]
    platforms: Vec<String>,
    pcrs_pre_cap: Option<Vec<u8>>,
    rtmrs_pre_cap: Option<Vec<u8>>,
    enrol: Option<Enrol>,
    rollback: Rollback,
    #[serde(default)]
    owner: Owner,
    #[serde(default)]
    instances: Vec<String>,
    #[serde(default)]
    nodes: Vec<String>,
    #[serde(default)]
    approval: Approval,
    #[serde(default)]
    hold: bool,
    on_loss: Option<String>,
    #[serde(default)]
    reopen: Reopening,
    #[serde(default)]
    adopted: bool,
    #[serde(default = "yes")]
    cache_dek: bool,
}

const fn yes() -> bool {
    true
}

pub(super) fn read(path: &Path, name: &str, entry: Entry) -> Result<VolumePolicy, PolicyError> {
    let key = |field: &str| format!("volume-policy.{name}.{field}");
    let registers = |field: &str, list: Option<Vec<u8>>, last: u8| match list {
        Some(list) => match list.iter().find(|n| **n > last) {
            Some(n) => {
                let problem = format!("{n} is none; they are numbered 0 to {last}");
                Err(value(path, key(field), problem))
            }
            None => Ok(Some(list.into_iter().collect::<BTreeSet<_>>())),
        },
        None => Ok(None),
    };
    let missing = |field: &str| {
        let class = entry.trust_class;
        let problem = format!("is missing; trust class {class} needs it");
        value(path, key(field), problem)
    };
    let pcrs = registers("pcrs_pre_cap", entry.pcrs_pre_cap, LAST_PCR)?;
    let rtmrs_pre_cap = registers("rtmrs_pre_cap", entry.rtmrs_pre_cap, LAST_RTMR)?;
    let pcrs_pre_cap = match (pcrs, entry.trust_class) {
        (Some(pcrs), _) => pcrs,
        (None, TrustClass::Tee) => BTreeSet::new(),
        (None, TrustClass::TeeVtpm | TrustClass::Hypervisor) => {
            return Err(missing("pcrs_pre_cap"));
        }
    };
    let enrol = match (entry.enrol, entry.trust_class) {
        (Some(enrol), _) => enrol,
        (None, TrustClass::Tee | TrustClass::TeeVtpm) => Enrol::Never,
        (None, TrustClass::Hypervisor) => return Err(missing("enrol")),
    };
    let instances = entry
        .instances
        .iter()
        .map(|text| text.parse::<Digest32>())
        .collect::<Result<BTreeSet<_>, _>>()
        .map_err(|e| value(path, key("instances"), e.to_string()))?;
    let on_loss = entry.on_loss.map(|text| {
        OnLoss::named(&text).ok_or_else(|| {
            let known = OnLoss::ALL.map(OnLoss::name).join("\", \"");
            let problem = format!("\"{text}\" is none; it is one of \"{known}\"");
            value(path, key("on_loss"), problem)
        })
    });
    Ok(VolumePolicy {
        trust_class: entry.trust_class,
        images: entry.images,
        platforms: entry.platforms,
        pcrs_pre_cap,
        rtmrs_pre_cap,
        enrol,
        rollback: entry.rollback,
        owner: entry.owner,
        instances,
        nodes: entry.nodes.iter().map(|text| NodeRef::read(text)).collect(),
        approval: entry.approval,
        hold: entry.hold,
        on_loss: on_loss.transpose()?,
        reopen: entry.reopen,
        adopted: entry.adopted,
        cache_dek: entry.cache_dek,
    })
}
