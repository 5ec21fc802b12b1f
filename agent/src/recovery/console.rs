//! The air-gapped way: the request goes to the console as text, a grant is typed or pasted there, line by line.
//!
//! The console belongs to the host: what is typed is a stranger's, and only a grant that the same judgement lets pass
//! changes anything. There is no prompt for a passphrase and nothing else to type.

use dawnkey_proto::recovery::text::{Kind, Reader, TextError};
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use tokio::sync::mpsc;

/// The machine's console. Opening it never makes it the terminal that controls this process.
const CONSOLE: &str = "/dev/console";
/// Most bytes of a line that are kept; a grant's have 40.
const LINE: u64 = 256;
/// Lines that may wait. A console that types faster waits itself.
const LINES: usize = 64;

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// A line of a grant, and not the last.
    Line,
    /// A whole grant.
    Grant(Vec<u8>),
    /// `r`: the request is wanted.
    Request,
    /// No line of a grant; the line with this number is still wanted.
    Wrong { next: usize, error: TextError },
}

/// Lines from the console, and the grant that they may become.
pub(super) struct Console {
    lines: mpsc::Receiver<String>,
    reader: Reader,
}

/// Reads the console in a thread of its own, which ends with the process: standard input, if it is a terminal, and else
/// the machine's console, since a unit has none as its standard input.
#[must_use]
pub fn keyboard() -> mpsc::Receiver<String> {
    let (to_flow, lines) = mpsc::channel(LINES);
    // Without a thread there is no console; the network and the service remain.
    let _ = std::thread::Builder::new()
        .name("console".into())
        .spawn(move || {
            let stdin = std::io::stdin();
            let console = match stdin.is_terminal() {
                true => None,
                false => File::open(CONSOLE).ok(),
            };
            let mut input: Box<dyn BufRead> = match console {
                Some(console) => Box::new(BufReader::new(console)),
                None => Box::new(stdin.lock()),
            };
            let mut line = Vec::new();
            loop {
                line.clear();
                match (&mut input).take(LINE).read_until(b'\n', &mut line) {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
                let text = String::from_utf8_lossy(&line).into_owned();
                if to_flow.blocking_send(text).is_err() {
                    return;
                }
            }
        });
    lines
}

impl Console {
    pub(super) const fn new(lines: mpsc::Receiver<String>) -> Self {
        Self {
            lines,
            reader: Reader::new(Kind::Grant),
        }
    }

    /// The next line that is not empty; never, once the console has ended.
    pub(super) async fn next(&mut self) -> Typed {
        loop {
            let Some(line) = self.lines.recv().await else {
                return std::future::pending().await;
            };
            if !line.trim().is_empty() {
                return self.typed(line.trim());
            }
        }
    }

    fn typed(&mut self, line: &str) -> Typed {
        if line.eq_ignore_ascii_case("r") {
            return Typed::Request;
        }
        // The first line begins a grant anew, whatever was typed before.
        let first = line
            .split_whitespace()
            .nth(1)
            .and_then(|number| number.parse().ok());
        if first == Some(1_u32) {
            self.reader = Reader::new(Kind::Grant);
        }
        match self.reader.line(line) {
            Ok(Some(grant)) => Typed::Grant(grant),
            Ok(None) => Typed::Line,
            Err(error) => Typed::Wrong {
                next: self.reader.next_line(),
                error,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use dawnkey_proto::recovery::{GRANT_BYTES, text};

    fn console() -> (mpsc::Sender<String>, Console) {
        let (typing, lines) = mpsc::channel(LINES);
        (typing, Console::new(lines))
    }

    #[tokio::test]
    async fn a_grant_is_typed_line_by_line_and_a_wrong_line_is_typed_again() {
        let (typing, mut console) = console();
        let written = text::encode(Kind::Grant, &[7; GRANT_BYTES]);
        for (number, line) in (1..).zip(written.lines()) {
            if number == 3 {
                typing
                    .send(line.replace('7', "8").replace('e', "f"))
                    .await
                    .unwrap();
                let wrong = console.next().await;
                assert!(matches!(wrong, Typed::Wrong { next: 3, .. }), "{wrong:?}");
                typing.send("\n".into()).await.unwrap();
            }
            typing.send(format!("{line}\r\n")).await.unwrap();
            let expected = match number == written.lines().count() {
                true => Typed::Grant(vec![7; GRANT_BYTES]),
                false => Typed::Line,
            };
            assert_eq!(console.next().await, expected);
        }
    }

    #[tokio::test]
    async fn typing_begins_anew_with_the_first_line_and_noise_is_named() {
        let (typing, mut console) = console();
        let written = text::encode(Kind::Grant, &[7; GRANT_BYTES]);
        let lines: Vec<&str> = written.lines().collect();
        for line in ["password", lines[0], lines[1], "R", lines[0]] {
            typing.send(line.to_owned()).await.unwrap();
        }
        assert!(matches!(console.next().await, Typed::Wrong { next: 1, .. }));
        assert_eq!(console.next().await, Typed::Line);
        assert_eq!(console.next().await, Typed::Line);
        assert_eq!(console.next().await, Typed::Request);
        assert_eq!(console.next().await, Typed::Line);
        for line in &lines[1..] {
            typing.send((*line).to_owned()).await.unwrap();
        }
        let mut last = Typed::Line;
        for _ in &lines[1..] {
            last = console.next().await;
        }
        assert_eq!(last, Typed::Grant(vec![7; GRANT_BYTES]));
    }
}
