//! Signs for the kernel module in `tsm/`, which stands behind `/sys/kernel/config/tsm/report`.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};

use crate::cuse::wire::u32_at;
use crate::error::{DeviceError, IoContext as _};
use crate::signer::{DATA, Report, Signer};

/// The module's side door.
const DEVICE: &str = "/dev/dawnkey-test-tsm";

/// Answers requests for as long as the module is there. `ready` is called before the first one.
///
/// A request that cannot be signed gets an empty answer, which the module makes an `EIO`.
///
/// # Errors
/// [`DeviceError::Io`] when the module's device cannot be used.
pub fn serve(
    signer: &Signer,
    ready: impl FnOnce() -> Result<(), DeviceError>,
) -> Result<(), DeviceError> {
    let mut device = OpenOptions::new()
        .read(true)
        .write(true)
        .open(DEVICE)
        .doing(|| format!("open {DEVICE}"))?;
    ready()?;
    let mut request = [0; 8 + DATA];
    loop {
        let length = device
            .read(&mut request)
            .doing(|| format!("read a request from {DEVICE}"))?;
        let answer = request
            .get(..length)
            .and_then(|request| sign(signer, request))
            .unwrap_or_default();
        device
            .write_all(&encode(&answer))
            .doing(|| format!("answer at {DEVICE}"))?;
    }
}

/// Real providers take report data of 64 bytes only.
fn sign(signer: &Signer, request: &[u8]) -> Option<Report> {
    let level = u32_at(request, 0)?;
    let length = u32_at(request, 4)? as usize;
    let data = request.get(8..8 + length)?;
    signer.report(data.try_into().ok()?, level).ok()
}

fn encode(report: &Report) -> Vec<u8> {
    [&report.report, &report.certificates]
        .into_iter()
        .flat_map(|blob| {
            let length = u32::try_from(blob.len()).unwrap_or(0);
            length.to_le_bytes().into_iter().chain(blob.iter().copied())
        })
        .collect()
}
