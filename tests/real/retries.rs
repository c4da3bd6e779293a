//! What a producer is told when it sends a batch again that the log has.

use bytes::Bytes;
use tidemill::record::BatchBuilder;
use tidemill::wire::transactions::InitProducerIdRequest;

use crate::broker::Broker;
use crate::client::{Client, batch};

#[test]
fn a_retry_is_told_the_time_of_the_original() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &[]);
    let mut client = Client::connect(broker.address());
    client.create("stamped", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let request = InitProducerIdRequest {
        transactional_id: None,
        ..Default::default()
    };
    let producer = client.call(&request, 4);
    assert_eq!(producer.error_code, 0);
    let builder = BatchBuilder::new().producer(producer.producer_id, producer.producer_epoch, 0);
    let original = builder.record(7, None, Some(b"value")).build().freeze();
    let mut produce = |batch: &Bytes| {
        let answer = client.produce("stamped", &[(0, batch.clone())]).remove(0);
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        (answer.base_offset, answer.log_append_time_ms)
    };
    let first = produce(&original);
    // Until the clock shows another time.
    while produce(&batch(&["another"])).1 <= first.1 {}
    assert_eq!(produce(&original), first);
}
