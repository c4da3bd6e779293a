//! One shard, its disk and its neighbours played by hand: what only a certain order of completions brings about.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::config::{BrokerConfig, TopicConfig};
use crate::error::ErrorCode;
use crate::log::{Log, LogConfig, RECOVERY_POINT};
use crate::record::{BatchBuilder, Codec, Header};
use crate::replica::{Leader, Replica};
use crate::types::{ConnId, LogId, Now, Offset, OpId, ShardId, Uuid};

use super::effect::{ComputePanicked, DiskError, DiskOp, DiskReply, Effect, Event};
use super::folders::Folder;
use super::message::{Answer, AppendItem, Ask, FlowId, ListItem, Message, ReadItem};
use super::partition::Partition;
use super::{METADATA_BATCH_BYTES, Shard, ShardConfig, Stage};

const LOG: LogId = LogId {
    topic: Uuid([7; 16]),
    partition: 0,
};

/// The second shard of two, which serves one partition.
struct Desk {
    shard: Shard,
    now: Now,
    in_flight: Vec<(OpId, DiskOp)>,
    computing: Vec<OpId>,
    said: Vec<Message>,
}

impl Desk {
    fn new(configure: impl FnOnce(&mut TopicConfig)) -> Desk {
        let broker = Arc::new(BrokerConfig::default());
        let mut topic = broker.topic.clone();
        configure(&mut topic);
        let mut shard = Shard::new(ShardConfig {
            id: ShardId(1),
            shards: 2,
            seed: 1,
            broker,
            advertised: ("localhost".into(), 9092),
            data_dir: "test".into(),
            metadata_batch_bytes: METADATA_BATCH_BYTES,
            only_seal: false,
            was_clean: false,
            accepts_loss: false,
        });
        shard.stage = Stage::Serving;
        shard.has_journal = true;
        let now = Now {
            mono_us: 1_000_000,
            wall_ms: 1_700_000_000_000,
        };
        let log = Log::create(LOG, "t-0", "t-0", LogConfig::from(&topic), now);
        let leader = Leader {
            in_sync: vec![1],
            in_sync_min: 1,
        };
        let replica = Replica::leader(leader, 0, 0, 0);
        let partition = Partition::new(log, replica, "t".into(), Arc::new(topic), Folder::Ready);
        shard.partitions.insert(LOG, partition);
        let mut desk = Desk {
            shard,
            now,
            in_flight: Vec::new(),
            computing: Vec::new(),
            said: Vec::new(),
        };
        desk.run(|_| {});
        desk.settle_journal();
        desk
    }

    /// Something happens to the shard, then its round ends.
    fn run(&mut self, happen: impl FnOnce(&mut Shard)) {
        let mut out = Vec::new();
        self.shard.enter(self.now, &mut out);
        happen(&mut self.shard);
        self.shard.leave(&mut out);
        self.end_round(out);
    }

    fn handle(&mut self, event: Event) {
        let mut out = Vec::new();
        self.shard.handle(self.now, event, &mut out);
        self.end_round(out);
    }

    fn end_round(&mut self, mut out: Vec<Effect>) {
        self.shard.end_round(self.now, &mut out);
        for effect in out {
            match effect {
                Effect::Disk { op, what } => self.in_flight.push((op, what)),
                Effect::Compute { op, .. } => self.computing.push(op),
                Effect::ToShard { message, .. } => self.said.push(message),
                _ => {}
            }
        }
    }

    fn append(&mut self, records: BytesMut) {
        let item = AppendItem {
            slot: 0,
            log: LOG,
            records,
            zstd_allowed: true,
        };
        let ask = Ask::Append {
            conn: ConnId(1),
            acks: 1,
            deadline_us: u64::MAX,
            items: vec![item],
        };
        let flow = FlowId(1);
        let message = Message::Ask { flow, ask };
        self.handle(Event::FromShard {
            from: ShardId(0),
            message,
        });
    }

    /// A fetch of another shard asks for what about five batches of [`on_disk`](Desk::on_disk) are.
    fn read(&mut self, offset: Offset) {
        self.read_bytes(offset, 50_000);
    }

