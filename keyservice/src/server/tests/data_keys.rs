//! `GetDataKey` over mutual TLS, from a client that knows Constellation's interface only.

use super::*;
use crate::data_keys::tests::{ApiServer, good};
use dawnkey_proto::data_key::GetDataKeyRequest;
use dawnkey_proto::data_key::api_client::ApiClient;

const LISTENER: &str = "[data_keys]\nlisten = \"127.0.0.1:0\"\nclient_ca = \"admin-ca.pem\"\n";

async fn client(site: &Site, running: &Running) -> ApiClient<Channel> {
    let identity = site.admin_ca.identity(ExtendedKeyUsagePurpose::ClientAuth);
    let config = site.client(Some(identity));
    let address = running.addresses.data_keys.unwrap();
    let tls = connect(address, config).await.unwrap();
    ApiClient::new(channel(tls).await)
}

#[tokio::test]
async fn a_caller_with_a_certificate_gets_the_keys_that_policy_gives_it() {
    let mut site = Site::new();
    site.more = LISTENER.into();
    let line = format!(
        "{FILE}\n[[data_key]]\ncaller = \"dns:{NAME}\"\nprefix = \"pvc-\"\nmax_length = 64\ncreate = true\n"
    );
    std::fs::write(site.path("policy.toml"), line).unwrap();
    let running = site.start().await;
    let mut client = client(&site, &running).await;
    let ask = |id: &str, length| GetDataKeyRequest {
        data_key_id: id.into(),
        length,
    };
    let first = client.get_data_key(ask("pvc-1", 64)).await.unwrap();
    let again = client.get_data_key(ask("pvc-1", 64)).await.unwrap();
    let first = first.into_inner().data_key;
    assert_eq!((first.len(), &first), (64, &again.into_inner().data_key));
    let refused = client.get_data_key(ask("other", 64)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    // A token is not taken where nobody reviews it.
    let mut with_token = tonic::Request::new(ask("pvc-1", 64));
    let token = "Bearer x".parse().unwrap();
    with_token.metadata_mut().insert("authorization", token);
    let refused = client.get_data_key(with_token).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    drop(client);
    assert!(running.shutdown().await);
    let events = site.audit_events();
    assert_eq!(events.iter().filter(|e| *e == "data-key").count(), 3);
}

#[tokio::test]
async fn a_service_account_needs_no_certificate_where_tokens_are_reviewed() {
    let api = ApiServer::new(201, good()).await;
    let mut site = Site::new();
    std::fs::write(site.path("cluster.pem"), api.ca.pem()).unwrap();
    std::fs::write(site.path("token"), "our-own-token").unwrap();
    let section = format!(
        "{LISTENER}[data_keys.kubernetes]\napi_server = \"https://localhost:{}\"\nca = \"cluster.pem\"\naudience = \"dawnkey\"\ntoken = \"token\"\n",
        api.port
    );
    site.more = section;
    let line = format!(
        "{FILE}\n[[data_key]]\ncaller = \"system:serviceaccount:kube-system:csi\"\nprefix = \"pvc-\"\nmax_length = 32\ncreate = true\n"
    );
    std::fs::write(site.path("policy.toml"), line).unwrap();
    let running = site.start().await;
    let address = running.addresses.data_keys.unwrap();
    let tls = connect(address, site.client(None)).await.unwrap();
    let mut client = ApiClient::new(channel(tls).await);
    let ask = || {
        tonic::Request::new(GetDataKeyRequest {
            data_key_id: "pvc-1".into(),
            length: 32,
        })
    };
    let nobody = client.get_data_key(ask()).await.unwrap_err();
    assert_eq!(nobody.code(), tonic::Code::Unauthenticated);
    let mut with_token = ask();
    let token = "Bearer a-token".parse().unwrap();
    with_token.metadata_mut().insert("authorization", token);
    let given = client.get_data_key(with_token).await.unwrap();
    assert_eq!(given.into_inner().data_key.len(), 32);
    drop(client);
    assert!(running.shutdown().await);
}

#[tokio::test]
async fn without_a_certificate_there_is_no_connection() {
    let mut site = Site::new();
    site.more = LISTENER.into();
    let running = site.start().await;
    let address = running.addresses.data_keys.unwrap();
    // In TLS 1.3 the client learns of it with its first read.
    if let Ok(mut tls) = connect(address, site.client(None)).await {
        assert!(tls.read_u8().await.is_err());
    }
    assert!(running.shutdown().await);
}
