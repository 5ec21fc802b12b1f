//! Records on their way to another store or service: exported as they are kept, DEKs wrapped, and imported create-only.
//!
//! A volume is either copied or handed over. A copy is a backup: importing it says that the service that made it is gone.
//! Handing over first marks the volume as moved to one named service, and only then gives its record out: from the
//! mark on this service releases no key of it, and only the named one imports it, so that at no time two services
//! release. What was marked stays: an export that broke off is repeated, to the same service.
//!
//! Beside each wrapped DEK goes a check value, HMAC-SHA256 under the DEK over its purpose. It tells nothing about the
//! DEK, and proves to the importing service that its KEK gives the same one: a volume is refused before its disk is.

use super::Desk;
use super::operator::{AdminError, entry, found};
use crate::approval::Approval;
use crate::server::Operator;
use crate::volume::{Digest32, Moved, VolumeRecord};
use dawnkey_kek::Aad;
use dawnkey_proto::message::printable;
use dawnkey_store::{StoreError, Table};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Most records of one call.
pub const MAX_RECORDS: usize = 64;
const CHECK: &[u8] = b"dawnkey dek check v1";

/// One exported record: one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// The service that exported it.
    from: Uuid,
    /// The service that it was handed to; absent in copies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<Uuid>,
    table: String,
    #[serde(with = "hex::serde")]
    key: Vec<u8>,
    record: serde_json::Value,
    /// Of a volume's DEKs, by epoch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    checks: Vec<Check>,
}

/// Proves that a KEK gives the same DEK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    epoch: u32,
    #[serde(with = "hex::serde")]
    mac: [u8; 32],
}

/// What became of imported records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    /// Created; in a dry run, those that would be.
    pub created: u32,
    /// There since an earlier run.
    pub present: u32,
}

/// How records are imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Import {
    /// Look, and change nothing.
    pub dry_run: bool,
    /// Take copies too.
    pub restore: bool,
}

fn invalid<T>(problem: String) -> Result<T, AdminError> {
    Err(AdminError::Invalid(problem))
}

/// The tables that are exported: all but those that belong to a service rather than to what it keeps.
fn table(name: &str) -> Result<Table, AdminError> {
    let known = Table::ALL
        .into_iter()
        .find(|table| *table != Table::Ring && table.name() == name);
    known.ok_or_else(|| AdminError::Invalid(format!("there is no table `{}`", printable(name))))
}

impl Desk {
    /// Keys of a table's records, in their order.
    pub async fn record_keys(&self, name: &str) -> Result<Vec<Vec<u8>>, AdminError> {
        let keys = self.records.keys_of(table(name)?).await;
        keys.map_err(AdminError::Store)
    }

    /// Records as lines. With `to`, volumes are handed over to that service first.
    pub async fn export_records(
        &self,
        operator: &Operator,
        name: &str,
        keys: &[Vec<u8>],
        to: Option<Uuid>,
    ) -> Result<Vec<String>, AdminError> {
        let table = table(name)?;
        if keys.len() > MAX_RECORDS {
            return invalid(format!("{} records; at most {MAX_RECORDS}", keys.len()));
        }
        if to == Some(self.service_id) {
            return invalid(
                "that is this service itself; name the one that shall have the volumes".into(),
            );
        }
        let entry = entry("export-records", operator)
            .with("table", table.name())
            .with("records", keys.len() as u64)
            .with_some("to", to.map(|to| to.to_string()));
        self.audit.append(entry).await?;
        let mut lines = Vec::new();
        for key in keys {
            let line = match table {
                Table::Volumes => self.volume_line(operator, key, to).await?,
                other => Line {
                    from: self.service_id,
                    to,
                    table: other.name().to_owned(),
                    key: key.clone(),
                    record: self
                        .records
                        .raw(other, key)
                        .await
                        .map_err(AdminError::Store)?,
                    checks: Vec::new(),
                },
            };
            lines.push(text(&line)?);
        }
        Ok(lines)
    }

