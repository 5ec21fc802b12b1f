//! What a host may do to the machine that it runs: type at its console, plug disks in and out, plant strings in its
//! tables, let its TPM crawl or die.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;

use serde_json::json;

use crate::disk::Disk;
use crate::error::{IoContext, VmError};
use crate::machine::Machine;
use crate::nbd::Backend;
use crate::ports::free_port;
use crate::qmp::Qmp;
use crate::running::Running;
use crate::swtpm::SlowTpm;

impl Machine<'_> {
    /// Lets the host connect to a TCP port of the guest; gives the address on the host.
    ///
    /// # Errors
    /// [`VmError::Lab`] when no loopback port is free.
    pub fn forward(mut self, guest_port: u16) -> Result<(Self, SocketAddr), VmError> {
        let port = free_port()?;
        self.inward += &format!(",hostfwd=tcp:127.0.0.1:{port}-:{guest_port}");
        Ok((self, SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
    }

    /// A second network card, in a network 10.0.3.0/24 in which nothing is.
    #[must_use]
    pub fn second_card(mut self) -> Self {
        let words = [
            "-netdev",
            "user,id=net2,net=10.0.3.0/24,restrict=on",
            "-device",
            "virtio-net-pci,netdev=net2,romfile=",
        ];
        self.options.extend(words.map(str::to_owned));
        self
    }

    /// A disk that is plugged in later, by [`Running::plug`] with this name.
    #[must_use]
    pub fn later(self, name: &str, disk: &Disk) -> Self {
        self.slot(name, &disk.path().display().to_string())
    }

    /// A hostile disk that is plugged in later.
    #[must_use]
    pub fn backend_later(self, name: &str, backend: &Backend) -> Self {
        let file = format!("nbd+unix:///?socket={}", backend.socket().display());
        self.slot(name, &file)
    }

    fn slot(mut self, name: &str, file: &str) -> Self {
        let chassis = self.options.len() + 1;
        self.options.extend([
            "-drive".to_owned(),
            format!("if=none,id=drive-{name},format=raw,file={file}"),
            "-device".to_owned(),
            format!("pcie-root-port,id=slot-{name},chassis={chassis}"),
        ]);
        self
    }

    /// Plants a string in the machine's SMBIOS tables (type 11), as `io.systemd.credential:NAME=VALUE` is given.
    #[must_use]
    pub fn smbios(mut self, value: &str) -> Self {
        let words = ["-smbios".to_owned(), format!("type=11,value={value}")];
        self.options.extend(words);
        self
    }

    /// Plants a file in QEMU's fw_cfg.
    #[must_use]
    pub fn fw_cfg(mut self, name: &str, value: &str) -> Self {
        let words = ["-fw_cfg".to_owned(), format!("name={name},string={value}")];
        self.options.extend(words);
        self
    }
}

impl Running {
    /// Waits until the serial console shows a text, and gives all that it shows.
    ///
    /// # Errors
    /// [`VmError::Lab`] when the machine ends before, [`VmError::Timeout`].
    pub fn wait_console(&mut self, text: &str) -> Result<String, VmError> {
        self.wait(&format!("`{text}` on the console"), |running| {
            // Before the console is read, so that nothing is missed that came last.
            let ended = running.ended()?;
            let serial = running.serial();
            match (serial.contains(text), ended) {
                (true, _) => Ok(Some(serial)),
                (false, None) => Ok(None),
                (false, Some(_)) => Err(VmError::Lab(format!(
                    "the machine ended without `{text}` on its console:\n{serial}"
                ))),
            }
        })
    }

    /// Types at the serial console.
    ///
    /// # Errors
    /// [`VmError::Io`] when the machine is gone.
    pub fn keys(&mut self, keys: &[u8]) -> Result<(), VmError> {
        let what = || "type at the console".to_owned();
        if self.keys.is_none() {
            let stream = UnixStream::connect(&self.files.console).doing(what)?;
            let mut screen = stream.try_clone().doing(what)?;
            // What is shown is in the log; unread, it would stop the machine.
            std::thread::spawn(move || {
                let mut shown = [0; 4096];
                while matches!(screen.read(&mut shown), Ok(1..)) {}
            });
            self.keys = Some(stream);
        }
        match &mut self.keys {
            Some(stream) => stream.write_all(keys).doing(what),
            None => Ok(()),
        }
    }

    /// Sends a break: on a serial console the kernel takes the next key as a command (SysRq).
    ///
    /// # Errors
    /// [`VmError::Lab`] with QEMU's answer.
    pub fn send_break(&mut self) -> Result<(), VmError> {
        self.qmp("chardev-send-break", json!({"id": "serial"}))
    }

    /// Plugs a disk in that the machine was made with for later.
    ///
    /// # Errors
    /// [`VmError::Lab`] with QEMU's answer.
    pub fn plug(&mut self, name: &str) -> Result<(), VmError> {
        let device = json!({
            "driver": "virtio-blk-pci",
            "id": name,
            "drive": format!("drive-{name}"),
            "bus": format!("slot-{name}"),
        });
        self.qmp("device_add", device)
    }

    /// Takes a disk out that was plugged in: the guest is told, and its driver gives it up.
    ///
    /// # Errors
    /// [`VmError::Lab`] with QEMU's answer.
    pub fn unplug(&mut self, name: &str) -> Result<(), VmError> {
        self.qmp("device_del", json!({"id": name}))
    }

    fn qmp(&mut self, command: &str, arguments: serde_json::Value) -> Result<(), VmError> {
        Qmp::connect(&self.files.qmp)?.execute(command, arguments)
    }

    /// The TPM dies; the machine goes on without it.
    pub fn tpm_dies(&mut self) {
        if let Some(tpm) = &mut self.tpm {
            tpm.die();
        }
    }

    /// The TPM works for `on` out of every `on` and `off` milliseconds, as long as the value lives.
    ///
    /// # Errors
    /// [`VmError::Lab`] when the machine has none.
    pub fn tpm_slow(&mut self, on: u32, off: u32) -> Result<SlowTpm, VmError> {
        let tpm = self.tpm.as_mut();
        tpm.ok_or_else(|| VmError::Lab("the machine has no TPM".to_owned()))?
            .slow(on, off)
    }
}
