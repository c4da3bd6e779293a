//! Produced batches that are not what they claim to be: an error for their partition, and for no other in the request.

use bytes::Bytes;
use tidemill::error::ErrorCode;
use tidemill::record::{BatchBuilder, Codec};

use crate::broker::{Broker, complaints};
use crate::client::{Client, Neighbour, batch, now_ms};

const TOPIC: &str = "batches";

/// A good batch of three records with some of its bytes changed, and its CRC made right again or not.
struct Forged(Vec<u8>);

impl Forged {
    fn new() -> Forged {
        Forged(batch(&["one", "two", "three"]).to_vec())
    }

    /// `bytes` at this place of the batch; see the byte map in `record::batch`.
    fn put(mut self, at: usize, bytes: &[u8]) -> Forged {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn sealed(mut self) -> Bytes {
        let crc = tidemill::record::crc::crc32c(&self.0[21..]);
        self.0[17..21].copy_from_slice(&crc.to_be_bytes());
        self.0.into()
    }

    fn unsealed(self) -> Bytes {
        self.0.into()
    }
}

/// 150 MB of zeros in less than the megabyte that a batch may have.
fn bomb(codec: Codec) -> Bytes {
    let zeros = vec![0; 10 << 20];
    let mut builder = BatchBuilder::new().compression(codec);
    (0..15).for_each(|_| builder.push(now_ms(), None, Some(&zeros), &[]));
    builder.build().freeze()
}

fn cases() -> Vec<(&'static str, Bytes, ErrorCode)> {
    use ErrorCode::{
        CorruptMessage, InvalidRecord, InvalidTimestamp, InvalidTxnState, MessageTooLarge, UnsupportedCompressionType,
    };
    let good = batch(&["one", "two", "three"]);
    let last = good.len() - 1;
    let tomorrow = BatchBuilder::new().record(i64::MAX / 2, None, Some(b"later"));
    let control = BatchBuilder::new()
        .control()
        .record(now_ms(), Some(&[0, 0, 0, 1]), Some(b"marker"));
    let transactional = BatchBuilder::new()
        .producer(5, 0, 0)
        .transactional()
        .record(now_ms(), None, Some(b"none"));
    let large = "x".repeat(1_100_000);
    vec![
        (
            "a flipped bit",
            Forged::new().put(last, b"!").unsealed(),
            CorruptMessage,
        ),
        (
            "a wrong CRC",
            Forged::new().put(17, &[1, 2, 3, 4]).unsealed(),
            CorruptMessage,
        ),
        ("half a batch", good.slice(..good.len() / 2), CorruptMessage),
        ("half a header", good.slice(..30), CorruptMessage),
        ("hardly anything", good.slice(..5), CorruptMessage),
        ("nothing", Bytes::new(), InvalidRecord),
        (
            "a negative length",
            Forged::new().put(8, &[0xff; 4]).unsealed(),
            CorruptMessage,
        ),
        (
            "a length beyond the request",
            Forged::new().put(8, &[0x7f, 0, 0, 0]).unsealed(),
            CorruptMessage,
        ),
        (
            "an unknown magic",
            Forged::new().put(16, &[9]).unsealed(),
            CorruptMessage,
        ),
        (
            "the format of Kafka 0.10",
            Forged::new().put(16, &[1]).unsealed(),
            InvalidRecord,
        ),
        (
            "more records than there are",
            Forged::new().put(57, &4i32.to_be_bytes()).sealed(),
            InvalidRecord,
        ),
        (
            "fewer records than there are",
            Forged::new().put(57, &2i32.to_be_bytes()).sealed(),
            InvalidRecord,
        ),
        (
            "a negative count",
            Forged::new().put(57, &(-1i32).to_be_bytes()).sealed(),
            InvalidRecord,
        ),
        (
            "a last offset that does not fit",
            Forged::new().put(23, &9i32.to_be_bytes()).sealed(),
            InvalidRecord,
        ),
        (
            "a base offset",
            Forged::new().put(0, &7i64.to_be_bytes()).sealed(),
            InvalidRecord,
        ),
        (
            "a record longer than the batch",
            Forged::new().put(61, &[0x7e]).sealed(),
            InvalidRecord,
        ),
        (
            "two batches",
            [good.clone(), good.clone()].concat().into(),
            InvalidRecord,
        ),
        (
            "bytes behind the batch",
            [&good[..], b"more"].concat().into(),
            InvalidRecord,
        ),
        (
            "a codec that nobody knows",
            Forged::new().put(22, &[6]).sealed(),
            UnsupportedCompressionType,
        ),
        (
            "records that are not compressed",
            Forged::new().put(22, &[1]).sealed(),
            InvalidRecord,
        ),
        ("a control record", control.build().freeze(), InvalidRecord),
        (
            "a transaction's record",
            transactional.build().freeze(),
            InvalidTxnState,
        ),
        ("a time in the far future", tomorrow.build().freeze(), InvalidTimestamp),
        ("a batch that is too large", batch(&[&large]), MessageTooLarge),
        ("a gzip bomb", bomb(Codec::Gzip), MessageTooLarge),
        ("a zstd bomb", bomb(Codec::Zstd), MessageTooLarge),
    ]
}

#[test]
fn each_is_refused_for_its_partition_only() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &[]);
    let mut neighbour = Neighbour::new(broker.address());
    let mut client = Client::connect(broker.address());
    client.create(TOPIC, 3, &[]);
    let good = batch(&["good"]);
    for (stored, (what, forged, expected)) in (0..).zip(cases()) {
        let answers = client.produce(TOPIC, &[(0, good.clone()), (1, forged), (2, good.clone())]);
        let codes: Vec<i16> = answers.iter().map(|answer| answer.error_code).collect();
        let message = &answers[1].error_message;
        assert_eq!(codes, [0, expected.code(), 0], "{what}: {message:?}");
        assert!(message.as_ref().is_some_and(|message| !message.is_empty()), "{what}");
        assert_eq!(answers[2].base_offset, stored, "{what}");
        neighbour.is_served();
    }
    assert_eq!(client.values(TOPIC, 0).len(), cases().len());
    let log = broker.stop();
    assert!(complaints(&log).is_empty(), "{log}");
}
