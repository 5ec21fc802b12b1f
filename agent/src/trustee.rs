//! Keys from a Key Broker Service (KBS) of Trustee: the DEK of a volume is a resource there.
//!
//! A KBS judges evidence and gives what it keeps; it knows no generation, no lease and no grant, and is told nothing after
//! that. The connection is pinned like every other. What evidence carries is a digest of the KBS's nonce and of the
//! key of this attempt; the resource comes sealed to that key. `docs/trustee.md` says what this protects and what not.

mod http;

use crate::config::{ServiceConfig, TrusteeConfig};
use crate::connect::{ConnectError, Target, connect};
use crate::error::AskError;
use crate::service::{Asked, CallError, Fresh, KeyService, Session, Verdict};
use dawnkey_attest::azure::hcl::HardwareKind;
use dawnkey_attest::collect::Attester;
use dawnkey_attest::evidence::{Evidence, KIND_AZURE, KIND_SNP, KIND_TDX, KIND_VTPM};
use dawnkey_attest::trustee::primary_evidence;
use dawnkey_proto::binding::{Exporter, SpkiDigest};
use dawnkey_proto::message::{
    Answer, Ask, Confirm, ConfirmAnswer, EvidenceItem, Renew, RenewAnswer, Request,
};
use dawnkey_proto::tls::{self, Clock, TlsError};
use dawnkey_proto::trustee::{
    ATTEST, AUTH, Nonce, Problem, Tee, TeeKey, accepted, attest_body, auth_body, runtime_digest,
};
use http::{Http, Reply};
use std::fmt::Display;
use std::sync::Arc;
use tokio::time::Instant;
use uuid::Uuid;

/// Makes connections to the configured KBS.
pub struct Broker {
    target: Target,
    config: TrusteeConfig,
}

impl Broker {
    /// A client of the configured KBS, known by its configured pin.
    ///
    /// # Errors
    /// The pin cannot be used.
    pub fn new(service: &ServiceConfig, config: &TrusteeConfig) -> Result<Self, TlsError> {
        let mut tls = tls::client_config(&service.pin, Clock::Host, None)?;
        tls.alpn_protocols = service.protocol.alpn();
        Ok(Self {
            target: Target {
                places: service.places.clone(),
                name: service.name.clone(),
                last: Vec::new(),
                tls: Arc::new(tls),
            },
            config: config.clone(),
        })
    }
}

impl KeyService for Broker {
    type Session = Conversation;

    async fn connect(&mut self, deadline: Instant) -> Result<Conversation, ConnectError> {
        let link = connect(&self.target, deadline).await?;
        Ok(Conversation {
            peer: link.endpoint.to_string(),
            binding: (link.exporter, link.spki),
            http: Http::over(self.target.clone(), link.stream),
            config: self.config.clone(),
            begun: None,
        })
    }
}

/// One attempt at a KBS: nonce, evidence, resource.
pub struct Conversation {
    http: Http,
    peer: String,
    binding: (Exporter, SpkiDigest),
    config: TrusteeConfig,
    begun: Option<(Nonce, TeeKey)>,
}

/// Names of the calls in errors.
const AUTH_CALL: &str = "auth";
const ATTEST_CALL: &str = "attest";
const RESOURCE_CALL: &str = "resource";

impl Session for Conversation {
    fn binding(&self) -> (&Exporter, &SpkiDigest) {
        (&self.binding.0, &self.binding.1)
    }

    fn peer(&self) -> String {
        self.peer.clone()
    }

    async fn challenge<A: Attester>(
        &mut self,
        asked: Asked<'_>,
        attester: &mut A,
        deadline: Instant,
    ) -> Result<Fresh, AskError> {
        let request = decoded(asked.body)?;
        if matches!(request.ask, Ask::Provision) && !self.config.provision {
            return Err(AskError::NoGrant);
        }
        let body = auth_body(tee(attester)?);
        let reply = self
            .http
            .exchange(AUTH_CALL, "POST", AUTH, &body, deadline)
            .await?;
        let nonce = Nonce::parse(&success(AUTH_CALL, reply)?).map_err(broker(AUTH_CALL))?;
        let key = TeeKey::generate().map_err(broker(AUTH_CALL))?;
        let digest = runtime_digest(&nonce, &key);
        self.begun = Some((nonce, key));
        Ok(Fresh::Digest(digest))
    }

