//! A hostile network: every frame between a machine and its network passes through the test, which delays, loses, drops,
//! refuses and forges as it likes while the guest runs.
//!
//! QEMU hands each frame to a socket of ours (`filter-redirector`, one for each direction) and takes what comes back. The
//! guest and its image are the same as ever; what stands between is the attacker's.

mod dns;
mod packet;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use dns::{Name, Says};
pub use packet::Packet;

use crate::error::{IoContext, VmError};

/// Larger than any frame of a network without offloads.
const MOST: usize = 64 << 10;
/// Where DNS is asked for.
const DNS: u16 = 53;

/// Says of a packet whether it is meant.
pub type Meant = fn(&Packet<'_>) -> bool;

/// What the network does with frames. The default carries all of them.
#[derive(Debug, Clone, Default)]
pub struct Weather {
    /// How much later each frame arrives, in each direction.
    pub delay: Duration,
    /// How many of a thousand packets are lost, in each direction.
    pub lost_per_mille: u64,
    /// IPv4 packets with more bytes vanish, and nobody is told: an MTU black hole.
    pub largest: Option<usize>,
    /// IPv6 is not carried, so that no router gives an address.
    pub only_ipv4: bool,
    /// Packets that vanish.
    pub vanish: Option<Meant>,
    /// Connections of the guest that are refused, as by a machine at which nothing listens.
    pub refuse: Option<Meant>,
    /// What DNS says. Without names questions go where they are sent.
    pub names: Vec<Name>,
}

/// What the network did to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Did {
    /// It was lost by chance.
    Lost,
    /// It was too large.
    TooLarge,
    /// It vanished.
    Vanished,
    /// The connection was refused.
    Refused,
    /// DNS answered.
    Answered,
    /// It was carried, if late.
    Carried,
}

/// What a machine is told: sockets that QEMU connects to.
#[derive(Debug, Clone)]
pub(crate) struct Sockets {
    dir: PathBuf,
}

/// The directions, each with the name of QEMU's queue: `tx` is what the network sends.
const QUEUES: [&str; 2] = ["rx", "tx"];
const FROM_GUEST: usize = 0;

impl Sockets {
    fn path(&self, queue: &str, end: &str) -> PathBuf {
        self.dir.join(format!("{queue}-{end}"))
    }

    /// QEMU's options for the network device `net`.
    pub(crate) fn options(&self) -> Vec<String> {
        let mut options = Vec::new();
        for queue in QUEUES {
            for end in ["out", "in"] {
                let path = self.path(queue, end);
                options.push("-chardev".to_owned());
                options.push(format!("socket,id={queue}-{end},path={}", path.display()));
            }
            options.push("-object".to_owned());
            options.push(format!(
                "filter-redirector,id={queue},netdev=net,queue={queue},outdev={queue}-out,indev={queue}-in"
            ));
        }
        options
    }
}

#[derive(Debug, Default)]
struct State {
    weather: Weather,
    did: BTreeMap<Did, u64>,
    random: u64,
}

/// A network for one boot of a machine.
#[derive(Debug)]
pub struct Network {
    sockets: Sockets,
    state: Arc<Mutex<State>>,
}

type Late = (Instant, Vec<u8>);

impl Network {
    /// Listens for QEMU in a new directory.
    ///
    /// # Errors
    /// [`VmError::Io`] when it exists already or a socket cannot be bound.
    pub fn new(dir: &Path) -> Result<Self, VmError> {
        std::fs::create_dir(dir).doing(|| format!("create {}", dir.display()))?;
        let sockets = Sockets {
            dir: dir.to_path_buf(),
        };
        let state = Arc::new(Mutex::new(State {
            random: 0x9e37_79b9_7f4a_7c15,
            ..State::default()
        }));
        let bind = |queue: &str, end: &str| {
            let path = sockets.path(queue, end);
            UnixListener::bind(&path).doing(|| format!("bind {}", path.display()))
        };
        let (to_network, from_guest) = mpsc::channel();
        let (to_guest, from_network) = mpsc::channel();
        let receivers = [from_guest, from_network];
        let senders = [to_network, to_guest];
        for ((index, queue), receiver) in QUEUES.into_iter().enumerate().zip(receivers) {
            let (out, back) = (bind(queue, "out")?, bind(queue, "in")?);
            std::thread::spawn(move || deliver(&back, &receiver));
            let (state, senders) = (Arc::clone(&state), senders.clone());
            std::thread::spawn(move || carry(&out, index, &state, &senders));
        }
        Ok(Network { sockets, state })
    }

