//! Another number of shards: the journals of the old ones are written out and retired, whatever a crash left of that.

use std::path::Path;

use crate::broker::{Broker, PATIENCE, run_ok};
use crate::client::Client;

const TOPIC: &str = "moved";
const TWO: &str = "tidemill.cores=0,1";
const ONE: &str = "tidemill.cores=0";

/// Appends a record and kills the broker: every record so far is there, and this one is only in a journal.
#[track_caller]
fn start_append_kill(folder: &Path, cores: &str, number: usize) -> String {
    let broker = Broker::start(folder, &[cores]);
    let mut client = Client::connect(broker.address());
    if number == 0 {
        client.create(TOPIC, 1, &[]);
    }
    assert_eq!(client.append(TOPIC, &format!("record {number}")), number as i64);
    let stored = client.values(TOPIC, 0);
    let expected: Vec<_> = (0..=number).map(|i| (i as i64, format!("record {i}"))).collect();
    assert_eq!(stored, expected);
    broker.kill()
}

fn trim(folder: &Path) {
    let mut trim = std::process::Command::new(env!("CARGO_BIN_EXE_tidemill"));
    run_ok(trim.arg("trim").arg(folder), PATIENCE);
}

/// Also to the journals of every shard, though those of a shard with little to do are hardly begun when they end.
#[test]
fn a_trimmed_folder_was_stopped_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &[]);
    let mut client = Client::connect(broker.address());
    client.create(TOPIC, 4, &[]);
    client.append(TOPIC, "record");
    drop(client);
    broker.stop();
    trim(folder.path());
    let log = Broker::start(folder.path(), &[]).stop();
    assert!(!log.contains("unclean"), "{log}");
}

#[test]
fn records_survive_every_change_of_the_number_of_shards() {
    if std::thread::available_parallelism().unwrap().get() < 2 {
        println!("not tested: this machine has one core");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ring = |shard: usize| folder.join(format!("tidemill-journal-{shard}.ring"));
    start_append_kill(folder, TWO, 0);
    let log = start_append_kill(folder, ONE, 1);
    assert!(log.contains("the journals of 2 shards are retired"), "{log}");
    assert!(ring(0).exists() && !ring(1).exists());
    let log = start_append_kill(folder, TWO, 2);
    assert!(log.contains("the journals of 1 shard are retired"), "{log}");
    // A crash while they were being retired: one is gone, and their number still there.
    for (number, cores) in [(3, ONE), (4, TWO), (5, TWO)] {
        trim(folder);
        std::fs::remove_file(ring(0)).unwrap();
        start_append_kill(folder, cores, number);
    }
    // All are gone, and then their number too.
    for (number, cores) in [(6, ONE), (7, TWO)] {
        trim(folder);
        (0..2).for_each(|shard| _ = std::fs::remove_file(ring(shard)));
        if number == 7 {
            std::fs::remove_file(folder.join("tidemill.format")).unwrap();
        }
        start_append_kill(folder, cores, number);
    }
}
