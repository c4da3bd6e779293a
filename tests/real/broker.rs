//! The real binary as a test drives it: on a folder of the test's own and a free port, waited for with a bound, and ended
//! by its process id whatever happens to the test.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Nothing that the broker does at its start or stop takes this long, on a machine however loaded.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A small journal: a new folder's ring is written in full before the broker is ready.
pub const SMALL_JOURNAL: &str = "tidemill.journal.bytes=8388608";

/// A broker that is ready. Dropping it kills it.
pub struct Broker {
    child: Child,
    address: String,
    start: Duration,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

/// `tidemill serve` on this folder and a port of the system's choice. Later settings win over earlier ones.
pub fn serve(folder: &Path, settings: &[&str]) -> Command {
    serve_on("127.0.0.1:0", folder, settings)
}

/// `tidemill serve` in this folder, as README has it, but for a free port and a small journal.
pub fn serve_in(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--set", SMALL_JOURNAL]);
    command.current_dir(folder);
    command
}

/// [`serve`] on an address of the test's choice: for a start where clients wait that know it.
pub fn serve_on(listen: &str, folder: &Path, settings: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.args(["serve", "--listen", listen, "--data-dir"]);
    command.arg(folder).args(["--set", SMALL_JOURNAL]);
    settings.iter().for_each(|setting| {
        command.args(["--set", setting]);
    });
    command
}

impl Broker {
    /// Starts a broker that must become ready.
    #[track_caller]
    pub fn start(folder: &Path, settings: &[&str]) -> Broker {
        Broker::spawn(&mut serve(folder, settings))
            .unwrap_or_else(|log| panic!("the broker did not become ready:\n{log}"))
    }

    /// Runs a command that starts a broker and waits for the one line that says so; what it logged instead when none came.
    pub fn spawn(command: &mut Command) -> Result<Broker, String> {
        let begun = Instant::now();
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let written = log.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                *written.lock().unwrap() += &(line + "\n");
            }
        });
        let mut broker = Broker {
            child,
            address: String::new(),
            start: Duration::ZERO,
            log,
            reader: Some(reader),
        };
        let address = |log: &str| Some(log.split_once(" ready on ")?.1.split_once(": ")?.0.to_owned());
        while begun.elapsed() < PATIENCE {
            if let Some(address) = address(&broker.log()) {
                broker.address = address;
                broker.start = begun.elapsed();
                return Ok(broker);
            }
            if let Some(status) = broker.child.try_wait().unwrap() {
                return Err(broker.end() + &status.to_string());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(broker.end() + "it neither became ready nor ended")
    }

    /// HOST:PORT, for clients.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// From the start of the process to its line that says that it is ready.
    pub fn start_time(&self) -> Duration {
        self.start
    }

    /// Everything that it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log says this; the line that does.
    #[track_caller]
    pub fn wait_log(&self, words: &str) -> String {
        wait_for(&format!("{words:?} in the broker's log"), || {
            self.log().lines().find(|line| line.contains(words)).map(str::to_owned)
        })
    }

    /// kill -9; the whole log.
    pub fn kill(mut self) -> String {
        self.end()
    }

    /// SIGTERM, which must end in a clean stop; the whole log.
    #[track_caller]
    pub fn stop(self) -> String {
        self.stop_by("TERM")
    }

    /// Ctrl-C, which must end in a clean stop; the whole log.
    #[track_caller]
    pub fn interrupt(self) -> String {
        self.stop_by("INT")
    }

    /// A signal that must end in a clean stop; the whole log.
    #[track_caller]
    pub fn stop_by(mut self, name: &str) -> String {
        signal(name, self.pid());
        let status = wait_end(&mut self.child, PATIENCE);
        let log = self.end();
        assert!(status.is_some_and(|status| status.success()), "{status:?}:\n{log}");
        log
    }

    /// Waits until it ends, and that must say that something went wrong; the whole log.
    #[track_caller]
    pub fn fails(mut self) -> String {
        let status = wait_end(&mut self.child, PATIENCE);
        let log = self.end();
        assert_eq!(status.and_then(|status| status.code()), Some(1), "{status:?}:\n{log}");
        assert!(!log.contains("stopped cleanly"), "{log}");
        log
    }

    fn end(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.reader.take().map(JoinHandle::join);
        self.log()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            eprintln!("the broker's log:\n{}", self.log());
        }
    }
}

