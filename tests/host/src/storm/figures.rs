//! What a storm came to.

use std::fmt;
use std::time::Duration;

/// One node's end.
#[derive(Debug, Clone, Copy)]
pub struct Served {
    /// From its start to the confirmed generation.
    pub took: Duration,
    /// Attempts at a key, and further attempts to confirm.
    pub attempts: u32,
}

/// All nodes, the quickest first.
#[derive(Debug)]
pub struct Storm {
    served: Vec<Served>,
    wall: Duration,
}

impl Storm {
    /// Of nodes that ran together for so long.
    pub fn new(mut served: Vec<Served>, wall: Duration) -> Self {
        served.sort_by_key(|one| one.took);
        Self { served, wall }
    }

    /// Nodes that have their key.
    pub fn served(&self) -> usize {
        self.served.len()
    }

    /// The time that so many of 100 nodes needed at most.
    pub fn percentile(&self, percent: usize) -> Duration {
        let at = (self.served.len() * percent).div_ceil(100).max(1) - 1;
        self.served[at].took
    }

    /// Attempts that came to nothing, of all nodes.
    pub fn retries(&self) -> u32 {
        self.served.iter().map(|one| one.attempts - 1).sum()
    }

    /// Attempts of the node that needed most.
    pub fn most_attempts(&self) -> u32 {
        self.served
            .iter()
            .map(|one| one.attempts)
            .max()
            .unwrap_or_default()
    }
}

impl fmt::Display for Storm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wall, nodes) = (self.wall.as_secs_f64(), self.served());
        #[allow(clippy::cast_precision_loss)] // thousands
        let count = nodes as f64;
        write!(
            f,
            "{nodes} nodes served in {wall:.1} s ({:.0}/s), p50 {:.2} s, p99 {:.2} s, {} retries ({:.2} per node, most {})",
            count / wall,
            self.percentile(50).as_secs_f64(),
            self.percentile(99).as_secs_f64(),
            self.retries(),
            f64::from(self.retries()) / count,
            self.most_attempts() - 1
        )
    }
}

/// CPU time and memory of a process, out of `/proc`.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// In user and kernel mode.
    pub cpu: Duration,
    /// Peak resident set, KiB.
    pub peak_kib: u64,
}

/// Of the process with this id.
pub fn usage(pid: u32) -> Usage {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in parentheses may hold anything.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let field = |n: usize| fields.split(' ').nth(n).unwrap().parse::<u64>().unwrap();
    // utime and stime, fields 14 and 15, in hundredths of a second.
    let ticks = field(11) + field(12);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.unwrap().trim().trim_end_matches(" kB").parse();
    Usage {
        cpu: Duration::from_millis(ticks * 10),
        peak_kib: peak.unwrap(),
    }
}
