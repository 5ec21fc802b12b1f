//! A TPM as attester: `/dev/tpmrm0` on a node, swtpm in tests.
//!
//! | what | where |
//! |---|---|
//! | endorsement key | the certified one (NV 0x01C00002, …0A, …16, …1C), persistent or from its template |
//! | attestation key | [`KeySource`]: our own, or Google's |
//! | quote | all 24 PCRs of one bank, qualifying data SHA-256(exchange) |
//! | boot's last register | PCR 15 |

use std::path::PathBuf;

use tss_esapi::{
    interface_types::session_handles::AuthSession,
    structures::{EncryptedSecret, IdObject},
};
use zeroize::Zeroizing;

pub use super::ak::{HANDLE as AK_HANDLE, RSA_HANDLE as AK_RSA_HANDLE};
use super::{
    Attester,
    ak::{AttestationKey, Sort},
    error::{CollectError, Doing as _},
    gce,
    quoter::Quoter,
    register::{self, Closing, RegisterLog},
    session::{self, Parameters},
};
use crate::{
    enrolment,
    evidence::{Evidence, Exchange, KIND_VTPM, VtpmEvidence},
    tpm::hash::Hash,
};

/// Which key quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeySource {
    /// Our own: made under the endorsement key at first use, kept at persistent handle [`AK_HANDLE`].
    #[default]
    Own,
    /// Our own, RSA-2048 whatever the TPM can do, kept at [`AK_RSA_HANDLE`]: for verifiers that know nothing else.
    OwnRsa,
    /// Google's, made from the template in NV and certified there.
    Gce,
}

/// How to reach the TPM and the log.
#[derive(Debug, Clone)]
pub struct VtpmConfig {
    /// TCTI, for example `device:/dev/tpmrm0` or `swtpm:path=/run/swtpm.sock`.
    pub tcti: String,
    /// Bank to quote; the verifier accepts [`Hash::Sha256`].
    pub bank: Hash,
    /// The kernel's copy of the firmware's log, `/sys/kernel/security/tpm0/binary_bios_measurements`.
    pub event_log: PathBuf,
    /// The key that quotes.
    pub key: KeySource,
}

/// An open TPM with both its keys.
pub struct Vtpm {
    quoter: Quoter,
    config: VtpmConfig,
    ak: AttestationKey,
    ak_certificate: Vec<u8>,
    log: Box<dyn RegisterLog>,
}

impl std::fmt::Debug for Vtpm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vtpm")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Vtpm {
    /// Connects, opens the endorsement key, and opens or makes the attestation key.
    pub fn open(config: VtpmConfig) -> Result<Self, CollectError> {
        let mut quoter = Quoter::open(&config.tcti, config.bank, config.event_log.clone())?;
        let (context, ek) = (&mut quoter.context, &quoter.ek);
        let (ak, ak_certificate) = match config.key {
            KeySource::Own => (AttestationKey::open(context, ek, Sort::Best)?, Vec::new()),
            KeySource::OwnRsa => (AttestationKey::open(context, ek, Sort::Rsa)?, Vec::new()),
            KeySource::Gce => gce::open(context, ek)?,
        };
        Ok(Self {
            quoter,
            config,
            ak,
            ak_certificate,
            log: Box::new(()),
        })
    }
}

impl Vtpm {
    /// Evidence whose quote carries `data`.
    fn over(&mut self, data: &[u8]) -> Result<Evidence, CollectError> {
        let quoted = self.quoter.quote(self.ak.handle, data)?;
        let mut evidence = VtpmEvidence {
            ak_public: self.ak.public.bytes().to_vec(),
            quote: quoted.quote,
            signature: quoted.signature,
            pcrs: quoted.pcrs,
            event_log: quoted.event_log,
            ..VtpmEvidence::default()
        };
        match self.config.key {
            KeySource::Own | KeySource::OwnRsa => {
                let ek = &self.quoter.ek;
                evidence.ek_public = ek.public.bytes().to_vec();
                evidence.ek_certificate = ek.certificate.clone();
                evidence.ek_chain = ek.chain.clone();
            }
            // A primary key: its certificate vouches for it, the endorsement key cannot.
            KeySource::Gce => evidence.ak_certificate = self.ak_certificate.clone(),
        }
        Ok(Evidence::Vtpm(Box::new(evidence)))
    }
}

impl Attester for Vtpm {
    fn kind(&self) -> &'static str {
        KIND_VTPM
    }

    fn collect(&mut self, exchange: &Exchange) -> Result<Evidence, CollectError> {
        self.over(&exchange.qualifying_data())
    }

    /// Its first 32 bytes: the field holds no 48 on every TPM.
    fn collect_over(&mut self, digest: &[u8; 48]) -> Result<Evidence, CollectError> {
        let (begin, _) = digest.split_at(32);
        self.over(begin)
    }

    fn activate(
        &mut self,
        id_object: &[u8],
        encrypted_secret: &[u8],
        exchange: &Exchange,
    ) -> Result<[u8; 32], CollectError> {
        let challenge = |what, found| move |_| CollectError::Challenge { what, found };
        let id = IdObject::try_from(id_object.to_vec())
            .map_err(challenge("id object", id_object.len()))?;
        let secret = EncryptedSecret::try_from(encrypted_secret.to_vec())
            .map_err(challenge("encrypted secret", encrypted_secret.len()))?;
        let Quoter { context, ek, .. } = &mut self.quoter;
        let ak = self.ak.handle;
        let released = session::with_hmac(context, ek.handle, |context, admin: AuthSession| {
            ek.with_use(context, Parameters::Plain, |context, user| {
                let released = context
                    .execute_with_sessions((Some(admin), Some(user), None), |context| {
                        context.activate_credential(ak, ek.handle, id, secret)
                    });
                released.doing("activate the credential")
            })
        })?;
        let released = Zeroizing::new(released.value().to_vec());
        Ok(enrolment::proof(&released, exchange))
    }

    fn close_boot(&mut self, events: &[Vec<u8>]) -> Result<Closing, CollectError> {
        register::close(&mut self.quoter, events, &mut *self.log)
    }

    fn log_to(&mut self, log: Box<dyn RegisterLog>) {
        self.log = log;
    }
}
