//! What `dawnkey` says when the service cannot be reached or one side does not trust the other.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{dawnkey, edit, init, point_at};
use dawnkey_proto::tls::{Identity, server_config};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Accepts one connection and lets `serve` have it.
fn listen(serve: impl FnOnce(TcpStream) + Send + 'static) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || serve(listener.accept().unwrap().0));
    (address, thread)
}

/// A TLS server with the set's certificate, asking for certificates of the set's admin CA.
fn tls_server(set: &Path) -> (SocketAddr, JoinHandle<()>) {
    let certificates = |name: &str| -> Vec<CertificateDer<'static>> {
        let pem = std::fs::read(set.join(name)).unwrap();
        CertificateDer::pem_slice_iter(&pem)
            .map(Result::unwrap)
            .collect()
    };
    let key = std::fs::read(set.join("server.key")).unwrap();
    let identity = Identity {
        chain: certificates("server.pem"),
        key: PrivateKeyDer::from_pem_slice(&key).unwrap(),
    };
    let config = server_config(identity, Some(&certificates("admin-ca.pem"))).unwrap();
    listen(move |mut tcp| {
        let mut tls = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        // Ends with the client's alert or with our own; either has been sent then.
        while tls.is_handshaking() && tls.complete_io(&mut tcp).is_ok() {}
        let _ = tls.complete_io(&mut tcp);
        let _ = std::io::copy(&mut tcp, &mut std::io::sink());
    })
}

#[test]
fn refused_connection_ends_with_code_3() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), ".");
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    point_at(dir.path(), &free.to_string());
    let run = dawnkey(dir.path(), &["status"]);
    assert_eq!(run.code, 3, "{}", run.err);
    assert!(run.err.contains("Connection refused"), "{}", run.err);
    assert!(run.err.contains(&free.to_string()), "{}", run.err);
}

#[test]
fn silent_service_ends_with_code_3_within_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), ".");
    let (address, thread) = listen(|mut tcp| {
        let _ = tcp.read_to_end(&mut Vec::new());
    });
    point_at(dir.path(), &address.to_string());
    edit(
        &dir.path().join("admin.toml"),
        "endpoint",
        "connect_seconds = 1\nendpoint",
    );
    let run = dawnkey(dir.path(), &["status"]);
    assert_eq!(run.code, 3, "{}", run.err);
    assert!(run.err.contains("nothing within 1 s"), "{}", run.err);
    thread.join().unwrap();
}

#[test]
fn service_without_tls_ends_with_code_3() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), ".");
    let (address, thread) = listen(|mut tcp| {
        let _ = tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = tcp.read_to_end(&mut Vec::new());
    });
    point_at(dir.path(), &address.to_string());
    let run = dawnkey(dir.path(), &["status"]);
    assert_eq!(run.code, 3, "{}", run.err);
    assert!(run.err.contains("does not speak TLS"), "{}", run.err);
    thread.join().unwrap();
}

#[test]
fn service_that_closes_in_the_handshake_ends_with_code_3() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), ".");
    let (address, thread) = listen(|mut tcp| {
        let _ = tcp.read(&mut [0; 64]);
    });
    point_at(dir.path(), &address.to_string());
    let run = dawnkey(dir.path(), &["status"]);
    assert_eq!(run.code, 3, "{}", run.err);
    assert!(run.err.contains("handshake broke off"), "{}", run.err);
    thread.join().unwrap();
}

#[test]
fn service_of_another_ca_is_named_as_such() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), "ours");
    init(dir.path(), "theirs");
    let (address, thread) = tls_server(&dir.path().join("theirs"));
    point_at(&dir.path().join("ours"), &address.to_string());
    let run = dawnkey(dir.path(), &["status", "--profile", "ours/admin.toml"]);
    assert_eq!(run.code, 3, "{}", run.err);
    assert!(
        run.err.contains("is not from the profile's CA"),
        "{}",
        run.err
    );
    thread.join().unwrap();
}

#[test]
fn service_of_another_name_is_named_as_such() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), ".");
    let (address, thread) = tls_server(dir.path());
    point_at(dir.path(), &address.to_string());
    edit(
        &dir.path().join("admin.toml"),
        "\"localhost\"",
        "\"elsewhere\"",
    );
    let run = dawnkey(dir.path(), &["status"]);
    assert_eq!(run.code, 3, "{}", run.err);
    assert!(run.err.contains("is for another name"), "{}", run.err);
    thread.join().unwrap();
}

#[test]
fn admin_certificate_of_another_ca_is_named_as_such() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), "ours");
    init(dir.path(), "theirs");
    for name in ["admin.pem", "admin.key"] {
        std::fs::copy(
            dir.path().join("theirs").join(name),
            dir.path().join("ours").join(name),
        )
        .unwrap();
    }
    let (address, thread) = tls_server(&dir.path().join("ours"));
    point_at(&dir.path().join("ours"), &address.to_string());
    let run = dawnkey(dir.path(), &["status", "--profile", "ours/admin.toml"]);
    assert_eq!(run.code, 3, "{}", run.err);
    assert!(
        run.err.contains("not accept the admin certificate"),
        "{}",
        run.err
    );
    thread.join().unwrap();
}

#[test]
fn absent_or_readable_profile_parts_end_with_code_5() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let run = dawnkey(dir.path(), &["status"]);
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(run.err.contains("DAWNKEY_PROFILE"), "{}", run.err);
    init(dir.path(), ".");
    let key = dir.path().join("admin.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let run = dawnkey(dir.path(), &["status"]);
    assert_eq!(run.code, 5, "{}", run.err);
    assert!(run.err.contains("chmod 600"), "{}", run.err);
}
