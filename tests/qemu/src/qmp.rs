//! QEMU's machine protocol: one command at a time, events in between are passed over.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::{IoContext, VmError};

/// A connection.
#[derive(Debug)]
pub(crate) struct Qmp {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Qmp {
    /// Connects and enters command mode.
    ///
    /// # Errors
    /// [`VmError::Io`] when the machine is gone.
    pub(crate) fn connect(socket: &Path) -> Result<Self, VmError> {
        let what = || format!("connect to {}", socket.display());
        let writer = UnixStream::connect(socket).doing(what)?;
        writer
            .set_read_timeout(Some(Duration::from_secs(120)))
            .doing(what)?;
        let reader = BufReader::new(writer.try_clone().doing(what)?);
        let mut qmp = Qmp { reader, writer };
        qmp.message()?;
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and waits for its end.
    ///
    /// # Errors
    /// [`VmError::Lab`] with the answer when it is not `return`.
    pub(crate) fn execute(&mut self, command: &str, arguments: Value) -> Result<(), VmError> {
        let line = json!({"execute": command, "arguments": arguments}).to_string() + "\n";
        self.writer
            .write_all(line.as_bytes())
            .doing(|| format!("send {command} to QEMU"))?;
        loop {
            let message = self.message()?;
            if message.get("return").is_some() {
                return Ok(());
            }
            if let Some(error) = message.get("error") {
                return Err(VmError::Lab(format!("QEMU refused {command}: {error}")));
            }
        }
    }

    fn message(&mut self) -> Result<Value, VmError> {
        let mut line = String::new();
        self.reader
            .read_line(&mut line)
            .doing(|| "read QEMU's answer".to_owned())?;
        serde_json::from_str(&line)
            .map_err(|e| VmError::Lab(format!("QEMU answered no JSON ({e}): {line}")))
    }
}
