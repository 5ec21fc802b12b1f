//! Giving a data key: policy, the key's record, the key, the audit record.

use super::{Caller, MAX_LENGTH, is_id_text};
use crate::approval::Approval;
use crate::audit::Entry;
use crate::desk::{Desk, random_uuid};
use crate::kek::RingError;
use crate::keys::{Form, KeyRecord, Purpose};
use dawnkey_secret::{DataKey, Dek};
use dawnkey_store::StoreError;
use hkdf::Hkdf;
use sha2::Sha256;
use std::net::SocketAddr;
use uuid::Uuid;

/// Begin of what a random data key is expanded with; the id and the length in 32 bits follow.
const INFO: &[u8] = b"dawnkey data key v1";
/// Fewest bytes of a determined key that are kept: two AES-256-XTS keys and one of HMAC-SHA256.
const KEPT: usize = 96;
/// Bytes of a piece.
const PIECE: usize = Dek::LEN;

/// There is no key for the caller.
#[derive(Debug, thiserror::Error)]
pub enum DataKeyError {
    /// The request is not one.
    #[error("{0}")]
    Invalid(String),
    /// Policy says no.
    #[error("{0}")]
    Denied(String),
    /// There is no such key, and policy makes none.
    #[error("there is no data key {0}; `create = true` in its [[data_key]] line makes it")]
    Missing(String),
    /// The id is a volume's.
    #[error("{0} is the id of a volume, whose key only an attested node gets")]
    Volume(Uuid),
    /// The store, the audit log or the KEK does not work.
    #[error("{0}")]
    Unavailable(String),
}

