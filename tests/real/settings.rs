//! Settings as people write them: Kafka's own file, wrong ones, and a check that tries what a start would meet.

use std::path::Path;
use std::process::{Command, Output};

use crate::broker::{Broker, PATIENCE, run, run_ok, serve};
use crate::client::Client;

fn tidemill(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.args(arguments);
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The file with the port and the folder of this test, as a user's own has the user's.
fn kafkas_file(folder: &Path) -> std::path::PathBuf {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/server.properties")).unwrap();
    let data = folder.join("data");
    // The listener's own address is wildcard there, and what is advertised is a port of its own.
    let text = text.replace("PLAINTEXT://:9092", "PLAINTEXT://:0");
    let text = text.replace("/tmp/kraft-combined-logs", data.to_str().unwrap());
    let file = folder.join("server.properties");
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn kafkas_own_file_starts_the_broker() {
    let folder = tempfile::tempdir().unwrap();
    let file = kafkas_file(folder.path());
    let mut command = tidemill(&["serve", "--config", file.to_str().unwrap()]);
    command.args(["--set", "tidemill.journal.bytes=8388608"]);
    let broker = Broker::spawn(&mut command).unwrap();
    let line = broker.wait_log("have no effect here are passed over");
    for key in [
        "controller.quorum.bootstrap.servers",
        "num.network.threads",
        "num.io.threads",
        "num.recovery.threads.per.data.dir",
        "offsets.topic.replication.factor",
        "transaction.state.log.min.isr",
    ] {
        assert!(line.contains(key), "{key}: {line}");
    }
    assert!(
        line.contains(" WARN ") && !line.contains("log.retention.hours"),
        "{line}"
    );
    let address = broker.address().replace("0.0.0.0", "127.0.0.1");
    Client::connect(&address).create("t", 1, &[]);
    assert!(folder.path().join("data/meta.properties").is_file());
    broker.stop();
}

#[test]
fn every_problem_of_a_file_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.properties");
    let text =
        "num.partitions=many\n=5\nlog.retention.ms=1h\nssl.keystore.location=/k\nnum.partition=3\nnum.io.threads=8\n";
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let output = run(
        &mut tidemill(&["serve", "--config", file, "--set", "zookeeper.connect=here:2181"]),
        PATIENCE,
    );
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    let mut lines: Vec<&str> = said.lines().collect();
    lines.sort();
    let expected = [
        "tidemill: --set: invalid value \"here:2181\" for zookeeper.connect: It needs ZooKeeper, ",
        &format!("tidemill: {file}:1: invalid value \"many\" for num.partitions: Not a number of type INT"),
        &format!("tidemill: {file}:2: expected KEY=VALUE"),
        &format!(
            "tidemill: {file}:3: invalid value \"1h\" for log.retention.ms: Not a number of type LONG, which takes no unit"
        ),
        &format!(
            "tidemill: {file}:4: invalid value \"/k\" for ssl.keystore.location: It needs authentication of clients"
        ),
        &format!("tidemill: {file}:5: unknown setting \"num.partition\"; did you mean num.partitions?"),
    ];
    assert_eq!(lines.len(), expected.len(), "{said}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{expected}\n{said}");
    }
}

#[test]
fn a_check_tries_what_a_start_would_meet() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &[]);
    let data = folder.path().to_str().unwrap();
    let check = |listen: &str, data: &str| {
        run(
            &mut tidemill(&["check", "--listen", listen, "--data-dir", data]),
            PATIENCE,
        )
    };
    let output = check(broker.address(), data);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let words = format!(
        "refused data folder: the data folder {data} is in use by another Tidemill (process {})",
        broker.pid()
    );
    assert!(said.contains(&words), "{said}");
    assert!(
        said.contains("refused port: cannot listen on ") && said.contains("the port is in use"),
        "{said}"
    );
    let (address, url) = (broker.address().to_owned(), format!("PLAINTEXT://{}", broker.address()));
    broker.stop();
    let output = check(&url, data);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && said.contains(&format!("ok      port: {address} is free")),
        "{said}"
    );
    // Nothing was made where nothing was.
    let missing = folder.path().join("not/yet");
    assert!(check(&address, missing.to_str().unwrap()).status.success());
    assert!(!folder.path().join("not").exists());
}

