//! Sealing to the TPM, as commands: the primary key, sessions salted with it, sealed objects.

use super::blob::{Blob, NAME};
use super::config::Config;
use super::failure::{Failure, Step};
use crate::{Aad, Cause, Operation};
use dawnkey_secret::Dek;
use sha2::{Digest as _, Sha256};
use std::str::FromStr;
use tss_esapi::attributes::{ObjectAttributesBuilder, SessionAttributesBuilder};
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{KeyHandle, ObjectHandle, SessionHandle};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{
    Auth, Digest, EccPoint, KeyedHashScheme, PcrSelectionList, PcrSlot, Private, Public,
    PublicBuilder, PublicEccParametersBuilder, PublicKeyedHashParameters, SensitiveData,
    SymmetricDefinition, SymmetricDefinitionObject,
};
use tss_esapi::traits::{Marshall, UnMarshall};
use tss_esapi::{Context, TctiNameConf};

/// A TPM that is connected, with the primary key in it.
pub(super) struct Tpm {
    context: Context,
    primary: KeyHandle,
    /// Name of the primary key.
    pub name: [u8; NAME],
}

impl Tpm {
    /// Connects and makes the primary key, which is the same each time until the owner clears the TPM.
    pub(super) fn connect(config: &Config, operation: Operation) -> Result<Self, Failure> {
        let wrong = |e: tss_esapi::Error| {
            Failure::new(operation, Cause::Misconfigured, format!("`tcti`: {e}"))
        };
        let tcti = TctiNameConf::from_str(&config.tcti).map_err(wrong)?;
        let mut context = Context::new(tcti).map_err(|e| {
            let detail = format!("TPM at {}: {e}", config.tcti);
            Failure::new(operation, Cause::Unreachable, detail)
        })?;
        let failed = Failure::of(operation, Step::Primary, "make the primary key");
        if let Some(source) = &config.owner_auth {
            let password = source.read().map_err(|e| Failure::credential(&e))?;
            let auth = Auth::try_from(password.expose()).map_err(&failed)?;
            context
                .tr_set_auth(ObjectHandle::Owner, auth)
                .map_err(&failed)?;
        }
        let template = storage_key().map_err(&failed)?;
        let made = context
            .execute_with_nullauth_session(|context| {
                context.create_primary(Hierarchy::Owner, template, None, None, None, None)
            })
            .map_err(&failed)?;
        let primary = made.key_handle;
        let read = context.execute_without_session(|context| context.read_public(primary));
        let (public, name, _) = read.map_err(&failed)?;
        let computed = computed_name(&public.marshall().map_err(&failed)?);
        if name.value() != computed {
            let detail = "the primary key's Name is not the digest of its public area";
            return Err(Failure::new(operation, Cause::Garbage, detail));
        }
        Ok(Self {
            context,
            primary,
            name: computed,
        })
    }

    /// Seals a DEK with an authorisation value that only its own purpose gives.
    pub(super) fn seal(&mut self, dek: &Dek, aad: &Aad, pcrs: u32) -> Result<Blob, Failure> {
        let failed = Failure::of(Operation::Wrap, Step::Other, "seal");
        let policy = self.policy(pcrs).map_err(&failed)?;
        let template = sealed_object(policy).map_err(&failed)?;
        let auth = Auth::try_from(authorisation(aad).to_vec()).map_err(&failed)?;
        let data = SensitiveData::try_from(dek.expose().to_vec()).map_err(&failed)?;
        let session = self.session(SessionType::Hmac).map_err(&failed)?;
        let primary = self.primary;
        let made = self.context.execute_with_session(Some(session), |context| {
            context.create(primary, template, Some(auth), Some(data), None, None)
        });
        self.flush(session);
        let made = made.map_err(&failed)?;
        Ok(Blob {
            pcrs,
            parent: self.name,
            public: made.out_public.marshall().map_err(&failed)?,
            private: made.out_private.value().to_vec(),
        })
    }

    /// Opens what [`Tpm::seal`] made.
    pub(super) fn unseal(&mut self, blob: &Blob, aad: &Aad) -> Result<Dek, Failure> {
        if blob.parent != self.name {
            let detail = "it was sealed under another primary key: another TPM, or the owner cleared this one";
            return Err(Failure::new(Operation::Unwrap, Cause::WrongKey, detail));
        }
        let failed = Failure::of(Operation::Unwrap, Step::Open, "load the sealed DEK");
        let public = Public::unmarshall(&blob.public).map_err(&failed)?;
        let private = Private::try_from(blob.private.clone()).map_err(&failed)?;
        let session = self.session(SessionType::Hmac).map_err(&failed)?;
        let primary = self.primary;
        let loaded = self.context.execute_with_session(Some(session), |context| {
            context.load(primary, private, public)
        });
        let opened = loaded
            .map_err(&failed)
            .and_then(|object| self.open(object, blob.pcrs, aad, session));
        self.flush(session);
        opened
    }

