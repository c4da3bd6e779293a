//! Clients of other ages than the broker's protocol.

mod java {
    use crate::broker::{Broker, run_ok};
    use crate::kafka::{TOOL_TIME, command};

    #[test]
    fn a_client_of_kafka_3_7_produces_and_consumes() {
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::start(folder.path(), &[]);
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/OldClient.java");
        let mut java = command(&["old-java", program, broker.address(), "old", "1000"]);
        assert_eq!(run_ok(&mut java, TOOL_TIME), "3.7.1: 1000 records\n");
        broker.stop();
    }
}
