//! A hostile disk: an NBD server of our own that the test scripts while a guest runs.
//!
//! `-drive file=nbd+unix:///?socket=PATH` makes it a disk of the guest. Every request is logged; [`Rule`]s make the
//! disk lie, fail, end a transfer early, take no writes, go away, or stop at one request so that the test can cut
//! the machine's power exactly there.

mod rule;
mod store;
pub mod wire;

use std::fs::OpenOptions;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use rule::{Act, EIO, EPERM, Rule, When};
pub use store::Cache;
pub use wire::Kind;

use crate::disk::Disk;
use crate::error::{IoContext, VmError};
use crate::layout::{BLOCK, SUPERBLOCK};
use store::Store;
use wire::Request;

/// One request as it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What was asked for.
    pub kind: Kind,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
    /// What a rule did about it; nothing for a plain answer.
    pub rule: Option<String>,
    /// What was written, if it begins in front of a volume's journal: header and superblock can be replayed.
    pub data: Option<Vec<u8>>,
}

/// What the server's threads and the test share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    store: Store,
    rules: Vec<Rule>,
    log: Vec<Event>,
    /// Stopped at a request, for good.
    frozen: bool,
    /// A request waits.
    held: bool,
    /// Gone, for good.
    vanished: bool,
    connections: Vec<UnixStream>,
}

/// A running server for one disk; ends with this value.
#[derive(Debug)]
pub struct Backend {
    socket: PathBuf,
    shared: Arc<Shared>,
}

impl Backend {
    /// Serves a disk at a socket of its own beside the image.
    ///
    /// # Errors
    /// [`VmError::Io`] when the image cannot be opened or the socket cannot be bound.
    pub fn serve(disk: &Disk, cache: Cache) -> Result<Self, VmError> {
        let path = disk.path();
        let socket = path.with_extension("nbd");
        // Of a server of an earlier boot; absent otherwise.
        let _ = std::fs::remove_file(&socket);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .doing(|| format!("open {}", path.display()))?;
        let store = Store::new(file, cache).doing(|| format!("size of {}", path.display()))?;
        let listener =
            UnixListener::bind(&socket).doing(|| format!("bind {}", socket.display()))?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                store,
                rules: Vec::new(),
                log: Vec::new(),
                frozen: false,
                held: false,
                vanished: false,
                connections: Vec::new(),
            }),
            changed: Condvar::new(),
        });
        let server = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &server));
        Ok(Backend { socket, shared })
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Adds a rule.
    pub fn rule(&self, rule: Rule) {
        self.shared.lock().rules.push(rule);
    }

    /// Forgets all rules.
    pub fn behave(&self) {
        self.shared.lock().rules.clear();
    }

    /// Every request so far, in the order in which they were taken up.
    #[must_use]
    pub fn log(&self) -> Vec<Event> {
        self.shared.lock().log.clone()
    }

    /// Whether a rule has stopped the disk.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.shared.lock().frozen
    }

    /// Waits until a rule has stopped the disk.
    ///
    /// # Errors
    /// [`VmError::Timeout`] with the last requests.
    pub fn wait_frozen(&self, limit: Duration) -> Result<(), VmError> {
        self.wait(limit, |state| state.frozen)
    }

    /// Waits until a rule holds a request back.
    ///
    /// # Errors
    /// [`VmError::Timeout`] with the last requests.
    pub fn wait_held(&self, limit: Duration) -> Result<(), VmError> {
        self.wait(limit, |state| state.held)
    }

    /// Lets the request go on that is held back; the rules are forgotten.
    pub fn release(&self) {
        let mut state = self.shared.lock();
        state.rules.clear();
        state.held = false;
        drop(state);
        self.shared.changed.notify_all();
    }

    /// The disk is gone from now on, for good.
    pub fn vanish(&self) {
        self.shared.lock().vanish();
        self.shared.changed.notify_all();
    }

    fn wait(&self, limit: Duration, holds: impl Fn(&State) -> bool) -> Result<(), VmError> {
        let end = Instant::now() + limit;
        let mut state = self.shared.lock();
        while !holds(&state) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let last = state.log.iter().rev().take(8);
                return Err(VmError::Timeout {
                    what: format!("the request at which {} stops", self.socket.display()),
                    seconds: limit.as_secs(),
                    log: last.map(|event| format!("{event:?}\n")).collect(),
                });
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }
}

