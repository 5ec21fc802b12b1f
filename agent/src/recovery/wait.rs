//! The race: the service is tried on and on while the node listens for an operator. The first good answer wins and ends
//! the other's.

use super::Recovery;
use super::console::{Console, Typed};
use super::judge::Judged;
use super::listen::{Asked, Listener, What};
use super::shared::{Shared, Voice, say};
use crate::config::Pace;
use crate::error::{AskError, UnlockError};
use crate::report::Event;
use crate::retry::{Again, Budget, Jitter};
use crate::run::{Job, Ports};
use crate::service::KeyService;
use crate::unlock::{Measured, Released, Unlock};
use dawnkey_attest::collect::Attester;
use dawnkey_attest::evidence::Exchange;
use dawnkey_dm::SealedHeader;
use dawnkey_proto::binding::Binder;
use dawnkey_proto::message::{EvidenceItem, Retry};
use dawnkey_proto::recovery::{
    Answer, ReceivedRecovery, RecoveryRequest, bind, frame, text, text_binder,
};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

/// Least time between two collections of evidence for strangers: each costs the TPM or the firmware its time.
const EVIDENCE_GAP: Duration = Duration::from_secs(1);
/// How long to wait before an address is tried again that cannot be listened on yet.
const LISTEN_AGAIN: Duration = Duration::from_secs(2);
/// How long the operator's "opened" may take to leave.
const FAREWELL: Duration = Duration::from_secs(2);
/// A budget that no boot outlasts.
const FOR_EVER: Duration = Duration::from_secs(365 * 86_400);
/// How long to wait before asking again after an answer that waiting alone does not mend: somebody may.
const MENDED: Duration = Duration::from_secs(5);
/// The same where each attempt costs the other end the judging of evidence.
const DENIED: Duration = Duration::from_secs(60);

/// Who was first.
pub(crate) enum Won<S> {
    /// The service.
    Service(Box<Unlock<Released<S>>>),
    /// An operator: this grant opens the header.
    Operator(Judged),
}

/// Waits for the first good answer about the volume of `header`; `None` when the configured time is over.
pub(crate) async fn wait<K: KeyService, A: Attester, M>(
    job: &Job<'_>,
    ports: &mut Ports<'_, K, A, M>,
    recovery: &mut Recovery,
    measured: Unlock<Measured>,
    header: &SealedHeader,
) -> Result<Option<Won<K::Session>>, UnlockError> {
    let attester = RefCell::new(&mut *ports.attester);
    let voice: RefCell<&mut dyn FnMut(&Event)> = RefCell::new(&mut *ports.report);
    let give_up = recovery.config.give_up;
    let ending = async {
        match give_up {
            Some(time) => sleep(time).await,
            None => std::future::pending().await,
        }
    };
    let service = Service {
        pace: job.pace,
        service: &mut *ports.service,
        attester: Shared::new(&attester),
        jitter: &mut *ports.jitter,
        voice: &voice,
    };
    let operator = Operator {
        recovery,
        node_name: job.node_name,
        header,
        attester: Shared::new(&attester),
        next_evidence: Instant::now(),
        voice: &voice,
    };
    tokio::select! {
        released = service.keep_asking(measured) => released.map(|it| Some(Won::Service(Box::new(it)))),
        judged = operator.listen() => Ok(Some(Won::Operator(judged))),
        () = ending => Ok(None),
    }
}

/// The service's side.
struct Service<'s, 'c, 'a, K, A> {
    pace: Pace,
    service: &'s mut K,
    attester: Shared<'c, 'a, A>,
    jitter: Jitter<'s>,
    voice: Voice<'c, 'a>,
}

