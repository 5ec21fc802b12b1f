//! Records in PostgreSQL.

use dawnkey_server_tests::servers::postgres::{Postgres, TOOL};
use dawnkey_server_tests::toolchain::have;
use dawnkey_store::{
    Inspected, OpenError, PostgresConfig, PostgresStore, Store, StoreError, Table, Tls, contract,
};
use std::sync::Arc;

fn config(server: &Postgres) -> PostgresConfig {
    PostgresConfig {
        host: "127.0.0.1".into(),
        port: server.port,
        database: "dawnkey".into(),
        user: "dawnkey".into(),
        password: Some(
            format!("file:{}", server.password().display())
                .parse()
                .unwrap(),
        ),
        tls: Tls::Off,
        ca: None,
        certificate: None,
        key: None,
        connections: 8,
        deadline_seconds: 20,
    }
}

async fn refused(config: &PostgresConfig) -> String {
    match PostgresStore::open(config).await {
        Err(OpenError::Broken { problem, .. }) => problem,
        other => panic!("not refused: {:?}", other.map(|_| ())),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_of_stores_over_several_services_and_a_crash() {
    if !have("postgres", &[TOOL]) {
        return;
    }
    let mut server = Postgres::start();
    let config = config(&server);
    // A look changes nothing.
    for _ in 0..2 {
        let seen = PostgresStore::inspect(&config).await.unwrap();
        assert_eq!(seen, Inspected::New);
    }
    // Several services that start at once bring the schema up to date once.
    let all: Vec<_> = (0..3)
        .map(|_| {
            let config = config.clone();
            tokio::spawn(async move { PostgresStore::open(&config).await.unwrap() })
        })
        .collect();
    let mut stores = Vec::new();
    for one in all {
        stores.push(Arc::new(one.await.unwrap()));
    }
    let seen = PostgresStore::inspect(&config).await.unwrap();
    assert_eq!(seen, Inspected::Usable);
    contract::holds(Arc::clone(&stores[0]) as _).await;

    // What one service writes the others see, and only one of them wins.
    let key = b"shared".as_slice();
    stores[0]
        .create(Table::Volumes, key, vec![0])
        .await
        .unwrap();
    let rivals = stores
        .iter()
        .map(|store| store.swap(Table::Volumes, key, 1, vec![1]));
    let mut won = 0;
    for rival in rivals {
        match rival.await {
            Ok(2) => won += 1,
            other => assert!(matches!(other, Err(StoreError::Conflict { .. }))),
        }
    }
    assert_eq!(won, 1);

    // A server that is gone is one of now; what it had confirmed survives its crash.
    server.kill();
    let gone = stores[1].get(Table::Volumes, key).await;
    assert!(matches!(gone, Err(StoreError::Unavailable(_))), "{gone:?}");
    server.restart();
    let stored = stores[1].get(Table::Volumes, key).await.unwrap();
    assert_eq!((stored.version, stored.value), (2, vec![1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_a_server_that_may_forget_or_cannot_write() {
    if !have("postgres", &[TOOL]) {
        return;
    }
    let server = Postgres::start();
    let config = config(&server);
    server.ask("ALTER ROLE dawnkey SET synchronous_commit = off");
    assert!(refused(&config).await.contains("synchronous_commit is off"));
    server.ask("ALTER ROLE dawnkey RESET synchronous_commit");
    server.ask("ALTER ROLE dawnkey SET default_transaction_read_only = on");
    assert!(
        refused(&config)
            .await
            .contains("default_transaction_read_only")
    );
    server.ask("ALTER ROLE dawnkey RESET default_transaction_read_only");
    let wrong = PostgresConfig {
        database: "postgres".into(),
        ..config.clone()
    };
    // PostgreSQL 15 and later let nobody but the owner make tables.
    assert!(refused(&wrong).await.contains("permission denied"));
    let nobody = PostgresConfig {
        user: "nobody".into(),
        ..config.clone()
    };
    assert!(
        refused(&nobody)
            .await
            .contains("password authentication failed")
    );
    let over_tls = PostgresConfig {
        tls: Tls::VerifyFull,
        ..config.clone()
    };
    assert!(refused(&over_tls).await.contains("TLS"));
    PostgresStore::open(&config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn statement_that_takes_too_long_is_given_up_as_unavailable() {
    if !have("postgres", &[TOOL]) {
        return;
    }
    let server = Postgres::start();
    let config = PostgresConfig {
        deadline_seconds: 2,
        ..config(&server)
    };
    let store = PostgresStore::open(&config).await.unwrap();
    store.create(Table::Volumes, b"k", vec![0]).await.unwrap();
    // Another transaction holds the row, as a prepared one that nobody ends.
    server.ask("ALTER SYSTEM SET max_prepared_transactions = 1");
    drop(store);
    let mut server = server;
    server.kill();
    server.restart();
    let store = PostgresStore::open(&config).await.unwrap();
    server.ask_in(
        "dawnkey",
        "BEGIN; UPDATE dawnkey_records SET version = 7; PREPARE TRANSACTION 't'",
    );
    let late = store.swap(Table::Volumes, b"k", 1, vec![1]).await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
    server.ask_in("dawnkey", "ROLLBACK PREPARED 't'");
    let stored = store.get(Table::Volumes, b"k").await.unwrap();
    assert_eq!(stored.version, 1, "what was given up was not done");
}