    fn read_bytes(&mut self, offset: Offset, bytes_max: usize) {
        let item = ReadItem {
            slot: 0,
            log: LOG,
            offset,
            bytes_max,
            leader_epoch: -1,
            last_fetched_epoch: -1,
            read_committed: false,
        };
        let ask = Ask::Read {
            items: vec![item],
            bytes_max: 1 << 20,
            park: false,
        };
        let flow = FlowId(1);
        let message = Message::Ask { flow, ask };
        self.handle(Event::FromShard {
            from: ShardId(0),
            message,
        });
    }

    /// The first and the last offset that the newest answer holds.
    fn answered(&mut self) -> Option<(Offset, Offset)> {
        let Some(Message::Answer {
            answer: Answer::Read { items, .. },
            ..
        }) = self.said.pop()
        else {
            return None;
        };
        let (mut first, mut last, mut rest) = (None, None, &items[0].slices[0][..]);
        while !rest.is_empty() {
            let header = Header::decode(rest).unwrap();
            first = first.or(Some(header.base_offset));
            last = Some(header.last_offset());
            rest = &rest[header.size_bytes..];
        }
        Some((first?, last?))
    }

    /// A log of forty batches of 10 kB, none of them in memory; its file.
    fn on_disk(&mut self) -> Vec<u8> {
        self.shard.limits.dirty_bytes = 1;
        self.shard.limits.cache_bytes = 0;
        let mut file = vec![0; 500_000];
        for _ in 0..40 {
            self.append(batch(10_000));
        }
        while let Some((_, what)) = self.in_flight.first() {
            if let DiskOp::Write {
                file: of,
                position,
                slices,
                ..
            } = what
                && of.path.ends_with(".log")
            {
                let bytes: Vec<u8> = slices.concat();
                file[*position as usize..][..bytes.len()].copy_from_slice(&bytes);
            }
            self.complete(|_| true, Ok(DiskReply::Done));
        }
        self.said.clear();
        file
    }

    fn reads(&self) -> usize {
        self.in_flight.iter().filter(|(_, what)| is_read(what)).count()
    }

    /// Completes a read, from the file.
    fn bring(&mut self, file: &[u8]) {
        let read = self.in_flight.iter().find(|(_, what)| is_read(what));
        let Some((_, DiskOp::Read { position, len, .. })) = read else {
            panic!("no read is among {:?}", self.in_flight)
        };
        let from = *position as usize;
        let bytes = Bytes::copy_from_slice(&file[from..from + len]);
        self.complete(is_read, Ok(DiskReply::Bytes(bytes)));
    }

    fn find(&self, is_it: impl Fn(&DiskOp) -> bool) -> Option<usize> {
        self.in_flight.iter().position(|(_, what)| is_it(what))
    }

    fn complete(&mut self, is_it: impl Fn(&DiskOp) -> bool, result: Result<DiskReply, DiskError>) {
        let index = self
            .find(is_it)
            .unwrap_or_else(|| panic!("not among {:?}", self.in_flight));
        let (op, _) = self.in_flight.remove(index);
        self.handle(Event::Disk { op, result });
    }

    /// Everything that the journal wants written or flushed is, and what follows from that.
    fn settle_journal(&mut self) {
        while self.find(of_journal).is_some() {
            self.complete(of_journal, Ok(DiskReply::Done));
        }
    }
}

fn of_journal(what: &DiskOp) -> bool {
    matches!(what, DiskOp::Write { file, .. } | DiskOp::Sync { file } if file.path.ends_with(".ring"))
}

fn is_read(what: &DiskOp) -> bool {
    matches!(what, DiskOp::Read { .. })
}

fn is_reserve(what: &DiskOp) -> bool {
    matches!(what, DiskOp::Reserve { .. })
}

fn is_point(what: &DiskOp) -> bool {
    matches!(what, DiskOp::ReplaceFile { path, .. } if path.ends_with(RECOVERY_POINT))
}

fn batch(value_bytes: usize) -> BytesMut {
    BatchBuilder::new().record(0, None, Some(&vec![1; value_bytes])).build()
}

fn full() -> DiskError {
    DiskError::Full { path: "t-0".into() }
}