impl<K: KeyService, A: Attester> Service<'_, '_, '_, K, A> {
    /// Asks until the service gives the key. It ends with an error only where the node itself cannot go on; after a final
    /// refusal the operator alone is waited for.
    async fn keep_asking(
        mut self,
        mut measured: Unlock<Measured>,
    ) -> Result<Unlock<Released<K::Session>>, UnlockError> {
        let mut budget = Budget::start(Pace {
            budget: FOR_EVER,
            ..self.pace
        });
        loop {
            budget.attempt();
            let voice = self.voice;
            let report = &mut |event: &Event| say(voice, event);
            let tried = measured
                .attempt(self.service, &mut self.attester, &budget, report)
                .await;
            let failed = match tried {
                Ok(released) => return Ok(released),
                Err(failed) => *failed,
            };
            let again = match &failed.error {
                AskError::Refused(refusal) if refusal.retry == Retry::Never => {
                    let problem = failed.error.to_string();
                    say(self.voice, &Event::ServiceGivenUp { problem });
                    std::future::pending().await
                }
                AskError::Collect(_) | AskError::Lease(_) | AskError::NoGrant => {
                    return Err(UnlockError::Ask {
                        attempts: budget.attempts(),
                        spent: budget.spent(),
                        trace: Box::new(failed.back.trace().clone()),
                        error: Box::new(failed.error),
                    });
                }
                error => match error.again() {
                    Again::Never => Again::After(MENDED),
                    other => other,
                },
            };
            let wait = budget.wait(again, self.jitter).unwrap_or(match again {
                Again::Few => DENIED,
                _ => MENDED,
            });
            say(
                self.voice,
                &Event::AttemptFailed {
                    attempt: budget.attempts(),
                    problem: failed.error.to_string(),
                    wait,
                },
            );
            sleep(wait).await;
            measured = failed.back;
        }
    }
}

/// The operator's side.
struct Operator<'s, 'c, 'a, A> {
    recovery: &'s mut Recovery,
    node_name: &'s str,
    header: &'s SealedHeader,
    attester: Shared<'c, 'a, A>,
    next_evidence: Instant,
    voice: Voice<'c, 'a>,
}

