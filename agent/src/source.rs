//! Where keys come from: Dawnkey's own service or, in agents with the feature `trustee`, a Key Broker Service of Trustee.

use crate::client::{Client, Connection};
use crate::config::{Protocol, ServiceConfig};
use crate::connect::ConnectError;
use crate::error::AskError;
use crate::service::{Asked, CallError, Fresh, KeyService, Session, Verdict};
#[cfg(feature = "trustee")]
use crate::trustee::{Broker, Conversation};
use dawnkey_attest::collect::Attester;
use dawnkey_proto::binding::{Exporter, SpkiDigest};
use dawnkey_proto::message::{Answer, Confirm, ConfirmAnswer, EvidenceItem, Renew, RenewAnswer};
use dawnkey_proto::tls::TlsError;
use tokio::time::Instant;
use uuid::Uuid;

/// The configured source.
pub enum Source {
    /// Dawnkey's own service.
    Dawnkey(Client),
    /// A Key Broker Service.
    #[cfg(feature = "trustee")]
    Trustee(Broker),
}

/// One connection to it.
pub enum Connected {
    /// To Dawnkey's own service.
    Dawnkey(Box<Connection>),
    /// To a Key Broker Service.
    #[cfg(feature = "trustee")]
    Trustee(Box<Conversation>),
}

impl Source {
    /// The source that the configuration names, known by its configured pin.
    ///
    /// # Errors
    /// The pin cannot be used.
    pub fn new(config: &ServiceConfig) -> Result<Self, TlsError> {
        match &config.protocol {
            Protocol::Dawnkey => Client::new(config).map(Self::Dawnkey),
            #[cfg(feature = "trustee")]
            Protocol::Trustee(keys) => Broker::new(config, keys).map(Self::Trustee),
        }
    }
}

impl KeyService for Source {
    type Session = Connected;

    async fn connect(&mut self, deadline: Instant) -> Result<Connected, ConnectError> {
        match self {
            Self::Dawnkey(client) => {
                let connection = client.connect(deadline).await?;
                Ok(Connected::Dawnkey(connection.into()))
            }
            #[cfg(feature = "trustee")]
            Self::Trustee(broker) => {
                let conversation = broker.connect(deadline).await?;
                Ok(Connected::Trustee(conversation.into()))
            }
        }
    }
}

/// The same of both.
macro_rules! either {
    ($connected:expr, $session:ident => $answer:expr) => {
        match $connected {
            Connected::Dawnkey($session) => $answer,
            #[cfg(feature = "trustee")]
            Connected::Trustee($session) => $answer,
        }
    };
}

impl Session for Connected {
    fn binding(&self) -> (&Exporter, &SpkiDigest) {
        either!(self, session => session.binding())
    }

    fn peer(&self) -> String {
        either!(self, session => session.peer())
    }

    async fn challenge<A: Attester>(
        &mut self,
        asked: Asked<'_>,
        attester: &mut A,
        deadline: Instant,
    ) -> Result<Fresh, AskError> {
        either!(self, session => session.challenge(asked, attester, deadline).await)
    }

    async fn unlock(
        &mut self,
        body: &[u8],
        evidence: Vec<EvidenceItem>,
        deadline: Instant,
    ) -> Result<Verdict, CallError> {
        either!(self, session => session.unlock(body, evidence, deadline).await)
    }

    async fn activate(
        &mut self,
        challenge: Uuid,
        proof: &[u8; 32],
        deadline: Instant,
    ) -> Result<Answer, CallError> {
        either!(self, session => session.activate(challenge, proof, deadline).await)
    }

    async fn confirm(
        &mut self,
        confirm: Confirm,
        deadline: Instant,
    ) -> Result<ConfirmAnswer, CallError> {
        either!(self, session => session.confirm(confirm, deadline).await)
    }

    async fn renew(&mut self, renew: Renew, deadline: Instant) -> Result<RenewAnswer, CallError> {
        either!(self, session => session.renew(renew, deadline).await)
    }
}
