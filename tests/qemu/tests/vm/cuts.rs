//! What scenarios share in which the power is cut at many requests: points, each with a disk of its own that stops
//! there.

use std::time::Duration;

use dawnkey_qemu_tests::VmError;
use dawnkey_qemu_tests::disk::Disk;
use dawnkey_qemu_tests::lab::Scene;
use dawnkey_qemu_tests::layout::HEADER;
use dawnkey_qemu_tests::machine::Machine;
use dawnkey_qemu_tests::nbd::{Act, Backend, Cache, Kind, Rule, When};

use crate::guest::FUNCTIONS;

/// All disks must have stopped by then.
const STOPPED: Duration = Duration::from_secs(150);

/// One kill point: what is cut (`J`), and where, given the numbers of requests of a whole job (`S`).
pub struct Point<J, S> {
    pub job: J,
    pub what: &'static str,
    pub cache: Cache,
    pub rule: fn(&S) -> Rule,
}

pub const fn point<J, S>(
    job: J,
    what: &'static str,
    cache: Cache,
    rule: fn(&S) -> Rule,
) -> Point<J, S> {
    Point {
        job,
        what,
        cache,
        rule,
    }
}

/// Stops at a request of a kind, counted from now.
pub fn stop(kind: Kind, number: usize) -> Rule {
    Rule::new(kind, When::Nth(number), Act::Freeze)
}

/// Stops at a write of a header copy.
pub fn header(number: usize) -> Rule {
    stop(Kind::Write, number).touching(0..HEADER)
}

/// Name of a disk in the guest.
pub fn device(number: usize) -> String {
    let letter = u8::try_from(number).map(|n| char::from(b'a' + n)).unwrap();
    format!("vd{letter}")
}

/// All points of a scenario. The disk behind those of the points is left alone.
pub struct Points<J: 'static, S: 'static>(pub &'static [Point<J, S>]);

impl<J: Copy + PartialEq, S> Points<J, S> {
    /// The numbers of points with these jobs, in order, as words.
    pub fn words(&self, jobs: &[J]) -> String {
        let numbers = self.0.iter().enumerate();
        numbers
            .filter(|(_, point)| jobs.contains(&point.job))
            .map(|(number, _)| format!("{number} "))
            .collect()
    }

    /// The disks as they are now, served with each point's cache.
    pub fn serve(&self, disks: &[Disk]) -> Result<Vec<Backend>, VmError> {
        let caches = self.0.iter().map(|point| point.cache);
        let served = disks.iter().zip(caches.chain([Cache::Through]));
        served
            .map(|(disk, cache)| Backend::serve(disk, cache))
            .collect()
    }

    /// A machine with these disks: `begin`, then `device NUMBER` and the functions of every scenario, then `script`.
    pub fn machine<'a>(
        &self,
        scene: &'a Scene<'_>,
        backends: &[Backend],
        begin: &str,
        script: &str,
    ) -> Machine<'a> {
        let mut text = format!("{begin}left_alone={}\n", self.0.len());
        text += "device() { case $1 in\n";
        for number in 0..backends.len() {
            text += &format!("{number}) echo {} ;;\n", device(number));
        }
        text += "esac; }\n";
        text += FUNCTIONS;
        text += script;
        let machine = scene.direct().limit(Duration::from_secs(400)).script(&text);
        backends
            .iter()
            .fold(machine, |machine, b| machine.backend(b))
    }

    /// Makes the disks of these jobs stop at their points.
    pub fn arm(&self, backends: &[Backend], jobs: &[J], shape: &S) {
        for (point, backend) in self.0.iter().zip(backends) {
            if jobs.contains(&point.job) {
                backend.rule((point.rule)(shape));
            }
        }
    }

    /// Waits until all of them have.
    pub fn wait_stopped(&self, backends: &[Backend], jobs: &[J]) -> Result<(), VmError> {
        for (point, backend) in self.0.iter().zip(backends) {
            if jobs.contains(&point.job) {
                backend.wait_frozen(STOPPED)?;
            }
        }
        Ok(())
    }
}
