//! Folders that are not as they were left: torn, zeroed, flipped, missing. What is found is recovered, rebuilt or kept
//! apart, said in one line; what is intact is served; nothing panics, and nothing that was acknowledged is gone in silence.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidemill::error::ErrorCode;
use tidemill::record::scan::Depth;
use tidemill::record::{Records, Scan};

use crate::broker::{Broker, PATIENCE, complaints, run, run_ok, serve as serve_command};
use crate::client::{Client, Neighbour, batch};

/// Three segments of a mebibyte, the last one not full.
const RECORDS: i64 = 2500;
const SETTINGS: [&str; 2] = ["log.segment.bytes=1048576", "auto.create.topics.enable=false"];
const TOPIC: &str = "damaged";

fn value(offset: i64) -> String {
    format!("{offset} {}", "x".repeat(1000))
}

/// How the broker of a folder ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Stop,
    Kill,
}

/// A folder with acknowledged records, one in each batch, that nobody serves any more.
fn folder(end: End) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &SETTINGS);
    Neighbour::new(broker.address()).is_served();
    let mut client = Client::connect(broker.address());
    client.create(TOPIC, 1, &[]);
    for offset in 0..RECORDS {
        assert_eq!(client.append(TOPIC, &value(offset)), offset);
    }
    match end {
        End::Stop => broker.stop(),
        End::Kill => broker.kill(),
    };
    folder
}

/// The topic's segments, oldest first.
fn segments(folder: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(folder.join(format!("{TOPIC}-0"))).unwrap();
    let mut segments: Vec<PathBuf> = names.map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    segments.sort();
    segments
}

fn last_segment(folder: &Path) -> PathBuf {
    segments(folder).pop().unwrap()
}

