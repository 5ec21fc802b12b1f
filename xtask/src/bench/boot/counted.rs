//! What a connection of a guest costs on the wire: carries it to a server and counts connections, flights and bytes.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde::Serialize;

/// Sums over all connections so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Connections that were made.
    pub connections: u64,
    /// How often the guest spoke after the server had, or for the first time.
    pub flights: u64,
    /// Bytes that the guest sent.
    pub sent: u64,
    /// Bytes that it got.
    pub received: u64,
}

impl Counts {
    /// What came after `before`.
    pub fn since(self, before: Self) -> Self {
        Counts {
            connections: self.connections - before.connections,
            flights: self.flights - before.flights,
            sent: self.sent - before.sent,
            received: self.received - before.received,
        }
    }
}

/// Where connections end.
#[derive(Debug, Clone)]
pub enum Server {
    /// At an address.
    At(SocketAddr),
    /// In a program that is started for each of them, on its standard input and output: with arguments and environment.
    Program(Vec<String>, Vec<(String, String)>),
}

/// A loopback address that leads to a server.
#[derive(Debug)]
pub struct Counted {
    address: SocketAddr,
    counts: Arc<Mutex<Counts>>,
}

impl Counted {
    /// Listens for as long as this process lives.
    ///
    /// # Errors
    /// When there is no port.
    pub fn start(server: Server) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Mutex::new(Counts::default()));
        let shared = Arc::clone(&counts);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (server, counts) = (server.clone(), Arc::clone(&shared));
                thread::spawn(move || carry(&stream, &server, &counts));
            }
        });
        Ok(Counted { address, counts })
    }

    /// Where guests are led.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The sums now.
    pub fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which side spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Guest,
    Server,
}

/// Counts of one connection within those of all.
#[derive(Clone)]
struct Tally {
    all: Arc<Mutex<Counts>>,
    last: Arc<Mutex<Side>>,
}

impl Tally {
    fn spoke(&self, side: Side, bytes: usize) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *last, side);
        match side {
            Side::Guest => {
                all.sent += bytes as u64;
                all.flights += u64::from(before == Side::Server);
            }
            Side::Server => all.received += bytes as u64,
        }
    }
}

/// One connection, until both sides have ended it. A failure ends the connection: the guest sees that.
fn carry(guest: &TcpStream, server: &Server, counts: &Arc<Mutex<Counts>>) {
    counts
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .connections += 1;
    let tally = Tally {
        all: Arc::clone(counts),
        last: Arc::new(Mutex::new(Side::Server)),
    };
    let carried = match server {
        Server::At(address) => to_address(guest, *address, &tally),
        Server::Program(words, environment) => to_program(guest, words, environment, &tally),
    };
    if carried.is_err() {
        let _ = guest.shutdown(Shutdown::Both);
    }
}

fn to_address(guest: &TcpStream, address: SocketAddr, tally: &Tally) -> io::Result<()> {
    let server = TcpStream::connect(address)?;
    // Each write is passed on as it came.
    server.set_nodelay(true)?;
    guest.set_nodelay(true)?;
    let (mut from, mut to) = (guest.try_clone()?, server.try_clone()?);
    let outward = tally.clone();
    let sending = thread::spawn(move || {
        let _ = pump(&mut from, &mut to, Side::Guest, &outward);
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to) = (server, guest.try_clone()?);
    let _ = pump(&mut from, &mut to, Side::Server, tally);
    let _ = guest.shutdown(Shutdown::Write);
    let _ = sending.join();
    Ok(())
}

fn to_program(
    guest: &TcpStream,
    words: &[String],
    environment: &[(String, String)],
    tally: &Tally,
) -> io::Result<()> {
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn()?;
    guest.set_nodelay(true)?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let (mut from, outward) = (guest.try_clone()?, tally.clone());
    let sending = thread::spawn(move || {
        if let Some(mut input) = input {
            let _ = pump(&mut from, &mut input, Side::Guest, &outward);
        }
    });
    if let Some(mut output) = output {
        let _ = pump(&mut output, &mut guest.try_clone()?, Side::Server, tally);
    }
    // The program has closed its output: nothing that the guest still says would be heard.
    guest.shutdown(Shutdown::Both)?;
    let _ = sending.join();
    child.wait().map(drop)
}

fn pump(from: &mut impl Read, to: &mut impl Write, side: Side, tally: &Tally) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
    loop {
        let count = from.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        tally.spoke(side, count);
        to.write_all(bytes)?;
        to.flush()?;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    /// Says `word` and waits for so many bytes.
    fn talk(stream: &mut TcpStream, word: &[u8], answer: usize) -> Vec<u8> {
        stream.write_all(word).unwrap();
        let mut bytes = vec![0; answer];
        stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn counts_what_goes_to_an_address_and_back() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let counted = Counted::start(Server::At(listener.local_addr().unwrap())).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for _ in 0..2 {
                let mut word = [0; 3];
                stream.read_exact(&mut word).unwrap();
                stream.write_all(b"well").unwrap();
            }
        });
        let mut guest = TcpStream::connect(counted.address()).unwrap();
        let before = counted.counts();
        assert_eq!(talk(&mut guest, b"one", 4), b"well");
        assert_eq!(talk(&mut guest, b"two", 4), b"well");
        server.join().unwrap();
        let counts = counted.counts();
        assert_eq!((counts.sent, counts.received), (6, 8));
        assert_eq!((counts.connections, counts.flights), (1, 2));
        assert!(counts.since(before).sent <= 6);
    }

    #[test]
    fn starts_the_program_for_each_connection() {
        let words = ["sh", "-c", "read -r word; echo \"$word$more\""].map(str::to_owned);
        let more = vec![("more".to_owned(), "!".to_owned())];
        let counted = Counted::start(Server::Program(words.to_vec(), more)).unwrap();
        for _ in 0..2 {
            let mut guest = TcpStream::connect(counted.address()).unwrap();
            assert_eq!(talk(&mut guest, b"hello\n", 7), b"hello!\n");
        }
        let counts = counted.counts();
        assert_eq!((counts.connections, counts.flights), (2, 2));
        assert_eq!((counts.sent, counts.received), (12, 14));
    }
}