impl<A: Attester> Operator<'_, '_, '_, A> {
    /// Listens until a grant opens the header.
    async fn listen(mut self) -> Judged {
        self.recovery.waited = true;
        // Both are kept for the node's other volumes, and end with the flow.
        let mut network = Network {
            address: self.recovery.config.listen,
            listener: self.recovery.listener.take(),
            volume: self.header.volume(),
            voice: self.voice,
        };
        let mut console = self.recovery.console.take();
        network.begin();
        if console.is_some() {
            self.show().await;
        }
        loop {
            let judged = tokio::select! {
                asked = network.next() => self.answer(asked).await,
                typed = typed(&mut console) => self.typed(typed).await,
            };
            if let Some(judged) = judged {
                self.recovery.listener = network.listener;
                self.recovery.console = console;
                return judged;
            }
        }
    }

    /// Puts the request on the console.
    async fn show(&mut self) {
        sleep_until(self.next_evidence).await;
        self.next_evidence = Instant::now() + EVIDENCE_GAP;
        match self.request(text_binder) {
            Ok(message) => {
                let text = text::encode(text::Kind::Request, &message);
                #[cfg(feature = "qr")]
                let codes = dawnkey_proto::recovery::qr::codes(&text);
                say(self.voice, &Event::RecoveryText { text });
                #[cfg(feature = "qr")]
                if let Some(codes) = codes {
                    say(self.voice, &Event::RecoveryCodes { codes });
                }
            }
            Err(detail) => drop(self.refuse(None, "no-evidence", detail)),
        }
    }

    /// What was typed; gives the key of a grant that opens the header.
    async fn typed(&mut self, typed: Typed) -> Option<Judged> {
        match typed {
            Typed::Line => None,
            Typed::Request => {
                self.show().await;
                None
            }
            Typed::Wrong { next, error } => {
                let problem = error.to_string();
                say(self.voice, &Event::RecoveryTyped { next, problem });
                None
            }
            Typed::Grant(bytes) => match self.recovery.judge(&bytes, self.header) {
                Ok(judged) => {
                    self.granted(&judged, None);
                    Some(judged)
                }
                Err(refused) => {
                    let _ = self.refuse(None, refused.code(), refused.to_string());
                    None
                }
            },
        }
    }

    fn granted(&self, judged: &Judged, peer: Option<SocketAddr>) {
        let event = Event::RecoveryGranted {
            volume: self.header.volume(),
            key: judged.key,
            grant: judged.grant,
            peer,
        };
        say(self.voice, &event);
    }

    /// Answers one question; gives the key of a grant that opens the header.
    async fn answer(&mut self, asked: Asked) -> Option<Judged> {
        let Asked {
            peer,
            spki,
            what,
            reply,
            sent,
        } = asked;
        let judged = match what {
            What::Request(exporter) => {
                sleep_until(self.next_evidence).await;
                self.next_evidence = Instant::now() + EVIDENCE_GAP;
                let made = self.request(|request, body| bind(request, body, &exporter, &spki));
                let framed = made.and_then(|message| {
                    let frame = frame::Kind::Request.frame(&message);
                    frame.map_err(|error| error.to_string())
                });
                let frame = match framed {
                    Ok(frame) => {
                        say(self.voice, &Event::RecoveryAsked { peer });
                        frame
                    }
                    Err(problem) => self.refuse(Some(peer), "no-evidence", problem),
                };
                let _ = reply.send(frame);
                return None;
            }
            What::Nonsense(problem) => {
                let _ = reply.send(self.refuse(Some(peer), "malformed", problem));
                return None;
            }
            What::Grant(bytes) => self.recovery.judge(&bytes, self.header),
        };
        match judged {
            Ok(judged) => {
                self.granted(&judged, Some(peer));
                let opened = Answer::Opened(self.header.volume());
                let frame = frame::Kind::Answer.frame(&opened.encode());
                let _ = reply.send(frame.unwrap_or_default());
                let _ = timeout(FAREWELL, sent).await;
                Some(judged)
            }
            Err(refused) => {
                let frame = self.refuse(Some(peer), refused.code(), refused.to_string());
                let _ = reply.send(frame);
                None
            }
        }
    }

    /// The node's request, with evidence for what `bind` makes of it.
    fn request(
        &mut self,
        bind: impl FnOnce(&RecoveryRequest, &[u8]) -> Binder,
    ) -> Result<Vec<u8>, String> {
        let request = self.recovery.request(self.node_name, self.header);
        let body = request.encode();
        let binder = bind(&request, &body);
        let evidence = self.attester.collect(&Exchange(binder.0));
        let evidence = evidence.map_err(|error| format!("collect evidence: {error}"))?;
        let item = EvidenceItem {
            kind: evidence.kind().to_owned(),
            payload: evidence.encode(),
        };
        Ok(ReceivedRecovery::encode(body, vec![item]))
    }

    fn refuse(&mut self, peer: Option<SocketAddr>, code: &str, detail: String) -> Vec<u8> {
        say(
            self.voice,
            &Event::RecoveryRefused {
                peer,
                code: code.to_owned(),
                detail: detail.clone(),
            },
        );
        let answer = Answer::Refused {
            code: code.to_owned(),
            detail,
        };
        let frame = frame::Kind::Answer.frame(&answer.encode());
        frame.unwrap_or_default()
    }
}

/// The next thing that is typed; never, where there is no console.
async fn typed(console: &mut Option<Console>) -> Typed {
    match console {
        Some(console) => console.next().await,
        None => std::future::pending().await,
    }
}

/// Where strangers come from: a listener, as soon as the network lets there be one.
struct Network<'c, 'a> {
    address: Option<SocketAddr>,
    listener: Option<Listener>,
    volume: Uuid,
    voice: Voice<'c, 'a>,
}

impl Network<'_, '_> {
    /// Says that the node waits, unless the listener has yet to be made.
    fn begin(&self) {
        if self.listener.is_some() || self.address.is_none() {
            self.waiting();
        }
    }

    fn waiting(&self) {
        let listen = self.listener.as_ref().and_then(Listener::address);
        let volume = self.volume;
        say(self.voice, &Event::RecoveryWaiting { listen, volume });
    }

    /// The next question; never, where no address is configured.
    async fn next(&mut self) -> Asked {
        while self.listener.is_none() {
            let Some(address) = self.address else {
                return std::future::pending().await;
            };
            match Listener::bind(address).await {
                Ok(listener) => {
                    self.listener = Some(listener);
                    self.waiting();
                }
                Err(error) => {
                    let (problem, wait) = (error.to_string(), LISTEN_AGAIN);
                    say(self.voice, &Event::RecoveryNotListening { problem, wait });
                    sleep(wait).await;
                }
            }
        }
        match &mut self.listener {
            Some(listener) => listener.next().await,
            None => std::future::pending().await,
        }
    }
}
