//! A configfs-tsm for tests: keeps generations as the kernel does, and misbehaves when told to.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct State {
    generation: u64,
    inblob: Vec<u8>,
    privlevel: Option<String>,
}

/// What the fake does instead of behaving.
#[derive(Default)]
pub struct Twist {
    pub absent: bool,
    /// Errors of a step named `make`, `remove`, `read ATTRIBUTE` or `write ATTRIBUTE`, used up one by one.
    pub errors: BTreeMap<String, Vec<i32>>,
    /// A step that fails like this each time.
    pub always: Option<(&'static str, i32)>,
    /// Entries into which another process writes, before the report is made or after.
    pub races: usize,
    pub late_races: usize,
    /// Inblobs the kernel drops when the file is closed.
    pub dropped: usize,
}

pub struct FakeFs {
    pub twist: Twist,
    pub provider: &'static str,
    pub floor: Option<&'static str>,
    pub aux: Option<Vec<u8>>,
    pub out: Option<Vec<u8>>,
    pub entries: BTreeMap<String, State>,
    pub made: Vec<String>,
    pub levels: Vec<String>,
    pub paused: Duration,
}

impl Default for FakeFs {
    fn default() -> Self {
        Self {
            twist: Twist::default(),
            provider: "sev_guest\n",
            floor: Some("0\n"),
            aux: Some(b"certificates".to_vec()),
            out: None,
            entries: BTreeMap::new(),
            made: Vec::new(),
            levels: Vec::new(),
            paused: Duration::ZERO,
        }
    }
}

fn os(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

impl FakeFs {
    fn unless(&mut self, step: &str) -> io::Result<()> {
        if let Some((name, errno)) = self.twist.always
            && name == step
        {
            return Err(os(errno));
        }
        match self.twist.errors.get_mut(step).and_then(Vec::pop) {
            Some(errno) => Err(os(errno)),
            None => Ok(()),
        }
    }

    /// One that gives this report.
    pub fn giving(report: Vec<u8>) -> Self {
        Self {
            out: Some(report),
            ..Self::default()
        }
    }
}

impl TsmFs for FakeFs {
    fn has_root(&mut self) -> io::Result<bool> {
        self.unless("root")?;
        Ok(!self.twist.absent)
    }

    fn make(&mut self, entry: &str) -> io::Result<()> {
        self.made.push(entry.into());
        self.unless("make")?;
        self.entries.insert(entry.into(), State::default());
        Ok(())
    }

    fn remove(&mut self, entry: &str) -> io::Result<()> {
        self.unless("remove")?;
        self.entries.remove(entry).ok_or(os(Errno::ENOENT as i32))?;
        Ok(())
    }

    fn read(&mut self, entry: &str, attribute: &str, most: usize) -> io::Result<Vec<u8>> {
        self.unless(&format!("read {attribute}"))?;
        let absent = || os(Errno::ENOENT as i32);
        let state = self.entries.get_mut(entry).ok_or_else(absent)?;
        let mut bytes = match attribute {
            "provider" => self.provider.into(),
            "generation" => format!("{}\n", state.generation).into_bytes(),
            "privlevel_floor" => self.floor.ok_or_else(absent)?.into(),
            "auxblob" => self.aux.clone().ok_or_else(absent)?,
            "outblob" => {
                if self.twist.late_races > 0 {
                    self.twist.late_races -= 1;
                    state.generation += 1;
                }
                let made = [b"report over ".as_slice(), &state.inblob].concat();
                self.out.clone().unwrap_or(made)
            }
            other => panic!("{other} is never read"),
        };
        bytes.truncate(most + 1);
        Ok(bytes)
    }

    fn write(&mut self, entry: &str, attribute: &str, value: &[u8]) -> io::Result<()> {
        self.unless(&format!("write {attribute}"))?;
        let state = self.entries.get_mut(entry).unwrap();
        match attribute {
            "inblob" if self.twist.dropped > 0 => {
                self.twist.dropped -= 1;
                return Ok(());
            }
            "inblob" => {
                state.inblob = value.to_vec();
                if self.twist.races > 0 {
                    self.twist.races -= 1;
                    state.inblob = vec![0; 64];
                    state.generation += 1;
                }
            }
            "privlevel" => {
                let level = String::from_utf8(value.to_vec()).unwrap();
                self.levels.push(level.clone());
                state.privlevel = Some(level);
            }
            other => panic!("{other} is never written"),
        }
        state.generation += 1;
        Ok(())
    }

    fn pause(&mut self, time: Duration) {
        self.paused += time;
    }
}
