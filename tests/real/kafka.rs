//! Apache Kafka's own tools, and a Kafka node beside ours.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::broker::{PATIENCE, run_ok, wait_for};

/// The longest that one of Kafka's tools takes here, a whole data set included.
pub const TOOL_TIME: Duration = Duration::from_secs(90);

/// `tools/kafka` with these arguments.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tools/kafka"));
    command.args(arguments);
    command
}

/// Runs a tool that must succeed; what it prints.
#[track_caller]
pub fn kafka(arguments: &[&str]) -> String {
    run_ok(&mut command(arguments), TOOL_TIME)
}

/// [`kafka`] for the tools that want to know where the broker is.
#[track_caller]
pub fn kafka_at(address: &str, arguments: &[&str]) -> String {
    kafka(&[arguments, &["--bootstrap-server", address]].concat())
}

/// Two ports in a row that nobody listens on now.
pub fn free_ports() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

/// A running node of Apache Kafka. Dropping it kills it.
pub struct Node {
    pid: String,
    pub address: String,
}

impl Node {
    /// Starts broker and controller, on `port` and the one after it, with the data in `logs` below this folder.
    pub fn start(folder: &Path, port: u16, settings: &[&str]) -> Node {
        Node::start_release("4.4.0", folder, port, settings)
    }

    /// The same of another release than the one that we compare with.
    pub fn start_release(release: &str, folder: &Path, port: u16, settings: &[&str]) -> Node {
        let mut start = command(&[&["start", &port.to_string(), folder.to_str().unwrap()], settings].concat());
        let pid = run_ok(start.env("KAFKA_VERSION", release), TOOL_TIME);
        let address = format!("127.0.0.1:{port}");
        wait_for("Kafka to listen", || TcpStream::connect(&address).ok());
        let pid = pid.trim().to_owned();
        Node { pid, address }
    }

    /// Stops it as SIGTERM does, and waits.
    pub fn stop(self) {
        run_ok(&mut command(&["stop", &self.pid]), PATIENCE);
        std::mem::forget(self);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-9", &self.pid]).status();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    /// `tools/kafka topics` on a machine that has these programs and no jars: what it says.
    fn said_with(programs: &[&str]) -> String {
        let folder = tempfile::tempdir().unwrap();
        for program in ["awk", "cat"] {
            symlink(format!("/usr/bin/{program}"), folder.path().join(program)).unwrap();
        }
        for program in programs {
            symlink("/usr/bin/true", folder.path().join(program)).unwrap();
        }
        let output = super::Command::new("/bin/bash")
            .args([concat!(env!("CARGO_MANIFEST_DIR"), "/tools/kafka"), "topics", "--list"])
            .env("PATH", folder.path())
            .env("KAFKA_JARS", folder.path().join("jars"))
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    #[test]
    fn a_machine_without_java_or_maven_is_told_what_to_install() {
        let said = said_with(&[]);
        assert!(
            said.contains("no `java` here") && said.contains("apt-get install openjdk-17-jdk-headless"),
            "{said}"
        );
        let said = said_with(&["java"]);
        assert!(
            said.contains("no `mvn` here") && said.contains("apt-get install maven"),
            "{said}"
        );
    }

    #[test]
    fn an_unknown_tool_is_answered_with_the_known_ones() {
        let output = super::command(&["kafka-topic"]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && output.stdout.is_empty());
        assert!(
            said.contains("no tool is named kafka-topic") && said.contains(" topics "),
            "{said}"
        );
    }
}
