//! The whole flow over real connections, against a service that computes the binder it expects.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod fakes;
mod support;

use dawnkey_agent::client::Client;
use dawnkey_agent::config::Pace;
use dawnkey_agent::error::{AskError, UnlockError};
use dawnkey_agent::run::{Job, Ports, run};
use dawnkey_agent::unlock::Done;
use dawnkey_proto::binding::{Bound, Role, SpkiDigest, binder};
use dawnkey_proto::message::{
    Answer, Confirm, ConfirmAnswer, Lease, OnLoss, Reason, Refusal, Release, Request, Retry,
};
use dawnkey_proto::{seal, wire};
use dawnkey_secret::{ConfirmToken, Dek};
use fakes::disk::{FakeMapper, Holds};
use fakes::tpm::{Fails, FakeTpm};
use fakes::{DEK, SERVICE, TOKEN, VOLUME};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{Keys, Pki, Script, config, relay, serve};
use tonic::Status;

/// Releases the key to whoever's evidence names this connection.
struct Honest {
    spki: SpkiDigest,
    /// Calls of this number close the connection instead: 0 is the first unlock, 1 the first confirmation.
    breaks_at: Option<usize>,
    calls: AtomicUsize,
}

impl Honest {
    fn new(pki: &Pki) -> Self {
        Self {
            spki: pki.spki(),
            breaks_at: None,
            calls: AtomicUsize::new(0),
        }
    }

    fn begin(&self, keys: &Keys) {
        if Some(self.calls.fetch_add(1, Ordering::SeqCst)) == self.breaks_at {
            keys.allowance.store(0, Ordering::SeqCst);
        }
    }

    fn verdict(&self, message: &wire::UnlockRequest, keys: &Keys) -> Answer {
        let request = Request::decode(&message.body).unwrap();
        let expected = binder(&Bound {
            role: Role::Node,
            exporter: &keys.exporter,
            service_spki: &self.spki,
            hpke_public_key: &request.hpke_public_key,
            request: &message.body,
        });
        let quote = fakes::tpm::binder_of(&message.evidence[0].payload);
        if quote != expected.0 {
            return Answer::Refuse(Refusal {
                reason: Reason::BinderMismatch,
                detail: "evidence of another session".into(),
                remedy: "pass the connection through at layer 4".into(),
                retry: Retry::Never,
            });
        }
        let purpose = seal::Purpose {
            volume: VOLUME,
            epoch: 1,
            generation: 5,
        };
        let dek = Dek::take(&mut DEK.clone()).unwrap();
        let token = ConfirmToken::take(&mut TOKEN.clone()).unwrap();
        Answer::Release(Release {
            dek: seal::seal_release(&request.hpke_public_key, &purpose, &dek, &token).unwrap(),
            epoch: 1,
            generation: 5,
            lease: Lease {
                fencing_token: 1,
                seconds: 60,
                hold: false,
                on_loss: OnLoss::Warn,
            },
            service_id: SERVICE,
            rotation: None,
        })
    }
}

impl Script for Honest {
    async fn unlock(
        &self,
        message: wire::UnlockRequest,
        keys: &Keys,
    ) -> Result<wire::UnlockAnswer, Status> {
        self.begin(keys);
        Ok(self.verdict(&message, keys).into())
    }

    async fn confirm(
        &self,
        message: wire::ConfirmRequest,
        keys: &Keys,
    ) -> Result<wire::ConfirmAnswer, Status> {
        self.begin(keys);
        let confirm = Confirm::try_from(message).unwrap();
        assert_eq!(confirm.token.expose(), &TOKEN);
        assert_eq!(confirm.header.generation, 5);
        Ok(ConfirmAnswer::Confirmed.into())
    }
}

/// One node with a header of generation 4.
async fn node(address: SocketAddr, pki: &Pki) -> (Result<Done, UnlockError>, FakeMapper) {
    let mut mapper = FakeMapper::holding(&[Holds::Header {
        epoch: 1,
        generation: 4,
    }]);
    let mut config = config(&[address], pki.ca_pin());
    config.pace = Pace {
        budget: Duration::from_secs(20),
        attempt: Duration::from_secs(10),
    };
    let volumes = mapper.volumes();
    let ended = run(
        &Job {
            volumes: &volumes,
            node_name: "node-1",
            pace: config.pace,
            holder: true,
        },
        &mut Ports {
            service: &mut Client::new(&config).unwrap(),
            attester: &mut FakeTpm::that_fails_at(Fails::Nothing),
            mapper: &mut mapper,
            leases: &mut fakes::leases::FakeLeases::new(),
            jitter: &mut || 0,
            report: &mut |_| {},
        },
    )
    .await;
    let done = ended.map(|mut finished| finished.done.remove(0));
    (done.map_err(|stopped| stopped.error), mapper)
}

#[tokio::test]
async fn unlocks_over_one_connection() {
    let pki = Pki::new();
    let running = serve(&pki, Honest::new(&pki)).await;
    let (done, mapper) = node(running.address, &pki).await;
    assert_eq!(done.unwrap().trace.round_trips, 4);
    assert!(mapper.mapped() == 1);
    assert_eq!(running.accepted(), 1);
}

#[tokio::test]
async fn relay_with_the_services_own_key_changes_the_binder_and_is_refused() {
    let pki = Pki::new();
    let running = serve(&pki, Honest::new(&pki)).await;
    let relay = relay::start(&pki, running.address).await;
    let (ended, mapper) = node(relay.address, &pki).await;
    let UnlockError::Ask { error, .. } = ended.unwrap_err() else {
        panic!("expected the asking to fail")
    };
    assert!(matches!(*error, AskError::Refused(r) if r.reason == Reason::BinderMismatch));
    assert_eq!((relay.accepted(), running.accepted()), (1, 1));
    assert!(mapper.mapped() == 0);
}

#[tokio::test]
async fn lost_connection_costs_a_new_attempt_with_new_evidence() {
    for (breaks_at, connections) in [(0, 2), (1, 2)] {
        let pki = Pki::new();
        let mut honest = Honest::new(&pki);
        honest.breaks_at = Some(breaks_at);
        let running = serve(&pki, honest).await;
        let (done, mapper) = node(running.address, &pki).await;
        assert!(done.is_ok(), "{:?}", done.err());
        assert!(mapper.mapped() == 1);
        assert_eq!(running.accepted(), connections);
    }
}
