//! One node. It goes the agent's way over real TLS: its client, its binder, its evidence, its budget and back-off. Only
//! the disk is missing: what would stand in the header is a number here.

use super::figures::Served;
use super::hardware::Hardware;
use super::volume;
use dawnkey_agent::client::{Client, Connection};
use dawnkey_agent::config::ServiceConfig;
use dawnkey_agent::error::{AskError, ProtocolError};
use dawnkey_agent::retry::Budget;
use dawnkey_agent::service::{KeyService, Session, Verdict};
use dawnkey_attest::evidence::Exchange;
use dawnkey_proto::binding::{Bound, Role, binder};
use dawnkey_proto::message::{
    Answer, Ask, Confirm, ConfirmAnswer, EvidenceItem, Lease, Request, SeenHeader,
};
use dawnkey_proto::seal::Recipient;
use dawnkey_secret::ConfirmToken;
use tokio::time::Instant;
use uuid::Uuid;

/// A number of 16 bits that differs from node to node and from call to call.
fn jitter() -> u16 {
    let [a, b, ..] = *Uuid::new_v4().as_bytes();
    u16::from_be_bytes([a, b])
}

/// One node with its volume.
pub struct Node {
    number: usize,
    hardware: Hardware,
    service: ServiceConfig,
    launches: u64,
    /// What the header says; 0 before the disk is formatted.
    pub generation: u64,
}

/// A key that a node has, and what it takes to confirm it.
pub struct Released {
    /// What the header is to say.
    pub generation: u64,
    /// The lease that came with it.
    pub lease: Lease,
    token: ConfirmToken,
    session: Option<Connection>,
    attempts: u32,
}

impl Node {
    /// The node of this number, with a blank disk.
    pub fn new(number: usize, hardware: Hardware, service: ServiceConfig) -> Self {
        Self {
            number,
            hardware,
            service,
            launches: 0,
            generation: 0,
        }
    }

    fn seen(&self, generation: u64) -> SeenHeader {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&generation.to_be_bytes());
        digest[8..16].copy_from_slice(&(self.number as u64).to_be_bytes());
        SeenHeader {
            generation,
            epoch: 1,
            digest,
        }
    }

    /// Turns the machine off and on.
    pub fn launch(&mut self) {
        self.launches += 1;
    }

    /// One attempt to get a key.
    ///
    /// # Errors
    /// No connection, no answer, a refusal.
    pub async fn ask(&self, client: &mut Client, budget: &Budget) -> Result<Released, AskError> {
        let mut session = client.connect(budget.deadline()).await?;
        let recipient = Recipient::generate().unwrap();
        let ask = match self.generation {
            0 => Ask::Provision,
            known => Ask::Unlock(self.seen(known)),
        };
        let request = Request {
            ask,
            volume: volume(self.number),
            node_name: format!("node-{}", self.number),
            agent_version: "0.1.0".into(),
            hpke_public_key: recipient.public_key().try_into().unwrap(),
        };
        let body = request.encode();
        let (exporter, service_spki) = session.binding();
        let bound = Bound {
            role: Role::Node,
            exporter,
            service_spki,
            hpke_public_key: recipient.public_key(),
            request: &body,
        };
        let exchange = Exchange(binder(&bound).0);
        let evidence = self
            .hardware
            .evidence(&exchange, self.number, self.launches);
        let item = EvidenceItem {
            kind: evidence.kind().to_owned(),
            payload: evidence.encode(),
        };
        let answer = session.unlock(&body, vec![item], budget.deadline()).await?;
        let Verdict::Answer(answer) = answer else {
            panic!("a key service gives more than a key");
        };
        let release = match answer {
            Answer::Release(release) => release,
            Answer::Provision(provision) => provision.release,
            Answer::Refuse(refusal) => return Err(AskError::Refused(refusal)),
            Answer::Challenge(_) => return Err(ProtocolError::SecondChallenge.into()),
        };
        let purpose = release.purpose(volume(self.number));
        let (_dek, token) = recipient.open_release(&release.dek, &purpose).unwrap();
        Ok(Released {
            generation: release.generation,
            lease: release.lease,
            token,
            session: Some(session),
            attempts: budget.attempts(),
        })
    }

    /// Asks until there is a key.
    async fn released(&self, client: &mut Client) -> Released {
        let mut budget = Budget::start(self.service.pace);
        loop {
            budget.attempt();
            match self.ask(client, &budget).await {
                Ok(released) => return released,
                Err(error) => wait(&mut budget, &error).await,
            }
        }
    }

    /// Writes the header and tells the service, until it knows; gives the attempts that it took.
    pub async fn confirm(&mut self, client: &mut Client, released: Released) -> u32 {
        let mut session = released.session;
        let mut budget = Budget::start(self.service.pace);
        self.generation = released.generation;
        loop {
            budget.attempt();
            let confirm = Confirm {
                volume: volume(self.number),
                header: self.seen(released.generation),
                token: copy(&released.token),
                progress: None,
                hold: released.lease.hold,
            };
            let connected = match session.take() {
                Some(session) => Ok(session),
                None => client.connect(budget.deadline()).await,
            };
            let confirmed = match connected {
                Ok(mut session) => session.confirm(confirm, budget.deadline()).await,
                Err(error) => {
                    wait(&mut budget, &error.into()).await;
                    continue;
                }
            };
            match confirmed {
                Ok(ConfirmAnswer::Confirmed) => return budget.attempts(),
                Ok(ConfirmAnswer::Refuse(no)) => wait(&mut budget, &AskError::Refused(no)).await,
                Err(error) => wait(&mut budget, &error.into()).await,
            }
        }
    }

    /// From power-on to the confirmed generation, which is the next one, whatever happens on the way.
    pub async fn boot(&mut self) -> Served {
        let began = Instant::now();
        self.launch();
        let mut client = self.client();
        let released = self.released(&mut client).await;
        let asked = released.attempts;
        assert_eq!(released.generation, self.generation + 1);
        let confirmed = self.confirm(&mut client, released).await;
        Served {
            took: began.elapsed(),
            attempts: asked + confirmed - 1,
        }
    }

    /// A client as the node's configuration makes it.
    pub fn client(&self) -> Client {
        Client::new(&self.service).unwrap()
    }

    /// A new budget for one purpose.
    pub fn budget(&self) -> Budget {
        Budget::start(self.service.pace)
    }
}

fn copy(token: &ConfirmToken) -> ConfirmToken {
    ConfirmToken::fill(|bytes| {
        bytes.copy_from_slice(token.expose());
        Ok::<_, AskError>(())
    })
    .unwrap()
}

async fn wait(budget: &mut Budget, error: &AskError) {
    match budget.wait(error.again(), &mut jitter) {
        Some(wait) => tokio::time::sleep(wait).await,
        None => panic!("attempt {}: not served: {error}", budget.attempts()),
    }
}
