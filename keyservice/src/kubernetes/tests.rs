//! The plugin over a real Unix socket, as the API server speaks to it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::seal::MAX_PLAINTEXT;
use super::{SocketError, serve};
use crate::config::KubernetesKms;
use crate::desk::testing::World;
use crate::policy::testing::FILE;
use crate::server::Operator;
use dawnkey_proto::kubernetes as wire;
use dawnkey_proto::kubernetes::key_management_service_client::KeyManagementServiceClient;
use hyper_util::rt::TokioIo;
use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

type Client = KeyManagementServiceClient<Channel>;

/// A desk whose plugin is served.
struct Plugin {
    world: World,
    scratch: tempfile::TempDir,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl Plugin {
    async fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let own = std::fs::metadata(scratch.path()).unwrap().uid();
        Self::of(World::new(FILE).await, scratch, [own].into(), 600).await
    }

    async fn of(
        world: World,
        scratch: tempfile::TempDir,
        uids: BTreeSet<u32>,
        cache_seconds: u64,
    ) -> Self {
        let stop = CancellationToken::new();
        let config = KubernetesKms {
            socket: scratch.path().join("kms.sock"),
            uids,
            cache: Duration::from_secs(cache_seconds),
        };
        let server = serve(&config, Arc::clone(&world.desk), stop.clone());
        let server = server.await.unwrap();
        Self {
            world,
            scratch,
            stop,
            server,
        }
    }

    fn socket(&self) -> PathBuf {
        self.scratch.path().join("kms.sock")
    }

