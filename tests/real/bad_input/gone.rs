//! A data folder that somebody takes away from a running broker: it notices, says so, and ends with a failure.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpStream;

use crate::broker::{Broker, signal, wait_for};
use crate::client::{Client, Neighbour};

const WORDS: &str = "was removed, moved or replaced while the broker ran";

#[test]
fn a_folder_that_is_moved_away_ends_the_broker() {
    let folder = tempfile::tempdir().unwrap();
    let (data, moved) = (folder.path().join("data"), folder.path().join("moved"));
    let broker = Broker::start(&data, &[]);
    Neighbour::new(broker.address()).is_served();
    let mut client = Client::connect(broker.address());
    client.create("topic", 1, &[]);
    assert_eq!(client.append("topic", "before"), 0);
    fs::rename(&data, &moved).unwrap();
    // Nobody does anything: it looks by itself.
    let address = broker.address().to_string();
    let log = broker.fails();
    let line = log.lines().find(|line| line.contains(WORDS)).unwrap();
    assert!(
        line.contains(data.to_str().unwrap()) && line.contains("start the broker again"),
        "{line}"
    );
    assert!(TcpStream::connect(address).is_err());
    fs::rename(&moved, &data).unwrap();
    let broker = Broker::start(&data, &[]);
    let values = Client::connect(broker.address()).values("topic", 0);
    assert_eq!(values, [(0, "before".to_string())]);
    broker.stop();
}

#[test]
fn a_stop_whose_folder_was_removed_is_not_called_clean() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let broker = Broker::start(&data, &[]);
    let mut client = Client::connect(broker.address());
    client.create("topic", 1, &[]);
    client.append("topic", "gone");
    // Again for as long as the broker makes files beside those that go.
    wait_for("the end of the folder", || match fs::remove_dir_all(&data) {
        Ok(()) => Some(()),
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => None,
        Err(error) => panic!("{error}"),
    });
    signal("TERM", broker.pid());
    let log = broker.fails();
    assert!(log.contains("stopped, but not cleanly") || log.contains(WORDS), "{log}");
}
