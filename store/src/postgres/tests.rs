//! What is refused before a server is asked. The contract runs against a real server in `tests/servers`.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::{OpenError, PostgresConfig};

fn config(more: &str) -> PostgresConfig {
    let text = format!("database = \"d\"\nuser = \"u\"\ndeadline_seconds = 1\n{more}");
    toml::from_str(&text).unwrap()
}

#[tokio::test]
async fn refuses_clear_text_to_another_host_and_half_a_certificate() {
    for text in [
        "host = \"db.example\"\ntls = \"off\"",
        "host = \"192.0.2.1\"\ntls = \"off\"",
        "host = \"db.example\"\ncertificate = \"c.pem\"",
        "host = \"db.example\"\npassword = \"file:/nonexistent/password\"",
    ] {
        let refused = PostgresStore::open(&config(text)).await;
        assert!(matches!(refused, Err(OpenError::Config { .. })), "{text}");
    }
}

#[tokio::test]
async fn server_that_is_not_there_is_named() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let number = port.local_addr().unwrap().port();
    drop(port);
    let text = format!("host = \"127.0.0.1\"\ntls = \"off\"\nport = {number}");
    let refused = PostgresStore::open(&config(&text)).await;
    assert!(matches!(refused, Err(OpenError::Broken { place, .. }) if place == "d on 127.0.0.1"));
}
