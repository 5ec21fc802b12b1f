//! Without any key service: records of an export, a policy file, and the offline recovery key. The same judgement, in a
//! hash-chained log of its own.

use super::keeper::{Signing, Subject, refused};
use super::node::Channel;
use crate::evidence::Helpers;
use crate::files;
use crate::outcome::Failure;
use crate::store::file::Checked;
use clap::Args;
use dawnkey_kek::Aad;
use dawnkey_kek::recovery::RecoveryKey;
use dawnkey_keyservice::audit::{AuditLog, Entry, Settings};
use dawnkey_keyservice::evidence::{Presented, appraise};
use dawnkey_keyservice::nodes::NodeRecord;
use dawnkey_keyservice::policy::Policy;
use dawnkey_keyservice::recovery::{Case, Failed, Findings, enrolled_key, judge};
use dawnkey_keyservice::volume::{InstanceRecord, VolumeRecord};
use dawnkey_proto::recovery::WaitingVolume;
use dawnkey_proto::seal::{Purpose, Sealed, seal_recovery};
use dawnkey_secret::Dek;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// Records that are read at once.
const BATCH: u64 = 64;

/// What replaces a key service.
#[derive(Debug, Args)]
pub(super) struct OfflineArgs {
    /// Without a key service: records that `dawnkey store export` saved
    #[arg(long, value_name = "FILE", requires_all = ["policy", "recovery_key"])]
    offline_export: Option<PathBuf>,
    /// With --offline-export: the policy to judge by
    #[arg(long, value_name = "FILE", requires = "offline_export")]
    policy: Option<PathBuf>,
    /// With --offline-export: the private key that `dawnkey kek recovery new` made
    #[arg(long, value_name = "FILE", requires = "offline_export")]
    recovery_key: Option<PathBuf>,
    /// With --offline-export: the hash-chained log of what was given to whom
    #[arg(
        long,
        value_name = "FILE",
        default_value = "recovery.log",
        requires = "offline_export"
    )]
    log: PathBuf,
    #[command(flatten)]
    helpers: Helpers,
}

/// The files, read.
pub(super) struct Offline {
    policy: Policy,
    volumes: Vec<VolumeRecord>,
    instances: Vec<InstanceRecord>,
    nodes: Vec<NodeRecord>,
    key: RecoveryKey,
    helpers: Helpers,
    log: AuditLog,
}

#[derive(Deserialize)]
struct Line {
    table: String,
    record: serde_json::Value,
}

impl OfflineArgs {
    /// Reads the files; `None` if there is to be a key service.
    pub(super) fn open(self) -> Result<Option<Arc<Offline>>, Failure> {
        let (Some(export), Some(policy), Some(key)) =
            (&self.offline_export, &self.policy, &self.recovery_key)
        else {
            return Ok(None);
        };
        let text = files::read_text(policy, "the policy")?;
        let parsed = Policy::parse(policy, &text).map_err(|e| {
            let right = "a policy that `dawnkey policy lint` accepts";
            Failure::local(e, policy.display(), right)
        })?;
        let key = crate::kek::read_key(key)?;
        let log = AuditLog::open(&Settings::file(&self.log), &Arc::default())
            .map_err(|e| Failure::local(e, self.log.display(), "a log that can be continued"))?;
        let mut offline = Offline {
            policy: parsed,
            volumes: Vec::new(),
            instances: Vec::new(),
            nodes: Vec::new(),
            key,
            helpers: self.helpers,
            log,
        };
        offline.read(export)?;
        Ok(Some(Arc::new(offline)))
    }
}

impl Offline {
    fn read(&mut self, export: &Path) -> Result<(), Failure> {
        let mut lines = Checked::open(export)?;
        loop {
            let batch = lines.next(BATCH)?;
            if batch.is_empty() {
                return Ok(());
            }
            for text in batch {
                let line: Line = parsed(export, serde_json::from_str(&text))?;
                match line.table.as_str() {
                    "volumes" => self.volumes.push(record(export, line.record)?),
                    "instances" => self.instances.push(record(export, line.record)?),
                    "nodes" => self.nodes.push(record(export, line.record)?),
                    _ => {}
                }
            }
        }
    }

    /// Judges the node; the log has it.
    pub(super) fn look(&self, subject: &Subject<'_>) -> Result<Findings, Failure> {
        let (findings, ..) = self.judged(subject)?;
        let entry = self.entry("recover-looked", subject);
        self.write(with_findings(entry, &findings))?;
        Ok(findings)
    }

    /// Judges the node, opens the DEK and seals it to the node; the log has it first.
    pub(super) fn seal(&self, subject: &Subject<'_>, signing: Signing) -> Result<Sealed, Failure> {
        let (findings, waiting, volume) = self.judged(subject)?;
        let dek = self.dek(volume, waiting.seen.epoch)?;
        let purpose = Purpose {
            volume: volume.id,
            epoch: waiting.seen.epoch,
            generation: waiting.seen.generation,
        };
        let request = &subject.received.request;
        let (key, nonce) = (&request.hpke_public_key, &request.boot_nonce);
        let sealed = seal_recovery(key, &purpose, nonce, &dek)
            .map_err(|e| Failure::local(e, "the node's request", "a request of a node"))?;
        let entry = self
            .entry("recover", subject)
            .with("grant", signing.grant.to_string())
            .with("grant_key", signing.key.to_string());
        self.write(with_findings(entry, &findings))?;
        Ok(sealed)
    }

