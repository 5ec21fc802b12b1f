//! `dawnkey-corpus DIR`: judges the recorded evidence in `DIR`.
//!
//! Exit status 0 when every case came out as written, 1 on any difference, 2 when the folder cannot be used.
#![allow(clippy::print_stdout, clippy::print_stderr)] // its output is what it is for

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(dir), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: dawnkey-corpus DIR, where DIR holds a cases.json");
        return ExitCode::from(2);
    };
    match dawnkey_corpus::run(&PathBuf::from(dir)) {
        Ok(summary) => {
            for line in &summary.mismatches {
                println!("{line}");
            }
            println!("{} passed, {} failed", summary.passed, summary.failed);
            ExitCode::from(u8::from(summary.failed > 0))
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
