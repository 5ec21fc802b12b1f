//! Data keys: whose they are, that they stay the same, and what a token's review must show.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::desk::DataKeyError;
use super::{Caller, ReviewError, Reviewer};
use crate::config::KubernetesReview;
use crate::desk::testing::World;
use crate::policy::testing::FILE;
use dawnkey_kek::cluster::Cluster;
use dawnkey_proto::tls::{Identity, server_config};
use dawnkey_secret::MasterSecret;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls_pki_types::{PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const LINES: &str = r#"
[[data_key]]
caller = "cn:csi"
prefix = "pvc-"
max_length = 96
create = true
[[data_key]]
caller = "cn:reader"
prefix = "pvc-"
max_length = 1024
[[data_key]]
caller = "cn:any"
prefix = ""
max_length = 32
create = true
"#;

async fn world() -> World {
    World::new(&format!("{FILE}{LINES}")).await
}

async fn ask(world: &World, caller: &str, id: &str, length: u32) -> Result<Vec<u8>, DataKeyError> {
    let peer = ([192, 0, 2, 9], 7).into();
    let caller = Caller::for_test(caller);
    let key = world.desk.data_key(&caller, peer, id, length).await?;
    Ok(key.expose().to_vec())
}

#[tokio::test]
async fn in_cluster_mode_keys_are_those_of_constellation() {
    let world = world().await;
    let key = ask(&world, "cn:csi", "pvc-1", 96).await.unwrap();
    // The master secret and salt of the test's desk.
    let master = MasterSecret::take(&mut [1; 32]).unwrap();
    let constellation = Cluster::new("cluster", master, [3; 32]);
    assert_eq!(constellation.named("pvc-1", 96).unwrap().expose(), key);
    // The record keeps them: they do not depend on being derived again.
    let kept = world.desk.records.keys().await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].deks.len(), 3);
    let again = ask(&world, "cn:csi", "pvc-1", 32).await.unwrap();
    assert_eq!(again, key[..32]);
    let record = world.records().pop().unwrap();
    assert_eq!(record.event, "data-key");
    assert_eq!(record.fields["caller"], "cn:csi");
    assert_eq!(record.fields["id"], "pvc-1");
}

#[tokio::test]
async fn a_missing_key_is_made_only_where_policy_says_so() {
    let world = world().await;
    let missing = ask(&world, "cn:reader", "pvc-1", 32).await.unwrap_err();
    assert!(matches!(missing, DataKeyError::Missing(_)));
    assert!(world.desk.records.keys().await.unwrap().is_empty());
    let made = ask(&world, "cn:csi", "pvc-1", 32).await.unwrap();
    assert_eq!(ask(&world, "cn:reader", "pvc-1", 32).await.unwrap(), made);
    let long = ask(&world, "cn:reader", "pvc-1", 97).await.unwrap_err();
    assert!(matches!(long, DataKeyError::Invalid(_)));
}

#[tokio::test]
async fn refuses_other_callers_ids_lengths_and_what_is_no_id() {
    let world = world().await;
    for (caller, id, length) in [
        ("cn:stranger", "pvc-1", 32),
        ("cn:csi", "other-1", 32),
        ("cn:csi", "pvc-1", 97),
        ("cn:any", "measurementSecret", 32),
    ] {
        let refused = ask(&world, caller, id, length).await.unwrap_err();
        assert!(matches!(refused, DataKeyError::Denied(_)), "{caller} {id}");
    }
    for (id, length) in [
        ("", 32),
        ("pvc-a/epoch-2", 32),
        ("pvc-1", 0),
        ("pvc-1", 1025),
    ] {
        let refused = ask(&world, "cn:csi", id, length).await.unwrap_err();
        assert!(matches!(refused, DataKeyError::Invalid(_)), "{id}");
    }
    let record = world.records().pop().unwrap();
    assert!(record.fields["refused"].as_str().unwrap().contains("1025"));
}

#[tokio::test]
async fn a_volumes_key_is_no_data_key_and_a_data_keys_id_no_volume() {
    let world = world().await;
    let id = world.volume.to_string();
    let refused = ask(&world, "cn:any", &id, 32).await.unwrap_err();
    assert!(matches!(refused, DataKeyError::Volume(_)));
    let other = uuid::Uuid::from_u128(0x99);
    ask(&world, "cn:any", &other.to_string(), 32).await.unwrap();
    let operator = crate::server::Operator::for_test();
    let desk = &world.desk;
    let taken = desk
        .create_volume(&operator, Some(other), "state", "")
        .await;
    assert!(matches!(taken, Err(crate::desk::AdminError::Exists(id)) if id == other));
}

#[tokio::test]
async fn callers_that_come_together_get_one_key() {
    let world = Arc::new(world().await);
    let asked: Vec<_> = (0..8)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { ask(&world, "cn:csi", "pvc-2", 32).await.unwrap() })
        })
        .collect();
    let mut keys = Vec::new();
    for one in asked {
        keys.push(one.await.unwrap());
    }
    assert!(keys.iter().all(|key| *key == keys[0]));
    assert_eq!(world.desk.records.keys().await.unwrap().len(), 1);
}

