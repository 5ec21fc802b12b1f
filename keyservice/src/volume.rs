//! What the service remembers: volumes, and the attestation keys that were enrolled.

use crate::kek::WrappedDek;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A SHA-256 digest, in hex wherever it is written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest32(pub [u8; 32]);

impl std::fmt::Display for Digest32 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::fmt::Debug for Digest32 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Text is not 64 lowercase hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not 64 lowercase hex digits")]
pub struct NotADigest(String);

impl std::str::FromStr for Digest32 {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let mut bytes = [0; 32];
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) if !text.bytes().any(|b| b.is_ascii_uppercase()) => Ok(Self(bytes)),
            _ => Err(NotADigest(text.chars().take(80).collect())),
        }
    }
}

impl TryFrom<String> for Digest32 {
    type Error = NotADigest;

    fn try_from(text: String) -> Result<Self, NotADigest> {
        text.parse()
    }
}

impl From<Digest32> for String {
    fn from(digest: Digest32) -> Self {
        digest.to_string()
    }
}

/// One machine: SHA-256 of the SubjectPublicKeyInfo of its TPM's endorsement key, or a hash of what names it by its kind
/// of evidence ([`crate::policy::Identity`]).
pub type InstanceId = Digest32;

/// Where a volume is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Made by an operator; no node has confirmed a header yet.
    Provisioning,
    /// A node has confirmed its header: it is never formatted again.
    Active,
    /// Its DEKs are forgotten. The id is not used again.
    Retired,
}

impl State {
    /// The state's name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

/// Whose header the volume has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One of Dawnkey's: sealed with the DEK, with a generation.
    #[default]
    Own,
    /// Another maker's LUKS2 header, which is never written: its generation is always 1.
    Adopted,
}

impl Kind {
    /// The kind's name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Adopted => "adopted",
        }
    }
}

/// Generations that were released since the last Confirm: their headers are accepted until the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    /// The first of them.
    pub from: u64,
    /// The last, which waits to be confirmed.
    pub generation: u64,
    /// SHA-256 of the token that confirms it; `None` after an operator ended the lease.
    pub token: Option<Digest32>,
    /// The launch that it was released to, where evidence names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Digest32>,
    /// The lease lives on after Confirm.
    pub hold: bool,
    /// The boot was closed already: it is maintenance.
    pub reopen: bool,
}

/// The last confirmed header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmedHeader {
    /// SHA-256 of the header.
    pub digest: Digest32,
    /// SHA-256 of the token that confirmed it, so that a repeated Confirm gets the same answer; `None`
    /// when an operator recorded it.
    pub token: Option<Digest32>,
}

/// What the holder of a lease shows to renew it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holding {
    /// SHA-256 of the lease token.
    pub token: Digest32,
    /// Fencing token of the lease. A later one was given since when the record's is higher.
    pub fencing: u64,
}

/// How much of a volume can be used, as its node said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Bytes that can be used.
    pub ready_bytes: u64,
    /// Bytes of the whole volume.
    pub total_bytes: u64,
}

impl From<dawnkey_proto::message::Progress> for Progress {
    fn from(said: dawnkey_proto::message::Progress) -> Self {
        Self {
            ready_bytes: said.ready_bytes,
            total_bytes: said.total_bytes,
        }
    }
}

/// Who runs the volume now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseRecord {
    /// The instance that holds it.
    pub holder: InstanceId,
    /// When it ends by itself.
    pub expires: Timestamp,
}