    fn open(
        &mut self,
        object: KeyHandle,
        pcrs: u32,
        aad: &Aad,
        hmac: AuthSession,
    ) -> Result<Dek, Failure> {
        let failed = Failure::of(Operation::Unwrap, Step::Open, "unseal the DEK");
        let object = ObjectHandle::from(object);
        let opened = Auth::try_from(authorisation(aad).to_vec())
            .and_then(|auth| self.context.tr_set_auth(object, auth))
            .and_then(|()| match pcrs {
                0 => self
                    .context
                    .execute_with_session(Some(hmac), |context| context.unseal(object)),
                pcrs => self.unseal_with_policy(object, pcrs),
            });
        let flushed = self.context.flush_context(object);
        let opened = opened.map_err(&failed)?;
        flushed.map_err(&failed)?;
        let mut bytes = zeroize::Zeroizing::new(opened.value().to_vec());
        Dek::take(&mut bytes).map_err(|e| {
            let detail = format!("the TPM unsealed something else: {e}");
            Failure::new(Operation::Unwrap, Cause::NotAuthentic, detail)
        })
    }

    fn unseal_with_policy(
        &mut self,
        object: ObjectHandle,
        pcrs: u32,
    ) -> tss_esapi::Result<SensitiveData> {
        let session = self.session(SessionType::Policy)?;
        let opened = PolicySession::try_from(session)
            .and_then(|policy| self.fulfil(policy, pcrs))
            .and_then(|()| {
                self.context
                    .execute_with_session(Some(session), |context| context.unseal(object))
            });
        self.flush(session);
        opened
    }

    /// Digest of the policy for these PCRs as they are now; empty without PCRs.
    fn policy(&mut self, pcrs: u32) -> tss_esapi::Result<Digest> {
        if pcrs == 0 {
            return Ok(Digest::default());
        }
        let session = self.session(SessionType::Trial)?;
        let digest = PolicySession::try_from(session).and_then(|policy| {
            self.fulfil(policy, pcrs)?;
            self.context.policy_get_digest(policy)
        });
        self.flush(session);
        digest
    }

    fn fulfil(&mut self, policy: PolicySession, pcrs: u32) -> tss_esapi::Result<()> {
        let slots = (0..24u32).filter(|pcr| pcrs & (1 << pcr) != 0);
        let slots: Vec<PcrSlot> = slots
            .map(|pcr| PcrSlot::try_from(1u32 << pcr))
            .collect::<Result<_, _>>()?;
        let selection = PcrSelectionList::builder()
            .with_selection(HashingAlgorithm::Sha256, &slots)
            .build()?;
        self.context
            .policy_pcr(policy, Digest::default(), selection)?;
        self.context.policy_auth_value(policy)
    }

    /// A session salted with the primary key; parameters are encrypted both ways. Trial sessions carry none.
    fn session(&mut self, kind: SessionType) -> tss_esapi::Result<AuthSession> {
        let salt = (kind != SessionType::Trial).then_some(self.primary);
        let started = self.context.execute_without_session(|context| {
            context.start_auth_session(
                salt,
                None,
                None,
                kind,
                SymmetricDefinition::AES_128_CFB,
                HashingAlgorithm::Sha256,
            )
        })?;
        let missing = tss_esapi::WrapperErrorKind::WrongValueFromTpm;
        let session = started.ok_or(tss_esapi::Error::WrapperError(missing))?;
        if kind != SessionType::Trial {
            let (attributes, mask) = SessionAttributesBuilder::new()
                .with_continue_session(true)
                .with_decrypt(true)
                .with_encrypt(true)
                .build();
            self.context
                .tr_sess_set_attributes(session, attributes, mask)?;
        }
        Ok(session)
    }

    /// A session that is gone already needs no flushing.
    fn flush(&mut self, session: AuthSession) {
        let _ = self
            .context
            .flush_context(SessionHandle::from(session).into());
    }
}

/// What opens the sealed object of a purpose. Not secret: it keeps one wrapped DEK from another's place.
fn authorisation(aad: &Aad) -> [u8; 32] {
    let digest = Sha256::new()
        .chain_update(b"dawnkey tpm kek v1")
        .chain_update(aad.bytes());
    digest.finalize().into()
}

/// The Name of a public area: SHA-256's number and the digest.
fn computed_name(public: &[u8]) -> [u8; NAME] {
    let mut name = [0; NAME];
    let (number, digest) = name.split_at_mut(2);
    number.copy_from_slice(&[0x00, 0x0b]);
    digest.copy_from_slice(&Sha256::digest(public));
    name
}

/// The storage key of the owner hierarchy (TCG TPM v2.0 Provisioning Guidance, clause 7.5.1): NIST P-256 and AES-128.
fn storage_key() -> tss_esapi::Result<Public> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_restricted(true)
        .with_decrypt(true)
        .build()?;
    let parameters = PublicEccParametersBuilder::new_restricted_decryption_key(
        SymmetricDefinitionObject::AES_128_CFB,
        EccCurve::NistP256,
    );
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(parameters.build()?)
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
}

/// A sealed object. With a policy, the authorisation value alone does not open it. Without dictionary-attack protection,
/// since its value is no secret and a wrong one must not lock the TPM.
fn sealed_object(policy: Digest) -> tss_esapi::Result<Public> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_no_da(true)
        .with_user_with_auth(policy.value().is_empty())
        .with_admin_with_policy(true)
        .build()?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_auth_policy(policy)
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
        .with_keyed_hash_unique_identifier(Digest::default())
        .build()
}
