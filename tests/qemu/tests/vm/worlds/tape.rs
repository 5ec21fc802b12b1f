//! A whole session between a node and the service, recorded on the wire and played again to either of them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What went over the wire, in its order within each direction.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// Bytes of the node.
    pub node: Vec<u8>,
    /// Bytes of the service.
    pub service: Vec<u8>,
}

/// Records the connections that are made through it, the last one for good.
pub struct Recorder {
    /// Where nodes are led to.
    pub address: SocketAddr,
    session: Arc<Mutex<Session>>,
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

impl Recorder {
    /// In front of a service.
    pub fn start(service: SocketAddr) -> Self {
        let (listener, address) = listen();
        let session = Arc::new(Mutex::new(Session::default()));
        let shared = Arc::clone(&session);
        thread::spawn(move || {
            for node in listener.incoming().map_while(Result::ok) {
                let Ok(there) = TcpStream::connect(service) else {
                    continue;
                };
                *lock(&shared) = Session::default();
                let (from, to) = (node.try_clone().unwrap(), there.try_clone().unwrap());
                let both = Arc::clone(&shared);
                thread::spawn(move || copy(from, to, |bytes| lock(&both).node.extend(bytes)));
                copy(there, node, |bytes| lock(&shared).service.extend(bytes));
            }
        });
        Recorder { address, session }
    }

    /// What was recorded.
    pub fn session(&self) -> Session {
        lock(&self.session).clone()
    }
}

fn lock(session: &Mutex<Session>) -> std::sync::MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

fn copy(mut from: TcpStream, mut to: TcpStream, mut note: impl FnMut(&[u8])) {
    let mut buffer = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        note(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Plays the service's part of a session to whoever connects and says something.
pub struct Player {
    /// Where nodes are led to.
    pub address: SocketAddr,
    session: Arc<Mutex<Session>>,
}

impl Player {
    /// With nothing to play yet.
    pub fn start() -> Self {
        let (listener, address) = listen();
        let session = Arc::new(Mutex::new(Session::default()));
        let shared = Arc::clone(&session);
        thread::spawn(move || {
            for mut node in listener.incoming().map_while(Result::ok) {
                let played = lock(&shared).service.clone();
                let mut buffer = [0; 16 << 10];
                let said = node.read(&mut buffer);
                if matches!(said, Ok(1..)) && node.write_all(&played).is_ok() {
                    // Until the node has had enough.
                    while let Ok(1..) = node.read(&mut buffer) {}
                }
            }
        });
        Player { address, session }
    }

    /// Gives it what to play from now on.
    pub fn load(&self, session: Session) {
        *lock(&self.session) = session;
    }
}

/// Plays the node's part of a session to the service, and gives what that answered before it closed.
pub fn play_to_service(session: &Session, service: SocketAddr) -> Vec<u8> {
    let mut there = TcpStream::connect(service).unwrap();
    there
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    // The service may have had enough before the end.
    let _ = there.write_all(&session.node);
    let mut answer = Vec::new();
    let mut buffer = [0; 16 << 10];
    while let Ok(length @ 1..) = there.read(&mut buffer) {
        answer.extend(&buffer[..length]);
    }
    answer
}
