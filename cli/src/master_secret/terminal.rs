//! One line from a terminal that does not show it.

use crate::outcome::Failure;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use zeroize::Zeroizing;

/// Longest line that is read, in bytes.
const MAX_LINE: usize = 256;

/// A terminal that shows nothing of what is typed, until this is dropped. Ctrl-C does not end the process meanwhile: the
/// terminal is always left as it was.
struct Silent<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Silent<'a> {
    fn new(terminal: BorrowedFd<'a>) -> nix::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent
            .local_flags
            .remove(LocalFlags::ECHO | LocalFlags::ISIG);
        silent
            .local_flags
            .insert(LocalFlags::ECHONL | LocalFlags::ICANON);
        tcsetattr(terminal, SetArg::TCSAFLUSH, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        // Nobody can be told that the terminal has gone away.
        let _ = tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before);
    }
}

/// Reads one line without its end.
pub(super) fn line(terminal: &impl AsFd) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |e: std::io::Error| {
        Failure::local(
            format!("read the master secret: {e}"),
            "the terminal",
            "a terminal, or a pipe on standard input",
        )
    };
    let fd = terminal.as_fd();
    let silent = Silent::new(fd).map_err(|e| failed(e.into()))?;
    // A descriptor of its own: no buffer of the standard library keeps a copy.
    let mut input = File::from(fd.try_clone_to_owned().map_err(failed)?);
    let mut buffer = Zeroizing::new(vec![0; MAX_LINE]);
    let mut got = 0;
    while let Some(rest) = buffer.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(failed(e)),
        }
        if buffer
            .get(..got)
            .is_some_and(|typed| typed.ends_with(b"\n"))
        {
            break;
        }
    }
    drop(silent);
    buffer.truncate(got);
    Ok(buffer)
}