    pub(crate) fn sockets(&self) -> Sockets {
        self.sockets.clone()
    }

    /// Changes the weather for all frames from now on, and forgets what it did so far.
    pub fn weather(&self, weather: Weather) {
        let mut state = lock(&self.state);
        state.weather = weather;
        state.did.clear();
    }

    /// How many packets this was done to since the weather changed.
    #[must_use]
    pub fn did(&self, what: Did) -> u64 {
        lock(&self.state).did.get(&what).copied().unwrap_or(0)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What becomes of a frame.
enum Fate {
    Carry(Duration),
    Drop,
    Answer(Vec<u8>),
}

impl State {
    fn fate(&mut self, frame: &[u8], from_guest: bool) -> Fate {
        let Some(packet) = Packet::read(frame) else {
            if self.weather.only_ipv4 && packet::is_ipv6(frame) {
                return Fate::Drop;
            }
            return Fate::Carry(self.weather.delay);
        };
        let (did, fate) = self.judge(frame, &packet, from_guest);
        *self.did.entry(did).or_default() += 1;
        fate
    }

    fn judge(&mut self, frame: &[u8], packet: &Packet<'_>, from_guest: bool) -> (Did, Fate) {
        let weather = &self.weather;
        if weather.vanish.is_some_and(|meant| meant(packet)) {
            return (Did::Vanished, Fate::Drop);
        }
        if weather.largest.is_some_and(|most| packet.length > most) {
            return (Did::TooLarge, Fate::Drop);
        }
        let refused = packet.opens && weather.refuse.is_some_and(|meant| meant(packet));
        if from_guest
            && refused
            && let Some(answer) = packet.refusal(frame)
        {
            return (Did::Refused, Fate::Answer(answer));
        }
        let asks = from_guest && packet.udp && packet.to.port() == DNS;
        if asks
            && !weather.names.is_empty()
            && let Some(said) = dns::answer(&weather.names, packet.payload)
            && let Some(answer) = packet.reply(frame, &said)
        {
            return (Did::Answered, Fate::Answer(answer));
        }
        let (delay, lost) = (weather.delay, weather.lost_per_mille);
        if lost > 0 && self.random() % 1000 < lost {
            return (Did::Lost, Fate::Drop);
        }
        (Did::Carried, Fate::Carry(delay))
    }

    /// xorshift64*: the same losses in each run, as far as the guest sends the same packets.
    fn random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }
}

/// Takes QEMU's frames of one direction until it ends.
fn carry(listener: &UnixListener, index: usize, state: &Mutex<State>, senders: &[Sender<Late>; 2]) {
    let Ok((mut stream, _)) = listener.accept() else {
        return;
    };
    while let Ok(frame) = receive(&mut stream) {
        let fate = lock(state).fate(&frame, index == FROM_GUEST);
        let (to, delay, frame) = match fate {
            Fate::Drop => continue,
            Fate::Carry(delay) => (index, delay, frame),
            Fate::Answer(answer) => (1 - index, Duration::ZERO, answer),
        };
        let sent = senders
            .get(to)
            .map(|sender| sender.send((Instant::now() + delay, frame)));
        if !matches!(sent, Some(Ok(()))) {
            return;
        }
    }
}

/// Gives frames of one direction back to QEMU, each when its time has come.
fn deliver(listener: &UnixListener, frames: &Receiver<Late>) {
    let Ok((mut stream, _)) = listener.accept() else {
        return;
    };
    while let Ok((due, frame)) = frames.recv() {
        // The delay itself; nothing waits for it but the frames behind this one.
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if send(&mut stream, &frame).is_err() {
            return;
        }
    }
}

/// QEMU's framing: the length as 32 bits, big-endian, then the frame.
fn receive(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MOST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

fn send(stream: &mut UnixStream, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(frame);
    stream.write_all(&bytes)
}

#[cfg(test)]
mod tests;
