//! Whether a grant opens the volume that the node waits for. What does not changes nothing.

use super::Recovery;
use dawnkey_dm::SealedHeader;
use dawnkey_proto::recovery::{Grant, GrantError, KeyId};
use dawnkey_secret::Dek;
use uuid::Uuid;

/// Most grants that one boot takes.
const MOST: usize = 1024;

/// Why a grant was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is none, or nobody has signed it whose grants count.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// It is for another node, or for another boot of this one.
    #[error("it is for another boot; ask this node anew and sign for what it says now")]
    OtherBoot,
    /// It has been taken.
    #[error("it was used already; a grant is good for once")]
    Replayed,
    /// This boot has taken so many that it takes no more.
    #[error("this boot has taken {MOST} grants and takes no more; reboot the node")]
    TooMany,
    /// Its time has not begun.
    #[error("it begins {wait} s from now on this boot's clock")]
    TooEarly {
        /// Seconds until then.
        wait: u32,
    },
    /// Its time is over.
    #[error("it ended {ago} s ago on this boot's clock; ask the node anew")]
    TooLate {
        /// Seconds since then.
        ago: u32,
    },
    /// The node does not wait for this volume, now or at all.
    #[error("it is for volume {found}, the node waits for {wanted}")]
    OtherVolume {
        /// The grant's.
        found: Uuid,
        /// The node's.
        wanted: Uuid,
    },
    /// The header on the disk is another one.
    #[error(
        "it is for epoch {epoch} and generation {generation}, the header has {header_epoch} and {header_generation}"
    )]
    OtherHeader {
        /// The grant's.
        epoch: u32,
        /// The grant's.
        generation: u64,
        /// The header's.
        header_epoch: u32,
        /// The header's.
        header_generation: u64,
    },
    /// The DEK was sealed to another key, or for something else than the grant says.
    #[error("its DEK was sealed to another key or for something else than the grant says")]
    NotSealedHere,
    /// The DEK is not the volume's.
    #[error("its DEK does not open the header of the volume")]
    WrongKey,
}

impl Refused {
    /// Its stable name (docs/protocol.md, "Recovery").
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Grant(GrantError::Unsigned) => "unsigned",
            Self::Grant(GrantError::Signature) => "signature",
            Self::Grant(GrantError::UnknownKey(_)) => "unknown-key",
            Self::Grant(
                GrantError::Length { .. } | GrantError::Version(_) | GrantError::Field(_),
            ) => "malformed",
            Self::OtherBoot => "other-boot",
            Self::Replayed => "replayed",
            Self::TooMany => "too-many",
            Self::TooEarly { .. } => "too-early",
            Self::TooLate { .. } => "too-late",
            Self::OtherVolume { .. } => "other-volume",
            Self::OtherHeader { .. } => "other-header",
            Self::NotSealedHere => "not-sealed-here",
            Self::WrongKey => "wrong-key",
        }
    }
}

/// A grant that opens the header.
#[derive(Debug)]
pub struct Judged {
    /// The DEK.
    pub dek: Dek,
    /// The key that has signed.
    pub key: KeyId,
    /// The grant's id, as the operator's audit log has it.
    pub grant: Uuid,
}

impl Recovery {
    /// Judges a grant for the volume of `header`, as of now on the boot's clock.
    ///
    /// # Errors
    /// It does not open the header, or does not count.
    pub fn judge(&mut self, bytes: &[u8], header: &SealedHeader) -> Result<Judged, Refused> {
        let now = self.clock();
        self.judge_at(bytes, header, now)
    }

    fn judge_at(
        &mut self,
        bytes: &[u8],
        header: &SealedHeader,
        now: u32,
    ) -> Result<Judged, Refused> {
        let (grant, key) = Grant::verify(bytes, &self.config.keys)?;
        if grant.boot != self.request("", header).boot() {
            return Err(Refused::OtherBoot);
        }
        if self.taken.contains(&grant.id) {
            return Err(Refused::Replayed);
        }
        if self.taken.len() >= MOST {
            return Err(Refused::TooMany);
        }
        if now < grant.not_before {
            let wait = grant.not_before - now;
            return Err(Refused::TooEarly { wait });
        }
        if now > grant.not_after {
            let ago = now - grant.not_after;
            return Err(Refused::TooLate { ago });
        }
        if grant.volume != header.volume() {
            return Err(Refused::OtherVolume {
                found: grant.volume,
                wanted: header.volume(),
            });
        }
        let seen = header.seen();
        if (grant.epoch, grant.generation) != (seen.epoch, seen.generation) {
            return Err(Refused::OtherHeader {
                epoch: grant.epoch,
                generation: grant.generation,
                header_epoch: seen.epoch,
                header_generation: seen.generation,
            });
        }
        self.taken.insert(grant.id);
        let purpose = grant.purpose();
        let opened = self
            .recipient
            .open_recovery(&grant.sealed, &purpose, &self.nonce);
        let dek = opened.map_err(|_| Refused::NotSealedHere)?;
        header.open(&dek).map_err(|_| Refused::WrongKey)?;
        let grant = grant.id;
        Ok(Judged { dek, key, grant })
    }
}
