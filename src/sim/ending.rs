//! Between two lives and behind the last one: another number of cores, and what must be true in the end.

use super::*;

impl History {
    /// The host has another number of cores: as `runtime` does it, the old journals are replayed, written out and removed.
    /// The number of shards from now on.
    pub(super) fn change_shards(&mut self, shards: u16) -> u16 {
        let wanted = 1 + self.world.random.below(3) as u16;
        let has_format = self.world.disk.len(format::FILE).is_some();
        if wanted == shards || !has_format {
            return shards;
        }
        self.world.faults.io_error_one_in = [0, 100, 1_000][self.world.random.below(3) as usize];
        self.world.start_sealing(shards);
        self.was_forgiven = false;
        for _ in 0..STEPS_MAX {
            if self.world.is_stopped() || self.world.fatal().is_some() {
                break;
            }
            assert!(self.step(), "sealing never came to its end: {}", self.world.describe());
            self.forgive_torn();
        }
        let is_sealed = self.world.is_stopped() && self.world.is_marked_clean();
        let has_faults = self.world.faults.io_error_one_in > 0 || self.is_damaged || self.world.disk.is_failing();
        assert!(is_sealed || has_faults, "nothing kept the journals from being sealed");
        self.world.kill();
        if !is_sealed {
            self.world.count("sealing for another number of shards failed");
            return shards;
        }
        self.world.count("journals of another number of shards retired");
        let content = Files::read(&mut self.world.disk, format::FILE, u64::MAX);
        let content = content.ok().flatten().expect("it is there");
        let format = format::decode(&content).expect("it was just written");
        for path in (0..shards).map(|shard| ring_path(ShardId(shard))) {
            let removed = self.world.disk.perform(&DiskOp::RemoveFile { path });
            removed.expect("the disk removes names");
        }
        let format = Format {
            shards: wanted,
            has_journals: false,
            ..format
        };
        let replaced = self.world.disk.perform(&DiskOp::ReplaceFile {
            path: format::FILE.into(),
            content: format::encode(format),
        });
        replaced.expect("the disk replaces files");
        let synced = self.world.disk.perform(&DiskOp::SyncDir { path: String::new() });
        synced.expect("the disk syncs names");
        wanted
    }

    /// Heals everything, lets the clients work, sees them through, and reads every log twice: before and after a clean stop.
    pub(super) fn finish(&mut self, shards: u16) {
        self.world.faults = Faults::NONE;
        self.world.wall_ahead_ms = 0;
        self.repair();
        // A start that has damage to write down needs the files of that log.
        let ails = !self.is_damaged && !self.flushes_later && self.world.random.below(3) == 0 && self.make_unwritable();
        self.world.start(shards);
        if self.is_damaged {
            // What cannot be read may keep the broker from starting, as long as it says so.
            for _ in 0..STEPS_MAX {
                if self.world.is_ready() || self.world.fatal().is_some() || !self.step() {
                    break;
                }
            }
            if self.world.fatal().is_some() {
                self.world.count("damage refused at a start");
                return;
            }
        }
        self.step_until("recovery", |history| history.world.is_ready());
        self.forgive_torn();
        for steps in 0..4_000 {
            if !self.step() {
                break;
            }
            if steps % 64 == 0 || self.oracle.acked_records == 0 {
                self.join_clients();
            }
        }
        self.is_ending = true;
        for kind in &mut self.clients {
            match kind {
                Kind::Producer(producer) => producer.wind_up(),
                Kind::Administrator(admin) => admin.wind_up(),
                Kind::Consumer(_) => {}
            }
        }
        if ails {
            self.others_go_on();
            self.world.kill();
            self.repair();
            self.world.start(shards);
            self.step_until("a start after a repair", |history| history.world.is_ready());
        }
        self.step_until("the end of what clients began", |history| history.is_over(|_| false));
        let first = self.read_everything();
        self.stop_cleanly();
        assert!(
            self.is_damaged || self.world.is_marked_clean(),
            "a stop that nothing disturbed is not clean"
        );
        let snapshots = (self.world.disk.files().iter())
            .filter(|path| path.starts_with("__cluster_metadata") && path.ends_with(".checkpoint"))
            .count();
        assert!(
            snapshots <= SNAPSHOTS_MAX,
            "{snapshots} snapshots of the metadata were kept"
        );
        self.world.start(shards);
        self.step_until("a start after a clean stop", |history| history.world.is_ready());
        let second = self.read_everything();
        for (log, (start, end, found)) in &first {
            let Some((start_2, end_2, found_2)) = second.get(log) else {
                assert!(self.is_damaged, "{log}: gone after a clean stop");
                continue;
            };
            let is_same_start = start == start_2 || start < start_2 && !self.oracle.retains_all_of(*log);
            assert!(
                is_same_start && end == end_2,
                "{log}: a clean stop changed its bounds from {start}..{end} to {start_2}..{end_2}"
            );
            let is_same = found.range(start_2..).eq(found_2.iter());
            assert!(is_same, "{log}: a clean stop changed its records");
        }
    }

    /// Whether what clients began has come to its end, but for producers of these folders.
    fn is_over(&mut self, is_left_out: impl Fn(&str) -> bool) -> bool {
        let topics = &self.topics;
        self.clients.iter_mut().all(|kind| match kind {
            Kind::Consumer(_) => true,
            Kind::Producer(producer) => producer.is_done() || is_left_out(&producer.folder(topics)),
            Kind::Administrator(admin) => admin.is_done(),
        })
    }

    /// A partition that nothing ails makes progress within a bounded time, whatever ails another.
    fn others_go_on(&mut self) {
        let ailing = self
            .world
            .disk
            .unwritable()
            .map(str::to_string)
            .expect("something ails");
        let until_us = self.world.now_us + PROGRESS_US_MAX;
        self.step_until("progress while a file cannot be written", |history| {
            let is_over = history.is_over(|folder| ailing.starts_with(folder));
            assert!(
                is_over || history.world.now_us < until_us,
                "somebody waits for another's file: {}",
                history.describe()
            );
            is_over
        });
        self.world.count("others go on while a file cannot be written");
    }

    #[allow(clippy::type_complexity)]
    fn read_everything(&mut self) -> BTreeMap<LogId, (Offset, Offset, BTreeMap<Offset, Vec<u8>>)> {
        let from = self.clients.len();
        for log in self.oracle.promised_logs() {
            let Some(topic) = self.topics.ids.iter().position(|id| *id == Some(log.topic)) else {
                continue;
            };
            let reader = Consumer::new(&mut self.world.random, topic, log.topic, log.partition, true);
            self.clients.push(Kind::Consumer(reader));
            self.start_client(self.clients.len() - 1);
        }
        self.step_until("the end of the final reading", |history| {
            history.clients[from..].iter_mut().all(|kind| kind.client().is_done())
        });
        let mut read = BTreeMap::new();
        for kind in &mut self.clients[from..] {
            let Kind::Consumer(reader) = kind else {
                unreachable!("only readers were added")
            };
            let (start, end) = reader.range();
            let found = std::mem::take(&mut reader.found);
            let counts = |what| self.world.has_counted(what);
            let is_reported = Reported {
                log: reader.errors > 0 || counts(LOG_DAMAGED) || counts("recovery: segment's tail cut"),
                journal: counts(JOURNAL_DAMAGED),
            };
            self.oracle.check_whole(reader.log(), start, end, &found, is_reported);
            if reader.errors == 0 {
                read.insert(reader.log(), (start, end, found));
            }
        }
        read
    }
}