/// The offset at which a segment begins.
fn base(segment: &Path) -> i64 {
    segment.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

fn recovery_point(folder: &Path) -> PathBuf {
    folder.join(format!("{TOPIC}-0/tidemill.recovery"))
}

/// The journals; which of them has the topic depends on its id.
fn rings(folder: &Path) -> Vec<PathBuf> {
    let ring = |shard| folder.join(format!("tidemill-journal-{shard}.ring"));
    (0..).map(ring).take_while(|path| path.exists()).collect()
}

fn open(path: &Path) -> fs::File {
    fs::OpenOptions::new().read(true).write(true).open(path).unwrap()
}

fn flip(path: &Path, at: u64) {
    let file = open(path);
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

fn cut(path: &Path, bytes: u64) {
    let file = open(path);
    let len = file.metadata().unwrap().len();
    file.set_len(len - bytes).unwrap();
}

fn lengthen(path: &Path, bytes: &[u8]) {
    let file = open(path);
    let len = file.metadata().unwrap().len();
    file.write_all_at(bytes, len).unwrap();
}

/// Where the frame with this record's value is.
fn journaled(folder: &Path, offset: i64) -> (PathBuf, u64) {
    let value = value(offset);
    let found = rings(folder).into_iter().find_map(|ring| {
        let bytes = fs::read(&ring).unwrap();
        let at = bytes
            .windows(value.len())
            .position(|window| window == value.as_bytes())?;
        Some((ring, at as u64))
    });
    found.expect("the journal has its newest records")
}

/// Flips a bit of this byte of a batch in the middle of the first segment; the batch's offset.
fn flip_in_batch(folder: &Path, byte: u64) -> i64 {
    let segment = &segments(folder)[0];
    let bytes = fs::read(segment).unwrap();
    let batch = Scan::new(&bytes, Depth::Crc).nth(465).unwrap();
    flip(segment, batch.position as u64 + byte);
    batch.header.base_offset
}

/// What a folder serves.
struct Served {
    /// Offsets that cannot be read.
    missing: Vec<i64>,
    /// What it logged above INFO.
    lines: Vec<String>,
    /// Whether the topic takes records.
    is_writable: bool,
}

/// Starts a broker on the folder, reads around the damage, tries to append, and stops.
fn serve(folder: &Path) -> Served {
    let broker = Broker::start(folder, &SETTINGS);
    let mut client = Client::connect(broker.address());
    let mut missing = Vec::new();
    let mut offset = 0;
    while offset < RECORDS {
        let answer = client.fetch(TOPIC, offset);
        let records = answer.records.clone().unwrap_or_default();
        let before = offset;
        for view in Scan::new(&records, Depth::Crc) {
            assert_eq!(view.header.base_offset, offset);
            let record = Records::of(&view.slice_of(&records), 1 << 20).unwrap().next().unwrap();
            assert_eq!(record.unwrap().value.as_deref(), Some(value(offset).as_bytes()));
            offset += 1;
        }
        if offset == before {
            // Never nothing in silence: an error, unless the log ends here.
            let is_end = answer.error_code == 0 && offset >= answer.high_watermark;
            assert!(answer.error_code != 0 || is_end, "{answer:?}");
            missing.push(offset);
            offset += 1;
        }
    }
    let appended = client.produce(TOPIC, &[(0, batch(&["more"]))]).remove(0);
    let is_writable = appended.error_code == 0;
    assert!(
        is_writable || appended.error_code == ErrorCode::KafkaStorageError.code(),
        "{appended:?}"
    );
    assert!(!is_writable || appended.base_offset >= RECORDS - missing.len() as i64);
    assert_eq!(client.values("neighbour", 0), [(0, "record 0".to_owned())]);
    let log = broker.stop();
    assert!(!log.contains("panicked"), "{log}");
    Served {
        missing,
        lines: complaints(&log).into_iter().map(str::to_owned).collect(),
        is_writable,
    }
}

/// One kind of damage, and what comes of it.
struct Case {
    what: &'static str,
    /// Does it; which offsets cannot be read any more.
    damage: fn(&Path) -> Range<i64>,
    /// The log's lines, by words in them.
    lines: &'static [&'static str],
    /// The topic takes records afterwards. (Not where acknowledged ones at its end are gone.)
    is_writable: bool,
}

const NONE: Range<i64> = 0..0;

fn case(what: &'static str, lines: &'static [&'static str], damage: fn(&Path) -> Range<i64>) -> Case {
    Case {
        what,
        damage,
        lines,
        is_writable: true,
    }
}

fn case_at_the_end(what: &'static str, lines: &'static [&'static str], damage: fn(&Path) -> Range<i64>) -> Case {
    Case {
        is_writable: false,
        ..case(what, lines, damage)
    }
}

/// Every case on a copy of its own.
fn expect(end: End, cases: &[Case]) {
    let original = folder(end);
    for case in cases {
        let scratch = tempfile::tempdir().unwrap();
        let copy = scratch.path().join("copy");
        run_ok(Command::new("cp").arg("-a").arg(original.path()).arg(&copy), PATIENCE);
        let missing: Vec<i64> = (case.damage)(&copy).collect();
        let served = serve(&copy);
        assert_eq!(served.missing, missing, "{}: {:#?}", case.what, served.lines);
        assert_eq!(served.is_writable, case.is_writable, "{}", case.what);
        // One line, or one and what follows from it.
        assert_eq!(
            served.lines.len(),
            case.lines.len(),
            "{}: {:#?}",
            case.what,
            served.lines
        );
        for (line, words) in served.lines.iter().zip(case.lines) {
            assert!(line.contains(words), "{}: {words:?} is not in {line}", case.what);
        }
    }
}

#[test]
fn of_a_folder_that_was_stopped() {
    let cases = [
        case("no recovery point", &["tidemill.recovery is missing"], |folder| {
            fs::remove_file(recovery_point(folder)).unwrap();
            NONE
        }),
        case(
            "a flipped bit in the recovery point",
            &["the other one is used"],
            |folder| {
                flip(&recovery_point(folder), 40);
                NONE
            },
        ),
        case(
            "no index file of a closed segment",
            &["1 closed segments had no index file"],
            |folder| {
                fs::remove_file(segments(folder)[1].with_extension("tidemill-index")).unwrap();
                NONE
            },
        ),
        case(
            "a flipped bit in an index file",
            &["1 closed segments had no index file"],
            |folder| {
                flip(&segments(folder)[0].with_extension("tidemill-index"), 50);
                NONE
            },
        ),
        case(
            "a flipped bit in a record",
            &["the records at offset 465 are damaged"],
            |folder| {
                let offset = flip_in_batch(folder, 500);
                offset..offset + 1
            },
        ),
        case(
            "a flipped bit in a record, found by a scan",
            &["tidemill.recovery is missing", "offsets 465 to 465 cannot be read"],
            |folder| {
                fs::remove_file(recovery_point(folder)).unwrap();
                let offset = flip_in_batch(folder, 500);
                offset..offset + 1
            },
        ),
        case(
            "garbage behind the end",
            &["the end of the log: it goes on from there"],
            |folder| {
                lengthen(&last_segment(folder), b"garbage that is no batch at all");
                NONE
            },
        ),
        case("zeros behind the end", &[], |folder| {
            lengthen(&last_segment(folder), &[0; 10_000]);
            NONE
        }),
        case("half a batch behind the end", &["there is no intact batch"], |folder| {
            lengthen(&last_segment(folder), &batch(&["torn"])[..40]);
            NONE
        }),
        case_at_the_end(
            "the end cut off",
            &["bytes of the", "acknowledged and are lost"],
            |folder| {
                cut(&last_segment(folder), 100);
                RECORDS - 1..RECORDS
            },
        ),
        case_at_the_end(
            "no last segment",
            &["has 0 bytes of the", "acknowledged and are lost"],
            |folder| {
                let last = last_segment(folder);
                fs::remove_file(&last).unwrap();
                base(&last)..RECORDS
            },
        ),
        case("no middle segment", &["is missing: offsets"], |folder| {
            let segments = segments(folder);
            fs::remove_file(&segments[1]).unwrap();
            base(&segments[1])..base(&segments[2])
        }),
        case("no first segment", &["is missing: offsets"], |folder| {
            let segments = segments(folder);
            fs::remove_file(&segments[0]).unwrap();
            0..base(&segments[1])
        }),
        case("no journals", &[], |folder| {
            rings(folder).iter().for_each(|ring| fs::remove_file(ring).unwrap());
            NONE
        }),
    ];
    expect(End::Stop, &cases);
}

#[test]
fn of_a_folder_that_was_left_by_a_kill() {
    let cases = [
        case("nothing", &[], |_| NONE),
        case("neither recovery point nor index files", &[], |folder| {
            fs::remove_file(recovery_point(folder)).unwrap();
            for segment in segments(folder) {
                // How many there are by now depends on how fast the host is.
                let _ = fs::remove_file(segment.with_extension("tidemill-index"));
            }
            NONE
        }),
        case(
            "a recovery point without its end",
            &["the other one is used"],
            |folder| {
                cut(&recovery_point(folder), 7);
                NONE
            },
        ),
        case("one superblock flipped", &[], |folder| {
            rings(folder).iter().for_each(|ring| flip(ring, 30));
            NONE
        }),
        case(
            "a flipped bit in a frame",
            &["DAMAGED", "offsets 2450 to 2450 cannot be read"],
            |folder| {
                let (ring, at) = journaled(folder, 2450);
                flip(&ring, at + 20);
                2450..2451
            },
        ),
    ];
    expect(End::Kill, &cases);
}

/// Only the recovery point knows where a log starts once its journal is empty.
#[test]
fn records_that_were_deleted_do_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &SETTINGS);
    let mut client = Client::connect(broker.address());
    client.create(TOPIC, 1, &[]);
    for offset in 0..150 {
        assert_eq!(client.append(TOPIC, &value(offset)), offset);
    }
    client.delete_below(TOPIC, 100);
    broker.stop();
    let point = recovery_point(folder.path());
    let half = fs::metadata(&point).unwrap().len() / 2;
    // The checksum, the start, and more of what it says; in either copy.
    for at in [9, 36, 64, half + 9, half + 36, half + 64] {
        flip(&point, at);
        let broker = Broker::start(folder.path(), &SETTINGS);
        let mut client = Client::connect(broker.address());
        assert_eq!(client.earliest(TOPIC), 100, "byte {at}");
        // OFFSET_OUT_OF_RANGE
        assert_eq!(client.fetch(TOPIC, 99).error_code, 1, "byte {at}");
        assert_eq!(client.values(TOPIC, 100).len(), 50);
        let log = broker.stop();
        let lines = complaints(&log);
        assert!(
            lines.len() == 1 && lines[0].contains("one copy of the recovery point is damaged"),
            "byte {at}: {lines:#?}"
        );
        // There are two again.
        let whole = fs::read(&point).unwrap();
        assert!(whole[..half as usize] == whole[half as usize..]);
    }
}

/// Without it nobody knows what was deleted: its log is not served, others are, and no file of it changes.
#[test]
fn a_recovery_point_that_cannot_be_used_takes_its_log_offline() {
    let folder = folder(End::Stop);
    let point = recovery_point(folder.path());
    let whole = fs::read(&point).unwrap();
    let both = |byte: usize| {
        let mut bytes = whole.clone();
        let half = bytes.len() / 2;
        bytes[byte] ^= 1;
        bytes[half + byte] ^= 1;
        bytes
    };
    let segment = fs::read(last_segment(folder.path())).unwrap();
    for (content, words) in [
        (both(40), "its checksum is wrong"),
        (Vec::new(), "its first bytes are not those of such a file"),
        (b"TMRP\x09\0".to_vec(), "its first bytes are not those of such a file"),
    ] {
        fs::write(&point, &content).unwrap();
        let broker = Broker::start(folder.path(), &SETTINGS);
        let mut client = Client::connect(broker.address());
        let storage_error = ErrorCode::KafkaStorageError.code();
        assert_eq!(client.fetch(TOPIC, 0).error_code, storage_error);
        assert_eq!(
            client.produce(TOPIC, &[(0, batch(&["more"]))])[0].error_code,
            storage_error
        );
        assert_eq!(client.values("neighbour", 0), [(0, "record 0".to_owned())]);
        let log = broker.kill();
        let is_said = |line: &&str| line.contains("tidemill.recovery cannot be used") && line.contains(words);
        assert!(complaints(&log).iter().any(is_said), "{log}");
        assert_eq!(fs::read(&point).unwrap(), content);
        assert_eq!(fs::read(last_segment(folder.path())).unwrap(), segment);
    }
    fs::write(&point, &whole).unwrap();
    let served = serve(folder.path());
    assert!(served.is_writable && served.missing.is_empty() && served.lines.is_empty());
}

#[test]
fn a_loss_at_the_end_can_be_accepted() {
    let folder = folder(End::Stop);
    cut(&last_segment(folder.path()), 100);
    assert!(!serve(folder.path()).is_writable);
    // As the line said: first what is lost, then that it is given up.
    let before = content(folder.path());
    let (code, said) = repair(folder.path(), false);
    assert!(
        code == Some(1) && said.contains("were lost, as an earlier start said"),
        "{said}"
    );
    assert_eq!(before, content(folder.path()));
    let (code, said) = repair(folder.path(), true);
    assert_eq!(code, Some(0), "{said}");
    let served = serve(folder.path());
    assert!(served.is_writable && served.missing.len() <= 1, "{:?}", served.missing);
    let (code, said) = repair(folder.path(), false);
    assert!(code == Some(0) && said == "a start goes on\n", "{said}");
}

/// `tidemill repair`: its exit code and everything that it says.
fn repair(folder: &Path, accepts_loss: bool) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command
        .arg("repair")
        .arg(folder)
        .args(["--set", crate::broker::SMALL_JOURNAL]);
    if accepts_loss {
        command.arg("--accept-loss");
    }
    let output = run(&mut command, PATIENCE);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// Every file with its bytes, but the one that says who serves the folder.
fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut folders = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.ends_with(".lock") => {}
                false => files.push((path.clone(), fs::read(path).unwrap())),
            }
        }
    }
    files.sort();
    files
}

