//! `dawnkey-test-io`: times reads and writes of a disk around the page cache, and programs with their memory, in test guests.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use clap::{Args, Parser, Subcommand, ValueEnum};
use nix::sys::resource::{UsageWho, getrusage};

/// Buffers begin at a multiple of this, as direct transfers demand.
const ALIGNMENT: usize = 4096;

/// Does one thing and prints the seconds that took, or what else is asked for.
#[derive(Debug, Parser)]
#[command(name = "dawnkey-test-io")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Reads or writes a disk
    Transfer(Transfer),
    /// Runs a program; its output goes to standard error, its failure is ours
    Run {
        /// The program with its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// The same, and prints the peak of resident memory of the largest process that it was, in KiB
    Peak {
        /// The program with its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct Transfer {
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
    let measured = match &arguments.task {
        Task::Transfer(transfer) => run(transfer).map(|seconds| format!("{seconds:.6}")),
        Task::Run { command } => program(command).map(|seconds| format!("{seconds:.6}")),
        Task::Peak { command } => peak(command).map(|kibibytes| kibibytes.to_string()),
    };
    match measured.and_then(|text| writeln!(io::stdout(), "{text}")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "dawnkey-test-io: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The time from start to end of a program.
fn program(words: &[String]) -> io::Result<f64> {
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command.stdout(io::stderr());
    let started = Instant::now();
    let status = command.status()?;
    let seconds = started.elapsed().as_secs_f64();
    if status.success() {
        return Ok(seconds);
    }
    Err(io::Error::other(format!("{program}: {status}")))
}

/// The kernel's count for children that were waited for, and theirs: the largest, not the sum.
fn peak(words: &[String]) -> io::Result<i64> {
    program(words)?;
    Ok(getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss())
}

/// The time until everything is done and, for writes, flushed.
fn run(arguments: &Transfer) -> io::Result<f64> {
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
fn places(arguments: &Transfer) -> impl Iterator<Item = u64> {
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
