//! The server as calls: connections that are kept, and what its answers mean.

use super::Failure;
use super::blob::{Blob, IV, is_id};
use super::config::Config;
use super::connection::Connection;
use super::message::{self, Call, Login, Refused, tag};
use super::ttlv::{Item, Value};
use crate::{Aad, Cause, Operation};
use dawnkey_secret::Dek;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// States of a key (KMIP 1.4, clause 9.1.3.2.18).
const ACTIVE: u32 = 2;

/// A server, as one configuration sees it.
pub(super) struct Client {
    pub config: Config,
    permits: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

impl Client {
    pub(super) fn new(config: Config) -> Self {
        Self {
            permits: Semaphore::new(config.connections.into()),
            idle: Mutex::default(),
            config,
        }
    }

    /// One operation; once more on a new connection when an old one was lost.
    async fn call(
        &self,
        operation: Operation,
        call: Call,
        payload: Vec<Item>,
    ) -> Result<Item, Failure> {
        let password = self.config.password.as_ref();
        let password = password
            .map(|source| source.read().map_err(|e| Failure::credential(&e)))
            .transpose()?;
        let password = password.as_ref().map(|p| std::str::from_utf8(p.expose()));
        let password = password
            .transpose()
            .map_err(|_| Failure::new(Cause::Credentials, "the password is no text"))?;
        let login = self.config.username.as_deref().zip(password);
        let login = login.map(|(username, password)| Login { username, password });
        let request = message::request(call, payload, login.as_ref());

        let _permit = self.permits.acquire().await;
        let kept = self.idle().pop();
        let answer = match kept {
            Some(connection) => match self.exchange(connection, &request).await {
                Err(lost) if lost.lost => {
                    self.idle().clear();
                    let connection = Connection::open(&self.config).await?;
                    self.exchange(connection, &request).await
                }
                other => other,
            },
            None => {
                let connection = Connection::open(&self.config).await?;
                self.exchange(connection, &request).await
            }
        }?;
        message::payload(&answer, call).map_err(|refused| match refused {
            Refused::Garbage(what) => Failure::new(Cause::Garbage, what),
            Refused::Server(reason, said) => Failure::refused(operation, call, reason, &said),
        })
    }

