//! A ring as a start finds it: a good one with the input laid over it, checksums made right again or not. Recovery comes to
//! an end whatever it reads, or says why not, and the journal that it hands over takes frames.
#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidemill::journal::frame::{self, seeded};
use tidemill::journal::{Append, BLOCK, Body, Config, Frame, Journal, Recovery, Start, Step};
use tidemill::record::BatchBuilder;
use tidemill::types::{LogId, ShardId, Uuid};

const NONCE: u64 = 7;
const RING_BYTES: u64 = 64 * BLOCK;
const STEPS_MAX: usize = 1_000_000;

static RING: LazyLock<Vec<u8>> = LazyLock::new(ring);

fn config() -> Config {
    Config::new(RING_BYTES, ShardId(0), 1)
}

fn log(number: u8) -> LogId {
    LogId {
        topic: Uuid([number; 16]),
        partition: 3,
    }
}

fn append(log: LogId, offset: i64) -> Frame {
    let value = vec![b'v'; 600 * (offset as usize % 2)];
    let batch = BatchBuilder::new().record(offset, None, Some(&value)).build_stamped(offset, 1);
    let body = Append {
        segment_base: 0,
        position: offset as u64 * 7000,
        base_offset: offset,
        last_offset: offset,
        leader_epoch: 1,
        bytes: batch.into_bytes(),
    };
    Frame {
        log,
        body: Body::Append(body),
    }
}

/// Two logs, two dozen commits, every kind of frame.
fn ring() -> Vec<u8> {
    let mut file = vec![0; config().file_bytes() as usize];
    let mut journal = Journal::create(config(), NONCE);
    let mut put = |position: u64, slices: &[Bytes]| {
        let bytes = slices.concat();
        file[position as usize..][..bytes.len()].copy_from_slice(&bytes);
    };
    for offset in 0..12 {
        for number in [1, 2] {
            while let Some(write) = journal.begin_superblock() {
                put(write.position, &[write.block]);
                journal.superblock_done();
            }
            let log = log(number);
            journal.push(append(log, offset), true).expect("there is room");
            if offset == 10 {
                let epoch = Body::Epoch {
                    epoch: 2,
                    start_offset: 11,
                };
                journal.push(Frame { log, body: epoch }, true).expect("there is room");
                let body = Body::Start { offset: 3 };
                journal.push(Frame { log, body }, true).expect("there is room");
                journal.applied(log, 8);
                let frames: Vec<Frame> = (8..11).map(|offset| append(log, offset)).collect();
                journal.carry(log, 8, &frames).expect("there is room");
            }
            let commit = journal.begin_commit().expect("a frame waits");
            commit.writes.iter().for_each(|write| put(write.position, &write.slices));
            journal.commit_done();
        }
    }
    file
}

/// Checksums of superblocks and commit headers as the bytes beneath them want it.
fn seal(file: &mut [u8]) {
    for (number, block) in file.chunks_exact_mut(BLOCK as usize).enumerate() {
        if number < 2 {
            let crc = crc32fast::hash(&block[16..]);
            block[12..16].copy_from_slice(&crc.to_le_bytes());
        } else if block.starts_with(b"TIDC") {
            let mut crc = seeded(NONCE);
            crc.update(&block[8..80]);
            block[4..8].copy_from_slice(&crc.finalize().to_le_bytes());
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let _ = frame::decode(&Bytes::copy_from_slice(bytes), NONCE);
    let Some((mode, mut patches)) = bytes.split_first() else { return };
    let mut file = RING.clone();
    // A place, a length, the bytes.
    while let [high, middle, low, len, rest @ ..] = patches {
        let at = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
        let at = at % file.len();
        let len = usize::from(*len).min(rest.len()).min(file.len() - at);
        file[at..at + len].copy_from_slice(&rest[..len]);
        patches = &rest[len..];
    }
    if mode & 1 == 1 {
        seal(&mut file);
    }
    if mode & 2 == 2 {
        file.truncate(usize::from(mode >> 2) * BLOCK as usize);
    }
    let mut recovery = Recovery::new(Start {
        config: config(),
        file_bytes: Some(file.len() as u64),
        nonce: NONCE + 1,
        is_empty: false,
    });
    let mut steps = 0;
    loop {
        steps += 1;
        assert!(steps < STEPS_MAX, "recovery does not end");
        match recovery.step() {
            Err(error) => {
                let _ = error.to_string();
                return;
            }
            Ok(Step::Read { position, len }) => {
                let from = (position as usize).min(file.len());
                let to = (from + len).min(file.len());
                recovery.read_done(Bytes::copy_from_slice(&file[from..to]));
            }
            Ok(Step::Create { len }) => {
                file = vec![0; len as usize];
                recovery.created();
            }
            Ok(Step::Sync) => recovery.synced(),
            Ok(Step::Frame(_) | Step::Ended(_)) => {}
            Ok(Step::Done) => break,
        }
    }
    let (mut journal, report) = recovery.finish();
    let _ = report.to_string();
    let _ = journal.push(append(log(9), 0), true);
});