/// A closed pipe is a reader that has enough. A full device loses output, which the exit code tells.
#[test]
fn no_output_is_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &[]);
    let mut client = Client::connect(broker.address());
    client.create("t", 1, &[]);
    client.append("t", "value");
    broker.stop();
    let data = folder.path().to_str().unwrap();
    let segment = format!("{data}/t-0/00000000000000000000.log");
    let format = format!("{data}/tidemill.format");
    let binary = env!("CARGO_BIN_EXE_tidemill");
    for what in [
        &format!("check --listen 127.0.0.1:0 --data-dir {data}"),
        "settings",
        "settings --markdown",
        "--help",
        "--version",
        "serve --help",
        &format!("dump {segment}"),
        &format!("dump {format}"),
    ] {
        let shell = |script: String| run(Command::new("bash").args(["-c", &script]), PATIENCE);
        let whole = shell(format!("{binary} {what}"));
        assert!(
            whole.status.success() && !whole.stdout.is_empty(),
            "{what}: {}",
            stderr(&whole)
        );
        for reader in ["true", "head -1", "grep -q a"] {
            let piped = shell(format!(
                "{binary} {what} | {reader} > /dev/null; exit ${{PIPESTATUS[0]}}"
            ));
            assert_eq!(
                (piped.status.code(), &*stderr(&piped)),
                (Some(0), ""),
                "{what} | {reader}"
            );
        }
        let full = shell(format!("{binary} {what} > /dev/full"));
        assert_eq!(full.status.code(), Some(1), "{what}");
        assert!(
            stderr(&full).contains("the output could not be written in full"),
            "{what}: {}",
            stderr(&full)
        );
    }
    // Nowhere to complain is no panic either, and a broker goes on without its log.
    let silent = run(
        Command::new("bash").args(["-c", &format!("{binary} serve --cores x 2> /dev/full")]),
        PATIENCE,
    );
    assert_eq!(silent.status.code(), Some(2));
    let script = format!("exec {binary} serve --listen 127.0.0.1:0 --cores '' --set listeners= 2>&1");
    let refused = run(Command::new("bash").args(["-c", &script]), PATIENCE);
    let said = String::from_utf8(refused.stdout).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.contains("invalid value \"\" for tidemill.cores") && !said.contains("panicked"),
        "{said}"
    );
}

#[test]
fn a_closed_terminal_stops_it_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let log = Broker::start(folder.path(), &[]).stop_by("HUP");
    assert!(
        log.contains("stopping on signal 1;") && log.contains("stopped cleanly"),
        "{log}"
    );
    // With nohup it is to outlive the terminal.
    let mut command = Command::new("bash");
    let serve = format!("{:?}", serve(folder.path(), &[])).replace('"', "'");
    command.args(["-c", &format!("trap '' HUP; exec {serve}")]);
    let broker = Broker::spawn(&mut command).unwrap();
    crate::broker::signal("HUP", broker.pid());
    Client::connect(broker.address()).create("t", 1, &[]);
    let log = broker.stop();
    assert!(!log.contains("on signal 1;"), "{log}");
}

mod java {
    use std::collections::BTreeSet;

    use tidemill::config::{SETTINGS, Scope, not_here};

    use super::*;
    use crate::kafka::kafka;

    /// Every key that Kafka's brokers and topics know has a row, or a reason why it has none.
    #[test]
    fn no_key_of_kafkas_is_unknown() {
        let keys = kafka(&[
            "java",
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/KafkaKeys.java"),
        ]);
        let mut unknown = BTreeSet::new();
        let mut count = 0;
        for line in keys.lines() {
            let (scope, rest) = line.split_once(' ').unwrap();
            let key = rest.split('=').next().unwrap();
            let scope = if scope == "topic" { Scope::Topic } else { Scope::Broker };
            let has_row = SETTINGS
                .iter()
                .any(|setting| setting.scope == scope && setting.key == key);
            if !has_row && not_here(key).is_none() {
                unknown.insert(key);
            }
            count += 1;
        }
        assert!(
            count > 300 && unknown.is_empty(),
            "{count} keys, of which are unknown: {unknown:#?}"
        );
    }

    /// A file with all of them at Kafka's defaults tells each by its name.
    #[test]
    fn all_of_kafkas_keys_in_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("all.properties");
        let keys = kafka(&[
            "java",
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/KafkaKeys.java"),
        ]);
        let keys = keys
            .lines()
            .filter_map(|line| line.strip_prefix("broker ")?.split_once('='));
        let text: String = keys.map(|(key, _)| format!("{key}=1\n")).collect();
        std::fs::write(&file, text).unwrap();
        let output = run(&mut tidemill(&["serve", "--config", file.to_str().unwrap()]), PATIENCE);
        assert!(!stderr(&output).contains("unknown setting"), "{}", stderr(&output));
    }
}

#[test]
fn a_byte_order_mark_is_passed_over_and_another_encoding_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.properties");
    let data = folder.path().join("data");
    let text = format!(
        "\u{FEFF}log.dirs={}\nlisteners=PLAINTEXT://127.0.0.1:0\n",
        data.display()
    );
    std::fs::write(&file, text).unwrap();
    run_ok(&mut tidemill(&["check", "--config", file.to_str().unwrap()]), PATIENCE);
    std::fs::write(&file, b"# fine\n# M\xfcller\n").unwrap();
    let output = run(&mut tidemill(&["check", "--config", file.to_str().unwrap()]), PATIENCE);
    assert!(
        stderr(&output).contains("server.properties:2: this is not UTF-8"),
        "{}",
        stderr(&output)
    );
}
