//! Health and metrics in plain HTTP/1.1 on loopback: one short request, one short answer, then the end.

use crate::desk::Desk;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Longest request, in bytes, that is read.
const MAX_REQUEST: usize = 8 << 10;
/// Longest time for one request and its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most requests at the same time.
const MAX_OPEN: usize = 32;

/// Serves `/metrics`, `/healthz` and `/readyz` until `stop`.
pub(super) async fn serve(listener: TcpListener, desk: Arc<Desk>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_OPEN));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((tcp, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let desk = Arc::clone(&desk);
        tokio::spawn(async move {
            // Whoever asks too slowly or hangs up gets no answer.
            let _ = tokio::time::timeout(PATIENCE, answer(tcp, &desk)).await;
            drop(place);
        });
    }
}

async fn answer(mut tcp: TcpStream, desk: &Desk) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut part = [0; 1024];
        let got = tcp.read(&mut part).await?;
        if got == 0 || request.len() + got > MAX_REQUEST {
            return Ok(());
        }
        request.extend_from_slice(part.get(..got).unwrap_or_default());
    }
    let line = request.split(|b| *b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|b| *b == b' ');
    let (status, body) = match (words.next(), words.next()) {
        (Some(b"GET"), Some(b"/metrics")) => {
            let records = desk.audit.head().map(|head| head.seq);
            let endorsements = desk.endorsements().map(|all| all.metrics());
            let (hits, misses, _) = desk.ring.cache_counts();
            desk.metrics.kek_cached(hits, misses);
            for seat in desk.ring.seats() {
                desk.metrics.kek_circuit(seat.name(), seat.readiness());
            }
            let metrics = desk.metrics.render(records) + &endorsements.unwrap_or_default();
            ("200 OK", metrics)
        }
        (Some(b"GET"), Some(b"/healthz")) => ("200 OK", "alive\n".to_owned()),
        (Some(b"GET"), Some(b"/readyz")) => match readiness(desk).await {
            Ok(()) => ("200 OK", "ready\n".to_owned()),
            Err(why) => ("503 Service Unavailable", format!("{why}\n")),
        },
        (Some(b"GET"), _) => (
            "404 Not Found",
            "there are /metrics, /healthz and /readyz\n".to_owned(),
        ),
        _ => ("405 Method Not Allowed", "GET only\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    tcp.write_all(head.as_bytes()).await?;
    tcp.write_all(body.as_bytes()).await?;
    tcp.shutdown().await
}

async fn readiness(desk: &Desk) -> Result<(), String> {
    if desk.audit.head().is_none() {
        return Err("the audit log cannot be written".into());
    }
    desk.records.probe().await.map_err(|e| e.to_string())?;
    match desk.ring.waiting().as_slice() {
        [] => Ok(()),
        names => Err(format!(
            "kek-waiting: no master secret yet for {}; `dawnkey master-secret give`",
            names.join(", ")
        )),
    }
}
