//! The suite that every KEK provider passes, against its real server.
//!
//! A [`Fixture`] brings a provider into each [`Situation`]; [`run`] proves what a provider owes there. The outcome is a
//! [`Table`], one line per check, which the suite prints.

use dawnkey_kek::{Aad, Cause, KekError, Provider};
use dawnkey_secret::Dek;
use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// Longest wait for one call, as the key service would set it.
const DEADLINE: Duration = Duration::from_secs(5);
/// Calls at the same time.
const CONCURRENT: usize = 100;

/// What a provider or its KMS is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Situation {
    /// All is well.
    Plain,
    /// All is well, with another KEK of the same KMS.
    OtherKey,
    /// The configured key id does not exist.
    NoSuchKey,
    /// The KEK of `Plain` is disabled.
    Disabled,
    /// The KEK of `Plain` is deleted or about to be.
    Deleted,
    /// The KEK of `Plain` has got a new version.
    Rotated,
    /// The credentials may not use the KEK.
    Denied,
    /// The KMS says that there are too many calls.
    Throttled,
    /// The KMS takes connections and does not answer.
    Slow,
    /// Nothing listens.
    Gone,
    /// The KMS answers with something that is no answer.
    Garbage,
}

/// A provider in a situation.
pub enum Case {
    /// Ready to be used.
    Provider(Arc<dyn Provider>),
    /// The situation came about at the server, and opening the provider failed already, as it may.
    OpenFailed(KekError),
    /// There is no such situation with this provider, because…
    NotApplicable(&'static str),
}

/// What a suite's future returns.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Brings a provider into situations. They are asked for in the order of [`Situation`], each once, except that
/// `Disabled` is undone by the fixture before it gives the next one, and `Deleted` comes last.
pub trait Fixture: Send {
    /// What the table calls it, `transit, OpenBao 2.4.1`.
    fn name(&self) -> String;

    /// A provider in this situation.
    fn situation(&mut self, situation: Situation) -> Later<'_, Case>;

    /// Texts that must not occur in any log: tokens, passwords, PINs.
    fn secrets(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// Causes by which this server refuses a blob that names another key, beside those by which every KMS may.
    fn says_of_other_keys(&self) -> Vec<Cause> {
        Vec::new()
    }

    /// Longest wait for one call: longer for servers that take seconds on a busy machine.
    fn deadline(&self) -> Duration {
        DEADLINE
    }

    /// Whether a wrong [`Aad`] is refused: what the provider says of itself, unless it binds it in another way.
    fn binds_aad(&self) -> bool {
        true
    }
}

/// What was checked.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<(String, String)>,
}

impl Table {
    fn add(&mut self, check: impl Into<String>, result: impl Into<String>) {
        self.rows.push((check.into(), result.into()));
    }

