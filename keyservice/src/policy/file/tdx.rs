//! `[platform.NAME.tdx]`: rules for TDX hosts and how their TDs are launched.

use super::{PolicyError, bytes};
use dawnkey_attest::bytes::Bytes;
use dawnkey_attest::tdx::{Flag, TcbStatus, TdxPolicy};
use jiff::SignedDuration;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    #[serde(default = "up_to_date")]
    allowed_tcb_status: BTreeSet<TcbStatus>,
    out_of_date_grace_days: Option<u16>,
    accepted_advisories: Option<BTreeSet<String>>,
    min_tcb_evaluation_data_number: Option<u32>,
    min_tee_tcb_svn: Option<String>,
    ppids: Option<Vec<String>>,
    #[serde(default = "yes")]
    require_sept_ve_disable: bool,
    #[serde(default)]
    allow_debug: bool,
    #[serde(default)]
    allow_service_td: bool,
    #[serde(default = "forbidden")]
    migratable: Rule,
    #[serde(default = "any")]
    pks: Rule,
    #[serde(default = "any")]
    key_locker: Rule,
    #[serde(default = "any")]
    perfmon: Rule,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Rule {
    Any,
    Required,
    Forbidden,
}

fn up_to_date() -> BTreeSet<TcbStatus> {
    BTreeSet::from([TcbStatus::UpToDate])
}

fn yes() -> bool {
    true
}

fn forbidden() -> Rule {
    Rule::Forbidden
}

fn any() -> Rule {
    Rule::Any
}

pub(super) fn read(path: &Path, at: &str, entry: Entry) -> Result<TdxPolicy, PolicyError> {
    let key = |field: &str| format!("{at}.tdx.{field}");
    let min_tee_tcb_svn = match &entry.min_tee_tcb_svn {
        Some(text) => Some(Bytes(bytes(path, &key("min_tee_tcb_svn"), text)?)),
        None => None,
    };
    let platforms = match &entry.ppids {
        Some(texts) => Some(ppids(path, &key("ppids"), texts)?),
        None => None,
    };
    let days = |days: u16| SignedDuration::from_hours(24 * i64::from(days));
    Ok(TdxPolicy {
        allow_debug: entry.allow_debug,
        allow_service_td: entry.allow_service_td,
        require_sept_ve_disable: entry.require_sept_ve_disable,
        migratable: flag(entry.migratable),
        pks: flag(entry.pks),
        key_locker: flag(entry.key_locker),
        perfmon: flag(entry.perfmon),
        allowed_tcb_status: entry.allowed_tcb_status,
        out_of_date_grace: entry.out_of_date_grace_days.map(days),
        accepted_advisories: entry.accepted_advisories,
        min_tcb_evaluation_data_number: entry.min_tcb_evaluation_data_number,
        min_tee_tcb_svn,
        platforms,
        ..TdxPolicy::default()
    })
}

fn ppids(path: &Path, key: &str, texts: &[String]) -> Result<BTreeSet<Bytes<16>>, PolicyError> {
    texts
        .iter()
        .map(|text| bytes(path, key, text).map(Bytes))
        .collect()
}

fn flag(rule: Rule) -> Flag {
    match rule {
        Rule::Any => Flag::Any,
        Rule::Required => Flag::Required,
        Rule::Forbidden => Flag::Forbidden,
    }
}
