//! The store over object_store's own memory, and storages that do not keep their promises.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::contract;
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore as Storage, PutMultipartOptions, PutPayload, PutResult,
};
use std::sync::atomic::{AtomicBool, Ordering};

/// How a storage fails its users.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// Takes every create-only write.
    CreateOnly,
    /// Takes every conditional change.
    Stale,
    /// Refuses every conditional change.
    Right,
    /// Does a write, and then loses the answer.
    Answer,
    /// Does a write, loses the answer, and repeats the request.
    Repeats,
}

#[derive(Debug)]
struct Faulty {
    inner: Arc<InMemory>,
    fault: Fault,
    on: AtomicBool,
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

fn lost() -> Error {
    Error::Generic {
        store: "test",
        source: "the connection broke".into(),
    }
}

#[async_trait]
impl Storage for Faulty {
    async fn put_opts(
        &self,
        place: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let on = self.on.load(Ordering::Relaxed);
        let conditional = matches!(options.mode, PutMode::Update(_));
        match self.fault {
            Fault::CreateOnly if options.mode == PutMode::Create => {
                options.mode = PutMode::Overwrite;
            }
            Fault::Stale if conditional => options.mode = PutMode::Overwrite,
            Fault::Right if conditional => {
                let (path, source) = (place.to_string(), "no".into());
                return Err(Error::Precondition { path, source });
            }
            Fault::Answer if on => {
                self.inner.put_opts(place, payload, options).await?;
                return Err(lost());
            }
            Fault::Repeats if on => {
                let first = self.inner.put_opts(place, payload.clone(), options.clone());
                first.await?;
            }
            _ => {}
        }
        self.inner.put_opts(place, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        place: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(place, options).await
    }

    async fn get_opts(&self, place: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(place, options).await
    }

    fn delete_stream(
        &self,
        places: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(places)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn faulty(fault: Fault) -> (Arc<Faulty>, BucketStore) {
    let faulty = Arc::new(Faulty {
        inner: Arc::default(),
        fault,
        on: AtomicBool::new(false),
    });
    let bucket: Arc<dyn Storage> = Arc::clone(&faulty) as _;
    (
        faulty,
        BucketStore::new("test", bucket, "p/q", Duration::from_secs(30)),
    )
}

fn honest() -> (Arc<InMemory>, BucketStore) {
    let bucket = Arc::new(InMemory::new());
    let store = BucketStore::new(
        "test",
        Arc::clone(&bucket) as _,
        "p",
        Duration::from_secs(30),
    );
    (bucket, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn object_store_keeps_the_contract() {
    contract::holds(Arc::new(honest().1)).await;
}

#[tokio::test]
async fn probe_accepts_an_honest_storage_and_leaves_nothing_behind() {
    let (bucket, store) = honest();
    store.probe().await.unwrap();
    let left: Vec<_> = bucket.list(None).collect().await;
    assert!(left.is_empty());
}

#[tokio::test]
async fn probe_refuses_a_storage_that_ignores_preconditions_and_says_which() {
    let probe = async |fault| faulty(fault).1.probe().await;
    assert_eq!(probe(Fault::CreateOnly).await, Err(Broken::CreateReplaces));
    assert_eq!(probe(Fault::Stale).await, Err(Broken::StaleReplaces));
    let refused = probe(Fault::Right).await;
    assert!(matches!(refused, Err(Broken::RightRefused(_))));
}

#[tokio::test]
async fn write_whose_answer_was_lost_is_recognised() {
    for fault in [Fault::Answer, Fault::Repeats] {
        let (storage, store) = faulty(fault);
        storage.on.store(true, Ordering::Relaxed);
        store.create(Table::Volumes, b"k", vec![1]).await.unwrap();
        assert_eq!(
            store.swap(Table::Volumes, b"k", 1, vec![2]).await.unwrap(),
            2
        );
        store.remove(Table::Volumes, b"k", 2).await.unwrap();
        store.create(Table::Volumes, b"k", vec![3]).await.unwrap();
        let stored = store.get(Table::Volumes, b"k").await.unwrap();
        assert_eq!((stored.version, stored.value), (4, vec![3]));
    }
}

#[tokio::test]
async fn damaged_record_is_named_and_one_of_another_place_refused() {
    let (bucket, store) = honest();
    for key in [b"a", b"b"] {
        store.create(Table::Volumes, key, vec![1]).await.unwrap();
    }
    let place = |key: &[u8]| location(&Path::from("p"), Table::Volumes, key);
    let named = |outcome: Result<Rows, StoreError>| match outcome {
        Err(StoreError::Damaged { key, .. }) => key,
        other => format!("{other:?}"),
    };
    bucket.copy(&place(b"a"), &place(b"b")).await.unwrap();
    let moved = store.get(Table::Volumes, b"b").await;
    assert!(matches!(moved, Err(StoreError::Damaged { .. })));
    assert_eq!(named(store.list(Table::Volumes).await), "62");
    for garbage in ["", "{}", "[1]", "\u{fffd}"] {
        bucket.put(&place(b"b"), garbage.into()).await.unwrap();
        assert_eq!(named(store.list(Table::Volumes).await), "62");
    }
    let room = usize::try_from(MAX_OBJECT_BYTES).unwrap() + 1;
    bucket
        .put(&place(b"b"), vec![b' '; room].into())
        .await
        .unwrap();
    assert_eq!(named(store.list(Table::Volumes).await), "62");
    bucket.delete(&place(b"b")).await.unwrap();
    bucket
        .put(&Path::from("p/volumes/readme.txt"), "x".into())
        .await
        .unwrap();
    assert_eq!(named(store.list(Table::Volumes).await), "readme.txt");
}
