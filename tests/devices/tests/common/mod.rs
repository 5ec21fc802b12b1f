//! Platforms of the mock manufacturers, made once, and a kernel that carries ioctls to a device.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::path::PathBuf;
use std::sync::LazyLock;

use dawnkey_test_devices::cuse::{Answer, Device, Ioctl, Span};
use dawnkey_test_devices::pki::{self, Platform};
use dawnkey_test_devices::signer::Signer;

static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = std::env::temp_dir().join(format!("dawnkey-test-devices-{}", std::process::id()));
    pki::make(&dir).unwrap();
    dir
});

pub fn dir() -> PathBuf {
    DIR.clone()
}

pub fn signer(platform: Platform) -> Signer {
    Signer::new(&DIR.join(format!("{}.json", platform.name())))
}

/// The memory of a program that calls `ioctl`, and the kernel between it and the device.
pub struct Caller {
    pub memory: Vec<u8>,
}

impl Caller {
    pub fn new() -> Self {
        Caller {
            memory: vec![0; 64 << 10],
        }
    }

    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub fn get(&self, at: usize, length: usize) -> &[u8] {
        &self.memory[at..at + length]
    }

    /// One ioctl as `fuse_do_ioctl` carries it out: again and again until the device is done.
    pub fn ioctl(&mut self, device: &mut impl Device, command: u32, argument: usize) -> i32 {
        let (mut input, mut room) = (Vec::new(), Vec::<Span>::new());
        for _ in 0..8 {
            let answer = device.ioctl(Ioctl {
                command,
                argument: argument as u64,
                input: &input,
                room: room.iter().map(|span| span.length as usize).sum(),
            });
            match answer {
                Answer::Retry { read, write } => {
                    input = read
                        .iter()
                        .flat_map(|span| self.span(*span).to_vec())
                        .collect();
                    room = write;
                }
                Answer::Done { result, output } => {
                    self.copy_out(&room, &output);
                    return result;
                }
            }
        }
        panic!("the device asked to retry without end");
    }

    fn span(&self, span: Span) -> &[u8] {
        self.get(span.base as usize, span.length as usize)
    }

    fn copy_out(&mut self, room: &[Span], mut output: &[u8]) {
        for span in room {
            let (now, later) = output.split_at(output.len().min(span.length as usize));
            self.put(span.base as usize, now);
            output = later;
        }
        assert!(
            output.is_empty(),
            "more output than room is EIO in the kernel"
        );
    }
}

/// The mock's statements about its TDX platform.
pub fn collateral() -> dawnkey_attest::evidence::TdxCollateral {
    let bytes = std::fs::read(DIR.join("intel.collateral")).unwrap();
    prost::Message::decode(bytes.as_slice()).unwrap()
}
