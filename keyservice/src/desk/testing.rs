//! A desk over the in-memory store, and nodes with forged evidence, for tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::{Desk, Gate, Parts, Session};
use crate::audit::{AuditLog, Record, Settings};
use crate::evidence::FORGED;
use crate::kek::KeyRing;
use crate::policy::testing::{claims, parse};
use crate::records::Records;
use crate::volume::{Digest32, InstanceRecord, VolumeRecord};
use dawnkey_attest::claims::Claims;
use dawnkey_attest::evidence::Evidence;
use dawnkey_endorse::Endorsements;
use dawnkey_kek::cluster::Cluster;
use dawnkey_proto::binding::{Bound, Exporter, Role, SpkiDigest, binder};
use dawnkey_proto::message::{
    Answer, Ask, Challenge, Confirm, Refusal, Release, Request, SeenHeader,
};
use dawnkey_proto::seal::Recipient;
use dawnkey_proto::wire;
use dawnkey_secret::{ConfirmToken, MasterSecret};
use dawnkey_store::{MemoryStore, Stored, Table};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

pub(crate) type Snapshot = BTreeMap<(Table, Vec<u8>), Stored>;

/// A desk with one volume under the policy `state`.
pub(crate) struct World {
    pub desk: Arc<Desk>,
    pub store: Arc<MemoryStore>,
    pub volume: Uuid,
    audit: PathBuf,
    _scratch: tempfile::TempDir,
}

pub(crate) fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

impl World {
    pub(crate) async fn new(policy: &str) -> Self {
        Self::with(policy, None, 4, 4).await
    }

    pub(crate) async fn with(
        policy: &str,
        audit: Option<PathBuf>,
        places: usize,
        queue: usize,
    ) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let audit = audit.unwrap_or_else(|| scratch.path().join("audit.log"));
        let store = Arc::new(MemoryStore::default());
        let metrics = Arc::<crate::metrics::Metrics>::default();
        let master = MasterSecret::take(&mut [1; 32]).unwrap();
        let records = Records::new(Arc::clone(&store) as _);
        let desk = Desk::new(Parts {
            service_id: Uuid::from_u128(0xa),
            ring: KeyRing::of_one(
                Arc::new(Cluster::new("cluster", master, [3; 32])),
                records.clone(),
            )
            .await,
            records,
            audit: Arc::new(AuditLog::open(&Settings::file(&audit), &metrics).unwrap()),
            metrics: Arc::clone(&metrics),
            clock: Arc::new(now),
            lease_seconds: 300,
            gate: Gate::new(places, queue, Duration::from_secs(30), metrics),
            policy: parse(policy).unwrap(),
        });
        let volume = Uuid::from_u128(7);
        let world = Self {
            desk: Arc::new(desk),
            store,
            volume,
            audit,
            _scratch: scratch,
        };
        let dek = world.desk.ring.create(volume, 1).await.unwrap();
        let record = VolumeRecord::new(volume, "state".into(), String::new(), dek, now());
        world.desk.records.create_volume(&record).await.unwrap();
        world
    }

    /// The same with a store of endorsements.
    pub(crate) fn with_endorsements(self, endorsements: Arc<Endorsements>) -> Self {
        let desk = Arc::into_inner(self.desk).unwrap();
        Self {
            desk: Arc::new(desk.with_endorsements(Some(endorsements))),
            ..self
        }
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        let bytes = std::fs::read(&self.audit).unwrap();
        let mut all = Vec::new();
        crate::audit::read(bytes.as_slice(), |record| all.push(record)).unwrap();
        all
    }

    pub(crate) fn before(&self) -> (Snapshot, usize) {
        (self.store.snapshot(), self.records().len())
    }

    pub(crate) async fn enrol(&self, n: u8) {
        let enrolled = InstanceRecord {
            instance: Digest32([n; 32]),
            key_name: claims(n).tpm.unwrap().attestation_key_name,
            kind: "vtpm".into(),
            endorsement: "CN=tpm".into(),
            enrolled: now(),
        };
        self.desk.records.enrol(&enrolled).await.unwrap();
    }

    /// Enrols instance 1 and lets it provision; returns its disk.
    pub(crate) async fn active(&self) -> SeenHeader {
        self.enrol(1).await;
        let mut node = Node::new(1);
        let Answer::Provision(granted) = node.ask(self, Ask::Provision).await else {
            panic!("not provisioned");
        };
        node.confirm(self, &granted.release).await
    }

    /// A whole boot of instance 1.
    pub(crate) async fn boot(&self, header: SeenHeader) -> SeenHeader {
        let mut node = Node::new(1);
        let Answer::Release(release) = node.ask(self, Ask::Unlock(header)).await else {
            panic!("not released");
        };
        node.confirm(self, &release).await
    }
}

