//! What every store must keep, as a test that each backend runs: on its own fake here, on real servers elsewhere.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use crate::{MAX_VALUE_BYTES, Store, StoreError, Table};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Creators, and readers beside a writer, at the same time.
const CREATORS: usize = 100;
/// Writers of one counter, and what each adds.
const WRITERS: u64 = 8;
const STEPS: u64 = 10;

/// Runs the whole contract on a store whose tables may hold other records, but no key that begins with `contract-`.
///
/// # Panics
/// When the store does not keep it.
pub async fn holds(store: Arc<dyn Store>) {
    one_record(store.as_ref()).await;
    removed_stays_removed(store.as_ref()).await;
    sizes(store.as_ref()).await;
    tables_are_apart(store.as_ref()).await;
    one_of_many_creators_wins(&store).await;
    no_swap_is_lost(&store).await;
    one_remover_wins(&store).await;
    listing_while_writing(&store).await;
}

fn missing<T: std::fmt::Debug>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Missing { .. }))
}

fn conflict<T: std::fmt::Debug>(outcome: Result<T, StoreError>, had: u64, there: u64) -> bool {
    match outcome {
        Err(StoreError::Conflict {
            expected, found, ..
        }) => (expected, found) == (had, there),
        _ => false,
    }
}

async fn one_record(store: &dyn Store) {
    let (table, key) = (Table::Volumes, b"contract-one".as_slice());
    assert!(missing(&store.get(table, key).await));
    assert!(missing(&store.swap(table, key, 1, vec![1]).await));
    assert!(missing(&store.remove(table, key, 1).await));
    store.create(table, key, vec![1]).await.unwrap();
    let again = store.create(table, key, vec![2]).await;
    assert!(matches!(again, Err(StoreError::Exists { .. })), "{again:?}");
    assert_eq!(store.get(table, key).await.unwrap().value, [1]);
    assert_eq!(store.swap(table, key, 1, vec![3]).await.unwrap(), 2);
    assert!(conflict(store.swap(table, key, 1, vec![4]).await, 1, 2));
    assert!(conflict(store.swap(table, key, 9, vec![4]).await, 9, 2));
    assert!(conflict(
        store.swap(table, key, u64::MAX, vec![4]).await,
        u64::MAX,
        2
    ));
    let stored = store.get(table, key).await.unwrap();
    assert_eq!((stored.version, stored.value), (2, vec![3]));
    assert_eq!(rows(store, table, b"contract-one").await.len(), 1);
    assert!(conflict(store.remove(table, key, 1).await, 1, 2));
    store.remove(table, key, 2).await.unwrap();
    assert!(missing(&store.remove(table, key, 2).await));
    assert!(missing(&store.get(table, key).await));
    assert!(rows(store, table, b"contract-one").await.is_empty());
}

async fn removed_stays_removed(store: &dyn Store) {
    let (table, key) = (Table::Instances, b"contract-removed".as_slice());
    store.create(table, key, vec![1]).await.unwrap();
    let read = store.get(table, key).await.unwrap();
    store.remove(table, key, read.version).await.unwrap();
    let late = store.swap(table, key, read.version, vec![2]).await;
    assert!(missing(&late), "{late:?}");
    store.create(table, key, vec![3]).await.unwrap();
    let anew = store.get(table, key).await.unwrap();
    assert!(anew.version > read.version, "the version goes on");
    let late = store.swap(table, key, read.version, vec![2]).await;
    assert!(conflict(late, read.version, anew.version));
    let late = store.remove(table, key, read.version).await;
    assert!(conflict(late, read.version, anew.version));
    assert_eq!(store.get(table, key).await.unwrap().value, [3]);
    store.remove(table, key, anew.version).await.unwrap();
}

async fn sizes(store: &dyn Store) {
    let (table, key) = (Table::Volumes, b"contract-size".as_slice());
    let every_byte = |n: usize| (0..n).map(|i| (i % 256) as u8).collect::<Vec<_>>();
    store.create(table, key, Vec::new()).await.unwrap();
    let mut version = 1;
    for bytes in [0, 1, 255, 4096, MAX_VALUE_BYTES] {
        let value = every_byte(bytes);
        version = store
            .swap(table, key, version, value.clone())
            .await
            .unwrap();
        assert_eq!(store.get(table, key).await.unwrap().value, value);
    }
    let refused = store
        .swap(table, key, version, vec![0; MAX_VALUE_BYTES + 1])
        .await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
    let other = store
        .create(table, b"contract-size-2", vec![0; MAX_VALUE_BYTES + 1])
        .await;
    assert!(matches!(other, Err(StoreError::TooLarge { .. })));
    let listed = rows(store, table, key).await;
    assert_eq!(listed[key], every_byte(MAX_VALUE_BYTES));
    store.remove(table, key, version).await.unwrap();
}