/// No start, as often as it is tried; nothing is touched; and the command that every refusal names says the same.
#[track_caller]
fn is_refused(folder: &Path, words: &str) {
    let before = content(folder);
    for _ in 0..2 {
        match Broker::spawn(&mut serve_command(folder, &SETTINGS)) {
            Ok(broker) => panic!("it became ready:\n{}", broker.log()),
            Err(log) => assert!(
                log.contains(words) && log.contains("tidemill repair"),
                "{words:?} is not in {log}"
            ),
        }
    }
    let (code, said) = repair(folder, false);
    assert!(code == Some(1) && said.contains(words), "{said}");
    assert!(before == content(folder), "{words}: something was touched");
}

/// A folder of which every journal has frames, and what is acknowledged in it.
fn small_folder(end: End) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &SETTINGS);
    let mut client = Client::connect(broker.address());
    client.create("small", 4, &[]);
    for partition in 0..4 {
        client.produce("small", &[(partition, batch(&["kept"]))]);
    }
    match end {
        End::Stop => broker.stop(),
        End::Kill => broker.kill(),
    };
    folder
}

fn is_whole(folder: &Path) {
    let broker = Broker::start(folder, &SETTINGS);
    let mut client = Client::connect(broker.address());
    let answer = client.produce("small", &[0, 1, 2, 3].map(|partition| (partition, batch(&["more"]))));
    assert!(
        answer
            .iter()
            .all(|partition| partition.error_code == 0 && partition.base_offset == 1),
        "{answer:?}"
    );
    broker.kill();
}