impl From<RingError> for DataKeyError {
    fn from(error: RingError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<StoreError> for DataKeyError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl Desk {
    /// The data key of an id and length, the same each time.
    pub async fn data_key(
        &self,
        caller: &Caller,
        peer: SocketAddr,
        id: &str,
        length: u32,
    ) -> Result<DataKey, DataKeyError> {
        let mut made = false;
        let outcome = self.find_data_key(caller, id, length, &mut made).await;
        let refused = outcome.as_ref().err().map(ToString::to_string);
        let entry = Entry::new("data-key")
            .with("peer", peer.to_string())
            .with("caller", caller.names().join(", "))
            .with("id", dawnkey_proto::message::printable(id))
            .with("length", length)
            .with_some("created", made.then_some(true))
            .with_some("refused", refused);
        let name = if outcome.is_ok() { "done" } else { "refused" };
        self.metrics.administered("data-key", name);
        match self.audit.append(entry).await {
            Ok(()) => outcome,
            Err(error) => Err(DataKeyError::Unavailable(error.to_string())),
        }
    }

    async fn find_data_key(
        &self,
        caller: &Caller,
        id: &str,
        length: u32,
        made: &mut bool,
    ) -> Result<DataKey, DataKeyError> {
        if id.is_empty() || !is_id_text(id) {
            let text = "data_key_id: 1 to 200 letters, digits, `.`, `_`, `:` and `-` make an id";
            return Err(DataKeyError::Invalid(text.into()));
        }
        if length == 0 || length > MAX_LENGTH {
            let text = format!("length: {length} bytes instead of 1 to {MAX_LENGTH}");
            return Err(DataKeyError::Invalid(text));
        }
        let grant = self.policy().data_key(caller.names(), id, length);
        let grant = grant.map_err(DataKeyError::Denied)?;
        self.no_volume(id).await?;
        let purpose = Purpose::DataKey(id.to_owned());
        let record = match self.records.key(&purpose).await {
            Ok(found) => found.record,
            Err(StoreError::Missing { .. }) if grant.create() => {
                *made = true;
                self.make_data_key(purpose, id, length).await?
            }
            Err(StoreError::Missing { .. }) => return Err(DataKeyError::Missing(id.to_owned())),
            Err(other) => return Err(other.into()),
        };
        let approve = |epoch| Approval::for_data_key(&record, epoch, &grant);
        self.assemble(&record, id, length, approve).await
    }

    /// A determined key of a volume's id would be the volume's DEK.
    async fn no_volume(&self, id: &str) -> Result<(), DataKeyError> {
        let Ok(volume) = id.parse::<Uuid>() else {
            return Ok(());
        };
        match self.records.volume(volume).await {
            Ok(_) => Err(DataKeyError::Volume(volume)),
            Err(StoreError::Missing { .. }) => Ok(()),
            Err(other) => Err(other.into()),
        }
    }

    /// Makes the record, once: who comes second takes the first one's.
    pub(super) async fn make_data_key(
        &self,
        purpose: Purpose,
        name: &str,
        length: u32,
    ) -> Result<KeyRecord, DataKeyError> {
        let id = random_uuid().map_err(|r| DataKeyError::Unavailable(r.detail))?;
        let wanted = usize::try_from(length).unwrap_or(KEPT).max(KEPT);
        let whole = wanted.div_ceil(PIECE) * PIECE;
        let record = match self.ring.derive_named(name, whole) {
            Some(key) => self.pieces(id, purpose.clone(), &key?).await?,
            None => {
                let dek = self.ring.create(id, 1).await?;
                KeyRecord::new(id, purpose.clone(), dek, self.now())
            }
        };
        match self.records.create_key(&record).await {
            Ok(()) => Ok(record),
            Err(StoreError::Exists { .. }) => Ok(self.records.key(&purpose).await?.record),
            Err(other) => Err(other.into()),
        }
    }

    /// Keeps a determined key as pieces that any KEK can wrap, so that it outlives the one that determined it.
    async fn pieces(
        &self,
        id: Uuid,
        purpose: Purpose,
        key: &DataKey,
    ) -> Result<KeyRecord, DataKeyError> {
        let mut deks = Vec::new();
        for (epoch, piece) in (1..).zip(key.expose().chunks_exact(PIECE)) {
            let dek = Dek::fill(|bytes| {
                bytes.copy_from_slice(piece);
                Ok::<_, DataKeyError>(())
            })?;
            deks.push(self.ring.wrap(&dek, id, epoch).await?);
        }
        Ok(KeyRecord {
            id,
            purpose,
            form: Form::Pieces,
            epoch: 1,
            deks,
            created: self.now(),
            rotated: None,
        })
    }

    /// The key that a record keeps; `approve` is asked for each epoch whose DEK it takes.
    pub(super) async fn assemble(
        &self,
        record: &KeyRecord,
        name: &str,
        wide: u32,
        approve: impl Fn(u32) -> Approval,
    ) -> Result<DataKey, DataKeyError> {
        let length = usize::try_from(wide).unwrap_or(usize::MAX);
        let wanted = match record.form {
            Form::Epochs => 1,
            Form::Pieces => length.div_ceil(PIECE),
        };
        if wanted > record.deks.len() {
            let kept = record.deks.len() * PIECE;
            let text = format!("length: data key {name} was made with {kept} bytes");
            return Err(DataKeyError::Invalid(text));
        }
        let mut deks = Vec::new();
        for epoch in (record.epoch..).take(wanted) {
            deks.push(self.ring.dek(approve(epoch), &record.deks).await?);
        }
        DataKey::fill(length, |into| match (record.form, deks.as_slice()) {
            (Form::Epochs, [dek]) => {
                let length = wide.to_be_bytes();
                Hkdf::<Sha256>::new(None, dek.expose())
                    .expand_multi_info(&[INFO, name.as_bytes(), &length], into)
                    .map_err(|_| DataKeyError::Unavailable("HKDF refused".into()))
            }
            (_, pieces) => {
                for (room, piece) in into.chunks_mut(PIECE).zip(pieces) {
                    let (begin, _) = piece.expose().split_at(room.len());
                    room.copy_from_slice(begin);
                }
                Ok(())
            }
        })
    }
}