#[test]
fn more_records_come_while_a_recovery_point_waits_for_the_flush() {
    let mut desk = Desk::new(|topic| topic.flush_messages = 1000);
    desk.append(batch(10));
    desk.settle_journal();
    desk.run(|shard| shard.save_recovery_point(LOG));
    desk.append(batch(10));
    // The second commit is written while the flush of the first is under way.
    desk.complete(|what| matches!(what, DiskOp::Write { .. }), Ok(DiskReply::Done));
    assert!(desk.find(is_point).is_none());
    desk.complete(|what| matches!(what, DiskOp::Sync { .. }), Ok(DiskReply::Done));
    assert!(desk.find(is_point).is_some(), "it is about the first record only");
    assert!(desk.find(of_journal).is_none(), "nobody needs another flush");
}

#[test]
fn a_recovery_point_is_tried_again_with_the_control_frame_it_was_to_settle() {
    let mut desk = Desk::new(|_| {});
    desk.append(batch(10));
    desk.settle_journal();
    desk.run(|shard| shard.raise_start(LOG, 1));
    desk.settle_journal();
    desk.run(|shard| shard.save_recovery_point(LOG));
    desk.complete(is_point, Err(full()));
    let log = &desk.shard.partition(LOG).log;
    assert!(log.has_unsaved_control() && !log.recovery_point_due(desk.now));
    desk.now.mono_us += 10_000_000;
    desk.run(|_| {});
    desk.complete(is_point, Ok(DiskReply::Done));
    assert!(!desk.shard.partition(LOG).log.recovery_point_outdated());
}

#[test]
fn a_stop_is_not_clean_while_the_journal_has_a_control_frame() {
    for fails in [false, true] {
        let mut desk = Desk::new(|_| {});
        desk.append(batch(10));
        desk.settle_journal();
        desk.run(|shard| shard.raise_start(LOG, 1));
        desk.settle_journal();
        desk.handle(Event::Stop);
        while let Some((_, what)) = desk.in_flight.first() {
            let result = match is_point(what) && fails {
                true => Err(full()),
                false => Ok(DiskReply::Done),
            };
            desk.complete(|_| true, result);
        }
        let sealed = desk.said.iter().find_map(|message| match message {
            Message::Sealed { is_clean, .. } => Some(*is_clean),
            _ => None,
        });
        assert_eq!(sealed, Some(!fails));
    }
}

#[test]
fn a_full_disk_is_tried_again_when_its_room_is_known() {
    let mut desk = Desk::new(|_| {});
    desk.shard.limits.dirty_bytes = 1;
    desk.append(batch(10_000));
    desk.settle_journal();
    desk.complete(is_reserve, Err(full()));
    desk.run(|_| {});
    assert!(desk.find(is_reserve).is_none(), "nothing says that there is room");
    let room = DiskReply::Space {
        free_bytes: 1 << 40,
        total_bytes: 1 << 40,
    };
    desk.complete(|what| matches!(what, DiskOp::Space), Ok(room));
    assert!(desk.find(is_reserve).is_some());
}

#[test]
fn a_sync_that_finds_the_disk_full_takes_the_log_offline() {
    let mut desk = Desk::new(|_| {});
    desk.shard.limits.dirty_bytes = 1;
    desk.append(batch(10_000));
    desk.settle_journal();
    let is_sync = |what: &DiskOp| matches!(what, DiskOp::Sync { .. });
    while desk.find(is_sync).is_none() {
        desk.complete(|what| !matches!(what, DiskOp::Space), Ok(DiskReply::Done));
    }
    desk.complete(is_sync, Err(full()));
    assert!(!desk.shard.partition(LOG).is_online());
    assert_eq!(desk.shard.stats().checkpoints_failed, 1);
}