impl Drop for Backend {
    /// Closes all connections; a volatile cache is lost.
    fn drop(&mut self) {
        self.shared.lock().vanish();
        self.shared.changed.notify_all();
        // Wakes the thread that accepts, so that it sees the end.
        let _ = UnixStream::connect(&self.socket);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn vanish(&mut self) {
        self.vanished = true;
        for connection in self.connections.drain(..) {
            // The other side may have closed it already.
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
    }

    /// The act of the first rule that applies. All rules count the request.
    fn judge(&mut self, request: &Request) -> Option<Act> {
        let mut act = None;
        for rule in &mut self.rules {
            let judged = rule.judge(request.kind, request.offset, request.length);
            act = act.or(judged);
        }
        act
    }

    /// Does what is asked for, and gives the bytes of a read.
    fn serve(&mut self, request: &Request) -> io::Result<Vec<u8>> {
        match request.kind {
            Kind::Read => {
                let mut data = vec![0; request.length as usize];
                self.store.read(request.offset, &mut data)?;
                Ok(data)
            }
            Kind::Write => self
                .store
                .write(request.offset, &request.data)
                .map(|()| Vec::new()),
            Kind::Flush => self.store.flush().map(|()| Vec::new()),
            Kind::Trim => Ok(Vec::new()),
        }
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { return };
        let kept = stream.try_clone();
        {
            let mut state = shared.lock();
            if state.vanished {
                return;
            }
            state.connections.extend(kept);
        }
        let shared = Arc::clone(shared);
        // A client that breaks the protocol or goes away ends its own connection only.
        std::thread::spawn(move || drop(converse(stream, &shared)));
    }
}

fn converse(mut stream: UnixStream, shared: &Shared) -> io::Result<()> {
    let bytes = shared.lock().store.bytes();
    if !wire::handshake(&mut stream, bytes)? {
        return Ok(());
    }
    while let Some(request) = wire::request(&mut stream)? {
        if !answer(&mut stream, shared, &request)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Answers one request; `false` when the connection is over.
fn answer(stream: &mut UnixStream, shared: &Shared, request: &Request) -> io::Result<bool> {
    let mut state = shared.lock();
    if state.frozen && request.kind != Kind::Read {
        // Never answered. Reads are: what a machine looks at meanwhile is not the subject.
        return Ok(true);
    }
    let act = state.judge(request);
    let rule = act.as_ref().map(|act| format!("{act:?}"));
    state.log.push(Event {
        kind: request.kind,
        offset: request.offset,
        length: request.length,
        rule,
        data: (request.kind == Kind::Write && request.offset < SUPERBLOCK + BLOCK)
            .then(|| request.data.clone()),
    });
    match act {
        Some(Act::Freeze) => {
            state.frozen = true;
            shared.changed.notify_all();
            Ok(true)
        }
        Some(Act::Vanish) => {
            state.vanish();
            Ok(false)
        }
        Some(Act::Hold) => {
            state.held = true;
            shared.changed.notify_all();
            while state.held && !state.vanished {
                let waited = shared.changed.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
            }
            served(stream, state, request)
        }
        Some(Act::Fail(error)) => {
            drop(state);
            wire::reply(stream, request.handle, error, &[]).map(|()| true)
        }
        Some(Act::Short) => {
            let data = state.serve(request)?;
            let half = data.get(..data.len() / 2).unwrap_or_default();
            wire::reply(stream, request.handle, 0, half)?;
            state.vanish();
            Ok(false)
        }
        Some(Act::Lie(lie)) => {
            let mut data = state.serve(request)?;
            drop(state);
            lie(request.offset, &mut data);
            wire::reply(stream, request.handle, 0, &data).map(|()| true)
        }
        None => served(stream, state, request),
    }
}

/// The plain answer.
fn served(
    stream: &mut UnixStream,
    mut state: MutexGuard<'_, State>,
    request: &Request,
) -> io::Result<bool> {
    let served = state.serve(request);
    drop(state);
    let (error, data) = served.map_or((EIO, Vec::new()), |data| (0, data));
    wire::reply(stream, request.handle, error, &data).map(|()| true)
}

#[cfg(test)]
mod tests;