    fn judged<'a>(
        &'a self,
        subject: &Subject<'a>,
    ) -> Result<(Findings, &'a WaitingVolume, &'a VolumeRecord), Failure> {
        let id = subject.volume;
        let place = format!("volume {id}");
        let volume = self.volumes.iter().find(|volume| volume.id == id);
        let volume = volume.ok_or_else(|| {
            Failure::local(
                "judge the node: not in the export",
                &place,
                "a newer export",
            )
        })?;
        let waiting = subject.received.request.volume(id).ok_or_else(|| {
            let what = "judge the node: it does not wait for this volume";
            Failure::usage(what, &place, "a volume that the node's console names")
        })?;
        match self.case(subject, volume, waiting) {
            Ok(findings) => Ok((findings, waiting, volume)),
            Err(Judged::Failure(failure)) => Err(failure),
            Err(Judged::No(Failed { refusal, rule })) => {
                let entry = self
                    .entry("recover-refused", subject)
                    .with("reason", refusal.code())
                    .with("detail", refusal.detail.clone())
                    .with_some("rule", rule);
                self.write(entry)?;
                Err(refused(&refusal, id))
            }
        }
    }

    fn case(
        &self,
        subject: &Subject<'_>,
        record: &VolumeRecord,
        waiting: &WaitingVolume,
    ) -> Result<Findings, Judged> {
        let received = subject.received;
        let binder = match subject.channel {
            Channel::Connection(exporter, key) => received.binder(exporter, key),
            Channel::Text => received.text_binder(),
        };
        let now = Timestamp::now();
        let presented = Presented::read(&received.evidence)?;
        let roots = &self.policy.roots;
        let collateral = match presented.evidence() {
            Some(evidence) => self.helpers.collateral(evidence, roots, now)?,
            None => Default::default(),
        };
        let appraised = appraise(&presented, &binder, roots, &collateral, now)?;
        let enrolment = enrolled_key(&appraised).and_then(|key| {
            let mut known = self.instances.iter();
            known.find(|instance| instance.key_name == key)
        });
        let case = Case {
            policy: &self.policy,
            record,
            enrolment,
            waiting,
            appraised: &appraised,
            skew_seconds: 0,
            copied: true,
            now,
        };
        let passed = judge(&case, |id| {
            let known = self.nodes.iter().find(|node| node.instance == *id);
            known.map(|node| node.standing)
        })?;
        Ok(passed.findings)
    }

    fn dek(&self, volume: &VolumeRecord, epoch: u32) -> Result<Dek, Failure> {
        let place = format!("volume {} epoch {epoch}", volume.id);
        let sealed = volume.deks.iter().find(|dek| dek.epoch == epoch);
        let sealed = sealed.and_then(|dek| dek.recovery.as_ref()).ok_or_else(|| {
            Failure::local(
                "open the DEK: it was never sealed to a recovery key",
                &place,
                "an export made after kek.recovery_recipient was configured and `dawnkey kek rewrap` has ended",
            )
        })?;
        let dek = self.key.open(&sealed.sealed, &Aad::new(volume.id, epoch));
        dek.map_err(|e| {
            let right = format!("the private key of recipient {}", sealed.recipient);
            Failure::local(e, &place, right)
        })
    }

    fn entry(&self, event: &'static str, subject: &Subject<'_>) -> Entry {
        let request = &subject.received.request;
        let waiting = request.volume(subject.volume);
        Entry::new(event)
            .with("volume", subject.volume.to_string())
            .with("node_name", request.node_name.clone())
            .with("boot", hex::encode(request.boot().0))
            .with("policy", self.policy.digest.clone())
            .with_some("seen_generation", waiting.map(|w| w.seen.generation))
            .with_some("seen_epoch", waiting.map(|w| w.seen.epoch))
            .with_some("seen_header", waiting.map(|w| hex::encode(w.seen.digest)))
    }

    fn write(&self, entry: Entry) -> Result<(), Failure> {
        let failed = |e: &dyn std::fmt::Display| {
            Failure::local(
                e,
                "the recovery log",
                "a disk with room for it; no key was given",
            )
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.map_err(|e| failed(&e))?;
        runtime
            .block_on(self.log.append(entry))
            .map_err(|e| failed(&e))
    }
}

/// Why there is no yes.
enum Judged {
    No(Failed),
    Failure(Failure),
}

impl<T: Into<Failed>> From<T> for Judged {
    fn from(failed: T) -> Self {
        Self::No(failed.into())
    }
}

impl From<Failure> for Judged {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

fn record<T: DeserializeOwned>(export: &Path, value: serde_json::Value) -> Result<T, Failure> {
    parsed(export, serde_json::from_value(value))
}

fn parsed<T>(export: &Path, read: serde_json::Result<T>) -> Result<T, Failure> {
    read.map_err(|e| {
        let what = format!("read the export: {e}");
        Failure::local(what, export.display(), "an export of this version")
    })
}

/// A grant's id.
pub(super) fn grant_id() -> Uuid {
    Uuid::new_v4()
}

/// What was found out about a node that passed.
fn with_findings(entry: Entry, findings: &Findings) -> Entry {
    entry
        .with("instance", findings.instance.clone())
        .with("trust_class", findings.trust_class.clone())
        .with("image", findings.image.clone())
        .with("rule", findings.rule.clone())
        .with_some("warning", findings.warning.clone())
}
