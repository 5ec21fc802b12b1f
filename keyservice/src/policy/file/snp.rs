//! `[platform.NAME.snp]`: rules for SEV-SNP hosts and how their guests are launched.

use super::names::{GuestBit, PlatformBit, guest_mask, platform_mask};
use super::{PolicyError, value};
use dawnkey_attest::snp::policy::{SnpPolicy, TcbFloors};
use dawnkey_attest::snp::product::Product;
use dawnkey_attest::snp::report::FirmwareVersion;
use dawnkey_attest::snp::tcb::TcbFloor;
use dawnkey_attest::snp::vek::VekKind;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Highest privilege level number.
const LAST_VMPL: u8 = 3;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    products: Vec<Product>,
    #[serde(default)]
    tcb: BTreeMap<String, Floors>,
    #[serde(default = "vcek")]
    signing_keys: Vec<Key>,
    chips: Option<Vec<String>>,
    csp_ids: Option<Vec<String>>,
    #[serde(default)]
    max_vmpl: u8,
    #[serde(default = "first_version")]
    min_report_version: u32,
    min_firmware: Option<FirmwareVersion>,
    #[serde(default)]
    guest_policy_required: Vec<GuestBit>,
    #[serde(default)]
    guest_policy_forbidden: Vec<GuestBit>,
    #[serde(default)]
    platform_info_required: Vec<PlatformBit>,
    #[serde(default)]
    platform_info_forbidden: Vec<PlatformBit>,
    #[serde(default)]
    launch_mitigations: u64,
    #[serde(default)]
    current_mitigations: u64,
    #[serde(default)]
    require_smt_off: bool,
    #[serde(default)]
    require_single_socket: bool,
    #[serde(default)]
    allow_debug: bool,
    #[serde(default)]
    allow_migration_agent: bool,
    #[serde(default)]
    allow_provisional_firmware: bool,
    #[serde(default)]
    allow_masked_chip_id: bool,
    #[serde(default)]
    allow_unknown_cpu: bool,
    #[serde(default)]
    allow_reserved: bool,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Key {
    Vcek,
    Vlek,
}

fn vcek() -> Vec<Key> {
    vec![Key::Vcek]
}

fn first_version() -> u32 {
    2
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Floors {
    reported: Option<Floor>,
    committed: Option<Floor>,
    current: Option<Floor>,
    launch: Option<Floor>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Floor {
    fmc: Option<u8>,
    boot_loader: Option<u8>,
    tee: Option<u8>,
    snp: Option<u8>,
    microcode: Option<u8>,
}

pub(super) fn read(path: &Path, at: &str, entry: Entry) -> Result<SnpPolicy, PolicyError> {
    let key = |field: &str| format!("{at}.snp.{field}");
    if entry.products.is_empty() {
        return Err(value(path, key("products"), "names no product line"));
    }
    if entry.max_vmpl > LAST_VMPL {
        let problem = "is above 3, the least privileged level of a guest";
        return Err(value(path, key("max_vmpl"), problem));
    }
    let floors = floors(path, at, &entry)?;
    let chip_ids = match &entry.chips {
        Some(texts) => Some(chips(path, &key("chips"), texts)?),
        None => None,
    };
    Ok(SnpPolicy {
        allow_debug: entry.allow_debug,
        allow_migration_agent: entry.allow_migration_agent,
        max_vmpl: entry.max_vmpl,
        signing_keys: entry.signing_keys.iter().map(|key| kind(*key)).collect(),
        allow_provisional_firmware: entry.allow_provisional_firmware,
        allow_masked_chip_id: entry.allow_masked_chip_id,
        allow_unknown_cpu: entry.allow_unknown_cpu,
        allow_reserved: entry.allow_reserved,
        products: Some(entry.products),
        min_report_version: entry.min_report_version,
        floors,
        min_firmware: entry.min_firmware,
        require_smt_off: entry.require_smt_off,
        require_single_socket: entry.require_single_socket,
        guest_policy_set: guest_mask(&entry.guest_policy_required),
        guest_policy_clear: guest_mask(&entry.guest_policy_forbidden),
        platform_info_set: platform_mask(&entry.platform_info_required),
        platform_info_clear: platform_mask(&entry.platform_info_forbidden),
        launch_mitigations: entry.launch_mitigations,
        current_mitigations: entry.current_mitigations,
        chip_ids,
        csp_ids: entry.csp_ids,
        ..SnpPolicy::default()
    })
}

fn kind(key: Key) -> VekKind {
    match key {
        Key::Vcek => VekKind::Vcek,
        Key::Vlek => VekKind::Vlek,
    }
}

fn floors(path: &Path, at: &str, entry: &Entry) -> Result<Vec<TcbFloors>, PolicyError> {
    let floor = |floor: &Option<Floor>| match floor {
        Some(floor) => TcbFloor {
            fmc: floor.fmc,
            boot_loader: floor.boot_loader,
            tee: floor.tee,
            snp: floor.snp,
            microcode: floor.microcode,
        },
        None => TcbFloor::default(),
    };
    let mut all = Vec::new();
    for (name, floors) in &entry.tcb {
        let product = Product::from_certificate_name(name);
        let Some(product) = product.filter(|product| entry.products.contains(product)) else {
            let problem = "is not one of `products`";
            return Err(value(path, format!("{at}.snp.tcb.{name}"), problem));
        };
        all.push(TcbFloors {
            product: Some(product),
            reported: floor(&floors.reported),
            committed: floor(&floors.committed),
            current: floor(&floors.current),
            launch: floor(&floors.launch),
        });
    }
    Ok(all)
}

fn chips(path: &Path, key: &str, texts: &[String]) -> Result<Vec<Vec<u8>>, PolicyError> {
    let mut all = Vec::new();
    for text in texts {
        let id = hex::decode(text)
            .ok()
            .filter(|id| matches!(id.len(), 8 | 64));
        let problem = "a chip id has 64 bytes in hex, or 8 from Turin on";
        all.push(id.ok_or_else(|| value(path, key.to_owned(), problem))?);
    }
    Ok(all)
}