#[test]
fn a_worker_that_panics_costs_one_batch() {
    let mut desk = Desk::new(|_| {});
    let mut records = BytesMut::new();
    records.put_bytes(0, 100_000);
    // Compressed, so that it is looked at elsewhere.
    records[22] = 1;
    desk.append(records);
    desk.append(batch(10));
    let op = desk.computing.pop().expect("it is on a worker");
    let result = Box::new(ComputePanicked("an index out of bounds".into()));
    desk.handle(Event::Computed { op, result });
    desk.settle_journal();
    let answers = desk.said.iter().filter_map(|message| match message {
        Message::Answer {
            answer: Answer::Append { items },
            ..
        } => Some(items[0].error),
        _ => None,
    });
    assert_eq!(
        answers.collect::<Vec<_>>(),
        [ErrorCode::CorruptMessage, ErrorCode::None]
    );
}

#[test]
fn a_sequential_reader_finds_what_was_read_ahead() {
    let mut desk = Desk::new(|_| {});
    let file = desk.on_disk();
    // Anywhere: nobody knows yet that it will go on.
    desk.read(0);
    desk.bring(&file);
    assert_eq!(desk.answered(), Some((0, 3)));
    assert_eq!(desk.reads(), 0);
    desk.read(4);
    desk.bring(&file);
    assert_eq!(desk.answered(), Some((4, 7)));
    // It comes back before what follows has been read, and after.
    assert_eq!(desk.reads(), 1);
    desk.read(8);
    assert_eq!((desk.reads(), desk.answered()), (1, None));
    desk.bring(&file);
    assert_eq!(desk.answered(), Some((8, 11)));
    // The end of each read is where the next begins, so far ahead and no farther.
    (0..3).for_each(|_| desk.bring(&file));
    assert_eq!((desk.reads(), desk.answered()), (0, None));
    desk.read(12);
    assert_eq!((desk.reads(), desk.answered()), (1, Some((12, 15))));
    // What cannot be read ahead is read when it is asked for.
    let message = "input/output error".into();
    desk.complete(is_read, Err(DiskError::Io { message }));
    desk.read(16);
    assert_eq!((desk.reads(), desk.answered()), (1, Some((16, 19))));
    let message = "input/output error".into();
    desk.complete(is_read, Err(DiskError::Io { message }));
    desk.read(20);
    assert_eq!((desk.reads(), desk.answered()), (1, Some((20, 23))));
    // A reader that takes less than was read for it.
    desk.bring(&file);
    desk.read_bytes(24, 25_000);
    assert_eq!(desk.answered(), Some((24, 25)));
    // Each finds it once; what nobody comes for is given up when another is read.
    let (reads, used) = (desk.shard.stats().disk_reads, desk.shard.stats().reads_ahead_used);
    while desk.reads() > 0 {
        desk.bring(&file);
    }
    desk.now.mono_us += 2_000_000;
    desk.read(4);
    desk.bring(&file);
    assert_eq!(desk.answered(), Some((4, 7)));
    desk.read(28);
    assert_eq!((desk.reads(), desk.answered()), (2, None));
    assert_eq!(desk.shard.stats().disk_reads - reads, 2);
    assert_eq!(desk.shard.stats().reads_ahead_used, used);
}

#[test]
fn lookups_of_a_closed_connection_are_not_done() {
    let mut desk = Desk::new(|_| {});
    let batch = BatchBuilder::new().compression(Codec::Gzip);
    desk.append(batch.record(desk.now.wall_ms, None, Some(b"one")).build());
    desk.settle_journal();
    desk.said.clear();
    let item = |slot| ListItem {
        slot,
        log: LOG,
        leader_epoch: -1,
        timestamp: 0,
        read_committed: false,
    };
    let flow = FlowId(2);
    let ask = Ask::ListOffsets {
        items: (0..9).map(item).collect(),
    };
    let from = ShardId(0);
    let message = Message::Ask { flow, ask };
    desk.handle(Event::FromShard { from, message });
    assert_eq!(desk.shard.lookups.running(), 4, "and the other five wait");
    let message = Message::Forget { flow };
    desk.handle(Event::FromShard { from, message });
    let mut searched = 0;
    while let Some(op) = desk.computing.pop() {
        searched += 1;
        let result = Box::new(ComputePanicked("on purpose".into()));
        desk.handle(Event::Computed { op, result });
    }
    assert_eq!((searched, desk.shard.lookups.running()), (4, 0));
    assert!(desk.said.is_empty() && desk.shard.listing.is_empty());
}