/// What a broker warned of and complained about, but for what the host could give it more of.
pub fn complaints(log: &str) -> Vec<&str> {
    log.lines()
        .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "))
        .filter(|line| !line.contains("WARN locked memory: the limit is"))
        .filter(|line| !line.contains("WARN file system: "))
        .collect()
}

/// Runs a command to its end; one that takes longer than `limit` is killed, and the test fails.
#[track_caller]
pub fn run(command: &mut Command, limit: Duration) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let status = wait_end(&mut child, limit);
    if status.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    let Some(status) = status else {
        let said = [&stdout[..], &stderr].map(String::from_utf8_lossy).concat();
        panic!("{command:?} did not end within {limit:?}:\n{said}");
    };
    Output { status, stdout, stderr }
}

/// [`run`] for a command that must succeed; its standard output.
#[track_caller]
pub fn run_ok(command: &mut Command, limit: Duration) -> String {
    let output = run(command, limit);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Asks again and again, for as long as [`PATIENCE`] lasts, until there is an answer.
#[track_caller]
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(answer) = ask() {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("waited in vain for {what}");
}

/// Sends a signal by name, to one process.
pub fn signal(name: &str, pid: u32) {
    let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {pid}")).status();
    assert!(status.unwrap().success());
}

/// Waits for the end of a process that the caller has told to end; `None` when it does not.
pub fn wait_end(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

/// Reads a pipe on a thread, so that a full one never stops the process that writes it.
fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    })
}

#[test]
fn one_broker_to_a_folder_and_it_starts_again_after_any_end() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &[]);
    TcpStream::connect(broker.address()).unwrap();
    let refused = Broker::spawn(&mut serve(folder.path(), &[])).err().unwrap();
    let words = format!("in use by another Tidemill (process {})", broker.pid());
    assert!(refused.contains(&words) && refused.contains("--data-dir"), "{refused}");
    let log = broker.stop();
    assert!(log.contains("stopped cleanly"), "{log}");
    Broker::start(folder.path(), &[]).kill();
    let again = Broker::start(folder.path(), &[]);
    again.wait_log("ready on");
    assert!(again.start_time() < PATIENCE);
    again.kill();
    let mut dump = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    let ring = run_ok(
        dump.arg("dump").arg(folder.path().join("tidemill-journal-0.ring")),
        PATIENCE,
    );
    assert!(ring.contains("incarnation"), "{ring}");
}

/// Records are nobody's business but the broker's, unless somebody says otherwise.
#[test]
fn what_the_broker_makes_is_its_owners_only() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = tempfile::tempdir().unwrap();
    for (settings, group) in [(&[][..], 0o000), (&["tidemill.umask=027"], 0o050)] {
        let data = scratch.path().join(format!("data{group}"));
        let broker = Broker::start(&data, settings);
        let mut client = crate::client::Client::connect(broker.address());
        client.create("topic", 1, &[]);
        client.append("topic", "value");
        drop(client);
        broker.stop();
        let mut folders = vec![data];
        let mut seen = 0;
        while let Some(folder) = folders.pop() {
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&folder), 0o700 | group, "{folder:?}");
            for entry in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() {
                    folders.push(entry);
                } else {
                    assert_eq!(mode(&entry), 0o600 | group & 0o040, "{entry:?}");
                    seen += 1;
                }
            }
        }
        assert!(seen > 5, "{seen} files");
    }
    let refused = Broker::spawn(&mut serve(scratch.path(), &["tidemill.umask=777"]))
        .err()
        .unwrap();
    assert!(refused.contains("tidemill.umask"), "{refused}");
}
