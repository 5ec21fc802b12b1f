//! `dawnkey-test-io`: times reads and writes of a disk around the page cache, in test guests.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};

/// Buffers begin at a multiple of this, as direct transfers demand.
const ALIGNMENT: usize = 4096;

/// Reads or writes a disk and prints the seconds that took.
#[derive(Debug, Parser)]
#[command(name = "dawnkey-test-io")]
struct Arguments {
    /// What to do
    action: Action,
    /// Order of the blocks
    order: Order,
    /// The disk; writing destroys what is on it
    device: PathBuf,
    /// Bytes of a block
    #[arg(long, default_value_t = 1 << 20)]
    block: usize,
    /// Blocks in all
    #[arg(long)]
    count: u64,
    /// Blocks of the disk that are used, from its begin
    #[arg(long)]
    span: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Action {
    Read,
    Write,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Order {
    Sequential,
    Random,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let said = run(&arguments).and_then(|seconds| writeln!(io::stdout(), "{seconds:.6}"));
    match said {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "dawnkey-test-io: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The time until everything is done and, for writes, flushed.
fn run(arguments: &Arguments) -> io::Result<f64> {
    let write = arguments.action == Action::Write;
    let file = OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(nix::libc::O_DIRECT)
        .open(&arguments.device)?;
    let mut storage = vec![0x5a; arguments.block + ALIGNMENT];
    let begin = storage.as_ptr().align_offset(ALIGNMENT);
    let buffer = storage
        .get_mut(begin..begin + arguments.block)
        .ok_or(io::ErrorKind::InvalidInput)?;
    let started = Instant::now();
    for place in places(arguments) {
        transfer(&file, place * arguments.block as u64, buffer, write)?;
    }
    if write {
        file.sync_all()?;
    }
    Ok(started.elapsed().as_secs_f64())
}

fn transfer(file: &File, offset: u64, buffer: &mut [u8], write: bool) -> io::Result<()> {
    if write {
        file.write_all_at(buffer, offset)
    } else {
        file.read_exact_at(buffer, offset)
    }
}

/// The same places in every run: both sides of a comparison get the same work.
fn places(arguments: &Arguments) -> impl Iterator<Item = u64> {
    let (order, span) = (arguments.order, arguments.span.max(1));
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..arguments.count).map(move |number| match order {
        Order::Sequential => number % span,
        Order::Random => {
            // xorshift64, G. Marsaglia
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % span
        }
    })
}