/// Makes evidence for an exchange.
pub(crate) type Attester = Box<dyn Fn(&[u8; 64]) -> Evidence + Send>;

/// A node on one connection.
pub(crate) struct Node {
    pub claims: Claims,
    pub session: Arc<Session>,
    pub volume: Uuid,
    /// Runs a holder.
    pub hold: bool,
    /// Puts another binder than this connection's into the evidence.
    pub replayed: bool,
    /// Makes real evidence for an exchange, instead of forged evidence with `claims`.
    pub attester: Option<Attester>,
    recipient: Recipient,
    binder: [u8; 64],
}

impl Node {
    pub(crate) fn new(n: u8) -> Self {
        Self {
            claims: claims(n),
            session: Arc::new(Session::new(
                ([192, 0, 2, n], 7).into(),
                Exporter([n; 32]),
                SpkiDigest([2; 32]),
            )),
            volume: Uuid::from_u128(7),
            hold: false,
            replayed: false,
            attester: None,
            recipient: Recipient::generate().unwrap(),
            binder: [0; 64],
        }
    }

    pub(crate) fn request(&mut self, ask: Ask) -> wire::UnlockRequest {
        let request = Request {
            ask,
            volume: self.volume,
            node_name: "node-1".into(),
            agent_version: "0.1.0".into(),
            hpke_public_key: self.recipient.public_key().try_into().unwrap(),
        };
        let body = request.encode();
        self.binder = binder(&Bound {
            role: Role::Node,
            exporter: &self.session.exporter,
            service_spki: &SpkiDigest([2; 32]),
            hpke_public_key: self.recipient.public_key(),
            request: &body,
        })
        .0;
        if self.replayed {
            self.binder = [9; 64];
        }
        let (kind, payload) = match &self.attester {
            Some(attest) => {
                let evidence = attest(&self.binder);
                (evidence.kind(), evidence.encode())
            }
            None => {
                let claims = serde_json::to_vec(&self.claims).unwrap();
                (FORGED, [self.binder.to_vec(), claims].concat())
            }
        };
        wire::UnlockRequest {
            body,
            evidence: vec![wire::Evidence {
                kind: kind.into(),
                payload,
            }],
        }
    }

    pub(crate) async fn ask(&mut self, world: &World, ask: Ask) -> Answer {
        let message = self.request(ask);
        let session = Arc::clone(&self.session);
        Arc::clone(&world.desk).unlock(session, message).await
    }

    pub(crate) async fn activate(&self, world: &World, challenge: &Challenge) -> Answer {
        // The fake TPM finds the secret as it stands.
        let secret = challenge.encrypted_secret.as_slice();
        let binder = dawnkey_attest::evidence::Exchange(self.binder);
        let proof = dawnkey_attest::enrolment::proof(secret, &binder).to_vec();
        self.prove(world, challenge, proof).await
    }

    pub(crate) async fn prove(
        &self,
        world: &World,
        challenge: &Challenge,
        proof: Vec<u8>,
    ) -> Answer {
        let message = wire::ActivateRequest {
            challenge_id: challenge.id.as_bytes().to_vec(),
            proof,
        };
        let session = Arc::clone(&self.session);
        Arc::clone(&world.desk).activate(session, message).await
    }

    pub(crate) fn open(&self, release: &Release) -> (dawnkey_secret::Dek, ConfirmToken) {
        let purpose = release.purpose(self.volume);
        self.recipient.open_release(&release.dek, &purpose).unwrap()
    }

    /// Writes the header that the release asks for and confirms it.
    pub(crate) async fn confirm(&self, world: &World, release: &Release) -> SeenHeader {
        self.try_confirm(world, release).await.unwrap()
    }

    pub(crate) async fn try_confirm(
        &self,
        world: &World,
        release: &Release,
    ) -> Result<SeenHeader, Refusal> {
        let (_, token) = self.open(release);
        let header = SeenHeader {
            generation: release.generation,
            epoch: release.epoch,
            digest: [u8::try_from(release.generation).unwrap(); 32],
        };
        let confirm = Confirm {
            volume: self.volume,
            header,
            token,
            progress: None,
            hold: self.hold,
        };
        let session = Arc::clone(&self.session);
        let confirmed = Arc::clone(&world.desk).confirm(session, confirm.into());
        confirmed.await?;
        Ok(header)
    }
}