    /// One line per check: `conformance: PROVIDER: CHECK: RESULT`.
    #[must_use]
    pub fn lines(&self, provider: &str) -> String {
        let mut text = String::new();
        for (check, result) in &self.rows {
            let _ = writeln!(text, "conformance: {provider}: {check}: {result}");
        }
        text
    }
}

/// Runs the suite and prints its table.
///
/// # Panics
/// At the first check that fails.
#[allow(clippy::print_stdout)] // the table is the suite's result
pub async fn run(fixture: &mut dyn Fixture) {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let mut table = Table::default();
    let dek = Dek::take(&mut rand32()).expect("32 bytes");
    let blob = plain(fixture, &dek, &mut table).await;
    failures(fixture, &dek, &blob, &mut table).await;
    drop(guard);
    log.has_none_of(fixture, &dek);
    table.add("no DEK and no credential in the log", "ok");
    println!("{}", table.lines(&fixture.name()));
}

fn aad() -> Aad {
    Aad::new(Uuid::from_u128(0x1234_5678_9abc_def0), 3)
}

fn rand32() -> [u8; 32] {
    let (a, b) = (Uuid::new_v4(), Uuid::new_v4());
    let both = [a.into_bytes(), b.into_bytes()].concat();
    both.try_into().expect("32 bytes")
}

/// Round trip, wrong associated data, damage, other keys, versions, concurrency. Returns a blob of the first version.
async fn plain(fixture: &mut dyn Fixture, dek: &Dek, table: &mut Table) -> Vec<u8> {
    let provider = usable(fixture, Situation::Plain).await.expect("Plain");
    let wrapped = wrap(&*provider, dek).await.expect("wrap");
    assert!(
        !contains(&wrapped.blob, dek.expose()),
        "the DEK is in its own blob"
    );
    let opened = unwrap(fixture.deadline(), &*provider, &wrapped.blob, &aad()).await;
    assert_eq!(opened.expect("unwrap"), *dek);
    table.add("round trip", "ok");

    wrong_aad(fixture, &*provider, &wrapped.blob, table).await;
    damage(fixture, &*provider, &wrapped.blob, table).await;

    if let Some(wrong) = provider.with_wrong_key() {
        let refused = unwrap(fixture.deadline(), &*wrong, &wrapped.blob, &aad())
            .await
            .expect_err("wrong key");
        table.add("key id that does not exist", refused.cause.code());
    }
    if let Some(other) = usable(fixture, Situation::OtherKey).await {
        let refused = unwrap(fixture.deadline(), &*other, &wrapped.blob, &aad())
            .await
            .expect_err("other key");
        let known = refusals(fixture);
        assert!(known.contains(&refused.cause), "other key: {refused}");
        table.add("blob of another key", refused.cause.code());
    } else {
        table.add("blob of another key", "not applicable");
    }
    concurrent(&provider, dek, table).await;

    let findings = provider.probe().await.expect("probe").findings;
    assert!(!findings.is_empty(), "a probe finds something");
    let bad: Vec<_> = findings.iter().filter(|finding| !finding.good).collect();
    table.add(
        "probe",
        format!("{} findings, not good: {bad:?}", findings.len()),
    );
    wrapped.blob
}

async fn wrong_aad(
    fixture: &mut dyn Fixture,
    provider: &dyn Provider,
    blob: &[u8],
    table: &mut Table,
) {
    let others = [
        Aad::new(Uuid::from_u128(0x1234_5678_9abc_def1), 3),
        Aad::new(aad().volume, 4),
    ];
    for other in others {
        let opened = unwrap(fixture.deadline(), provider, blob, &other).await;
        if fixture.binds_aad() {
            let refused = opened.expect_err("a blob opened for another volume or epoch");
            assert_eq!(refused.cause, Cause::NotAuthentic, "{refused}");
        } else {
            opened.expect("unwrap without associated data");
        }
    }
    let at_kms = provider.capabilities().aad;
    let result = match (fixture.binds_aad(), at_kms) {
        (true, true) => "refused",
        (true, false) => "refused by the service, not by the KMS",
        (false, _) => "not bound: needs allow_without_aad",
    };
    table.add("wrong volume or epoch", result);
}

/// How a blob may be refused that is damaged or of another key.
fn refusals(fixture: &dyn Fixture) -> Vec<Cause> {
    let mut known = vec![Cause::NotAuthentic, Cause::WrongKey];
    known.extend(fixture.says_of_other_keys());
    known
}

async fn damage(fixture: &dyn Fixture, provider: &dyn Provider, blob: &[u8], table: &mut Table) {
    let mut damaged = vec![
        ("empty", Vec::new()),
        (
            "truncated",
            blob.iter().copied().take(blob.len() - 1).collect(),
        ),
        (
            "first half",
            blob.iter().copied().take(blob.len() / 2).collect(),
        ),
        ("extended", [blob, &[0]].concat()),
    ];
    for (what, at) in [
        ("first byte", 0),
        ("middle byte", blob.len() / 2),
        ("last byte", blob.len() - 1),
    ] {
        let mut changed = blob.to_vec();
        *changed.get_mut(at).expect("a byte") ^= 0x01;
        damaged.push((what, changed));
    }
    let derives = provider.derive(&aad()).is_some();
    for (what, blob) in damaged {
        if what == "empty" && derives {
            continue;
        }
        let refused = unwrap(fixture.deadline(), provider, &blob, &aad()).await;
        let refused = refused.expect_err(&format!("damaged blob ({what})"));
        let known = refusals(fixture);
        assert!(known.contains(&refused.cause), "{what}: {refused}");
    }
    table.add("damaged blobs", "refused");
}

async fn concurrent(provider: &Arc<dyn Provider>, dek: &Dek, table: &mut Table) {
    let tasks: Vec<_> = (0..CONCURRENT)
        .map(|n| {
            let provider = Arc::clone(provider);
            let dek = Dek::take(&mut dek.expose().to_owned()).expect("32 bytes");
            tokio::spawn(async move {
                let aad = Aad::new(Uuid::from_u128(n as u128 + 1), 1);
                let wrapped = provider.wrap(&dek, &aad).await?;
                let opened = provider.unwrap(&wrapped.blob, &aad).await?;
                assert_eq!(opened, dek);
                Ok::<_, KekError>(())
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a call ends").expect("concurrent calls");
    }
    table.add("100 concurrent round trips", "ok");
}

/// Situations in which a call must fail, each with its own cause.
async fn failures(fixture: &mut dyn Fixture, dek: &Dek, blob: &[u8], table: &mut Table) {
    expect(fixture, Situation::NoSuchKey, blob, table, |cause| {
        // Some say "denied" rather than tell that a key does not exist.
        matches!(
            cause,
            Cause::NoSuchKey | Cause::WrongKey | Cause::Denied { .. }
        )
    })
    .await;
    expect(fixture, Situation::Disabled, blob, table, |cause| {
        *cause == Cause::Disabled
    })
    .await;
    rotated(fixture, dek, blob, table).await;
    expect(fixture, Situation::Denied, blob, table, |cause| {
        matches!(cause, Cause::Denied { .. } | Cause::Credentials)
    })
    .await;
    expect(fixture, Situation::Throttled, blob, table, |cause| {
        matches!(cause, Cause::Throttled { .. })
    })
    .await;
    expect(fixture, Situation::Slow, blob, table, |cause| {
        *cause == Cause::Deadline
    })
    .await;
    expect(fixture, Situation::Gone, blob, table, |cause| {
        *cause == Cause::Unreachable
    })
    .await;
    expect(fixture, Situation::Garbage, blob, table, |cause| {
        *cause == Cause::Garbage
    })
    .await;
    expect(fixture, Situation::Deleted, blob, table, |cause| {
        matches!(cause, Cause::Deleted | Cause::NoSuchKey)
    })
    .await;
}

async fn rotated(fixture: &mut dyn Fixture, dek: &Dek, blob: &[u8], table: &mut Table) {
    let Some(provider) = usable(fixture, Situation::Rotated).await else {
        table.add("Rotated", "not applicable");
        return;
    };
    let opened = unwrap(fixture.deadline(), &*provider, blob, &aad()).await;
    assert_eq!(opened.expect("blob of the old version"), *dek);
    let wrapped = wrap(&*provider, dek)
        .await
        .expect("wrap after the rotation");
    let current = provider.current_version().await.expect("current version");
    assert_eq!(wrapped.version, current);
    let opened = unwrap(fixture.deadline(), &*provider, &wrapped.blob, &aad()).await;
    assert_eq!(opened.expect("blob of the new version"), *dek);
    table.add(
        "Rotated",
        format!("old and new blobs open, version {current:?}"),
    );
}

async fn expect(
    fixture: &mut dyn Fixture,
    situation: Situation,
    blob: &[u8],
    table: &mut Table,
    right: impl Fn(&Cause) -> bool,
) {
    let error = match fixture.situation(situation).await {
        Case::NotApplicable(why) => {
            table.add(format!("{situation:?}"), format!("not applicable: {why}"));
            return;
        }
        Case::OpenFailed(error) => error,
        Case::Provider(provider) => {
            match unwrap(fixture.deadline(), &*provider, blob, &aad()).await {
                Ok(_) => panic!("{situation:?}: the blob opened"),
                Err(error) => error,
            }
        }
    };
    assert!(right(&error.cause), "{situation:?}: {error}");
    let (code, retry) = (error.cause.code(), error.cause.retry());
    table.add(
        format!("{situation:?}"),
        format!("{code}, retry {retry:?}: {error}"),
    );
}

async fn usable(fixture: &mut dyn Fixture, situation: Situation) -> Option<Arc<dyn Provider>> {
    match fixture.situation(situation).await {
        Case::Provider(provider) => Some(provider),
        Case::OpenFailed(error) => panic!("{situation:?}: {error}"),
        Case::NotApplicable(_) => None,
    }
}

async fn wrap(provider: &dyn Provider, dek: &Dek) -> Result<dawnkey_kek::Wrapped, KekError> {
    provider.wrap(dek, &aad()).await
}

async fn unwrap(
    deadline: Duration,
    provider: &dyn Provider,
    blob: &[u8],
    aad: &Aad,
) -> Result<Dek, KekError> {
    let call = provider.unwrap(blob, aad);
    match tokio::time::timeout(deadline, call).await {
        Ok(result) => result,
        Err(_) => Err(KekError {
            provider: provider.name().to_owned(),
            operation: dawnkey_kek::Operation::Unwrap,
            cause: Cause::Deadline,
            detail: String::new(),
        }),
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

/// Everything that is logged while a suite runs.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn has_none_of(&self, fixture: &dyn Fixture, dek: &Dek) {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut needles = fixture.secrets();
        needles.push(dek.expose().to_vec());
        needles.push(hex::encode(dek.expose()).into_bytes());
        for needle in needles.iter().filter(|needle| !needle.is_empty()) {
            assert!(!contains(&log, needle), "a secret is in the log");
        }
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}
