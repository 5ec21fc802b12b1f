//! Each way to log in, and what becomes of a token: renewed, revoked, replaced.

use super::{Bao, aad, dek, open, ready, refusal, round_trip};
use dawnkey_kek::transit::{Config, Login, TlsConfig};
use dawnkey_kek::{Cause, CredentialSource};
use dawnkey_server_tests::servers::contract::Contract;
use dawnkey_server_tests::servers::openbao::text;
use dawnkey_server_tests::toolchain::{Tool, have};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Gives up on a condition.
const LIMIT: Duration = Duration::from_secs(120);

impl Bao {
    fn enable(&self, method: &str) {
        self.post(&format!("sys/auth/{method}"), json!({ "type": method }));
    }

    /// The role `dawnkey` of AppRole, and a login with it.
    fn approle(&self, more: &[(&str, Value)]) -> Login {
        self.enable("approle");
        let mut role = json!({ "token_policies": ["kek"] });
        for (field, value) in more {
            role[*field] = value.clone();
        }
        self.post("auth/approle/role/dawnkey", role);
        let id = self
            .server
            .call("GET", "auth/approle/role/dawnkey/role-id", &json!({}));
        let made = self.post("auth/approle/role/dawnkey/secret-id", json!({}));
        Login::Approle {
            mount: "approle".to_owned(),
            role_id: text(&id, "/data/role_id"),
            secret_id: self.file(&text(&made, "/data/secret_id")),
        }
    }

    /// What the server says of its tokens that came from this method.
    fn tokens_of(&self, method: &str) -> Vec<Value> {
        let listed = self.server.call("LIST", "auth/token/accessors", &json!({}));
        let accessors = listed["data"]["keys"].as_array().cloned();
        // One that has ended meanwhile is none.
        let tokens = accessors.unwrap_or_default().into_iter();
        let tokens = tokens.filter_map(|accessor| {
            let asked = json!({ "accessor": accessor });
            let found = self
                .server
                .try_call("POST", "auth/token/lookup-accessor", &asked)?;
            Some(found["data"].clone())
        });
        let path = format!("auth/{method}/login");
        tokens.filter(|token| token["path"] == path).collect()
    }

    /// Revokes all tokens that came from this method. Returns how many.
    fn revoke(&self, method: &str) -> usize {
        let tokens = self.tokens_of(method);
        for token in &tokens {
            let accessor = json!({ "accessor": token["accessor"] });
            self.post("auth/token/revoke-accessor", accessor);
        }
        tokens.len()
    }

    fn with_certificate(&self, user: &str) -> Config {
        let pki = &self.server.pki;
        let login = Login::Cert {
            mount: "cert".to_owned(),
            role: Some("dawnkey".to_owned()),
        };
        Config {
            tls: TlsConfig {
                ca: Some(pki.file("ca.pem")),
                certificate: Some(pki.file(&format!("{user}.pem"))),
                key: Some(CredentialSource::File(pki.file(&format!("{user}.key")))),
            },
            ..self.config("kek", login)
        }
    }
}

#[tokio::test]
async fn logs_in_with_a_token_and_says_when_it_is_none() {
    if !ready("token") {
        return;
    }
    let bao = Bao::start();
    let config = bao.usual("kek");
    let provider = open(&config).await;
    round_trip(&*provider).await.unwrap();
    let none = Login::Token {
        token: bao.file("hvs.none"),
    };
    let refused = refusal(&bao.config("kek", none)).await;
    assert_eq!(refused.cause, Cause::Credentials, "{refused}");

    // Such a login has no other token to go on with.
    let Login::Token { token } = &config.login else {
        panic!("a login with a token");
    };
    let token = token.read().unwrap();
    let token = std::str::from_utf8(token.expose()).unwrap();
    bao.post("auth/token/revoke", json!({ "token": token }));
    let refused = round_trip(&*provider).await.unwrap_err();
    assert_eq!(refused.cause, Cause::Credentials, "{refused}");
}

#[tokio::test]
async fn logs_in_with_approle_and_again_when_its_token_is_revoked() {
    if !ready("AppRole") {
        return;
    }
    let bao = Bao::start();
    let login = bao.approle(&[]);
    let provider = open(&bao.config("kek", login.clone())).await;
    round_trip(&*provider).await.unwrap();
    assert_eq!(bao.revoke("approle"), 1);
    round_trip(&*provider).await.unwrap();
    assert_eq!(bao.tokens_of("approle").len(), 1);

    let Login::Approle { mount, role_id, .. } = login else {
        panic!("a login with AppRole");
    };
    let wrong = Login::Approle {
        mount,
        role_id,
        secret_id: bao.file("11111111-2222-3333-4444-555555555555"),
    };
    let refused = refusal(&bao.config("kek", wrong)).await;
    assert_eq!(refused.cause, Cause::Credentials, "{refused}");
}

