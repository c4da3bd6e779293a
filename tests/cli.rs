//! The command line of the real binary, as far as it needs no running broker.

use std::process::{Command, Output};

fn tidemill(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidemill"))
        .args(args)
        .output()
        .unwrap()
}

/// Runs a command line that must be refused before anything is touched; returns what it says.
#[track_caller]
fn refused(args: &[&str]) -> String {
    let output = tidemill(args);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(output.stdout.is_empty());
    message
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    let message = refused(&["serve", "--set", "num.partition=3"]);
    assert_eq!(
        message,
        "tidemill: --set: unknown setting \"num.partition\"; did you mean num.partitions?\n"
    );
    let message = refused(&["serve", "--set", "retention.ms=3"]);
    assert!(message.contains("did you mean log.retention.ms?"), "{message}");
    let message = refused(&["serve", "--set", "something.else.entirely=3"]);
    assert_eq!(
        message,
        "tidemill: --set: unknown setting \"something.else.entirely\"\n"
    );
}

#[test]
fn a_bad_value_names_its_key_and_the_reason() {
    let message = refused(&["serve", "--set", "num.partitions=many"]);
    assert_eq!(
        message,
        "tidemill: --set: invalid value \"many\" for num.partitions: Not a number of type INT\n"
    );
    let message = refused(&["serve", "--set", "log.cleanup.policy=compact"]);
    assert!(message.contains("compaction is not available yet"), "{message}");
    let message = refused(&["serve", "--set", "num.partitions"]);
    assert!(message.contains("expected KEY=VALUE"), "{message}");
}

#[test]
fn an_error_in_a_file_names_the_file_and_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.properties");
    std::fs::write(&path, "# mine\nnum.partitions=3\n\nlog.segment.byte=5\n").unwrap();
    let path = path.to_str().unwrap();
    let message = refused(&["serve", "--config", path]);
    let expected =
        format!("tidemill: {path}:4: unknown setting \"log.segment.byte\"; did you mean log.segment.bytes?\n");
    assert_eq!(message, expected);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let message = refused(&["serve", "--config", "/nowhere/server.properties"]);
    assert!(
        message.starts_with("tidemill: --config /nowhere/server.properties: No such file"),
        "{message}"
    );
}

#[test]
fn options_are_checked_like_the_settings_that_they_stand_for() {
    assert!(refused(&["serve", "--listen", "9092"]).contains("expected HOST:PORT"));
    assert!(refused(&["serve", "--listen", "0.0.0.0:9092"]).contains("--advertise"));
    assert!(refused(&["serve", "--listen", "127.0.0.1:66000"]).contains("not a port number"));
    assert!(refused(&["serve", "--cores", "1-"]).contains("tidemill.cores"));
    assert!(refused(&["serve", "--data-dir", "a,b"]).contains("expected one folder"));
    assert!(refused(&["check", "--set", "tidemill.journal.bytes=1"]).contains("Value must be at least"));
    assert!(refused(&["serve", "--data", "x"]).contains("--data-dir"));
}

#[test]
fn help_names_every_command_and_option() {
    let output = tidemill(&["--help"]);
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    for command in ["serve", "check", "dump", "trim", "repair", "settings"] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
    }
    let help = String::from_utf8(tidemill(&["serve", "--help"]).stdout).unwrap();
    for option in ["--config", "--set", "--data-dir", "--listen", "--advertise", "--cores"] {
        assert!(help.contains(option), "{help}");
    }
    assert_eq!(tidemill(&[]).status.code(), Some(2));
}

#[test]
fn every_setting_is_listed_with_its_default() {
    let output = tidemill(&["settings"]);
    assert!(output.status.success());
    let list = String::from_utf8(output.stdout).unwrap();
    assert!(list.contains("\nlog.flush.interval.messages=1  "), "{list}");
    assert!(list.contains("\nretention.ms=604800000  "));
    assert!(list.contains("\ntidemill.cores=auto  "));
}

/// What `tidemill dump` says about a file of this name and content.
fn dump(name: &str, content: &[u8]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    let output = tidemill(&["dump", path.to_str().unwrap()]);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn dump_knows_a_file_by_its_name() {
    let ok = |name, content: &[u8]| {
        let (code, text) = dump(name, content);
        assert_eq!(code, Some(0), "{name}: {text}");
        text
    };
    assert_eq!(ok("leader-epoch-checkpoint", b"0\n1\n3 17\n"), "epoch 3 from 17\n");
    assert_eq!(ok("replication-offset-checkpoint", b"0\n1\nt 0 5\n"), "t-0 5\n");
    assert_eq!(
        ok(".kafka_cleanshutdown", br#"{"version":0,"brokerEpoch":9}"#),
        "stopped cleanly in broker epoch 9\n"
    );
    assert_eq!(
        ok(
            "t-0/partition.metadata",
            b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\n"
        ),
        "topic AAAAAAAAAAAAAAAAAAAAAQ\n"
    );
    let format = "version=1\nshards=2\njournals=made\n";
    assert_eq!(ok("tidemill.format", format.as_bytes()), format);
    let batch = tidemill::record::BatchBuilder::new()
        .record(5, None, Some(b"v"))
        .build_stamped(0, 1);
    assert!(ok("t-0/00000000000000000000.log", batch.bytes()).starts_with("batch 0..=0 epoch 1 "));
    assert!(ok("__cluster_metadata-0/00000000000000000000.log", batch.bytes()).contains("cannot be read"));
}

#[test]
fn dump_says_what_is_wrong_with_a_file() {
    let bad = |name, content: &[u8]| {
        let (code, text) = dump(name, content);
        assert_eq!(code, Some(1), "{name}: {text}");
        text
    };
    assert!(
        bad(
            "t-0/00000000000000000000.log",
            b"not a batch, but long enough to be taken for one"
        )
        .contains("at 0")
    );
    assert!(bad("tidemill-journal-0.ring", b"short").contains("no superblock can be read"));
    assert!(bad("t-0/tidemill.recovery", b"nothing").contains("its first bytes are not those of such a file"));
    assert!(bad("tidemill.format", b"version=99\n").contains("newer version of Tidemill"));
    assert!(bad("notes.txt", b"hello").contains("no file that Tidemill writes"));
    let output = tidemill(&["dump", "/nowhere/x.log"]);
    assert_eq!(output.status.code(), Some(1));
    let output = tidemill(&["dump", env!("CARGO_MANIFEST_DIR")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("name one of the files in it"));
}

#[test]
fn a_data_folder_that_is_a_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "a note").unwrap();
    let below = file.join("data");
    for data in [&file, &below].map(|path| path.to_str().unwrap()) {
        for command in [
            &["serve", "--data-dir", data][..],
            &["check", "--data-dir", data],
            &["trim", data],
        ] {
            let output = tidemill(command);
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8(said).unwrap();
            assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
            assert!(said.contains(&format!("{data} is a file, or lies below one")), "{said}");
        }
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a note");
}

#[test]
fn trim_makes_no_folder_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let output = tidemill(&["trim", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("is not a data folder of Tidemill"), "{message}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
