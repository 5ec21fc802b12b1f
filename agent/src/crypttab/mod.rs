//! Volumes that stand in `/etc/crypttab`: their key goes to `systemd-cryptsetup`, through the socket that it looks for,
//! and only together with a header that was validated here.
//!
//! `systemd-cryptsetup` takes its key from `/run/cryptsetup-keys.d/NAME.key` (crypttab(5), "AF_UNIX KEY FILES"); by
//! itself it would read whatever header the disk shows it. So its line must name the header that is made here:
//!
//! ```text
//! state  /dev/vdb  -  header=/run/dawnkey/state.header,headless=1
//! ```
//!
//! [`peer`] reads who asks and for what, [`mod@line`] what the asking program was told, `place` keeps what is in `/run`,
//! [`progress`] tells the system's units how far a volume has come. `docs/crypttab.md` is the manual.

pub mod line;
pub mod peer;
mod place;
pub mod progress;

pub use place::Places;

use crate::report::Event;
use dawnkey_dm::handing::{Handing, Offer, Process, readable};
use line::Told;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use peer::Asked;
use place::Placed;
use progress::Progress;
use std::io::{self, Write as _};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::{Duration, Instant};

/// How long a key is offered, and how long whoever took it may work with it. Generous: systemd waits for the disk as
/// long as its own device timeout says (90 s), and everything else of the boot may run beside it.
pub const LIMIT: Duration = Duration::from_secs(300);

/// Hands keys to `systemd-cryptsetup`.
pub struct Crypttab {
    places: Places,
    limit: Duration,
    report: Box<dyn FnMut(&Event)>,
}

impl Crypttab {
    /// Hands keys over in these places, each within `limit`.
    #[must_use]
    pub fn new(places: Places, limit: Duration, report: Box<dyn FnMut(&Event)>) -> Self {
        Self {
            places,
            limit,
            report,
        }
    }

    /// Answers who asks, one after the other, until one of them was given the key.
    fn serve(&mut self, placed: &Placed, offer: &Offer<'_>) -> Result<Process, String> {
        let deadline = Instant::now() + self.limit;
        loop {
            let listener = placed.listener().ok_or("nobody listens for the key")?;
            if !readable(listener, deadline).map_err(at("wait for systemd-cryptsetup"))? {
                return Err(format!(
                    "nobody has asked for the key within {} s; is there a line for it in /etc/crypttab, and does \
                     cryptsetup.target want it?",
                    self.limit.as_secs()
                ));
            }
            let (stream, peer) = listener
                .accept()
                .map_err(at("accept a connection for the key"))?;
            match self.judge(&stream, &peer, offer) {
                Ok(process) => {
                    give(stream, offer).map_err(at("hand the key over"))?;
                    let name = offer.name.clone();
                    (self.report)(&Event::KeyHanded { name });
                    return Ok(process);
                }
                // It reads no byte, and the offer stands.
                Err(why) => {
                    let name = offer.name.clone();
                    (self.report)(&Event::KeyNotHanded { name, why });
                }
            }
        }
    }

    /// Whether this is the program that is to open the volume with our header. Gives its process.
    fn judge(
        &self,
        stream: &UnixStream,
        peer: &SocketAddr,
        offer: &Offer<'_>,
    ) -> Result<Process, String> {
        let credentials = getsockopt(stream, PeerCredentials)
            .map_err(|error| format!("its user cannot be told: {error}"))?;
        let (uid, ours) = (credentials.uid(), nix::unistd::geteuid().as_raw());
        if uid != ours {
            return Err(format!("it is of user {uid}, must be of user {ours}"));
        }
        let name = peer.as_abstract_name().unwrap_or_default();
        let asked = Asked::parse(name).map_err(|error| error.to_string())?;
        if asked.volume != offer.name.as_str() {
            return Err(format!("it asks for the key of {:?}", asked.volume));
        }
        // Opened before its words are read: what is read is this process's, or none.
        let pid = credentials.pid();
        let process = Process::open(pid).map_err(|error| format!("it has ended: {error}"))?;
        let words = std::fs::read(format!("/proc/{pid}/cmdline"))
            .map_err(|error| format!("its command line cannot be read: {error}"))?;
        let told = Told::parse(&words).map_err(|error| error.to_string())?;
        told.check(&self.places, offer)
            .map_err(|error| error.to_string())?;
        Ok(process)
    }
}

/// An error of this step, as text.
fn at(doing: &'static str) -> impl FnOnce(io::Error) -> String {
    move |error| format!("{doing}: {error}")
}

/// Sends the key, verbatim and nothing else.
fn give(mut stream: UnixStream, offer: &Offer<'_>) -> io::Result<()> {
    stream.write_all(offer.key.expose())?;
    stream.shutdown(Shutdown::Both)
}

impl Handing for Crypttab {
    fn hand(&mut self, offer: &Offer<'_>) -> Result<(), String> {
        // Taken away again at the end of this function, however it ends.
        let placed = Placed::put(&self.places, offer).map_err(|error| error.to_string())?;
        let name = offer.name.clone();
        (self.report)(&Event::KeyOffered { name });
        progress::set(self.places.run(), offer.name, Progress::Offered)
            .map_err(|error| format!("leave word for the unit of the volume: {error}"))?;
        let process = self.serve(&placed, offer)?;
        match process.ended(Instant::now() + self.limit) {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!(
                "systemd-cryptsetup has the key and has not ended within {} s",
                self.limit.as_secs()
            )),
            Err(error) => Err(format!("wait for the end of systemd-cryptsetup: {error}")),
        }
    }
}