    async fn volume_line(
        &self,
        operator: &Operator,
        key: &[u8],
        to: Option<Uuid>,
    ) -> Result<Line, AdminError> {
        let Ok(id) = Uuid::from_slice(key) else {
            return invalid(format!("a volume's key has 16 bytes, not {}", key.len()));
        };
        let mut record = match to {
            Some(to) => self.hand_over(operator, id, to).await?,
            None => self.show_volume(id).await?,
        };
        if let (None, Some(moved)) = (to, &record.moved) {
            return Err(moved_to(id, moved.to));
        }
        let mut checks = Vec::new();
        for dek in &record.deks {
            let mac = self.dek_check(operator, &record, dek.epoch).await?;
            let mac = mac.finalize().into_bytes().into();
            checks.push(Check {
                epoch: dek.epoch,
                mac,
            });
        }
        record.moved = None;
        record.origin = None;
        Ok(Line {
            from: self.service_id,
            to,
            table: Table::Volumes.name().to_owned(),
            key: key.to_vec(),
            record: value(&record)?,
            checks,
        })
    }

    /// The check value of a DEK, not finished yet.
    async fn dek_check(
        &self,
        operator: &Operator,
        record: &VolumeRecord,
        epoch: u32,
    ) -> Result<Hmac<Sha256>, AdminError> {
        let approval = Approval::for_operator(record, epoch, operator);
        let dek = self.ring.dek(approval, &record.deks).await?;
        let mac = Hmac::<Sha256>::new_from_slice(dek.expose());
        let mut mac = mac.map_err(|e| AdminError::Invalid(e.to_string()))?;
        mac.update(CHECK);
        mac.update(&Aad::new(record.id, epoch).bytes());
        Ok(mac)
    }

    /// Marks a volume as moved. One that was marked for the same service before is as it was then.
    async fn hand_over(
        &self,
        operator: &Operator,
        id: Uuid,
        to: Uuid,
    ) -> Result<VolumeRecord, AdminError> {
        let record = self.show_volume(id).await?;
        match &record.moved {
            Some(moved) if moved.to == to => return Ok(record),
            Some(moved) => return Err(moved_to(id, moved.to)),
            None => {}
        }
        let entry = entry("hand-over-volume", operator).with("to", to.to_string());
        let moved = Moved { to, at: self.now() };
        self.change(id, entry, |record| {
            let mut after = record.clone();
            after.moved = Some(moved.clone());
            Ok(after)
        })
        .await
    }

    /// Takes lines of an export over. The first that cannot be taken ends it; those before it are in.
    pub async fn import_records(
        &self,
        operator: &Operator,
        lines: &[String],
        how: Import,
    ) -> Result<Imported, AdminError> {
        if lines.len() > MAX_RECORDS {
            return invalid(format!("{} records; at most {MAX_RECORDS}", lines.len()));
        }
        let mut imported = Imported::default();
        for text in lines {
            let line: Line = serde_json::from_str(text)
                .map_err(|e| AdminError::Invalid(format!("a line is no exported record: {e}")))?;
            self.addressed(&line, how)?;
            let created = match table(&line.table)? {
                Table::Volumes => self.import_volume(operator, line, text, how).await?,
                other => self.import_other(operator, other, &line, how).await?,
            };
            match created {
                true => imported.created += 1,
                false => imported.present += 1,
            }
        }
        Ok(imported)
    }

    /// Only who was named takes what was handed over; copies only where their service is gone.
    fn addressed(&self, line: &Line, how: Import) -> Result<(), AdminError> {
        match line.to {
            Some(to) if to == self.service_id => Ok(()),
            Some(to) => invalid(format!(
                "the export was handed over to service {to}; this is service {}",
                self.service_id
            )),
            None if how.restore => Ok(()),
            None => invalid(format!(
                "the export is a copy, and service {} may still release the same volumes: hand them over with `dawnkey store export --hand-over-to`, or import with --restore if that service is gone for ever",
                line.from
            )),
        }
    }

