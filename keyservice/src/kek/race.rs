//! Asking several providers for the same DEK: one after the other with a short head start, and the first good answer
//! ends the rest.

use super::Wrap;
use super::seat::Seat;
use dawnkey_kek::{Aad, Custody, KekError};
use dawnkey_secret::Dek;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How much earlier a provider is asked than the next one.
const HEAD_START: Duration = Duration::from_millis(300);

/// A DEK with the custody of the KEK that unwrapped it.
pub(super) type Opened = (Dek, Custody);

/// Asks the candidates in their order. The next one is asked when the one before has failed, or has not answered within
/// its head start.
pub(super) async fn first(
    candidates: Vec<(Arc<Seat>, Wrap)>,
    aad: Aad,
) -> Result<Opened, Vec<KekError>> {
    let mut waiting = candidates.into_iter();
    let mut asked = JoinSet::new();
    let mut failures = Vec::new();
    ask(&mut asked, waiting.next(), aad);
    while !asked.is_empty() {
        tokio::select! {
            ended = asked.join_next() => match ended {
                Some(Ok(Ok(opened))) => return Ok(opened),
                Some(Ok(Err(failure))) => {
                    failures.push(failure);
                    ask(&mut asked, waiting.next(), aad);
                }
                // One that panicked gives no answer.
                Some(Err(_)) => ask(&mut asked, waiting.next(), aad),
                None => {}
            },
            () = tokio::time::sleep(HEAD_START), if waiting.len() > 0 => {
                ask(&mut asked, waiting.next(), aad);
            }
        }
    }
    Err(failures)
}

fn ask(
    asked: &mut JoinSet<Result<Opened, KekError>>,
    candidate: Option<(Arc<Seat>, Wrap)>,
    aad: Aad,
) {
    if let Some((seat, wrap)) = candidate {
        asked.spawn(async move {
            let dek = seat.unwrap(&wrap.blob, &aad).await?;
            Ok((dek, seat.capabilities().custody))
        });
    }
}
