//! A token: its module, and the sessions that are logged in.
//!
//! Calls into a module block, some for seconds, so each runs on a thread of its own, no more of them at a time than there
//! may be sessions: a token that hangs holds that many threads and no more. A session that is lost is made anew once.

use super::config::Checked;
use super::failure::Failure;
use crate::{Cause, CredentialError, KekError, Operation};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::RawAuthPin;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// Modules of this process: each is loaded and initialised once, whoever uses it, and stays until the process ends.
static MODULES: Mutex<Option<HashMap<PathBuf, Pkcs11>>> = Mutex::new(None);

/// A session that is logged in, with the keys that it found.
pub(super) struct Logged {
    pub session: Session,
    pub slot: Slot,
    pub module: Pkcs11,
}

/// A key on the token.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub handle: ObjectHandle,
    /// Its `CKA_ID`.
    pub id: Vec<u8>,
}

/// One configured token.
pub(super) struct Token {
    pub checked: Checked,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Logged>>,
    /// The token refused the PIN. It is not tried again: three wrong ones lock most tokens.
    refused: Mutex<Option<String>>,
}

impl Token {
    pub(super) fn new(checked: Checked) -> Self {
        let permits = Arc::new(Semaphore::new(checked.config.sessions.into()));
        Self {
            checked,
            permits,
            idle: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    /// Runs `work` with a session on a thread of its own; once more with a new session when the first one was lost.
    pub(super) async fn call<T, W>(
        self: &Arc<Self>,
        operation: Operation,
        work: W,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        W: Fn(&Logged, &Self) -> Result<T, Failure> + Send + 'static,
    {
        let ended = |_| Failure::new(operation, Cause::Unreachable, "the token's thread ended");
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|closed| ended(closed.to_string()))?;
        let token = Arc::clone(self);
        let worked = tokio::task::spawn_blocking(move || {
            // Held by the thread, not by the caller, who may have gone at its deadline.
            let _permit = permit;
            let idle = lock(&token.idle).pop();
            let reused = idle.is_some();
            let logged = idle.map_or_else(|| token.login(operation), Ok)?;
            match token.run(logged, &work) {
                Err(lost) if lost.stale && reused => {
                    // The others are of the same age.
                    lock(&token.idle).clear();
                    token.run(token.login(operation)?, &work)
                }
                other => other,
            }
        });
        worked.await.map_err(|joined| ended(joined.to_string()))?
    }

    /// A session goes back only after a success: what a failed call left behind in it is not known.
    fn run<T>(
        &self,
        logged: Logged,
        work: &impl Fn(&Logged, &Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let done = work(&logged, self)?;
        lock(&self.idle).push(logged);
        Ok(done)
    }

    fn login(&self, operation: Operation) -> Result<Logged, Failure> {
        let failed = |e: Error| Failure::of(Operation::Login, &e);
        let module = module(&self.checked.config.module).map_err(failed)?;
        let slot = self.slot(&module)?;
        let session = module.open_ro_session(slot).map_err(failed)?;
        if let Some(source) = &self.checked.config.pin {
            let mut refused = lock(&self.refused);
            if let Some(said) = refused.as_deref() {
                return Err(Failure::new(Operation::Login, Cause::Credentials, said));
            }
            let pin = source.read().map_err(credential)?;
            let pin = RawAuthPin::new(Box::new(pin.expose().to_vec()));
            match session.login_with_raw(UserType::User, &pin) {
                Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
                Err(error) => {
                    let mut failure = failed(error);
                    if failure.cause == Cause::Credentials {
                        failure.detail += ": not tried again before the service reads its configuration anew, since tokens lock";
                        *refused = Some(failure.detail.clone());
                    }
                    return Err(failure);
                }
            }
        }
        let _ = operation;
        Ok(Logged {
            session,
            slot,
            module,
        })
    }

    /// The one slot whose token has the configured names.
    fn slot(&self, module: &Pkcs11) -> Result<Slot, Failure> {
        let failed = |e: Error| Failure::of(Operation::Login, &e);
        let config = &self.checked.config;
        let is = |wanted: &Option<String>, found: &str| {
            wanted
                .as_deref()
                .is_none_or(|wanted| wanted == found.trim_end())
        };
        let mut found = Vec::new();
        for slot in module.get_slots_with_initialized_token().map_err(failed)? {
            let info = module.get_token_info(slot).map_err(failed)?;
            if is(&config.token_label, info.label())
                && is(&config.token_serial, info.serial_number())
            {
                found.push(slot);
            }
        }
        match found.as_slice() {
            [one] => Ok(*one),
            [] => Err(Failure::new(
                Operation::Login,
                Cause::Unreachable,
                "no token with the configured label and serial number is present",
            )),
            _ => Err(Failure::new(
                Operation::Login,
                Cause::Misconfigured,
                "several tokens have the configured label; give `token_serial`",
            )),
        }
    }

    /// The key that wraps.
    pub(super) fn current(&self, logged: &Logged, operation: Operation) -> Result<Key, Failure> {
        let label = self.checked.config.key_label.as_deref();
        let id = self.checked.key_id.as_deref();
        self.find(logged, operation, label, id)
    }

    /// The key of a `CKA_ID`, if it may unwrap: the current one, or one of the older.
    pub(super) fn named(&self, logged: &Logged, id: &[u8]) -> Result<Key, Failure> {
        if self.checked.older.iter().any(|older| older == id) {
            return self.find(logged, Operation::Unwrap, None, Some(id));
        }
        let current = self.current(logged, Operation::Unwrap)?;
        if current.id == id {
            return Ok(current);
        }
        Err(Failure::new(
            Operation::Unwrap,
            Cause::WrongKey,
            format!(
                "it names the key {}, configured are {} and `older_key_ids`",
                hex::encode(id),
                hex::encode(&current.id)
            ),
        ))
    }

    fn find(
        &self,
        logged: &Logged,
        operation: Operation,
        label: Option<&str>,
        id: Option<&[u8]>,
    ) -> Result<Key, Failure> {
        let failed = |e: Error| Failure::of(operation, &e);
        let mut template = vec![
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
        ];
        template.extend(label.map(|text| Attribute::Label(text.as_bytes().to_vec())));
        template.extend(id.map(|id| Attribute::Id(id.to_vec())));
        let found = logged.session.find_objects(&template).map_err(failed)?;
        let handle = match found.as_slice() {
            [one] => *one,
            [] => {
                let detail = "the token has no AES key with the configured label and id";
                return Err(Failure::new(operation, Cause::NoSuchKey, detail));
            }
            _ => {
                let detail = "several AES keys have the configured label; give `key_id`";
                return Err(Failure::new(operation, Cause::Misconfigured, detail));
            }
        };
        let attributes = logged
            .session
            .get_attributes(handle, &[AttributeType::Id])
            .map_err(failed)?;
        let id = attributes
            .into_iter()
            .find_map(|attribute| match attribute {
                Attribute::Id(id) if (1..=super::config::MAX_ID).contains(&id.len()) => Some(id),
                _ => None,
            });
        id.map(|id| Key { handle, id }).ok_or_else(|| {
            let detail = "the key's CKA_ID must be 1 to 64 bytes: wrapped DEKs name it";
            Failure::new(operation, Cause::Misconfigured, detail)
        })
    }
}

fn credential(error: CredentialError) -> Failure {
    let error = KekError::credential("", &error);
    Failure::new(error.operation, error.cause, error.detail)
}

/// The module of a path, initialised.
fn module(path: &Path) -> Result<Pkcs11, Error> {
    let mut modules = lock(&MODULES);
    let modules = modules.get_or_insert_default();
    if let Some(module) = modules.get(path) {
        return Ok(module.clone());
    }
    let module = Pkcs11::new(path)?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(error),
    }
    modules.insert(path.to_owned(), module.clone());
    Ok(module)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