    /// Whether the volume was created; it was not if an earlier run has imported the same line.
    async fn import_volume(
        &self,
        operator: &Operator,
        line: Line,
        text: &str,
        how: Import,
    ) -> Result<bool, AdminError> {
        let mut record: VolumeRecord = serde_json::from_value(line.record)
            .map_err(|e| AdminError::Invalid(format!("a volume is not one: {e}")))?;
        let id = record.id;
        if line.key != id.as_bytes() || record.moved.is_some() || record.origin.is_some() {
            return invalid(format!("volume {id} does not stand where it belongs"));
        }
        let origin = Digest32(Sha256::digest(text).into());
        match self.records.volume(id).await {
            Ok(known) if known.record.origin == Some(origin) => return Ok(false),
            Ok(_) => return Err(AdminError::Exists(id)),
            Err(StoreError::Missing { .. }) => {}
            Err(other) => return Err(AdminError::Store(other)),
        }
        if !self.policy().volume_policies.contains_key(&record.policy) {
            return invalid(format!(
                "volume {id}: the policy file has no [volume-policy.{}]",
                printable(&record.policy)
            ));
        }
        for dek in &record.deks {
            let check = line.checks.iter().find(|check| check.epoch == dek.epoch);
            let Some(check) = check else {
                return invalid(format!(
                    "volume {id}: no check value of epoch {}",
                    dek.epoch
                ));
            };
            let mac = self.dek_check(operator, &record, dek.epoch).await?;
            mac.verify_slice(&check.mac).map_err(|_| {
                AdminError::State(format!(
                    "volume {id}: the KEK of this service gives another DEK for epoch {}; configure the KEK that service {} has",
                    dek.epoch, line.from
                ))
            })?;
        }
        if how.dry_run {
            return Ok(true);
        }
        let entry = entry("import-volume", operator)
            .with("volume", id.to_string())
            .with("from", line.from.to_string())
            .with("generation", record.confirmed)
            .with("fencing", record.fencing)
            .with_some("handed_over", line.to.map(|_| true));
        self.audit.append(entry).await?;
        record.origin = Some(origin);
        let created = self.records.create_volume(&record).await;
        created.map(|()| true).map_err(found(id))
    }

    /// Whether a record of another table was created; it was not if the same one is there.
    async fn import_other(
        &self,
        operator: &Operator,
        table: Table,
        line: &Line,
        how: Import,
    ) -> Result<bool, AdminError> {
        match self.records.raw(table, &line.key).await {
            Ok(known) if known == line.record => return Ok(false),
            Ok(_) => {
                return Err(AdminError::State(format!(
                    "record {} is in {} already, and another one",
                    hex::encode(&line.key),
                    table.name()
                )));
            }
            Err(StoreError::Missing { .. }) => {}
            Err(other) => return Err(AdminError::Store(other)),
        }
        if how.dry_run {
            return Ok(true);
        }
        let entry = entry("import-record", operator)
            .with("table", table.name())
            .with("key", hex::encode(&line.key))
            .with("from", line.from.to_string());
        self.audit.append(entry).await?;
        let created = self
            .records
            .create_raw(table, &line.key, &line.record)
            .await;
        created.map(|()| true).map_err(AdminError::Store)
    }
}

pub(super) fn moved_to(id: Uuid, to: Uuid) -> AdminError {
    AdminError::State(format!("volume {id} was handed over to key service {to}"))
}

fn value<T: Serialize>(record: &T) -> Result<serde_json::Value, AdminError> {
    serde_json::to_value(record).map_err(|e| AdminError::Invalid(e.to_string()))
}

fn text(line: &Line) -> Result<String, AdminError> {
    serde_json::to_string(line).map_err(|e| AdminError::Invalid(e.to_string()))
}