#[tokio::test]
async fn many_calls_after_a_revocation_share_one_login() {
    if !ready("revocation") {
        return;
    }
    let bao = Bao::start();
    let provider = open(&bao.config("kek", bao.approle(&[]))).await;
    let wrapped = provider.wrap(&dek(), &aad()).await.unwrap();
    assert_eq!(bao.revoke("approle"), 1);
    let calls: Vec<_> = (0..32)
        .map(|_| {
            let (provider, blob) = (provider.clone(), wrapped.blob.clone());
            tokio::spawn(async move { provider.unwrap(&blob, &aad()).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), dek());
    }
    assert_eq!(bao.tokens_of("approle").len(), 1);
}

#[tokio::test]
async fn renews_its_token_before_it_ends() {
    if !ready("renewal") {
        return;
    }
    let bao = Bao::start();
    let short = [("token_ttl", json!("3s")), ("token_max_ttl", json!("1h"))];
    let provider = open(&bao.config("kek", bao.approle(&short))).await;
    let end = Instant::now() + LIMIT;
    loop {
        round_trip(&*provider).await.unwrap();
        let tokens = bao.tokens_of("approle");
        if tokens.iter().any(|token| token["last_renewal"].is_string()) {
            return;
        }
        assert!(Instant::now() < end, "no token was renewed: {tokens:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn logs_in_anew_when_a_token_cannot_be_renewed() {
    if !ready("longest life") {
        return;
    }
    let bao = Bao::start();
    let short = [("token_ttl", json!("2s")), ("token_max_ttl", json!("2s"))];
    let provider = open(&bao.config("kek", bao.approle(&short))).await;
    round_trip(&*provider).await.unwrap();
    let accessors = || -> Vec<Value> {
        let tokens = bao.tokens_of("approle");
        tokens.iter().map(|one| one["accessor"].clone()).collect()
    };
    let (first, end) = (accessors(), Instant::now() + LIMIT);
    while accessors().iter().all(|one| first.contains(one)) {
        round_trip(&*provider).await.unwrap();
        assert!(Instant::now() < end, "no other token");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn logs_in_with_a_certificate() {
    if !ready("certificate") {
        return;
    }
    let bao = Bao::start();
    bao.enable("cert");
    let ca = std::fs::read_to_string(bao.server.pki.file("ca.pem")).unwrap();
    let role =
        json!({ "certificate": ca, "allowed_common_names": ["alice"], "token_policies": ["kek"] });
    bao.post("auth/cert/certs/dawnkey", role);
    let provider = open(&bao.with_certificate("alice")).await;
    round_trip(&*provider).await.unwrap();
    assert_eq!(bao.revoke("cert"), 1);
    round_trip(&*provider).await.unwrap();

    let refused = refusal(&bao.with_certificate("bob")).await;
    assert_eq!(refused.cause, Cause::Credentials, "{refused}");
}

#[tokio::test]
async fn logs_in_with_a_service_account_of_kubernetes() {
    if !have("transit, Kubernetes", &[Tool::Go, Tool::Python]) {
        return;
    }
    let bao = Bao::start();
    let cluster = Contract::start("kubernetes_api.py");
    for account in ["kube-system/reviewer", "storage/dawnkey", "storage/other"] {
        cluster.order(&format!("account/{account}"));
    }
    let read = |name: &str| std::fs::read_to_string(cluster.file(name)).unwrap();
    bao.enable("kubernetes");
    let config = json!({
        "kubernetes_host": format!("https://{}", cluster.api),
        "kubernetes_ca_cert": read("ca.pem"),
        "token_reviewer_jwt": read("kube-system.reviewer"),
        "disable_local_ca_jwt": true,
    });
    bao.post("auth/kubernetes/config", config);
    let role = json!({
        "bound_service_account_names": ["dawnkey"],
        "bound_service_account_namespaces": ["storage"],
        "token_policies": ["kek"],
    });
    bao.post("auth/kubernetes/role/dawnkey", role);
    let login = |account: &str| Login::Kubernetes {
        mount: "kubernetes".to_owned(),
        role: "dawnkey".to_owned(),
        service_account_token: cluster.file(account),
    };
    let provider = open(&bao.config("kek", login("storage.dawnkey"))).await;
    round_trip(&*provider).await.unwrap();
    assert_eq!(bao.revoke("kubernetes"), 1);
    round_trip(&*provider).await.unwrap();

    let refused = refusal(&bao.config("kek", login("storage.other"))).await;
    assert_eq!(refused.cause, Cause::Credentials, "{refused}");
    // The cluster says that it does not know the account any more.
    cluster.order("forget/storage/dawnkey");
    let refused = refusal(&bao.config("kek", login("storage.dawnkey"))).await;
    assert_eq!(refused.cause, Cause::Credentials, "{refused}");
}