/// Everything that is known of one volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeRecord {
    /// Its id.
    pub id: Uuid,
    /// For people.
    pub label: String,
    /// Name of its `[volume-policy]`.
    pub policy: String,
    /// Where it is in its life.
    pub state: State,
    /// Whose header it has.
    pub kind: Kind,
    /// Epoch of its current DEK.
    pub epoch: u32,
    /// The epoch that the node takes up at its next unlock, if the DEK is being rotated.
    pub next_epoch: Option<u32>,
    /// Generation that was confirmed last; 0 before the first.
    pub confirmed: u64,
    /// Highest generation that was ever released; it never falls, so that no number means two things.
    pub issued: u64,
    /// What was released since, until it is confirmed.
    pub pending: Option<Pending>,
    /// The header of the confirmed generation; `None` before the first.
    pub header: Option<ConfirmedHeader>,
    /// The provisioning grant that Confirm will use up.
    pub grant: Option<Uuid>,
    /// The instance that it belongs to.
    pub instance: Option<InstanceId>,
    /// The launch that confirmed last, where evidence names one: it gets no key again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Digest32>,
    /// Generation that was confirmed at the last boot; later ones came by reopening in that boot.
    pub booted: Option<u64>,
    /// Who runs it now.
    pub lease: Option<LeaseRecord>,
    /// What renews the lease, if a holder does.
    pub holding: Option<Holding>,
    /// Fencing token of the last lease.
    pub fencing: u64,
    /// Its DEKs, wrapped.
    pub deks: Vec<WrappedDek>,
    /// How much of it can be used, if its node ever said so.
    pub progress: Option<Progress>,
    /// When an operator made it.
    pub created: Timestamp,
    /// When its DEK was last released.
    pub last_unlock: Option<Timestamp>,
    /// The service that has it now, if it was handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
    /// The export that it came by, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Digest32>,
}

/// A volume was handed over: this service gives no key of it any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moved {
    /// The service that it was handed to, and to no other.
    pub to: Uuid,
    /// When.
    pub at: Timestamp,
}

impl VolumeRecord {
    /// A new volume that waits for its node.
    #[must_use]
    pub fn new(id: Uuid, policy: String, label: String, dek: WrappedDek, now: Timestamp) -> Self {
        Self {
            id,
            label,
            policy,
            state: State::Provisioning,
            kind: Kind::Own,
            epoch: dek.epoch,
            next_epoch: None,
            confirmed: 0,
            issued: 0,
            pending: None,
            header: None,
            grant: None,
            instance: None,
            boot: None,
            booted: None,
            lease: None,
            holding: None,
            fencing: 0,
            deks: vec![dek],
            progress: None,
            created: now,
            last_unlock: None,
            moved: None,
            origin: None,
        }
    }

    /// The lease, if it has not ended.
    #[must_use]
    pub fn live_lease(&self, now: Timestamp) -> Option<&LeaseRecord> {
        self.lease.as_ref().filter(|lease| lease.expires > now)
    }

    /// The DEK of an epoch becomes the next one: the node takes it up at its next unlock.
    #[must_use]
    pub fn rotating(mut self, dek: WrappedDek) -> Self {
        self.next_epoch = Some(dek.epoch);
        self.deks.push(dek);
        self
    }

    /// The record once a header of this epoch was confirmed: other epochs' DEKs are forgotten if it was the next one.
    #[must_use]
    pub(crate) fn at_epoch(mut self, epoch: u32) -> Self {
        if self.next_epoch == Some(epoch) {
            self.epoch = epoch;
            self.next_epoch = None;
            self.deks.retain(|dek| dek.epoch == epoch);
        }
        self
    }

    /// The record after retirement: no DEK, no lease, no way back. Its holder can still be told so.
    #[must_use]
    pub fn retired(mut self) -> Self {
        self.state = State::Retired;
        self.deks.clear();
        self.next_epoch = None;
        self.pending = None;
        self.grant = None;
        self.lease = None;
        self
    }

    /// The record after an operator ended its lease: who holds it can neither renew nor confirm. While it waits for its
    /// first Confirm, the grant is taken back too, and another instance may provision it.
    #[must_use]
    pub fn lease_broken(mut self) -> Self {
        self.lease = None;
        self.holding = None;
        if let Some(pending) = &mut self.pending {
            pending.token = None;
        }
        if self.state == State::Provisioning {
            self.instance = None;
            self.pending = None;
            self.grant = None;
            self.header = None;
            self.confirmed = 0;
        }
        self
    }
}

/// An attestation key that was proven to live in an endorsed TPM, or that a trusted certificate is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceRecord {
    /// The machine.
    pub instance: InstanceId,
    /// Name of the attestation key, TPM 2.0 part 1 §16, in hex.
    pub key_name: String,
    /// Kind of evidence.
    pub kind: String,
    /// Subject of the certificate of the endorsement key, or of the attestation key itself.
    pub endorsement: String,
    /// When it was enrolled.
    pub enrolled: Timestamp,
}