    async fn unlock(
        &mut self,
        body: &[u8],
        evidence: Vec<EvidenceItem>,
        deadline: Instant,
    ) -> Result<Verdict, CallError> {
        // Taken: neither nonce nor key serve twice.
        let Some((nonce, key)) = self.begun.take() else {
            return Err(broker(ATTEST_CALL)("no nonce was asked for"));
        };
        let volume = decoded(body)?.volume;
        let [item] = evidence.as_slice() else {
            return Err(broker(ATTEST_CALL)("one piece of evidence is shown"));
        };
        let evidence = Evidence::decode(&item.kind, &item.payload).map_err(broker(ATTEST_CALL))?;
        let evidence = primary_evidence(&evidence).map_err(broker(ATTEST_CALL))?;
        let body = attest_body(&nonce, &key, &evidence);
        let reply = self
            .http
            .exchange(ATTEST_CALL, "POST", ATTEST, &body, deadline)
            .await?;
        accepted(&success(ATTEST_CALL, reply)?).map_err(broker(ATTEST_CALL))?;
        let path = self.config.resources.path(volume);
        let reply = self
            .http
            .exchange(RESOURCE_CALL, "GET", &path, &[], deadline)
            .await?;
        let resource = success(RESOURCE_CALL, reply)?;
        let dek = key.open(&resource).map_err(broker(RESOURCE_CALL))?;
        Ok(Verdict::Key(dek))
    }

    async fn activate(&mut self, _: Uuid, _: &[u8; 32], _: Instant) -> Result<Answer, CallError> {
        Err(broker("activate")(NONE))
    }

    async fn confirm(&mut self, _: Confirm, _: Instant) -> Result<ConfirmAnswer, CallError> {
        Err(broker("confirm")(NONE))
    }

    async fn renew(&mut self, _: Renew, _: Instant) -> Result<RenewAnswer, CallError> {
        Err(broker("renew")(NONE))
    }
}

/// What a KBS does of all that a key service does besides giving keys.
const NONE: &str = "a key broker knows no such call";

fn broker<E: Display>(call: &'static str) -> impl Fn(E) -> CallError {
    move |problem| CallError::Broker {
        call,
        problem: problem.to_string(),
    }
}

fn decoded(body: &[u8]) -> Result<Request, CallError> {
    let call = AUTH_CALL;
    Request::decode(body).map_err(|source| CallError::Message { call, source })
}

/// What a KBS calls the evidence of this machine.
fn tee(attester: &mut impl Attester) -> Result<Tee, AskError> {
    Ok(match attester.kind() {
        KIND_SNP => Tee::Snp,
        KIND_TDX => Tee::Tdx,
        KIND_VTPM => Tee::Tpm,
        KIND_AZURE => match attester.hardware()? {
            Some(HardwareKind::Snp) => Tee::AzureSnp,
            Some(HardwareKind::Tdx) => Tee::AzureTdx,
            None => return Err(broker(AUTH_CALL)("which TEE is below Azure's vTPM?").into()),
        },
        other => {
            let problem = format!("evidence of kind {other} is none of Trustee's");
            return Err(broker(AUTH_CALL)(problem).into());
        }
    })
}

/// The body of a success, or what the KBS says instead.
fn success(call: &'static str, reply: Reply) -> Result<Vec<u8>, CallError> {
    let Reply { status, body } = reply;
    match status {
        200 => Ok(body),
        502..=504 => Err(CallError::Unavailable {
            call,
            code: format!("HTTP {status}"),
            detail: Problem::parse(&body).detail,
        }),
        status => {
            let Problem { kind, detail } = Problem::parse(&body);
            Err(CallError::Denied {
                call,
                status,
                kind,
                detail,
            })
        }
    }
}
