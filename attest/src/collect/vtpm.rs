//! A TPM as attester: `/dev/tpmrm0` on a node, swtpm in tests.
//!
//! | what | where |
//! |---|---|
//! | endorsement key | the certified one (NV 0x01C00002, …0A, …16, …1C), persistent or from its template |
//! | attestation key | made under the endorsement key at first use, kept at persistent handle [`AK_HANDLE`] |
//! | quote | all 24 PCRs of one bank, qualifying data SHA-256(exchange) |
//! | boot's last register | PCR 15 |

use std::{fs::File, io::Read as _, path::PathBuf, str::FromStr as _};

use tss_esapi::{
    Context, TctiNameConf,
    interface_types::session_handles::AuthSession,
    structures::{Data, EncryptedSecret, IdObject, SignatureScheme},
    traits::Marshall as _,
};
use zeroize::Zeroizing;

pub use super::ak::HANDLE as AK_HANDLE;
use super::{
    Attester,
    ak::AttestationKey,
    ek::EndorsementKey,
    error::{CollectError, Doing as _},
    pcr,
    session::{self, Parameters},
};
use crate::{
    enrolment,
    evidence::{Evidence, Exchange, KIND_VTPM, PcrBank, PcrValue, VtpmEvidence},
    tpm::{PCR_COUNT, attest::Quote, hash::Hash},
};

/// Most bytes of an event log, as the wire form allows.
const MAX_EVENT_LOG: u64 = 1 << 20;
/// Quotes tried while PCRs change.
const ATTEMPTS: usize = 5;
/// The register that marks the end of the boot.
const LAST_PCR: u8 = 15;
/// What the register is capped with: SHA-256 of four zero bytes, the TCG's separator.
const CAP: [u8; 4] = [0; 4];

/// How to reach the TPM and the log.
#[derive(Debug, Clone)]
pub struct VtpmConfig {
    /// TCTI, for example `device:/dev/tpmrm0` or `swtpm:path=/run/swtpm.sock`.
    pub tcti: String,
    /// Bank to quote; the verifier accepts [`Hash::Sha256`].
    pub bank: Hash,
    /// The kernel's copy of the firmware's log, `/sys/kernel/security/tpm0/binary_bios_measurements`.
    pub event_log: PathBuf,
}

/// An open TPM with both its keys.
pub struct Vtpm {
    context: Context,
    config: VtpmConfig,
    ek: EndorsementKey,
    ak: AttestationKey,
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
        let tcti = TctiNameConf::from_str(&config.tcti).map_err(|source| CollectError::Tcti {
            tcti: config.tcti.clone(),
            source,
        })?;
        let mut context = Context::new(tcti).map_err(|source| CollectError::Connect {
            tcti: config.tcti.clone(),
            source,
        })?;
        let ek = EndorsementKey::open(&mut context)?;
        let ak = AttestationKey::open(&mut context, &ek)?;
        Ok(Self {
            context,
            config,
            ek,
            ak,
        })
    }

    fn read_event_log(&self) -> Result<Vec<u8>, CollectError> {
        let path = &self.config.event_log;
        let failed = |source| CollectError::EventLog {
            path: path.clone(),
            source,
        };
        let mut log = Vec::new();
        let file = File::open(path).map_err(failed)?;
        file.take(MAX_EVENT_LOG + 1)
            .read_to_end(&mut log)
            .map_err(failed)?;
        if log.len() as u64 > MAX_EVENT_LOG {
            return Err(CollectError::EventLogTooLarge {
                path: path.clone(),
                most: MAX_EVENT_LOG,
            });
        }
        Ok(log)
    }

    /// One quote: `TPMS_ATTEST` and `TPMT_SIGNATURE`.
    fn quote(&mut self, exchange: &Exchange) -> Result<(Vec<u8>, Vec<u8>), CollectError> {
        let doing = "quote";
        let selection = pcr::selection(self.config.bank, 0..PCR_COUNT)?;
        let data = Data::try_from(exchange.qualifying_data().to_vec()).doing(doing)?;
        let key = self.ak.handle;
        let (attest, signature) =
            session::with_hmac(&mut self.context, self.ek.handle, |context, session| {
                let quoted = context.execute_with_session(Some(session), |context| {
                    context.quote(key, data, SignatureScheme::Null, selection)
                });
                quoted.doing(doing)
            })?;
        Ok((
            attest.marshall().doing(doing)?,
            signature.marshall().doing(doing)?,
        ))
    }

    fn read_last_pcr(&mut self) -> Result<Vec<u8>, CollectError> {
        let values = pcr::read(&mut self.context, self.config.bank, LAST_PCR..LAST_PCR + 1)?;
        Ok(values.into_iter().next().unwrap_or_default())
    }

    fn evidence(
        &self,
        quote: Vec<u8>,
        signature: Vec<u8>,
        values: Vec<Vec<u8>>,
        event_log: Vec<u8>,
    ) -> Evidence {
        let values = (0..)
            .zip(values)
            .map(|(index, digest)| PcrValue { index, digest });
        Evidence::Vtpm(Box::new(VtpmEvidence {
            ak_public: self.ak.public.bytes().to_vec(),
            quote,
            signature,
            pcrs: vec![PcrBank {
                alg: self.config.bank.id().into(),
                values: values.collect(),
            }],
            event_log,
            ek_public: self.ek.public.bytes().to_vec(),
            ek_certificate: self.ek.certificate.clone(),
            ek_chain: self.ek.chain.clone(),
            ak_certificate: Vec::new(),
            ak_chain: Vec::new(),
        }))
    }
}