    async fn client(&self) -> Client {
        let path = self.socket();
        let endpoint = Endpoint::from_static("http://localhost");
        let connector = tower::service_fn(move |_: http::Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let channel = endpoint.connect_with_connector(connector).await;
        Client::new(channel.unwrap())
    }

    async fn create(&self) -> String {
        let operator = Operator::for_test();
        let made = self.world.desk.create_kubernetes_key(&operator).await;
        made.unwrap().key_id
    }

    async fn rotate(&self) -> String {
        let operator = Operator::for_test();
        let made = self.world.desk.rotate_kubernetes_key(&operator).await;
        made.unwrap().key_id
    }
}

async fn status(client: &mut Client) -> wire::StatusResponse {
    let answer = client.status(wire::StatusRequest {}).await;
    answer.unwrap().into_inner()
}

async fn encrypt(client: &mut Client, plaintext: &[u8]) -> Result<wire::EncryptResponse, Code> {
    let request = wire::EncryptRequest {
        plaintext: plaintext.to_vec(),
        uid: "u-1".into(),
    };
    let answer = client.encrypt(request).await;
    answer.map(|a| a.into_inner()).map_err(|s| s.code())
}

async fn decrypt(client: &mut Client, made: &wire::EncryptResponse) -> Result<Vec<u8>, Code> {
    let request = wire::DecryptRequest {
        ciphertext: made.ciphertext.clone(),
        uid: "u-2".into(),
        key_id: made.key_id.clone(),
        annotations: made.annotations.clone(),
    };
    let answer = client.decrypt(request).await;
    let plaintext = answer.map(|a| a.into_inner().plaintext);
    plaintext.map_err(|s| s.code())
}

#[tokio::test]
async fn round_trips_and_announces_the_key_id_that_it_uses() {
    let plugin = Plugin::new().await;
    let key_id = plugin.create().await;
    let mut client = plugin.client().await;
    let said = status(&mut client).await;
    assert_eq!((said.version.as_str(), said.healthz.as_str()), ("v2", "ok"));
    assert_eq!(said.key_id, key_id);
    let made = encrypt(&mut client, b"seed").await.unwrap();
    assert_eq!(made.key_id, key_id);
    assert!(made.annotations.is_empty());
    assert_eq!(decrypt(&mut client, &made).await.unwrap(), b"seed");
    let events: Vec<_> = plugin.world.records();
    let last = &events[events.len() - 2..];
    assert_eq!(last[0].event, "kubernetes-encrypt");
    assert_eq!(last[1].event, "kubernetes-decrypt");
    assert_eq!(last[1].fields["request"], "u-2");
    assert_eq!(last[1].fields["key_id"], key_id);
}

#[tokio::test]
async fn after_a_rotation_old_ids_still_decrypt_on_every_replica() {
    let plugin = Plugin::new().await;
    let first = plugin.create().await;
    let mut client = plugin.client().await;
    let old = encrypt(&mut client, b"old").await.unwrap();
    let second = plugin.rotate().await;
    assert_ne!(first, second);
    assert_eq!(status(&mut client).await.key_id, second);
    let new = encrypt(&mut client, b"new").await.unwrap();
    assert_eq!(new.key_id, second);
    let shown = plugin.world.desk.show_kubernetes_key().await.unwrap();
    assert_eq!((shown.key_id, shown.old_key_ids), (second, vec![first]));
    // Another plugin over the same store and KEK.
    plugin.stop.cancel();
    plugin.server.await.unwrap();
    let own = std::fs::metadata(plugin.scratch.path()).unwrap().uid();
    let replica = Plugin::of(plugin.world, plugin.scratch, [own].into(), 600).await;
    let mut client = replica.client().await;
    assert_eq!(decrypt(&mut client, &old).await.unwrap(), b"old");
    assert_eq!(decrypt(&mut client, &new).await.unwrap(), b"new");
    // A ciphertext is bound to its key id.
    let swapped = wire::EncryptResponse {
        key_id: new.key_id.clone(),
        ..old
    };
    let refused = decrypt(&mut client, &swapped).await;
    assert_eq!(refused.unwrap_err(), Code::InvalidArgument);
}

#[tokio::test]
async fn refuses_what_exceeds_the_limits_and_keys_that_are_not_its_own() {
    let plugin = Plugin::new().await;
    plugin.create().await;
    let mut client = plugin.client().await;
    let longest = vec![7; MAX_PLAINTEXT];
    let made = encrypt(&mut client, &longest).await.unwrap();
    assert_eq!(made.ciphertext.len(), 1024);
    assert_eq!(decrypt(&mut client, &made).await.unwrap(), longest);
    let refused = encrypt(&mut client, &[7; MAX_PLAINTEXT + 1]).await;
    assert_eq!(refused.unwrap_err(), Code::InvalidArgument);
    let bend = |bend: &dyn Fn(&mut wire::EncryptResponse)| {
        let mut bent = made.clone();
        bend(&mut bent);
        bent
    };
    let annotated = |name: &str, bytes: usize| {
        let name = name.to_owned();
        bend(&move |m| drop(m.annotations.insert(name.clone(), vec![0; bytes])))
    };
    for (bent, code) in [
        (bend(&|m| m.key_id.clear()), Code::InvalidArgument),
        (
            bend(&|m| m.key_id = "x".repeat(1025)),
            Code::InvalidArgument,
        ),
        (bend(&|m| m.key_id = "other/1".into()), Code::NotFound),
        (bend(&|m| m.key_id.push('9')), Code::NotFound),
        (bend(&|m| m.ciphertext.clear()), Code::InvalidArgument),
        (bend(&|m| m.ciphertext.push(0)), Code::InvalidArgument),
        (bend(&|m| m.ciphertext[40] ^= 1), Code::InvalidArgument),
        (annotated("a.example.com", 1), Code::InvalidArgument),
        (annotated("a.example.com", 33 << 10), Code::InvalidArgument),
    ] {
        assert_eq!(decrypt(&mut client, &bent).await.unwrap_err(), code);
    }
    let last = plugin.world.records().pop().unwrap();
    assert!(
        last.fields["refused"]
            .as_str()
            .unwrap()
            .contains("annotations")
    );
}

#[tokio::test]
async fn without_a_key_it_is_unhealthy_and_makes_none_by_itself() {
    let plugin = Plugin::new().await;
    let mut client = plugin.client().await;
    let said = status(&mut client).await;
    assert!(said.healthz.contains("dawnkey kubernetes-kms create"));
    assert_eq!(said.key_id, "");
    let refused = encrypt(&mut client, b"seed").await;
    assert_eq!(refused.unwrap_err(), Code::FailedPrecondition);
    assert!(plugin.world.desk.records.keys().await.unwrap().is_empty());
    plugin.create().await;
    let operator = Operator::for_test();
    let again = plugin.world.desk.create_kubernetes_key(&operator).await;
    assert!(matches!(again, Err(crate::desk::AdminError::State(_))));
}

#[tokio::test]
async fn a_store_that_is_down_makes_it_unhealthy_and_answers_transient() {
    let plugin = Plugin::new().await;
    plugin.create().await;
    let mut client = plugin.client().await;
    let made = encrypt(&mut client, b"seed").await.unwrap();
    plugin.world.store.break_down(true);
    assert_ne!(status(&mut client).await.healthz, "ok");
    let refused = decrypt(&mut client, &made).await;
    assert_eq!(refused.unwrap_err(), Code::Unavailable);
    plugin.world.store.break_down(false);
    assert_eq!(status(&mut client).await.healthz, "ok");
    assert_eq!(decrypt(&mut client, &made).await.unwrap(), b"seed");
}

#[tokio::test]
async fn other_users_are_not_served() {
    let scratch = tempfile::tempdir().unwrap();
    let own = std::fs::metadata(scratch.path()).unwrap().uid();
    let other = BTreeSet::from([own + 1]);
    let plugin = Plugin::of(World::new(FILE).await, scratch, other, 600).await;
    plugin.create().await;
    let mode = std::fs::metadata(plugin.socket()).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let mut client = plugin.client().await;
    let refused = client.status(wire::StatusRequest {}).await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn replaces_the_socket_of_a_dead_process_and_nothing_else() {
    let plugin = Plugin::new().await;
    let config = KubernetesKms {
        socket: plugin.socket(),
        uids: [0].into(),
        cache: Duration::ZERO,
    };
    let serve = || serve(&config, Arc::clone(&plugin.world.desk), plugin.stop.clone());
    assert!(matches!(serve().await, Err(SocketError::InUse(_))));
    plugin.stop.cancel();
    plugin.server.await.unwrap();
    assert!(!config.socket.exists(), "removed at the end");
    drop(std::os::unix::net::UnixListener::bind(&config.socket).unwrap());
    assert!(config.socket.exists(), "left behind");
    let serve = |stop| super::serve(&config, Arc::clone(&plugin.world.desk), stop);
    let stop = CancellationToken::new();
    let server = serve(stop.clone()).await.unwrap();
    stop.cancel();
    server.await.unwrap();
    std::fs::write(&config.socket, "a file").unwrap();
    let refused = serve(stop).await;
    assert!(matches!(refused, Err(SocketError::NotASocket(_))));
    assert_eq!(std::fs::read(&config.socket).unwrap(), b"a file");
}
