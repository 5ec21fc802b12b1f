//! The disk behind a hostile backend: a file, and a write cache that a power cut empties.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const PAGE: u64 = 4096;

/// What happens to writes before they are flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// They are on the disk at once: a power cut keeps all of them.
    Through,
    /// They are in memory until the next flush: a power cut loses all of them.
    Volatile,
}

/// The file with what was not flushed yet, page by page.
#[derive(Debug)]
pub(super) struct Store {
    file: File,
    bytes: u64,
    cache: Cache,
    dirty: BTreeMap<u64, Vec<u8>>,
}

impl Store {
    pub(super) fn new(file: File, cache: Cache) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        Ok(Store {
            file,
            bytes,
            cache,
            dirty: BTreeMap::new(),
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)?;
        let end = offset.saturating_add(buffer.len() as u64);
        for (page, held) in self.dirty.range(offset / PAGE..end.div_ceil(PAGE)) {
            for (place, byte) in (page * PAGE..).zip(held) {
                let index = place
                    .checked_sub(offset)
                    .and_then(|i| usize::try_from(i).ok());
                if let Some(shown) = index.and_then(|i| buffer.get_mut(i)) {
                    *shown = *byte;
                }
            }
        }
        Ok(())
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset.saturating_add(data.len() as u64) > self.bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.cache == Cache::Through {
            return self.file.write_all_at(data, offset);
        }
        let mut rest = data;
        let mut at = offset;
        while !rest.is_empty() {
            let begin = usize::try_from(at % PAGE).unwrap_or_default();
            let taken = rest.len().min(PAGE as usize - begin);
            let (now, later) = rest.split_at(taken);
            let page = self.page(at / PAGE)?;
            if let Some(place) = page.get_mut(begin..begin + taken) {
                place.copy_from_slice(now);
            }
            at += taken as u64;
            rest = later;
        }
        Ok(())
    }

    /// A page as the client sees it, to be changed in memory.
    fn page(&mut self, number: u64) -> io::Result<&mut Vec<u8>> {
        if !self.dirty.contains_key(&number) {
            let length = PAGE.min(self.bytes.saturating_sub(number * PAGE));
            let mut held = vec![0; usize::try_from(length).unwrap_or_default()];
            self.file.read_exact_at(&mut held, number * PAGE)?;
            self.dirty.insert(number, held);
        }
        self.dirty
            .get_mut(&number)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Puts everything onto the disk. The file itself need not be synchronised: no test cuts the host's power.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        for (page, held) in std::mem::take(&mut self.dirty) {
            self.file.write_all_at(&held, page * PAGE)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn volatile_writes_are_read_back_but_reach_the_disk_by_a_flush_only() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(3 * PAGE).unwrap();
        let mut store = Store::new(file.try_clone().unwrap(), Cache::Volatile).unwrap();
        let data = vec![7; 5000];
        store.write(4000, &data).unwrap();
        let mut seen = vec![0; 5002];
        store.read(3999, &mut seen).unwrap();
        assert_eq!(seen.first(), Some(&0));
        assert_eq!(seen.get(1..5001).unwrap(), data);
        assert_eq!(seen.last(), Some(&0));
        let mut raw = vec![1; 5000];
        file.read_exact_at(&mut raw, 4000).unwrap();
        assert!(raw.iter().all(|byte| *byte == 0));
        store.flush().unwrap();
        file.read_exact_at(&mut raw, 4000).unwrap();
        assert_eq!(raw, data);
    }

    #[test]
    fn writes_beyond_the_end_are_refused() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(PAGE).unwrap();
        let mut store = Store::new(file, Cache::Through).unwrap();
        assert!(store.write(PAGE - 1, &[1, 2]).is_err());
    }
}