async fn tables_are_apart(store: &dyn Store) {
    let keys: [&[u8]; 4] = [
        b"contract-t",
        b"contract-t\0",
        b"contract-t/x",
        b"contract-t\xff",
    ];
    for key in keys {
        store
            .create(Table::Volumes, key, key.to_vec())
            .await
            .unwrap();
        assert!(missing(&store.get(Table::Instances, key).await));
    }
    assert!(
        rows(store, Table::Instances, b"contract-t")
            .await
            .is_empty()
    );
    let listed = rows(store, Table::Volumes, b"contract-t").await;
    assert_eq!(listed.len(), keys.len());
    assert!(listed.iter().all(|(key, value)| key == value));
    for key in keys {
        store.remove(Table::Volumes, key, 1).await.unwrap();
    }
}

async fn one_of_many_creators_wins(store: &Arc<dyn Store>) {
    let key = b"contract-race".as_slice();
    let all: Vec<_> = (0..CREATORS)
        .map(|n| {
            let store = Arc::clone(store);
            let value = n.to_be_bytes().to_vec();
            tokio::spawn(async move { (n, store.create(Table::Volumes, key, value).await) })
        })
        .collect();
    let mut winners = Vec::new();
    for one in all {
        match one.await.unwrap() {
            (n, Ok(())) => winners.push(n),
            (_, Err(StoreError::Exists { .. })) => {}
            (_, Err(other)) => panic!("{other}"),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    let stored = store.get(Table::Volumes, key).await.unwrap();
    assert_eq!(stored.value, winners[0].to_be_bytes());
    store
        .remove(Table::Volumes, key, stored.version)
        .await
        .unwrap();
}

fn number(value: &[u8]) -> u64 {
    u64::from_be_bytes(value.try_into().unwrap())
}

async fn no_swap_is_lost(store: &Arc<dyn Store>) {
    let (table, key) = (Table::Volumes, b"contract-counter".as_slice());
    store
        .create(table, key, 0_u64.to_be_bytes().to_vec())
        .await
        .unwrap();
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let mut done = 0;
                while done < STEPS {
                    let read = store.get(table, key).await.unwrap();
                    let next = (number(&read.value) + 1).to_be_bytes().to_vec();
                    match store.swap(table, key, read.version, next).await {
                        Ok(version) => {
                            assert_eq!(version, read.version + 1);
                            done += 1;
                        }
                        Err(StoreError::Conflict { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let stored = store.get(table, key).await.unwrap();
    assert_eq!(
        number(&stored.value),
        WRITERS * STEPS,
        "every step counts once"
    );
    assert_eq!(stored.version, 1 + WRITERS * STEPS);
    store.remove(table, key, stored.version).await.unwrap();
}

async fn one_remover_wins(store: &Arc<dyn Store>) {
    let (table, key) = (Table::Volumes, b"contract-leave".as_slice());
    store.create(table, key, vec![0]).await.unwrap();
    let all: Vec<_> = (0..8)
        .map(|n| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                match n % 2 {
                    0 => store.remove(table, key, 1).await,
                    _ => store.swap(table, key, 1, vec![n]).await.map(drop),
                }
            })
        })
        .collect();
    let mut won = 0;
    for one in all {
        match one.await.unwrap() {
            Ok(()) => won += 1,
            Err(StoreError::Conflict { .. } | StoreError::Missing { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(won, 1);
    if let Ok(left) = store.get(table, key).await {
        store.remove(table, key, left.version).await.unwrap();
    }
}

async fn listing_while_writing(store: &Arc<dyn Store>) {
    let table = Table::Instances;
    let key = |n: u64| format!("contract-list-{n:03}").into_bytes();
    for n in 0..10 {
        store.create(table, &key(n), vec![0]).await.unwrap();
    }
    let writer = {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            for n in 10..30 {
                store.create(table, &key(n), vec![0]).await.unwrap();
                store
                    .swap(table, &key(n % 10), n / 10, vec![1])
                    .await
                    .unwrap();
            }
        })
    };
    let mut seen = 0;
    while !writer.is_finished() {
        let listed = rows(store.as_ref(), table, b"contract-list-").await;
        assert!(
            (0..10).all(|n| listed.contains_key(&key(n))),
            "none is missed"
        );
        assert!(listed.len() >= seen, "none vanishes");
        seen = listed.len();
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
    let listed = rows(store.as_ref(), table, b"contract-list-").await;
    assert_eq!(listed.len(), 30);
    for n in 0..30 {
        let stored = store.get(table, &key(n)).await.unwrap();
        store.remove(table, &key(n), stored.version).await.unwrap();
    }
}

/// The records whose keys begin so; they came in order.
async fn rows(store: &dyn Store, table: Table, prefix: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let rows = store.list(table).await.unwrap();
    assert!(
        rows.windows(2).all(|pair| pair[0].0 < pair[1].0),
        "in the order of keys"
    );
    rows.into_iter()
        .filter(|(key, _)| key.starts_with(prefix))
        .map(|(key, stored)| (key, stored.value))
        .collect()
}
