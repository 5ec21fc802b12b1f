//! `dawnkey-agent wipe NAME`: finishes the wipe behind a volume that is in use already.

use super::{Signals, Stop, load, mapped_name, mapping, runtime};
use crate::notify::Notifier;
use crate::report::{self, Event};
use dawnkey_dm::behind::{self, Growth, Pace};
use dawnkey_dm::{MappedName, Ready};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::oneshot;

/// Wipes what is left, at the configured rate. Stops where it is on SIGTERM and SIGINT; the next call goes on there.
///
/// # Errors
/// No mapping of this name; the disk, or the filesystem on it, refused.
pub fn wipe(file: &Path, name: &str) -> Result<u8, Stop> {
    let config = load(file)?;
    let name = mapped_name(name)?;
    let notifier = Arc::new(Notifier::from_env());
    let pace = Pace {
        bytes_per_second: config.hold.wipe_rate,
    };
    let ready = runtime()?.block_on(work(&name, pace, notifier))?;
    if !ready.is_complete() {
        report::console(&Event::wiping(&name, ready));
        return Ok(0);
    }
    report::console(&Event::Wiped { name: name.clone() });
    match behind::grow_filesystem(&name).map_err(|error| mapping("wipe", &error))? {
        Growth::Grown { .. } => {}
        Growth::NotMounted => report::console(&Event::NotGrown {
            name,
            why: "nothing is mounted from it; it grows when wipe is called after the mount".into(),
        }),
        Growth::Other { kind } => report::console(&Event::NotGrown {
            name,
            why: format!("it is {kind}; its own tool makes it larger"),
        }),
    }
    Ok(0)
}

/// The wipe on a thread of its own, and beside it the signals and the watchdog.
async fn work(name: &MappedName, pace: Pace, notifier: Arc<Notifier>) -> Result<Ready, Stop> {
    let mut signals = Signals::listen()?;
    let stop = Arc::new(AtomicBool::new(false));
    let (ended, mut end) = oneshot::channel();
    notifier.ready();
    let thread = {
        let (name, stop, notifier) = (name.clone(), Arc::clone(&stop), Arc::clone(&notifier));
        let mut said = None;
        std::thread::spawn(move || {
            let mut progress = |ready: Ready| {
                let event = Event::wiping(&name, ready);
                if said.as_ref() != Some(&event) {
                    report::console(&event);
                    notifier.status(&format!("{event}"));
                    said = Some(event);
                }
            };
            // Nobody listens any more only when the process ends.
            let _ = ended.send(behind::finish(&name, &pace, &mut progress, &stop));
        })
    };
    let mut tick = tokio::time::interval(notifier.tick());
    let finished = loop {
        tokio::select! {
            finished = &mut end => break finished,
            () = signals.asked_to_end() => stop.store(true, Ordering::Relaxed),
            _ = tick.tick() => notifier.alive(),
        }
    };
    let _ = thread.join();
    match finished {
        Ok(finished) => finished.map_err(|error| mapping("wipe", &error)),
        Err(error) => Err(Stop::at("wipe", 31)(&error)),
    }
}
