//! Connections as production makes them, to a server on loopback.

use super::*;
use crate::http::{Base, Client, HttpError, Network};
use tokio::net::TcpListener;

fn network(directory: &Path) -> Network {
    let bundle = directory.join("ca.pem");
    std::fs::write(&bundle, crate::pem::certificate(INTEL.root_der())).unwrap();
    Network::new(&bundle).unwrap()
}

#[tokio::test]
async fn fetches_over_plain_http_from_loopback() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let vendor = FakeVendor::default();
    vendor.answer("/mirror/vcek/v1/Milan/crl", Canned::ok("list"));
    let server = tokio::spawn({
        let vendor = vendor.clone();
        async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(vendor.clone().serve(stream));
            }
        }
    });
    let client = Client::new(Arc::new(network(directory.path())), Duration::from_secs(20));
    let base = Base::parse(&format!("http://{address}/mirror/")).unwrap();
    let response = client.get(&base, AMD_CRL_PATH, 100).await.unwrap();
    assert_eq!(
        (response.status, response.body.as_slice()),
        (200, &b"list"[..])
    );
    let refused = client.get(&base, AMD_CRL_PATH, 3).await.unwrap_err();
    assert!(
        matches!(refused, HttpError::TooLarge { most: 3, .. }),
        "{refused}"
    );
    server.abort();
    // It does not speak TLS.
    let base = Base::parse(&format!("https://{address}")).unwrap();
    let refused = client.get(&base, AMD_CRL_PATH, 100).await.unwrap_err();
    assert!(matches!(refused, HttpError::Connect { .. }), "{refused}");
}

#[test]
fn a_bundle_without_a_certificate_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let bundle = directory.path().join("ca.pem");
    std::fs::write(&bundle, "none").unwrap();
    let refused = Network::new(&bundle).err().unwrap().to_string();
    assert!(refused.contains("no CA certificate"), "{refused}");
}
