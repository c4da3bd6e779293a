//! A device that fails: nothing more is acknowledged, the log says what to do, and what was acknowledged is there again.

use std::process::Command;

use tidemill::error::ErrorCode;

use crate::broker::{Broker, PATIENCE, run_ok, serve, signal};
use crate::client::{Client, Neighbour, batch};
use crate::mount::Mount;

/// The device is smaller than what is kept free by default.
const ANY_ROOM: &str = "tidemill.disk.reserve.bytes=0";

/// Every write and flush fails at once, in the middle of a load, and the file system loses what it had not flushed.
#[test]
fn a_failed_flush_acknowledges_nothing_and_loses_nothing() {
    let Some(mount) = Mount::make() else { return };
    let data = mount.at().join("data");
    let mut acknowledged: Vec<(i64, String)> = Vec::new();
    // The first life meets a young ring, the second one that has gone round.
    for life in 0..2 {
        let broker = Broker::start(&data, &["log.segment.bytes=1048576", ANY_ROOM]);
        let mut client = Client::connect(broker.address());
        if life == 0 {
            client.create("topic", 1, &[]);
        }
        let filler = "x".repeat(if life == 0 { 100 } else { 60_000 });
        let mut produce = |number: usize| {
            let value = format!("{life} {number} {filler}");
            let answer = client.produce("topic", &[(0, batch(&[&value]))]).remove(0);
            if answer.error_code == 0 {
                acknowledged.push((answer.base_offset, value));
            }
            answer
        };
        for number in 0..300 {
            assert_eq!(produce(number).error_code, 0);
        }
        mount.break_down();
        // An answer that was on its way may still arrive; a later one never does.
        let refused = (300..310).map(&mut produce).find(|answer| answer.error_code != 0);
        let refused = refused.expect("acknowledged on a device that failed");
        assert_eq!(refused.error_code, ErrorCode::KafkaStorageError.code(), "{refused:?}");
        let again = produce(310);
        assert_eq!(again.error_code, ErrorCode::KafkaStorageError.code());
        assert!(again.error_message.is_some_and(|message| message.contains("restart")));
        let line = broker.wait_log("the journal cannot be written");
        assert!(line.contains("dmesg") && line.contains("restart the broker"), "{line}");
        // What is in memory is still read.
        let last = acknowledged.last().unwrap();
        assert_eq!(client.values("topic", last.0), std::slice::from_ref(last));
        let log = broker.kill();
        let lines = log
            .lines()
            .filter(|line| line.contains("the journal cannot be written"));
        assert!(
            (1..=2).contains(&lines.count()),
            "one line of each shard at most:\n{log}"
        );

        mount.mend();
        let broker = Broker::start(&data, &[ANY_ROOM]);
        let values = Client::connect(broker.address()).values("topic", 0);
        // What was refused may be there, once, behind what was acknowledged before it.
        assert!(acknowledged.iter().all(|record| values.contains(record)));
        assert!(
            values
                .windows(2)
                .all(|pair| pair[0].0 + 1 == pair[1].0 && pair[0].1 != pair[1].1)
        );
        acknowledged = values;
        broker.stop();
    }
}

/// Writes of one log's segment fail, those of the journal and of other logs do not: a limit of the file size does it.
#[test]
fn a_segment_that_cannot_be_written_takes_only_its_log_offline() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    // Without this the kernel ends a process that meets the limit.
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]);
    let broker = serve(folder.path(), &["tidemill.cores=0"]);
    command.arg(broker.get_program()).args(broker.get_args());
    let broker = Broker::spawn(&mut command).unwrap();
    let mut neighbour = Neighbour::new(broker.address());
    neighbour.is_served();
    let mut client = Client::connect(broker.address());
    client.create("large", 1, &[]);
    // Beyond the ring (8 MiB and its first blocks), within the first segment.
    let limit = 9 << 20;
    let mut limits = Command::new("prlimit");
    limits
        .arg("--pid")
        .arg(broker.pid().to_string())
        .arg(format!("--fsize={limit}"));
    run_ok(&mut limits, PATIENCE);

    let large = "x".repeat(500_000);
    let mut acknowledged = Vec::new();
    let refused = (0..200).find_map(|number| {
        let value = format!("{number} {large}");
        let answer = client.produce("large", &[(0, batch(&[&value]))]).remove(0);
        match answer.error_code {
            0 => acknowledged.push((answer.base_offset, value)),
            _ => return Some(answer),
        }
        None
    });
    let refused = refused.expect("100 MB in a segment of 9 MiB");
    assert_eq!(refused.error_code, ErrorCode::KafkaStorageError.code(), "{refused:?}");
    let line = broker.wait_log("large-0: offline");
    assert!(
        line.contains("restart the broker") && line.contains("00000000000000000000.log"),
        "{line}"
    );
    for _ in 0..20 {
        neighbour.is_served();
    }
    neighbour.reads();
    let message = client
        .produce("large", &[(0, batch(&["more"]))])
        .remove(0)
        .error_message;
    assert!(message.is_some_and(|message| message.contains("segment could not be written")));
    broker.wait_log("large-0: its records are in tidemill-parked-");
    signal("TERM", broker.pid());
    let log = broker.fails();
    assert!(log.contains("stopped, but not cleanly"), "{log}");

    let broker = Broker::start(folder.path(), &["tidemill.cores=0"]);
    let values = Client::connect(broker.address()).values("large", 0);
    // The refused one may be there as well: its log went offline while it was on its way to the journal.
    let count = acknowledged.len();
    assert!(
        (count..=count + 1).contains(&values.len()),
        "{} of {count}",
        values.len()
    );
    assert!(values[..count] == acknowledged);
    broker.stop();
}
