//! A start that cannot be, refused with what to do. The folder is as it was.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;

use crate::broker::{Broker, PATIENCE, run, serve};
use crate::client::Neighbour;

/// What `serve` says instead of becoming ready.
#[track_caller]
fn refusal(command: &mut std::process::Command) -> String {
    match Broker::spawn(command) {
        Ok(broker) => panic!("it became ready:\n{}", broker.log()),
        Err(log) => {
            assert!(log.contains(" ERROR ") && log.contains("exit status: 1"), "{log}");
            log
        }
    }
}

#[test]
fn a_second_process_on_the_folder_and_a_folder_of_a_newer_format() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &[]);
    let mut neighbour = Neighbour::new(broker.address());
    let log = refusal(&mut serve(folder.path(), &[]));
    assert!(
        log.contains("in use by another Tidemill") && log.contains("--data-dir"),
        "{log}"
    );
    neighbour.is_served();
    broker.stop();

    let format = folder.path().join("tidemill.format");
    let ours = fs::read_to_string(&format).unwrap();
    fs::write(&format, "version=2\nshards=1\nmore=things\n").unwrap();
    let log = refusal(&mut serve(folder.path(), &[]));
    assert!(
        log.contains("written by a newer version") && log.contains("use that version"),
        "{log}"
    );
    fs::write(&format, "no format").unwrap();
    let log = refusal(&mut serve(folder.path(), &[]));
    assert!(
        log.contains("tidemill.format is damaged") && log.contains("tidemill repair"),
        "{log}"
    );
    fs::write(&format, ours).unwrap();

    let meta = folder.path().join("meta.properties");
    let ours = fs::read_to_string(&meta).unwrap();
    fs::write(&meta, ours.replace("node.id=1", "node.id=8")).unwrap();
    let log = refusal(&mut serve(folder.path(), &[]));
    assert!(log.contains("node.id"), "{log}");
    fs::write(&meta, ours).unwrap();

    let broker = Broker::start(folder.path(), &[]);
    broker.stop();
}

#[test]
fn a_listener_that_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command
        .args(["serve", "--listen", &address, "--data-dir"])
        .arg(folder.path());
    let log = refusal(&mut command);
    assert!(log.contains(&address) && log.contains("in use"), "{log}");
}

/// Runs without the capabilities of root, under this limit of locked memory.
#[allow(unsafe_code)]
fn limited(mut command: std::process::Command, locked_bytes: u64) -> std::process::Command {
    let limit = libc::rlimit {
        rlim_cur: locked_bytes,
        rlim_max: locked_bytes,
    };
    // SAFETY: both calls are safe between fork and exec: they take no locks and touch no memory of the parent.
    unsafe {
        command.pre_exec(move || {
            const CAP_IPC_LOCK: libc::c_int = 14;
            // Root keeps the right to lock without a limit unless it leaves the bounding set before the exec.
            if libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            libc::prctl(libc::PR_CAPBSET_DROP, CAP_IPC_LOCK);
            Ok(())
        });
    }
    command
}

#[test]
fn too_little_lockable_memory() {
    let folder = tempfile::tempdir().unwrap();
    let log = refusal(&mut limited(serve(folder.path(), &[]), 64 * 1024));
    assert!(
        log.contains("locked memory") && log.contains("ulimit -l") && log.contains("512 KiB"),
        "{log}"
    );
    let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_tidemill"));
    check.args(["check", "--data-dir"]).arg(folder.path());
    let output = run(&mut limited(check, 64 * 1024), PATIENCE);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        !output.status.success() && said.contains("refused locked memory"),
        "{said}"
    );

    // With a little more it runs, and says what it lacks. The limit is for all that a user runs: other tests' brokers count,
    // unless they are root's, which have none.
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("SKIPPED: what a little more memory allows, which other brokers of this user may have");
        return;
    }
    let broker = Broker::spawn(&mut limited(serve(folder.path(), &[]), 1024 * 1024)).unwrap();
    let mut neighbour = Neighbour::new(broker.address());
    neighbour.is_served();
    let log = broker.stop();
    assert!(
        log.contains("WARN locked memory") && log.contains("buffers not registered"),
        "{log}"
    );
}

/// Forbids io_uring as a container's seccomp profile does.
#[allow(unsafe_code)]
fn without_io_uring(mut command: std::process::Command) -> std::process::Command {
    let statement = |code: u32, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let load = statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0);
    let is_setup = libc::sock_filter {
        jf: 1,
        ..statement(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            libc::SYS_io_uring_setup as u32,
        )
    };
    let refuse = statement(
        libc::BPF_RET | libc::BPF_K,
        libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
    );
    let allow = statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW);
    let mut filter = [load, is_setup, refuse, allow];
    // SAFETY: as above; the filter was moved into the closure and outlives the calls.
    unsafe {
        command.pre_exec(move || {
            let program = libc::sock_fprog {
                len: filter.len() as u16,
                filter: filter.as_mut_ptr(),
            };
            if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) != 0
            {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    command
}

#[test]
fn io_uring_forbidden() {
    let folder = tempfile::tempdir().unwrap();
    let log = refusal(&mut without_io_uring(serve(folder.path(), &[])));
    assert!(log.contains("io_uring") && log.contains("seccomp"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn settings_that_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&str, &[&str]); 5] = [
        ("retention.bites=1", &["retention.bites", "retention.bytes"]),
        ("num.partitions=many", &["num.partitions", "many"]),
        ("log.cleanup.policy=compact", &["log.cleanup.policy"]),
        ("transactional.id.expiration.ms=5", &["transactional.id.expiration.ms"]),
        ("tidemill.journal.bytes=5", &["tidemill.journal.bytes"]),
    ];
    for (setting, words) in cases {
        let output = run(&mut serve(folder.path(), &[setting]), PATIENCE);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{setting}");
        assert!(words.iter().all(|word| said.contains(word)), "{setting}: {said}");
    }
}
