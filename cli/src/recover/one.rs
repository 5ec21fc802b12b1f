//! One volume of one node: judge, show, ask, seal, sign, give.

use super::keeper::{Keeper, Signing, Subject};
use super::node::{self, Channel};
use super::offline::grant_id;
use crate::confirm;
use crate::files;
use crate::outcome::{Exit, Failure};
use crate::output::{self, Output, fields};
use dawnkey_keyservice::recovery::Findings;
use dawnkey_proto::recovery::{Answer, Grant, GrantKey, ReceivedRecovery, qr, text};
use serde::Serialize;
use std::io::Read;
use std::path::Path;
use uuid::Uuid;

/// What grants say and what is asked before.
pub(super) struct Terms<'a> {
    pub(super) key: &'a GrantKey,
    pub(super) not_before: u32,
    pub(super) valid: u32,
    pub(super) yes: bool,
    pub(super) look: bool,
    /// A grant that is text is drawn as well.
    pub(super) qr: bool,
}

/// The result as `--json` shows it. It holds no key.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    volume: String,
    node: String,
    node_name: String,
    /// `passed` (nothing was given), `granted` (as text), `opened`.
    pub(super) outcome: &'static str,
    grant: Option<String>,
    /// The grant as text, where the node is reached by text only.
    text: Option<String>,
    #[serde(flatten)]
    findings: Findings,
}

fn local(error: &dyn std::fmt::Display) -> Failure {
    Failure::local(
        error,
        "this machine",
        "a working network and random generator",
    )
}

/// A runtime for the connections to nodes.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(|e| local(&e))
}

/// Opens a volume of a node that listens.
pub(super) fn over_network(
    terms: &Terms<'_>,
    keeper: &mut Keeper,
    address: &str,
    volume: Uuid,
    output: Output,
) -> Result<Exit, Failure> {
    let ask = |shown: &Shown| {
        output::note(&shown.page());
        confirm::volume(volume, terms.yes, CONSEQUENCE)
    };
    let shown = open(terms, keeper, address, volume, ask)?;
    output.show(&shown, || shown.page())?;
    Ok(Exit::Done)
}

const CONSEQUENCE: &str = "The node gets the key of this volume for this boot.";

/// The same, with `confirm` between what was found and the grant.
pub(super) fn open(
    terms: &Terms<'_>,
    keeper: &mut Keeper,
    address: &str,
    volume: Uuid,
    confirm: impl FnOnce(&Shown) -> Result<(), Failure>,
) -> Result<Shown, Failure> {
    let runtime = runtime()?;
    let (received, channel) = runtime.block_on(node::ask(address))?;
    let subject = Subject {
        received: &received,
        channel: &channel,
        volume,
    };
    let mut shown = looked(keeper, &subject, address)?;
    if terms.look {
        return Ok(shown);
    }
    confirm(&shown)?;
    let (id, grant) = granted(terms, keeper, &subject)?;
    shown.grant = Some(id.to_string());
    let Channel::Connection(_, known) = &channel else {
        return Err(local(&"the request came as text"));
    };
    match runtime.block_on(node::give(address, known, &grant))? {
        Answer::Opened(opened) if opened == volume => {
            shown.outcome = "opened";
            Ok(shown)
        }
        Answer::Opened(other) => Err(refused(address, &format!("it opened volume {other}"))),
        Answer::Refused { code, detail } => Err(refused(address, &format!("{code}: {detail}"))),
    }
}

