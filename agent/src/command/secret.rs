//! `dawnkey-agent secret -- COMMAND…`: gets the node's secret, then becomes the command, which finds it on standard input.
//!
//! The command runs only once the service has confirmed. The secret is in a pipe until then: in no file, argument or
//! variable.

use super::{Stop, load_protected, runtime};
use crate::attester;
use crate::boot;
use crate::lease::KernelLeases;
use crate::measure_log::MeasureLog;
use crate::random;
use crate::report::{self, Event, Failure};
use crate::run::{Job, Ports};
use crate::secret;
use crate::source::Source;
use std::ffi::OsString;
use std::io::{self, PipeReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Gets the secret and runs the command in this process's place.
///
/// # Errors
/// There is no secret in the configuration; as an unlock; the command cannot be run.
pub fn secret(file: &Path, command: &[OsString]) -> Result<u8, Stop> {
    let config = load_protected(file)?;
    let Some(id) = config.secret else {
        return Err(refused("the configuration has no [secret]"));
    };
    let Some((program, arguments)) = command.split_first() else {
        return Err(refused("no command is given to hand the secret to"));
    };
    let mut service = Source::new(&config.service).map_err(|e| Stop::at("config", 2)(&e))?;
    let mut attester = attester::open(&config.attestation, &config.tpm, &mut report::console)
        .map_err(|e| Stop::at("attester", 10)(&e))?;
    attester.log_to(Box::new(MeasureLog::system(report::console)));
    let mut ports = Ports {
        service: &mut service,
        attester: &mut attester,
        mapper: &mut (),
        leases: &mut KernelLeases,
        jitter: &mut random::number,
        report: &mut report::console,
    };
    let job = Job {
        volumes: &[],
        node_name: &config.node_name,
        pace: config.service.pace,
        holder: false,
    };
    let (reader, mut writer) = io::pipe().map_err(|e| Stop::at("hand", 31)(&e))?;
    let hand = |dek: &dawnkey_secret::Dek| writer.write_all(dek.expose());
    let record = boot::file();
    match boot::read(&record) {
        Ok(closed_with) => {
            let taken = secret::take_again(&job, id, &closed_with, &mut ports, hand);
            runtime()?.block_on(taken).map_err(|s| Stop::of(&s))?;
        }
        // No volume was opened in this boot, so that it is open.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let taken = secret::take(&job, id, &mut ports, hand);
            let finished = runtime()?.block_on(taken).map_err(|s| Stop::of(&s))?;
            if let Err(error) = boot::leave(&record, &finished) {
                let problem = error.to_string();
                report::console(&Event::BootNotRecorded { problem });
            }
        }
        Err(error) => return Err(Stop::at("reopen", 30)(&error)),
    }
    drop(writer);
    Err(become_command(program, arguments, reader))
}

fn become_command(program: &OsString, arguments: &[OsString], secret: PipeReader) -> Stop {
    let error = Command::new(program).args(arguments).stdin(secret).exec();
    Stop {
        failure: Failure {
            message: format!("run {}: {error}", program.to_string_lossy()),
            ..Failure::at("hand", 31, &error)
        },
        report: None,
    }
}

fn refused(problem: &str) -> Stop {
    Stop {
        failure: Failure {
            step: "config",
            exit_code: 2,
            reason: None,
            message: problem.to_owned(),
        },
        report: None,
    }
}
