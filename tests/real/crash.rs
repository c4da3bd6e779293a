//! kill -9 under load, again and again: what was acknowledged is there, once, at its offset and in its order.
//!
//! The producers live through all of it, as idempotent producers do that nobody tells to stop: they keep what is not
//! acknowledged, reconnect and send it again with the same sequence numbers.

/// Idempotent producers of librdkafka (`idempotent.c`).
mod librdkafka {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};
    use std::process::{Child, ChildStdin, Command, Stdio};
    use std::time::Duration;

    use crate::broker::{Broker, PATIENCE, run_ok, serve_on, wait_end, wait_for};

    const KILLS: usize = 50;
    const PRODUCERS: usize = 3;
    const PARTITIONS: usize = 4;
    const TOPIC: &str = "survivors";
    /// Segments roll and the ring is lapped while this goes on.
    const SETTINGS: &[&str] = &["num.partitions=4", "log.segment.bytes=1048576"];
    /// The broker may die once so many bytes of acknowledgements were noted since its start: a few hundred records.
    const LOAD_BYTES: u64 = 4000;

    struct Producer {
        child: Child,
        stdin: Option<ChildStdin>,
        acks: PathBuf,
    }

    impl Drop for Producer {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn compile(folder: &Path) -> PathBuf {
        let program = folder.join("idempotent");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/idempotent.c");
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-Wall", "-Werror", "-o"]).arg(&program);
        run_ok(cc.args([source, "-lrdkafka"]), PATIENCE);
        program
    }

    fn produce(program: &Path, address: &str, folder: &Path, name: usize) -> Producer {
        let acks = folder.join(format!("acks-{name}"));
        let (partitions, name) = (PARTITIONS.to_string(), name.to_string());
        let mut command = Command::new(program);
        command.args(["produce", address, TOPIC, &partitions, &name]).arg(&acks);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        Producer { child, stdin, acks }
    }

    /// The numbers in each line.
    fn numbers<const N: usize>(lines: &str) -> impl Iterator<Item = [usize; N]> {
        lines.lines().map(|line| {
            let numbers: Vec<usize> = line.split(' ').map(|number| number.parse().unwrap()).collect();
            numbers.try_into().unwrap()
        })
    }

    #[test]
    fn what_was_acknowledged_survives_fifty_kills_once_and_in_order() {
        let scratch = tempfile::tempdir().unwrap();
        let data = scratch.path().join("data");
        let program = compile(scratch.path());
        // An address of this test's own, so that nobody takes its port between a kill and the next start.
        let pid = std::process::id();
        let host = format!(
            "127.{}.{}.{}",
            1 + pid / 62500 % 250,
            1 + pid / 250 % 250,
            1 + pid % 250
        );
        let start = |listen: &str| {
            Broker::spawn(&mut serve_on(listen, &data, SETTINGS))
                .unwrap_or_else(|log| panic!("not ready again:\n{log}"))
        };
        let mut broker = start(&format!("{host}:0"));
        let address = broker.address().to_owned();
        let mut producers: Vec<Producer> = (0..PRODUCERS)
            .map(|name| produce(&program, &address, scratch.path(), name))
            .collect();
        let noted = || -> u64 {
            let acks = (0..PRODUCERS).map(|name| scratch.path().join(format!("acks-{name}")));
            acks.map(|acks| acks.metadata().map_or(0, |acks| acks.len())).sum()
        };
        let mut starts = Vec::new();
        let mut replayed = 0;
        for round in 0..KILLS {
            let before = noted();
            wait_for("acknowledgements after a start", || {
                (noted() >= before + LOAD_BYTES).then_some(())
            });
            std::thread::sleep(Duration::from_millis(round as u64 * 37 % 160));
            // Now and then it is told to stop: what is in flight then must not be lost either.
            if round % 10 == 9 {
                broker.stop();
                broker = start(&address);
                wait_for("acknowledgements after a stop", || {
                    (noted() > before + LOAD_BYTES).then_some(())
                });
            }
            broker.kill();
            broker = start(&address);
            replayed += usize::from(broker.log().contains("journal replayed"));
            starts.push(broker.start_time());
        }
        for producer in &mut producers {
            drop(producer.stdin.take());
            let status = wait_end(&mut producer.child, 2 * PATIENCE).expect("a producer that finishes");
            assert!(status.success(), "a producer ended with {status}");
        }
        starts.sort();
        println!(
            "ready after a kill: median {:?}, worst {:?}",
            starts[KILLS / 2],
            starts[KILLS - 1]
        );
        assert!(
            replayed > KILLS / 2,
            "only {replayed} starts found something in the journals"
        );

        let consume = ["consume", &address, TOPIC, &PARTITIONS.to_string()];
        let stored = run_ok(Command::new(&program).args(consume), 2 * PATIENCE);
        // By partition, in the order of offsets: who produced it, and as which of its records there.
        let mut logs = vec![Vec::new(); PARTITIONS];
        for [partition, offset, producer, number] in numbers(&stored) {
            assert_eq!(offset, logs[partition].len(), "partition {partition} has a gap");
            logs[partition].push((producer, number));
        }
        let mut acknowledged = 0;
        for (name, producer) in producers.iter().enumerate() {
            let acks = std::fs::read_to_string(&producer.acks).unwrap();
            for [partition, offset, number] in numbers(&acks) {
                let found = logs[partition].get(offset);
                assert_eq!(
                    found,
                    Some(&(name, number)),
                    "at offset {offset} of partition {partition}"
                );
                acknowledged += 1;
            }
        }
        // Everything was acknowledged in the end: what is stored beyond that would be there twice.
        assert_eq!(logs.iter().map(Vec::len).sum::<usize>(), acknowledged);
        let bytes = size(&data, ".log");
        println!("{acknowledged} records, {} MiB", bytes >> 20);
        // Two rings of 8 MiB, if it has two cores.
        assert!(bytes > 40 << 20, "only {bytes} bytes: the rings were not lapped");
        for (partition, log) in logs.iter().enumerate() {
            let mut next = BTreeMap::new();
            for &(producer, number) in log {
                let expected = next.entry(producer).or_insert(0);
                assert_eq!(number, *expected, "producer {producer} in partition {partition}");
                *expected += 1;
            }
        }
        let segments = std::fs::read_dir(data.join(format!("{TOPIC}-0"))).unwrap();
        let segments = segments.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().ends_with(".log"));
        assert!(segments.count() > 1, "no segment was rolled");
        broker.stop();
    }

    /// Of all files below a folder whose names end so.
    fn size(folder: &Path, ending: &str) -> u64 {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let sizes = entries.map(|entry| match entry.file_type().unwrap().is_dir() {
            true => size(&entry.path(), ending),
            false if entry.file_name().to_string_lossy().ends_with(ending) => entry.metadata().unwrap().len(),
            false => 0,
        });
        sizes.sum()
    }
}