    async fn exchange(
        &self,
        mut connection: Connection,
        request: &[u8],
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, Failure> {
        let answer = connection.exchange(request).await?;
        self.idle().push(connection);
        Ok(answer)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unique identifier of the key that wraps.
    pub(super) async fn current(&self, operation: Operation) -> Result<String, Failure> {
        let Some(name) = &self.config.key_name else {
            return Ok(self.config.key_id.clone().unwrap_or_default());
        };
        let located = self.call(operation, Call::Locate, vec![message::named(name)]);
        let located = located.await?;
        let ids = located.items().iter().filter(|item| item.tag == tag::ID);
        let ids: Vec<&str> = ids
            .filter_map(|item| match &item.value {
                Value::Text(id) if is_id(id) => Some(id.as_str()),
                _ => None,
            })
            .collect();
        match ids.as_slice() {
            [id] => Ok((*id).to_owned()),
            [] => Err(Failure::new(
                Cause::NoSuchKey,
                format!("no key has the name `{name}`"),
            )),
            _ => Err(Failure::new(
                Cause::Misconfigured,
                format!("several keys have the name `{name}`; give `key_id`"),
            )),
        }
    }

    pub(super) async fn wrap(&self, dek: &Dek, aad: &Aad) -> Result<Blob, Failure> {
        let key_id = self.current(Operation::Wrap).await?;
        let sealed = self.encrypt(&key_id, dek.expose(), &aad.bytes()).await;
        match sealed {
            Ok((iv, data, tag)) => Ok(Blob {
                key_id,
                iv,
                data,
                tag,
            }),
            Err(failure) => Err(self.settle(&key_id, Operation::Wrap, failure).await),
        }
    }

    async fn encrypt(
        &self,
        key_id: &str,
        plain: &[u8; Dek::LEN],
        aad: &[u8],
    ) -> Result<([u8; IV], [u8; Dek::LEN], [u8; 16]), Failure> {
        let mut iv = [0; IV];
        aws_lc_rs::rand::fill(&mut iv)
            .map_err(|_| Failure::new(Cause::Unsupported, "no random bytes"))?;
        let payload = vec![
            Item::text(tag::ID, key_id),
            message::gcm(),
            Item::bytes(tag::DATA, plain),
            Item::bytes(tag::IV, &iv),
            Item::bytes(tag::AAD, aad),
        ];
        let answer = self.call(Operation::Wrap, Call::Encrypt, payload).await?;
        same_key(&answer, key_id)?;
        let data = answer.bytes_of(tag::DATA).and_then(|b| b.try_into().ok());
        let mac = answer
            .bytes_of(tag::AEAD_TAG)
            .and_then(|b| b.try_into().ok());
        data.zip(mac)
            .map(|(data, mac)| (iv, data, mac))
            .ok_or_else(|| {
                let detail = "the answer has no 32 bytes of ciphertext and 16 of tag";
                Failure::new(Cause::Garbage, detail)
            })
    }

    pub(super) async fn unwrap(&self, blob: &[u8], aad: &Aad) -> Result<Dek, Failure> {
        let blob = Blob::decode(blob).ok_or_else(|| Failure::new(Cause::NotAuthentic, ""))?;
        if !self.config.older_key_ids.contains(&blob.key_id) {
            let current = self.current(Operation::Unwrap).await?;
            if current != blob.key_id {
                let detail = format!(
                    "it names the key `{}`, configured are `{current}` and `older_key_ids`",
                    blob.key_id
                );
                return Err(Failure::new(Cause::WrongKey, detail));
            }
        }
        match self.decrypt(&blob, aad).await {
            Ok(dek) => Ok(dek),
            Err(failure) => {
                let key = blob.key_id.as_str();
                Err(self.settle(key, Operation::Unwrap, failure).await)
            }
        }
    }

    async fn decrypt(&self, blob: &Blob, aad: &Aad) -> Result<Dek, Failure> {
        let payload = vec![
            Item::text(tag::ID, &blob.key_id),
            message::gcm(),
            Item::bytes(tag::DATA, &blob.data),
            Item::bytes(tag::IV, &blob.iv),
            Item::bytes(tag::AAD, &aad.bytes()),
            Item::bytes(tag::AEAD_TAG, &blob.tag),
        ];
        let answer = self.call(Operation::Unwrap, Call::Decrypt, payload).await?;
        same_key(&answer, &blob.key_id)?;
        let wrong = || Failure::new(Cause::Garbage, "the answer has no 32 bytes of plaintext");
        let plain = answer.bytes_of(tag::DATA).ok_or_else(wrong)?;
        let mut plain = zeroize::Zeroizing::new(plain.to_vec());
        Dek::take(&mut plain).map_err(|_| wrong())
    }

    /// Servers refuse a key that is not active as they refuse strangers, and some answer a wrong tag as they answer
    /// their own breakdown: the key's state, and another encryption, tell these apart.
    async fn settle(&self, key_id: &str, operation: Operation, failure: Failure) -> Failure {
        if matches!(failure.cause, Cause::Denied { .. }) {
            let state = self.state(key_id, operation).await.ok();
            let cause = match state {
                Some(ACTIVE) | None => return failure,
                Some(5 | 6) => Cause::Deleted,
                Some(_) => Cause::Disabled,
            };
            return Failure { cause, ..failure };
        }
        if failure.ambiguous && self.encrypt(key_id, &[0; Dek::LEN], b"check").await.is_ok() {
            let cause = Cause::NotAuthentic;
            return Failure { cause, ..failure };
        }
        failure
    }

    /// The key's state.
    pub(super) async fn state(&self, key_id: &str, operation: Operation) -> Result<u32, Failure> {
        match self.attribute(key_id, operation, "State").await? {
            Value::Enumeration(state) => Ok(state),
            _ => Err(Failure::new(Cause::Garbage, "the State is no enumeration")),
        }
    }

    /// One attribute of a key.
    pub(super) async fn attribute(
        &self,
        key_id: &str,
        operation: Operation,
        name: &str,
    ) -> Result<Value, Failure> {
        let payload = vec![
            Item::text(tag::ID, key_id),
            Item::text(tag::ATTRIBUTE_NAME, name),
        ];
        let answer = self.call(operation, Call::GetAttributes, payload).await?;
        let found = message::attribute(&answer, name).cloned();
        found.ok_or_else(|| Failure::new(Cause::Garbage, format!("the key has no {name}")))
    }

    /// Tries to read the key, which should fail; what was read is wiped.
    pub(super) async fn read(&self, key_id: &str) -> Result<(), Failure> {
        let payload = vec![Item::text(tag::ID, key_id)];
        let read = self.call(Operation::Inspect, Call::Get, payload).await;
        read.map(drop)
    }
}

/// The server names the key that it used.
fn same_key(answer: &Item, key_id: &str) -> Result<(), Failure> {
    if answer.text_of(tag::ID) == Some(key_id) {
        return Ok(());
    }
    let detail = "the answer is about another key than was asked for";
    Err(Failure::new(Cause::Garbage, detail))
}
