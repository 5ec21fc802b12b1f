//! A TPM that quotes: connection, endorsement key, the PCRs of one bank with the log that explains them, PCR 15.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    str::FromStr as _,
};

use tss_esapi::{
    Context, TctiNameConf,
    handles::KeyHandle,
    structures::{Data, SignatureScheme},
    traits::Marshall as _,
};

use super::{
    ek::EndorsementKey,
    error::{CollectError, Doing as _},
    pcr,
    register::{Register, RuntimeRegister},
    session,
};
use crate::{
    evidence::{PcrBank, PcrValue},
    tpm::{PCR_COUNT, attest::Quote, hash::Hash},
};

/// Most bytes of an event log, as the wire form allows.
const MAX_EVENT_LOG: u64 = 2 << 20;
/// Quotes tried while PCRs change.
const ATTEMPTS: usize = 5;
/// The register that marks the end of the boot.
const LAST_PCR: u8 = 15;

/// An open TPM with its endorsement key, which salts every session.
pub(super) struct Quoter {
    /// Connection.
    pub context: Context,
    /// Endorsement key.
    pub ek: EndorsementKey,
    bank: Hash,
    event_log: PathBuf,
}

/// A quote with what it is over.
pub(super) struct Quoted {
    /// `TPMS_ATTEST`.
    pub quote: Vec<u8>,
    /// `TPMT_SIGNATURE`.
    pub signature: Vec<u8>,
    /// All 24 PCRs of the bank.
    pub pcrs: Vec<PcrBank>,
    /// The firmware's event log.
    pub event_log: Vec<u8>,
}

impl Quoter {
    /// Connects and opens the endorsement key.
    pub(super) fn open(tcti: &str, bank: Hash, event_log: PathBuf) -> Result<Self, CollectError> {
        let mut context = connect(tcti)?;
        let ek = EndorsementKey::open(&mut context)?;
        Ok(Self {
            context,
            ek,
            bank,
            event_log,
        })
    }

    /// Quotes all PCRs with `key` over `data`, again while they change in between.
    pub(super) fn quote(&mut self, key: KeyHandle, data: &[u8]) -> Result<Quoted, CollectError> {
        for _ in 0..ATTEMPTS {
            let event_log = read_event_log(&self.event_log)?;
            let values = pcr::read_all(&mut self.context, self.bank)?;
            let (quote, signature) = self.quote_once(key, data)?;
            // The attestation key's scheme has SHA-256, so the quote's digest of the values has it too.
            let parts: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
            let digest = Hash::Sha256.digest(&parts);
            match Quote::parse(&quote) {
                Ok(parsed) if parsed.pcr_digest == digest => {
                    return Ok(Quoted {
                        quote,
                        signature,
                        pcrs: vec![bank_of(self.bank, values)],
                        event_log,
                    });
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

    /// One quote: `TPMS_ATTEST` and `TPMT_SIGNATURE`.
    fn quote_once(
        &mut self,
        key: KeyHandle,
        data: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), CollectError> {
        let doing = "quote";
        let selection = pcr::selection(self.bank, 0..PCR_COUNT)?;
        let data = Data::try_from(data.to_vec()).doing(doing)?;
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
}

impl RuntimeRegister for Quoter {
    fn which(&self) -> Register {
        Register::Pcr15
    }

    fn hash(&self) -> Hash {
        self.bank
    }

    fn read(&mut self) -> Result<Vec<u8>, CollectError> {
        let values = pcr::read(&mut self.context, self.bank, LAST_PCR..LAST_PCR + 1)?;
        Ok(values.into_iter().next().unwrap_or_default())
    }

    fn banks(&mut self) -> Result<Vec<Hash>, CollectError> {
        pcr::active_banks(&mut self.context, LAST_PCR)
    }

    fn extend(&mut self, digests: &[(Hash, Vec<u8>)]) -> Result<(), CollectError> {
        pcr::extend_15(&mut self.context, self.ek.handle, digests)
    }
}

/// Connects to a TPM.
pub(super) fn connect(tcti: &str) -> Result<Context, CollectError> {
    let name = TctiNameConf::from_str(tcti).map_err(|source| CollectError::Tcti {
        tcti: tcti.into(),
        source,
    })?;
    Context::new(name).map_err(|source| CollectError::Connect {
        tcti: tcti.into(),
        source,
    })
}

fn bank_of(bank: Hash, values: Vec<Vec<u8>>) -> PcrBank {
    let values = (0..)
        .zip(values)
        .map(|(index, digest)| PcrValue { index, digest });
    PcrBank {
        alg: bank.id().into(),
        values: values.collect(),
    }
}

fn read_event_log(path: &Path) -> Result<Vec<u8>, CollectError> {
    let failed = |source| CollectError::EventLog {
        path: path.into(),
        source,
    };
    let mut log = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_EVENT_LOG + 1)
        .read_to_end(&mut log)
        .map_err(failed)?;
    if log.len() as u64 > MAX_EVENT_LOG {
        return Err(CollectError::EventLogTooLarge {
            path: path.into(),
            most: MAX_EVENT_LOG,
        });
    }
    Ok(log)
}
