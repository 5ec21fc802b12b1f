//! One request on its way: what is known of it so far, for the answer's audit record.

use crate::approval::Approval;
use crate::audit::Entry;
use crate::evidence::Appraised;
use crate::policy::{Admitted, Denial, Identity, key_name};
use crate::release::Granted;
use crate::volume::VolumeRecord;
use dawnkey_attest::claims::TrustClass;
use dawnkey_proto::binding::{Binder, Exporter, SpkiDigest};
use dawnkey_proto::message::{Answer, ReceivedRequest, Refusal, Request, reason_code};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;
use zeroize::Zeroizing;

/// How long a challenge can be answered.
const CHALLENGE_LIFE: Duration = Duration::from_secs(60);
/// Most requests over one connection: more than an honest node makes.
const MAX_REQUESTS: u32 = 16;

/// One connection of a node: what ties requests to it, and the challenge that it has to answer.
#[derive(Debug)]
pub struct Session {
    /// Its other end.
    pub peer: SocketAddr,
    /// Its keying material.
    pub exporter: Exporter,
    /// Digest of the key that the service showed over it.
    pub own_spki: SpkiDigest,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    requests: u32,
    challenge: Option<Challenged>,
    got_key: bool,
}

/// A request that waits for its challenge to be answered.
pub(super) struct Challenged {
    pub id: Uuid,
    pub secret: Zeroizing<[u8; 32]>,
    pub made: Instant,
    pub binder: Binder,
    pub request: Request,
    pub appraised: Appraised,
}

impl std::fmt::Debug for Challenged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Challenged({})", self.id)
    }
}