/// Answers a request that came as text with a grant as text.
pub(super) fn as_text(
    terms: &Terms<'_>,
    keeper: &mut Keeper,
    file: &Path,
    volume: Uuid,
    output: Output,
) -> Result<Exit, Failure> {
    let place = file.display().to_string();
    let written = match place.as_str() {
        "-" => {
            let mut written = String::new();
            let most = files::MAX_TEXT;
            let read = std::io::stdin().take(most).read_to_string(&mut written);
            read.map_err(|e| Failure::local(e, "standard input", "the node's request"))?;
            written
        }
        _ => files::read_text(file, "the node's request")?,
    };
    let right = "the lines from the node's console that begin with `r`, all of them";
    let unreadable = |e: &dyn std::fmt::Display| {
        Failure::local(format!("read the node's request: {e}"), &place, right)
    };
    let message = text::decode(text::Kind::Request, &written).map_err(|e| unreadable(&e))?;
    let received = ReceivedRecovery::decode(&message).map_err(|e| unreadable(&e))?;
    let subject = Subject {
        received: &received,
        channel: &Channel::Text,
        volume,
    };
    let mut shown = looked(keeper, &subject, "(text)")?;
    if !terms.look {
        output::note(&shown.page());
        confirm::volume(volume, terms.yes, CONSEQUENCE)?;
        let (id, grant) = granted(terms, keeper, &subject)?;
        shown.outcome = "granted";
        shown.grant = Some(id.to_string());
        shown.text = Some(text::encode(text::Kind::Grant, &grant));
    }
    output.show(&shown, || match &shown.text {
        Some(text) if terms.qr => {
            [text.clone(), qr::codes(text).unwrap_or_default().concat()].join("\n")
        }
        Some(text) => text.clone(),
        None => shown.page(),
    })?;
    Ok(Exit::Done)
}

fn refused(address: &str, why: &str) -> Failure {
    Failure::new(
        Exit::Refused,
        format!("give the node its grant: {why}"),
        address,
        "asking the node anew; it goes on listening",
    )
}

fn looked(keeper: &mut Keeper, subject: &Subject<'_>, node: &str) -> Result<Shown, Failure> {
    let findings = keeper.look(subject)?;
    Ok(Shown {
        volume: subject.volume.to_string(),
        node: node.to_owned(),
        node_name: subject.received.request.node_name.clone(),
        outcome: "passed",
        grant: None,
        text: None,
        findings,
    })
}

/// A signed grant with its id.
fn granted(
    terms: &Terms<'_>,
    keeper: &mut Keeper,
    subject: &Subject<'_>,
) -> Result<(Uuid, Vec<u8>), Failure> {
    let request = &subject.received.request;
    let waiting = request.volume(subject.volume);
    let waiting = waiting.ok_or_else(|| local(&"the node waits for another volume"))?;
    let signing = Signing {
        grant: grant_id(),
        key: terms.key.public().map_err(|e| local(&e))?.id(),
    };
    let sealed = keeper.seal(subject, signing)?;
    let not_before = request.clock_seconds.saturating_add(terms.not_before);
    let grant = Grant {
        id: signing.grant,
        volume: subject.volume,
        epoch: waiting.seen.epoch,
        generation: waiting.seen.generation,
        boot: request.boot(),
        not_before,
        not_after: not_before.saturating_add(terms.valid),
        sealed,
    };
    let bytes = grant.sign(terms.key).map_err(|e| local(&e))?;
    Ok((signing.grant, bytes))
}

impl Shown {
    fn page(&self) -> String {
        let found = &self.findings;
        let given = |text: &Option<String>| text.clone().unwrap_or_default();
        fields(&[
            ("volume", self.volume.clone()),
            ("label", found.label.clone()),
            ("node", self.node.clone()),
            ("calls itself", self.node_name.clone()),
            (
                "evidence",
                format!("{}, trust class {}", found.kind, found.trust_class),
            ),
            ("instance", found.instance.clone()),
            ("image", found.image.clone()),
            ("platform", given(&found.platform)),
            ("decided by", found.rule.clone()),
            ("generation", found.generation.to_string()),
            ("epoch", found.epoch.to_string()),
            ("warning", given(&found.warning)),
            ("grant", given(&self.grant)),
            ("outcome", self.outcome.to_owned()),
        ])
    }
}