/// An API server that answers with what the test says.
pub(crate) struct ApiServer {
    pub(crate) port: u16,
    pub(crate) ca: rcgen::Certificate,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    count: Arc<AtomicU32>,
}

impl ApiServer {
    pub(crate) async fn new(status: u16, answer: Value) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        let identity = Identity {
            chain: vec![leaf.der().clone()],
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        };
        let mut tls = server_config(identity, None).unwrap();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let count = Arc::new(AtomicU32::new(0));
        let (seen, counted) = (Arc::clone(&asked), Arc::clone(&count));
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(tls));
            while let Ok((tcp, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(tcp).await else {
                    continue;
                };
                counted.fetch_add(1, Ordering::SeqCst);
                let service = service_fn(|request: Request<Incoming>| {
                    let (seen, answer) = (Arc::clone(&seen), answer.clone());
                    async move {
                        let own = request.headers()["authorization"].to_str().unwrap();
                        let own = format!("{own} {}", request.uri().path());
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        let body = serde_json::from_slice(&body).unwrap();
                        seen.lock().unwrap().push((own, body));
                        let text = Full::new(Bytes::from(answer.to_string()));
                        Response::builder().status(status).body(text)
                    }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        });
        Self {
            port,
            ca,
            asked,
            count,
        }
    }

    fn reviewer(&self) -> Reviewing {
        let scratch = tempfile::tempdir().unwrap();
        let token = scratch.path().join("token");
        std::fs::write(&token, "our-own-token\n").unwrap();
        let reviewer = Reviewer::new(KubernetesReview {
            host: "localhost".into(),
            port: self.port,
            name: ServerName::try_from("localhost").unwrap(),
            ca: vec![self.ca.der().clone()],
            audience: "dawnkey".into(),
            token,
            cache: Duration::from_secs(60),
        });
        Reviewing {
            reviewer: reviewer.unwrap(),
            _scratch: scratch,
        }
    }
}

/// A reviewer with the file of its own token.
struct Reviewing {
    reviewer: Reviewer,
    _scratch: tempfile::TempDir,
}

/// A token of `kube-system:csi` for the audience `dawnkey`.
pub(crate) fn good() -> Value {
    json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": {
        "authenticated": true,
        "user": {"username": "system:serviceaccount:kube-system:csi", "uid": "1"},
        "audiences": ["dawnkey"],
    }})
}

#[tokio::test]
async fn a_reviewed_token_names_its_service_account_and_is_remembered() {
    let server = ApiServer::new(201, good()).await;
    let own = server.reviewer();
    for _ in 0..3 {
        let caller = own.reviewer.review("a-token").await.unwrap();
        assert_eq!(caller.names(), ["system:serviceaccount:kube-system:csi"]);
    }
    assert_eq!(server.count.load(Ordering::SeqCst), 1);
    own.reviewer.review("another-token").await.unwrap();
    let asked = server.asked.lock().unwrap();
    assert_eq!(asked.len(), 2);
    let (own, body) = &asked[0];
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    assert_eq!(own, &format!("Bearer our-own-token {path}"));
    assert_eq!(body["spec"]["token"], "a-token");
    assert_eq!(body["spec"]["audiences"], json!(["dawnkey"]));
}

#[tokio::test]
async fn refuses_tokens_that_are_bad_of_another_audience_or_no_service_accounts() {
    let bend = |path: &str, value: Value| {
        let mut bent = good();
        *bent.pointer_mut(path).unwrap() = value;
        bent
    };
    for bent in [
        bend("/status/authenticated", json!(false)),
        bend(
            "/status/audiences",
            json!(["https://kubernetes.default.svc"]),
        ),
        bend("/status/audiences", json!([])),
        bend("/status/user/username", json!("system:node:a")),
        json!({"status": {}}),
    ] {
        let server = ApiServer::new(201, bent.clone()).await;
        let own = server.reviewer();
        for _ in 0..2 {
            let refused = own.reviewer.review("a-token").await;
            assert!(matches!(refused, Err(ReviewError::Refused(_))), "{bent}");
        }
        assert_eq!(server.count.load(Ordering::SeqCst), 2, "not remembered");
    }
    let own = ApiServer::new(201, good()).await.reviewer();
    for long in [String::new(), "x".repeat(16385)] {
        let refused = own.reviewer.review(&long).await;
        assert!(matches!(refused, Err(ReviewError::Refused(_))));
    }
}

#[tokio::test]
async fn an_api_server_that_fails_refuses_nobody_for_good() {
    for (status, answer) in [(403, good()), (201, json!([])), (500, json!({}))] {
        let own = ApiServer::new(status, answer).await.reviewer();
        let failed = own.reviewer.review("a-token").await;
        assert!(matches!(failed, Err(ReviewError::Failed { .. })));
    }
    let long = json!({"status": {"error": "x".repeat(70_000)}});
    let own = ApiServer::new(201, long).await.reviewer();
    let failed = own.reviewer.review("a-token").await;
    assert!(matches!(failed, Err(ReviewError::Failed { .. })));
}
