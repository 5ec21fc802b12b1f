#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use crate::audit::{Record, Settings, read};
use dawnkey_kek::Custody;
use std::path::PathBuf;
use uuid::Uuid;

/// A provider that answers as it is told, or never.
struct Told(Option<Result<(), Cause>>);

impl Told {
    async fn answer<T>(&self, operation: Operation, value: T) -> Result<T, KekError> {
        match &self.0 {
            None => std::future::pending().await,
            Some(Ok(())) => Ok(value),
            Some(Err(cause)) => Err(KekError {
                provider: "prod".into(),
                operation,
                cause: cause.clone(),
                detail: String::new(),
            }),
        }
    }
}

fn dek() -> Dek {
    Dek::take(&mut [7; 32]).unwrap()
}

impl Provider for Told {
    fn name(&self) -> &'static str {
        "prod"
    }

    fn kind(&self) -> Kind {
        Kind::Transit
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            aad: true,
            custody: Custody::Kms,
            rotation: true,
            attested_release: false,
        }
    }

    fn wrap<'a>(&'a self, _: &'a Dek, _: &'a Aad) -> Deferred<'a, Result<Wrapped, KekError>> {
        let wrapped = Wrapped {
            blob: vec![1],
            version: None,
        };
        Box::pin(self.answer(Operation::Wrap, wrapped))
    }

    fn unwrap<'a>(&'a self, _: &'a [u8], _: &'a Aad) -> Deferred<'a, Result<Dek, KekError>> {
        Box::pin(async { self.answer(Operation::Unwrap, ()).await.map(|()| dek()) })
    }

    fn current_version(&self) -> Deferred<'_, Result<Option<String>, KekError>> {
        Box::pin(self.answer(Operation::Inspect, None))
    }

    fn probe(&self) -> Deferred<'_, Result<Probe, KekError>> {
        Box::pin(self.answer(Operation::Inspect, Probe::default()))
    }

    fn with_wrong_key(&self) -> Option<Box<dyn Provider>> {
        None
    }
}

struct Scene {
    log: PathBuf,
    audit: Arc<AuditLog>,
    metrics: Arc<Metrics>,
    _keep: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let log = keep.path().join("audit.log");
        let metrics = Arc::<Metrics>::default();
        let audit = AuditLog::open(&Settings::file(&log), &metrics).unwrap();
        Self {
            log,
            audit: Arc::new(audit),
            metrics,
            _keep: keep,
        }
    }

    fn watched(&self, answer: Option<Result<(), Cause>>) -> Watched {
        let watch = Watch::new(Arc::clone(&self.audit), Arc::clone(&self.metrics));
        Watched::new(Arc::new(Told(answer)), Duration::from_secs(5), watch)
    }

    /// Records so far, behind one that was waited for.
    async fn records(&self) -> Vec<Record> {
        self.audit.append(Entry::new("release")).await.unwrap();
        let mut all = Vec::new();
        read(std::fs::read(&self.log).unwrap().as_slice(), |r| {
            all.push(r);
        })
        .unwrap();
        all
    }
}

const AAD: Aad = Aad::new(Uuid::from_u128(7), 3);

#[tokio::test]
async fn each_wrap_and_unwrap_leaves_a_record_without_key_or_blob() {
    let scene = Scene::new();
    let good = scene.watched(Some(Ok(())));
    let wrapped = good.wrap(&dek(), &AAD).await.unwrap();
    good.unwrap(&wrapped.blob, &AAD).await.unwrap();
    let denied = scene.watched(Some(Err(Cause::Denied { permission: None })));
    denied.unwrap(&[1], &AAD).await.unwrap_err();
    good.current_version().await.unwrap();
    let records = scene.records().await;
    let said: Vec<_> = records
        .iter()
        .map(|record| {
            let field = |name: &str| record.fields.get(name).cloned().unwrap_or_default();
            (record.event.as_str(), field("epoch"), field("outcome"))
        })
        .collect();
    let none = serde_json::Value::Null;
    assert_eq!(
        said,
        [
            ("kek-wrap", 3.into(), "ok".into()),
            ("kek-unwrap", 3.into(), "ok".into()),
            ("kek-unwrap", 3.into(), "kek-denied".into()),
            ("release", none.clone(), none),
        ]
    );
    let text = std::fs::read_to_string(&scene.log).unwrap();
    assert!(!text.contains(&"07".repeat(32)) && !text.contains("blob"));
}

#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    let scene = Scene::new();
    let mut watched = scene.watched(None);
    watched.deadline = Duration::from_millis(1);
    let error = watched.unwrap(&[1], &AAD).await.unwrap_err();
    assert_eq!(error.cause, Cause::Deadline);
    assert!(scene.metrics.render(None).contains(
        "dawnkey_kek_calls_total{provider=\"prod\",operation=\"unwrap\",outcome=\"kek-deadline\"} 1"
    ));
}

#[tokio::test]
async fn a_call_that_is_given_up_is_recorded_as_cancelled() {
    let scene = Scene::new();
    let slow = scene.watched(None);
    tokio::select! {
        biased;
        _ = slow.unwrap(&[1], &AAD) => {}
        () = std::future::ready(()) => {}
    }
    let records = scene.records().await;
    assert_eq!(records[0].fields["outcome"], "cancelled");
}

#[tokio::test]
async fn no_dek_comes_out_while_the_log_takes_no_record() {
    let metrics = Arc::<Metrics>::default();
    let full = Settings::file(std::path::Path::new("/dev/full"));
    let audit = Arc::new(AuditLog::open(&full, &metrics).unwrap());
    audit.append(Entry::new("start")).await.unwrap_err();
    let watch = Watch::new(audit, metrics);
    let watched = Watched::new(Arc::new(Told(Some(Ok(())))), Duration::from_secs(5), watch);
    let error = watched.unwrap(&[1], &AAD).await.unwrap_err();
    assert_eq!(error.cause, Cause::Unrecorded);
}
