//! What a person sees whose consumer subscribes, as long as there are no groups: a reason, soon. A consumer that is assigned its
//! partitions does not notice (`confluent` has that too).

use std::process::Output;

use crate::broker::Broker;
use crate::client::Client;

/// A broker with a record in its one topic.
fn broker() -> (tempfile::TempDir, Broker) {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &[]);
    let mut client = Client::connect(broker.address());
    client.create("t", 1, &[]);
    client.append("t", "value");
    (folder, broker)
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr]
        .map(String::from_utf8_lossy)
        .concat()
}

mod kcat {
    use std::process::Command;

    use super::*;
    use crate::broker::{PATIENCE, run};

    #[test]
    fn a_group_is_refused_with_a_reason() {
        let (_folder, broker) = broker();
        let mut kcat = Command::new("kcat");
        let output = run(kcat.args(["-b", broker.address(), "-G", "g", "t"]), PATIENCE);
        let said = said(&output);
        assert!(
            !output.status.success() && said.contains("feature not supported by broker"),
            "{said}"
        );
    }
}

mod java {
    use super::*;
    use crate::broker::run;
    use crate::kafka::{TOOL_TIME, command};

    #[test]
    fn a_group_is_refused_with_a_reason() {
        let (_folder, broker) = broker();
        let consume = |more: &[&str]| {
            let arguments = [
                "console-consumer",
                "--bootstrap-server",
                broker.address(),
                "--topic",
                "t",
                "--from-beginning",
            ];
            run(&mut command(&[&arguments[..], more].concat()), TOOL_TIME)
        };
        let output = consume(&["--group", "g"]);
        assert!(
            said(&output).contains("UnsupportedVersionException: The node does not support JOIN_GROUP"),
            "{}",
            said(&output)
        );
        // Who is assigned a partition reads it.
        let output = consume(&["--partition", "0", "--max-messages", "1"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "value\n", "{}", said(&output));
    }
}
