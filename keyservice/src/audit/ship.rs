//! A copy of every record to standard output, by a thread of its own.
//!
//! Nobody waits for it: whoever reads too slowly misses records, which are counted and leave a gap in the numbers.
//! The file has them all.

use super::settings::Also;
use crate::metrics::Metrics;
use std::io::Write;
use std::sync::{Arc, mpsc};

/// Most batches of records that wait for the reader.
const QUEUE: usize = 256;

/// Where copies are handed over.
pub(super) struct Shipper {
    lines: mpsc::SyncSender<Vec<u8>>,
    metrics: Arc<Metrics>,
}

impl Shipper {
    /// Starts the thread. It ends with the process or with the first write that fails.
    pub(super) fn start(also: Also, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let Also::Stdout = also;
        Self::to(std::io::stdout(), metrics)
    }

    fn to(mut out: impl Write + Send + 'static, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let (lines, inbox) = mpsc::sync_channel::<Vec<u8>>(QUEUE);
        let thread = std::thread::Builder::new().name("audit-copy".into());
        thread.spawn(move || {
            while let Ok(batch) = inbox.recv() {
                if out.write_all(&batch).and_then(|()| out.flush()).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { lines, metrics })
    }

    /// Hands over `records` lines that are on disk.
    pub(super) fn ship(&self, batch: &[u8], records: usize) {
        let sent = self.lines.try_send(batch.to_vec()).is_ok();
        self.metrics.audit_copied(sent, records);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_reader_that_hangs_loses_copies_and_holds_nobody_up() {
        let (reader, writer) = std::io::pipe().unwrap();
        let metrics = Arc::<Metrics>::default();
        let shipper = Shipper::to(writer, Arc::clone(&metrics)).unwrap();
        let batch = vec![b'x'; 64 << 10];
        for _ in 0..QUEUE + 8 {
            shipper.ship(&batch, 2);
        }
        let text = metrics.render(None);
        let dropped = text
            .lines()
            .find(|line| line.starts_with("dawnkey_audit_copies_total{outcome=\"dropped\"}"));
        assert!(dropped.is_some(), "{text}");
        drop(reader);
    }
}