#[test]
fn what_a_folder_needs_of_itself_is_not_served_without() {
    type Damage = fn(&Path);
    let cases: [(End, &str, Damage); 8] = [
        (End::Kill, "ring is missing", |folder| {
            fs::remove_file(&rings(folder)[0]).unwrap()
        }),
        (End::Kill, "ring is empty", |folder| {
            fs::write(&rings(folder)[0], "").unwrap()
        }),
        (End::Kill, "lost both superblocks", |folder| {
            let ring = rings(folder).pop().unwrap();
            open(&ring).write_all_at(&[0; 12288], 0).unwrap();
        }),
        (End::Kill, "its superblock says", |folder| cut(&rings(folder)[0], 4096)),
        (End::Stop, "meta.properties is missing", |folder| {
            fs::remove_file(folder.join("meta.properties")).unwrap()
        }),
        (End::Kill, "tidemill.format is damaged", |folder| {
            fs::write(folder.join("tidemill.format"), "").unwrap()
        }),
        (End::Stop, "__cluster_metadata-0 is missing", |folder| {
            fs::remove_dir_all(folder.join("__cluster_metadata-0")).unwrap();
        }),
        (End::Stop, "no segment of the metadata log", |folder| {
            let folder = folder.join("__cluster_metadata-0");
            fs::remove_dir_all(&folder).unwrap();
            fs::create_dir(&folder).unwrap();
        }),
    ];
    let (stopped, killed) = (small_folder(End::Stop), small_folder(End::Kill));
    for (end, words, damage) in cases {
        let original = if end == End::Stop { &stopped } else { &killed };
        let scratch = tempfile::tempdir().unwrap();
        let copy = scratch.path().join("copy");
        run_ok(Command::new("cp").arg("-a").arg(original.path()).arg(&copy), PATIENCE);
        damage(&copy);
        is_refused(&copy, words);
        let (code, said) = repair(&copy, true);
        assert_eq!(code, Some(0), "{words}: {said}");
        let broker = Broker::start(&copy, &SETTINGS);
        Client::connect(broker.address()).create("another", 1, &[]);
        broker.stop();
        // Without the metadata nobody claims the partitions, and they are kept.
        let has_stray = fs::read_dir(&copy)
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_str().unwrap().ends_with("-stray"));
        assert!(has_stray || !words.contains("metadata"), "{words}: {said}");
    }
    // The originals were never touched.
    is_whole(stopped.path());
    is_whole(killed.path());
}

