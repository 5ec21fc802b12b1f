//! The TPM of the service's host.
//!
//! The KEK is the storage key of the owner hierarchy, made anew from its template at each connection: the TPM's seed
//! determines it, and nothing of it is stored anywhere. Each DEK is a sealed object under it. Its authorisation value is
//! SHA-256 over a label and [`Aad::bytes`], so that the TPM itself refuses a wrong volume or epoch; the value never
//! crosses the way to the TPM, where sessions are salted with the storage key and encrypt their parameters.
//!
//! Sealing was preferred to a symmetric key in the TPM with `EncryptDecrypt2`: that command is optional and often missing
//! (export rules), it authenticates nothing, and an HMAC beside it would be computed for whoever asks. A sealed object is
//! integrity-protected by its parent, and can be bound to PCRs.
//!
//! A wrapped DEK holds the Name of the storage key; another one is refused ([`Cause::WrongKey`]), be it of another TPM or of
//! something between the service and its TPM. Forging a wrapped DEK needs this TPM: what is loaded is encrypted and
//! MACed with a key that never leaves it, and objects that were made outside would have to be imported first.
//!
//! There are no versions: clearing the TPM changes the seed, and all that was wrapped is lost. One other provider, or the
//! recovery recipient, should be able to open what this one wraps.

mod blob;
mod config;
mod failure;
mod seal;

pub use config::Config;

use self::blob::Blob;
use self::failure::Failure;
use self::seal::Tpm as Connected;
use crate::{
    Aad, Capabilities, Cause, Custody, Deferred, Finding, KekError, Kind, Operation, Probe,
    Provider, Wrapped,
};
use dawnkey_secret::Dek;
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

/// Calls that may wait for the TPM, which does one at a time.
const QUEUE: usize = 256;

type Job = Box<dyn FnOnce(&mut Worker) + Send>;

/// Seals DEKs to the host's TPM.
pub struct Tpm {
    name: String,
    jobs: mpsc::Sender<Job>,
}

/// The thread that talks to the TPM.
struct Worker {
    config: Config,
    connected: Option<Connected>,
}

impl Tpm {
    /// Takes a configuration. The TPM is first spoken to when it is first needed.
    ///
    /// # Errors
    /// [`Cause::Misconfigured`] with the field.
    pub async fn open(name: &str, config: &Config) -> Result<Self, KekError> {
        let failed = |cause, detail: String| KekError::new(name, Operation::Login, cause, detail);
        if let Some(problem) = config.problem() {
            return Err(failed(Cause::Misconfigured, problem.into()));
        }
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        let mut worker = Worker {
            config: config.clone(),
            connected: None,
        };
        std::thread::Builder::new()
            .name("kek-tpm".into())
            .spawn(move || {
                while let Some(job) = queue.blocking_recv() {
                    job(&mut worker);
                }
            })
            .map_err(|e| failed(Cause::Unreachable, format!("start its thread: {e}")))?;
        Ok(Self {
            name: name.to_owned(),
            jobs,
        })
    }

    /// Runs `work` on the TPM's thread. A call whose caller has gone meanwhile is left out.
    async fn call<T, W>(&self, operation: Operation, work: W) -> Result<T, KekError>
    where
        T: Send + 'static,
        W: FnOnce(&mut Connected, &Config) -> Result<T, Failure> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |worker| {
            if !answer.is_closed() {
                let _ = answer.send(worker.run(operation, work));
            }
        });
        let ended = || KekError::new(&self.name, operation, Cause::Unreachable, "thread ended");
        self.jobs.send(job).await.map_err(|_| ended())?;
        let result = answered.await.map_err(|_| ended())?;
        result.map_err(|f| KekError::new(&self.name, f.operation, f.cause, f.detail))
    }
}

impl Worker {
    fn run<T>(
        &mut self,
        operation: Operation,
        work: impl FnOnce(&mut Connected, &Config) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut tpm = match self.connected.take() {
            Some(tpm) => tpm,
            None => Connected::connect(&self.config, operation)?,
        };
        let done = work(&mut tpm, &self.config);
        if !matches!(&done, Err(failure) if failure.broken) {
            self.connected = Some(tpm);
        }
        done
    }
}

fn wrap(tpm: &mut Connected, config: &Config, dek: &Dek, aad: &Aad) -> Result<Vec<u8>, Failure> {
    let pinned = config.primary_name.as_deref();
    if pinned.is_some_and(|name| !name.eq_ignore_ascii_case(&hex::encode(tpm.name))) {
        let detail = "the TPM's primary key is not the one of `primary_name`";
        return Err(Failure::new(Operation::Wrap, Cause::WrongKey, detail));
    }
    let blob = tpm.seal(dek, aad, config.mask())?.encode();
    blob.ok_or_else(|| {
        let detail = "the sealed object is longer than it can be";
        Failure::new(Operation::Wrap, Cause::Garbage, detail)
    })
}

impl Provider for Tpm {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> Kind {
        Kind::Tpm
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            aad: true,
            custody: Custody::Kms,
            rotation: false,
            attested_release: false,
        }
    }

    fn wrap<'a>(&'a self, dek: &'a Dek, aad: &'a Aad) -> Deferred<'a, Result<Wrapped, KekError>> {
        Box::pin(async move {
            let aad = *aad;
            let mut copy = Zeroizing::new(*dek.expose());
            let dek = Dek::take(copy.as_mut_slice())
                .map_err(|e| KekError::new(&self.name, Operation::Wrap, Cause::Garbage, e))?;
            let sealed = self.call(Operation::Wrap, move |tpm, config| {
                wrap(tpm, config, &dek, &aad)
            });
            let blob = sealed.await?;
            Ok(Wrapped {
                blob,
                version: None,
            })
        })
    }

    fn unwrap<'a>(&'a self, blob: &'a [u8], aad: &'a Aad) -> Deferred<'a, Result<Dek, KekError>> {
        Box::pin(async move {
            let none = || KekError::new(&self.name, Operation::Unwrap, Cause::NotAuthentic, "");
            let blob = Blob::decode(blob).ok_or_else(none)?;
            let aad = *aad;
            self.call(Operation::Unwrap, move |tpm, _| tpm.unseal(&blob, &aad))
                .await
        })
    }

    fn current_version(&self) -> Deferred<'_, Result<Option<String>, KekError>> {
        Box::pin(async { Ok(None) })
    }

    fn probe(&self) -> Deferred<'_, Result<Probe, KekError>> {
        Box::pin(async move {
            let found = self.call(Operation::Inspect, |tpm, config| {
                let name = hex::encode(tpm.name);
                let pinned = config.primary_name.as_deref();
                let good = pinned.is_none_or(|pinned| pinned.eq_ignore_ascii_case(&name));
                Ok((name, good, config.pcrs.clone()))
            });
            let (name, good, pcrs) = found.await?;
            let findings = vec![
                Finding {
                    subject: "primary key".into(),
                    good,
                    detail: format!("its Name is {name}; `primary_name` pins it"),
                },
                Finding {
                    subject: "key cannot be read".into(),
                    good: true,
                    detail: "it is fixedTPM and fixedParent, made from its template each time"
                        .into(),
                },
                Finding {
                    subject: "PCRs".into(),
                    good: true,
                    detail: match pcrs.as_slice() {
                        [] => "none: whoever may use this TPM may unseal".into(),
                        some => {
                            format!("{some:?} must be at unwrapping what they were at wrapping")
                        }
                    },
                },
            ];
            Ok(Probe { findings })
        })
    }

    fn with_wrong_key(&self) -> Option<Box<dyn Provider>> {
        None
    }
}