impl Attester for Vtpm {
    fn kind(&self) -> &'static str {
        KIND_VTPM
    }

    fn collect(&mut self, exchange: &Exchange) -> Result<Evidence, CollectError> {
        for _ in 0..ATTEMPTS {
            let event_log = self.read_event_log()?;
            let values = pcr::read_all(&mut self.context, self.config.bank)?;
            let (quote, signature) = self.quote(exchange)?;
            // The attestation key's scheme has SHA-256, so the quote's digest of the values has it too.
            let parts: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
            let digest = Hash::Sha256.digest(&parts);
            match Quote::parse(&quote) {
                Ok(parsed) if parsed.pcr_digest == digest => {
                    return Ok(self.evidence(quote, signature, values, event_log));
                }
                // A PCR changed between the reading and the quote: read again.
                Ok(_) => {}
                Err(_) => {
                    return Err(CollectError::Answer {
                        doing: "quote",
                        problem: "no TPMS_ATTEST of type quote",
                    });
                }
            }
        }
        Err(CollectError::Race { attempts: ATTEMPTS })
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
        let Self {
            context, ek, ak, ..
        } = self;
        let released = session::with_hmac(context, ek.handle, |context, admin: AuthSession| {
            ek.with_use(context, Parameters::Plain, |context, user| {
                let released = context
                    .execute_with_sessions((Some(admin), Some(user), None), |context| {
                        context.activate_credential(ak.handle, ek.handle, id, secret)
                    });
                released.doing("activate the credential")
            })
        })?;
        let released = Zeroizing::new(released.value().to_vec());
        Ok(enrolment::proof(&released, exchange))
    }

    fn close_boot(&mut self, event: &[u8]) -> Result<(), CollectError> {
        let bank = self.config.bank;
        let before = self.read_last_pcr()?;
        if before.iter().any(|byte| *byte != 0) {
            return Err(CollectError::BootAlreadyClosed {
                pcr: LAST_PCR,
                found: hex::encode(before),
            });
        }
        let mut wanted = before;
        for digest in [bank.digest(&[event]), bank.digest(&[&CAP])] {
            pcr::extend_15(&mut self.context, self.ek.handle, bank, &digest)?;
            wanted = bank.digest(&[&wanted, &digest]);
        }
        let found = self.read_last_pcr()?;
        if found == wanted {
            return Ok(());
        }
        Err(CollectError::CloseNotSeen {
            pcr: LAST_PCR,
            found: hex::encode(found),
            wanted: hex::encode(wanted),
        })
    }
}