impl Session {
    /// A new connection.
    #[must_use]
    pub fn new(peer: SocketAddr, exporter: Exporter, own_spki: SpkiDigest) -> Self {
        Self {
            peer,
            exporter,
            own_spki,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request; false when there were too many.
    pub(super) fn count(&self) -> bool {
        let mut state = self.state();
        state.requests = state.requests.saturating_add(1);
        state.requests <= MAX_REQUESTS
    }

    pub(super) fn challenge(&self, challenged: Challenged) {
        self.state().challenge = Some(challenged);
    }

    /// Takes the challenge, which can be answered once and for a minute only.
    pub(super) fn take_challenge(&self) -> Option<Challenged> {
        let challenged = self.state().challenge.take()?;
        (challenged.made.elapsed() <= CHALLENGE_LIFE).then_some(challenged)
    }

    pub(super) fn key_given(&self) {
        self.state().got_key = true;
    }

    /// Whether a key was released over this connection, which may live longer then.
    #[must_use]
    pub fn got_key(&self) -> bool {
        self.state().got_key
    }
}

/// What is known of a request so far.
#[derive(Debug)]
pub(super) struct Case {
    peer: SocketAddr,
    operation: &'static str,
    volume: Option<Uuid>,
    request: Option<Request>,
    instance: Option<String>,
    key: Option<String>,
    trust_class: Option<&'static str>,
    image: Option<String>,
    platform: Option<String>,
    rule: Option<String>,
    generation: Option<u64>,
    epoch: Option<u32>,
    next_epoch: Option<u32>,
    held: bool,
    fencing: Option<u64>,
    warning: Option<String>,
}

impl Case {
    pub(super) fn new(peer: SocketAddr, operation: &'static str) -> Self {
        Self {
            peer,
            operation,
            volume: None,
            request: None,
            instance: None,
            key: None,
            trust_class: None,
            image: None,
            platform: None,
            rule: None,
            generation: None,
            epoch: None,
            next_epoch: None,
            held: false,
            fencing: None,
            warning: None,
        }
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The image that booted, once policy has found it.
    pub(super) fn image(&self) -> &str {
        self.image.as_deref().unwrap_or_default()
    }

    pub(super) fn volume_text(&self) -> String {
        self.volume.map(|v| v.to_string()).unwrap_or_default()
    }

    pub(super) fn volume(&mut self, volume: Uuid) {
        self.volume = Some(volume);
    }

    pub(super) fn received(&mut self, received: &ReceivedRequest) {
        self.asked(&received.request);
    }

    pub(super) fn asked(&mut self, request: &Request) {
        self.operation = request.ask.name();
        self.volume = Some(request.volume);
        self.request = Some(request.clone());
    }

    pub(super) fn appraised(&mut self, appraised: &Appraised) {
        let claims = appraised.claims();
        self.key = key_name(claims).map(str::to_owned);
        self.trust_class = claims.trust_class.map(TrustClass::name);
    }

    pub(super) fn identified(&mut self, identity: &Identity) {
        self.instance = Some(identity.instance().to_string());
    }

    pub(super) fn admitted(&mut self, admitted: &Admitted) {
        self.image = Some(admitted.image.clone());
        self.platform.clone_from(&admitted.platform);
        self.rule = Some(admitted.rule.clone());
    }

    /// Keeps the rule that decided.
    pub(super) fn denied(&mut self, denial: Denial) -> Refusal {
        self.rule = Some(denial.rule);
        denial.refusal
    }

    pub(super) fn granted(&mut self, granted: &Granted) {
        self.generation = Some(granted.generation);
        self.epoch = Some(granted.approval.epoch());
        self.next_epoch = granted.rotation.as_ref().map(Approval::epoch);
        self.fencing = Some(granted.record.fencing);
        self.warning.clone_from(&granted.warning);
    }

    pub(super) fn confirmed(&mut self, record: &VolumeRecord) {
        self.generation = Some(record.confirmed);
        self.epoch = Some(record.epoch);
        self.instance = record.instance.map(|i| i.to_string());
        self.fencing = Some(record.fencing);
        self.held = record.holding.is_some();
    }

    /// The audit record of this case under an event's name.
    pub(super) fn entry(&self, event: &'static str) -> Entry {
        let seen = self.request.as_ref().and_then(|r| r.ask.seen());
        let request = self.request.as_ref();
        let hint = |text: &String| (!text.is_empty()).then(|| text.clone());
        Entry::new(event)
            .with("peer", self.peer.to_string())
            .with("operation", self.operation)
            .with_some("volume", self.volume.map(|v| v.to_string()))
            .with_some("node_name", request.and_then(|r| hint(&r.node_name)))
            .with_some(
                "agent_version",
                request.and_then(|r| hint(&r.agent_version)),
            )
            .with_some("seen_generation", seen.map(|s| s.generation))
            .with_some("seen_epoch", seen.map(|s| s.epoch))
            .with_some("seen_header", seen.map(|s| hex::encode(s.digest)))
            .with_some("trust_class", self.trust_class)
            .with_some("key", self.key.clone())
            .with_some("instance", self.instance.clone())
            .with_some("image", self.image.clone())
            .with_some("platform", self.platform.clone())
            .with_some("rule", self.rule.clone())
            .with_some("generation", self.generation)
            .with_some("epoch", self.epoch)
            .with_some("next_epoch", self.next_epoch)
            .with_some("held", self.held.then_some(true))
            .with_some("fencing", self.fencing)
            .with_some("warning", self.warning.clone())
    }

    /// The audit record of a refusal.
    pub(super) fn refused(&self, refusal: &Refusal) -> Entry {
        self.entry("refuse")
            .with("reason", refusal.code())
            .with("detail", refusal.detail.clone())
    }
}

/// Name of an answer and of its reason, for logs and counters.
pub(super) fn names(answer: &Answer) -> (&'static str, String) {
    match answer {
        Answer::Release(_) => ("release", String::new()),
        Answer::Provision(_) => ("provision", String::new()),
        Answer::Challenge(_) => ("challenge", String::new()),
        Answer::Refuse(refusal) => ("refuse", reason_code(refusal.reason)),
    }
}
