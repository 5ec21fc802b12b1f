//! The server against a client of the tests' own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::{Read, Write};

use super::*;

const BYTES: u64 = 1 << 20;

/// A client that speaks as QEMU does.
struct Client {
    stream: UnixStream,
    handle: u64,
}

impl Client {
    fn connect(backend: &Backend) -> Self {
        let mut stream = UnixStream::connect(backend.socket()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting[..16], b"NBDMAGICIHAVEOPT");
        stream.write_all(&3u32.to_be_bytes()).unwrap();
        // Structured replies are refused, then GO is granted.
        let mut client = Client { stream, handle: 0 };
        assert_eq!(client.option(8, &[]), vec![(1 << 31) + 1]);
        assert_eq!(client.option(7, &[0; 6]), vec![3, 1]);
        client
    }

    /// Sends an option and gives the types of the replies to it.
    fn option(&mut self, option: u32, data: &[u8]) -> Vec<u32> {
        let mut bytes = b"IHAVEOPT".to_vec();
        bytes.extend(option.to_be_bytes());
        bytes.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend(data);
        self.stream.write_all(&bytes).unwrap();
        let mut types = Vec::new();
        loop {
            let mut head = [0; 20];
            self.stream.read_exact(&mut head).unwrap();
            let number = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
            let mut rest = vec![0; number(16) as usize];
            self.stream.read_exact(&mut rest).unwrap();
            if number(12) == 3 {
                assert_eq!(rest[2..10], BYTES.to_be_bytes());
            }
            types.push(number(12));
            if number(12) != 3 {
                return types;
            }
        }
    }

    fn send(&mut self, command: u16, offset: u64, length: u32, data: &[u8]) {
        self.handle += 1;
        let mut bytes = 0x2560_9513u32.to_be_bytes().to_vec();
        bytes.extend(0u16.to_be_bytes());
        bytes.extend(command.to_be_bytes());
        bytes.extend(self.handle.to_be_bytes());
        bytes.extend(offset.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend(data);
        self.stream.write_all(&bytes).unwrap();
    }

    /// The error of the reply, and its data.
    fn reply(&mut self, length: u32) -> io::Result<(u32, Vec<u8>)> {
        let mut head = [0; 16];
        self.stream.read_exact(&mut head)?;
        assert_eq!(head[8..16], self.handle.to_be_bytes());
        let error = u32::from_be_bytes(head[4..8].try_into().unwrap());
        let mut data = vec![0; if error == 0 { length as usize } else { 0 }];
        self.stream.read_exact(&mut data)?;
        Ok((error, data))
    }

    fn read(&mut self, offset: u64, length: u32) -> io::Result<(u32, Vec<u8>)> {
        self.send(0, offset, length, &[]);
        self.reply(length)
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<u32> {
        self.send(1, offset, u32::try_from(data.len()).unwrap(), data);
        Ok(self.reply(0)?.0)
    }

    fn flush(&mut self) -> io::Result<u32> {
        self.send(3, 0, 0, &[]);
        Ok(self.reply(0)?.0)
    }
}

fn backend(cache: Cache) -> (tempfile::TempDir, Disk, Backend) {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::blank(&dir.path().join("a.disk"), BYTES).unwrap();
    let backend = Backend::serve(&disk, cache).unwrap();
    (dir, disk, backend)
}

#[test]
fn serves_and_logs_reads_writes_and_flushes() {
    let (_dir, disk, backend) = backend(Cache::Through);
    let mut client = Client::connect(&backend);
    assert_eq!(client.write(512, b"hello").unwrap(), 0);
    assert_eq!(client.flush().unwrap(), 0);
    assert_eq!(client.read(510, 8).unwrap(), (0, b"\0\0hello\0".to_vec()));
    assert_eq!(&disk.head(517).unwrap()[512..], b"hello");
    let kinds: Vec<Kind> = backend.log().iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [Kind::Write, Kind::Flush, Kind::Read]);
    assert_eq!(backend.log()[0].offset, 512);
}

#[test]
fn second_read_of_a_range_lies_and_the_third_is_true_again() {
    let (_dir, disk, backend) = backend(Cache::Through);
    disk.write_at(0, b"truth").unwrap();
    backend
        .rule(Rule::new(Kind::Read, When::Nth(2), Act::show(0, b"lies!".to_vec())).touching(0..5));
    let mut client = Client::connect(&backend);
    client.read(4096, 512).unwrap();
    for expected in [b"truth", b"lies!", b"truth"] {
        assert_eq!(client.read(0, 5).unwrap(), (0, expected.to_vec()));
    }
}

#[test]
fn requests_fail_by_rule_and_nothing_is_written() {
    let (_dir, disk, backend) = backend(Cache::Through);
    backend.rule(Rule::new(Kind::Write, When::From(2), Act::Fail(EPERM)));
    backend.rule(Rule::new(Kind::Flush, When::Nth(1), Act::Fail(EIO)));
    let mut client = Client::connect(&backend);
    assert_eq!(client.write(0, b"a").unwrap(), 0);
    assert_eq!(client.flush().unwrap(), EIO);
    assert_eq!(client.write(0, b"b").unwrap(), EPERM);
    assert_eq!(client.write(1, b"b").unwrap(), EPERM);
    assert_eq!(client.flush().unwrap(), 0);
    assert_eq!(disk.head(2).unwrap(), b"a\0");
}

#[test]
fn short_answer_and_vanishing_end_the_connection_for_good() {
    for act in [Act::Short, Act::Vanish] {
        let (_dir, _disk, backend) = backend(Cache::Through);
        backend.rule(Rule::new(Kind::Read, When::Nth(1), act));
        let mut client = Client::connect(&backend);
        assert!(client.read(0, 4096).is_err());
        let again = UnixStream::connect(backend.socket());
        let mut greeting = [0; 1];
        let read = again.and_then(|mut stream| stream.read(&mut greeting));
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
}

#[test]
fn frozen_disk_keeps_what_was_flushed_and_loses_a_volatile_cache() {
    for (cache, kept) in [(Cache::Through, b"ab\0"), (Cache::Volatile, b"a\0\0")] {
        let (_dir, disk, backend) = backend(cache);
        backend.rule(Rule::new(Kind::Write, When::Nth(3), Act::Freeze));
        let mut client = Client::connect(&backend);
        client.write(0, b"a").unwrap();
        client.flush().unwrap();
        client.write(1, b"b").unwrap();
        client.send(1, 2, 1, b"c");
        backend.wait_frozen(Duration::from_secs(10)).unwrap();
        assert!(backend.is_frozen());
        drop(backend);
        assert_eq!(disk.head(3).unwrap(), kept, "{cache:?}");
    }
}
