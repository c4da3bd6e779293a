//! An acknowledgement comes after a write of the journal that the device has flushed.
//!
//! The write itself cannot be seen from outside: it is an operation of io_uring, no system call, and kernel tracepoints are
//! not for everyone. What can be seen is put together here, and each part fails for a build that leaves it out:
//!
//! * the journal is open with O_DSYNC and O_DIRECT, so that a write through that descriptor is flushed when it completes
//!   (fails without the flag; not for a build that opens it so and writes through another descriptor);
//! * when an acknowledgement arrives the record is in the journal's file, and the device has performed a flush since the
//!   record was sent (fails without the flag and for writes through another descriptor, unless another process happens to
//!   flush the same device within every one of the waits; looked at only where the device has a volatile cache and no FUA);
//! * between the receive of a record and the send of its acknowledgement the shard entered io_uring (`strace`; fails when
//!   the answer does not wait for any operation, which is how an answer before the commit looks).

use std::path::{Path, PathBuf};

use crate::broker::Broker;
use crate::client::Client;

const TOPIC: &str = "flushed";

fn value(number: usize) -> String {
    format!("<record {number} of this test, and no other>")
}

fn ready_client(broker: &Broker) -> Client {
    let mut client = Client::connect(broker.address());
    client.create(TOPIC, 1, &[]);
    client.append(TOPIC, "the first");
    client
}

fn ring(folder: &Path) -> PathBuf {
    folder.join("tidemill-journal-0.ring")
}

/// The open flags of every descriptor that a process has of this file.
fn open_flags(pid: u32, file: &Path) -> Vec<i32> {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let ours = descriptors.filter_map(|entry| {
        let entry = entry.unwrap();
        let number = entry.file_name().into_string().unwrap();
        (std::fs::read_link(entry.path()).ok()? == file).then_some(number)
    });
    ours.map(|number| {
        let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        i32::from_str_radix(flags.trim(), 8).unwrap()
    })
    .collect()
}

/// How many flushes the device below this folder has completed, when each is visible.
fn flushes(folder: &Path) -> Option<u64> {
    let device = std::os::unix::fs::MetadataExt::dev(&folder.metadata().unwrap());
    let device = format!("/sys/dev/block/{}:{}", libc::major(device), libc::minor(device));
    // A partition's queue is its disk's.
    let disk = ["", "/.."].map(|up| format!("{device}{up}")).into_iter();
    let disk = disk
        .into_iter()
        .find(|disk| Path::new(&format!("{disk}/queue")).exists())?;
    let read = |name: &str| std::fs::read_to_string(format!("{disk}/{name}")).ok();
    if read("queue/write_cache")?.trim() != "write back" || read("queue/fua")?.trim() != "0" {
        return None;
    }
    read("stat")?.split_whitespace().nth(15)?.parse().ok()
}

#[test]
fn an_acknowledged_record_is_in_the_journal_and_flushed() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &["tidemill.cores=0"]);
    let mut client = ready_client(&broker);
    let flags = open_flags(broker.pid(), &ring(folder.path()));
    let direct_and_flushed = libc::O_DIRECT | libc::O_DSYNC;
    assert!(
        flags
            .iter()
            .any(|flags| flags & direct_and_flushed == direct_and_flushed),
        "the journal is open with flags {flags:?} only"
    );
    if flushes(folder.path()).is_none() {
        println!("flushes of this device cannot be counted: it has no volatile cache, or FUA, or no name");
    }
    for number in 0..50 {
        let before = flushes(folder.path());
        client.append(TOPIC, &value(number));
        let after = flushes(folder.path());
        assert!(
            before.is_none() || after > before,
            "record {number} was acknowledged without a flush"
        );
        let journal = std::fs::read(ring(folder.path())).unwrap();
        let value = value(number);
        assert!(
            journal.windows(value.len()).any(|window| window == value.as_bytes()),
            "record {number} was acknowledged and is not in the journal"
        );
    }
    broker.stop();
}

mod strace {
    use std::path::Path;
    use std::process::Command;

    use super::{TOPIC, ready_client, value};
    use crate::broker::{Broker, PATIENCE, run_ok, serve};

    /// The command under strace, as the tracer's sibling: its process id is the one that the caller gets.
    fn traced(command: &Command, calls: &str, output: &Path) -> Command {
        let mut strace = Command::new("strace");
        strace.args(["-D", "-f", "-qq", "-s", "0", "-e", &format!("trace={calls}"), "-o"]);
        strace.arg(output).arg(command.get_program()).args(command.get_args());
        strace
    }

    /// What the thread that serves connections did, one letter each: R received, U entered io_uring and came back, S sent.
    fn steps(trace: &str) -> String {
        let server = trace.lines().find(|line| line.contains("sendmsg(")).expect("an answer");
        let thread = server.split_whitespace().next().unwrap();
        let of_thread = trace
            .lines()
            .filter(|line| line.split_whitespace().next() == Some(thread));
        let step = |line: &str| match line {
            // It comes back in a line of its own, after what other threads did meanwhile.
            line if line.ends_with("<unfinished ...>") => None,
            line if line.contains("recvfrom") => (!line.contains("= -1 ") && !line.ends_with("= 0")).then_some('R'),
            line if line.contains("io_uring_enter") => Some('U'),
            line if line.contains("sendmsg") => Some('S'),
            _ => None,
        };
        of_thread.filter_map(step).collect()
    }

    #[test]
    fn between_a_record_and_its_acknowledgement_the_shard_waits_for_the_ring() {
        const RECORDS: usize = 50;
        let scratch = tempfile::tempdir().unwrap();
        let trace = scratch.path().join("trace");
        let command = serve(
            &scratch.path().join("data"),
            &["tidemill.cores=0", "tidemill.spin.us=0"],
        );
        let broker = Broker::spawn(&mut traced(&command, "recvfrom,sendmsg,io_uring_enter", &trace)).unwrap();
        let mut client = ready_client(&broker);
        for number in 0..RECORDS {
            client.append(TOPIC, &value(number));
        }
        broker.stop();
        let steps = steps(&std::fs::read_to_string(&trace).unwrap());
        let answers: Vec<&str> = steps
            .split_inclusive('S')
            .filter(|steps| steps.ends_with('S'))
            .collect();
        assert!(answers.len() > RECORDS, "{} answers: {steps}", answers.len());
        for answer in &answers[answers.len() - RECORDS..] {
            let after_receive = answer.rsplit_once('R').expect("a request before its answer").1;
            assert!(
                after_receive.contains('U'),
                "answered without waiting for the ring: {answer}"
            );
        }
    }

    #[test]
    fn trim_listens_nowhere() {
        let scratch = tempfile::tempdir().unwrap();
        let (data, trace) = (scratch.path().join("data"), scratch.path().join("trace"));
        let broker = Broker::start(&data, &[]);
        ready_client(&broker);
        broker.kill();
        let mut trim = Command::new(env!("CARGO_BIN_EXE_tidemill"));
        run_ok(
            &mut traced(trim.arg("trim").arg(&data), "bind,listen,connect", &trace),
            PATIENCE,
        );
        assert_eq!(std::fs::read_to_string(&trace).unwrap_or_default(), "");
    }
}