#[test]
fn a_newest_snapshot_of_the_metadata_that_is_damaged_loses_nothing() {
    let settings = ["metadata.log.max.record.bytes.between.snapshots=2000"];
    let folder = tempfile::tempdir().unwrap();
    let snapshots = || {
        let names = fs::read_dir(folder.path().join("__cluster_metadata-0")).unwrap();
        let mut names: Vec<PathBuf> = names.map(|entry| entry.unwrap().path()).collect();
        names.retain(|path| path.extension().is_some_and(|extension| extension == "checkpoint"));
        names.sort();
        names
    };
    let mut topics = 0;
    for round in 0..2 {
        let broker = Broker::start(folder.path(), &settings);
        let mut client = Client::connect(broker.address());
        let last = snapshots().pop();
        while topics < 20 * (round + 1) || snapshots().len() != 2 || snapshots().pop() == last {
            client.create(&format!("t{topics}"), 1, &[]);
            topics += 1;
            assert!(topics < 500, "snapshots are never written");
        }
        broker.stop();
        flip(&snapshots()[1], 200);
        let broker = Broker::start(folder.path(), &settings);
        let mut client = Client::connect(broker.address());
        for topic in 0..topics {
            client.append(&format!("t{topic}"), "record");
        }
        let log = broker.kill();
        assert!(log.contains("an older snapshot is tried"), "{log}");
    }
}

#[test]
fn zeros_where_frames_were_stop_the_logs_that_may_have_lost_some() {
    let folder = folder(End::Kill);
    let (ring, at) = journaled(folder.path(), 2450);
    open(&ring).write_all_at(&[0; 8192], at / 4096 * 4096).unwrap();
    // The metadata's log is in one of the journals, too: where nobody can say that it lost nothing, there is no start.
    let is_beside_metadata = ring == rings(folder.path())[0];
    let mut said = String::new();
    let refused = Broker::spawn(&mut serve_command(folder.path(), &SETTINGS)).err();
    if let Some(log) = refused.filter(|_| is_beside_metadata) {
        assert!(log.contains("topics or settings that were made may be lost"), "{log}");
        let repaired = repair(folder.path(), true);
        assert_eq!(repaired.0, Some(0), "{}", repaired.1);
        said = repaired.1;
    }
    let served = serve(folder.path());
    assert!(!served.missing.is_empty() && served.missing.iter().all(|offset| (2449..2460).contains(offset)));
    let is_said = |line: &String| line.contains("DAMAGED");
    assert!(
        served.lines.iter().any(is_said) || is_said(&said),
        "{:#?} {said}",
        served.lines
    );
    // The newest records of the topic lie behind the hole, so it is known to be whole there.
    assert!(served.is_writable);
}
