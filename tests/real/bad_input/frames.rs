//! Connections that send no requests, or none that can be read.

use std::time::Duration;

use tidemill::error::ErrorCode;
use tidemill::wire::api::Request;
use tidemill::wire::configs::*;
use tidemill::wire::connect::{ApiVersionsRequest, ApiVersionsResponse};
use tidemill::wire::log_dirs::DescribeLogDirsRequest;
use tidemill::wire::metadata::*;
use tidemill::wire::offsets::*;
use tidemill::wire::produce_fetch::*;
use tidemill::wire::topics::*;
use tidemill::wire::transactions::InitProducerIdRequest;
use tidemill::wire::{ApiKey, Versions, frame};

use crate::broker::{Broker, complaints, signal, wait_for};
use crate::client::{Client, Neighbour};

const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;

/// Every connection that is closed is logged at this level, while of each kind only the first is a warning.
const EACH: &str = "tidemill.log.level=debug";

fn broker(settings: &[&str]) -> (tempfile::TempDir, Broker, Neighbour) {
    let folder = tempfile::tempdir().unwrap();
    let settings = &[settings, &[EACH]].concat();
    let broker = Broker::start(folder.path(), settings);
    let neighbour = Neighbour::new(broker.address());
    (folder, broker, neighbour)
}

/// The lines that say that a connection was closed, and why.
fn closed_lines(broker: &Broker, words: &str) -> usize {
    let log = broker.log();
    log.lines()
        .filter(|line| line.contains("closed: ") && line.contains(words) && !is_count(line))
        .count()
}

/// What is said of those that were not warned of one by one.
fn is_count(line: &str) -> bool {
    line.contains(" more times, the last time: ") || line.contains("once more: ")
}

/// As many closed connections as expected, each with its one line, and no warning of anything else.
#[track_caller]
fn expect_lines(broker: Broker, expected: &[(&str, usize)]) {
    for (words, count) in expected {
        wait_for(&format!("{count} lines with {words:?}"), || {
            (closed_lines(&broker, words) == *count).then_some(())
        });
    }
    let log = broker.stop();
    let complaints = complaints(&log);
    let is_expected = |line: &&str| expected.iter().any(|(words, _)| line.contains(words));
    assert!(complaints.iter().all(is_expected), "{log}");
    assert!(complaints.len() >= expected.len(), "{log}");
}

#[test]
fn a_flood_of_bad_connections_is_one_line_and_a_count() {
    const CONNECTIONS: usize = 2000;
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &[]);
    let mut neighbour = Neighbour::new(broker.address());
    for number in 0..CONNECTIONS as i32 {
        let mut client = Client::connect(broker.address());
        client.send(&(-1 - number).to_be_bytes());
        client.expect_closed();
    }
    neighbour.is_served();
    let log = broker.stop();
    let complaints = complaints(&log);
    // One more pair of them for each ten seconds that this took.
    assert!((2..20).contains(&complaints.len()), "{log}");
    let counted: usize = (complaints.iter())
        .filter_map(|line| {
            line.split_once(" more times")?
                .0
                .rsplit(' ')
                .next()?
                .parse::<usize>()
                .ok()
        })
        .sum();
    let said = complaints.iter().filter(|line| !line.contains(" more times, ")).count();
    assert_eq!(counted + said, CONNECTIONS, "{log}");
}

/// With a place for 50, those who came behind them were let in a second later.
#[test]
fn a_rush_of_connects_while_the_broker_is_busy() {
    let (_folder, broker, mut neighbour) = broker(&[]);
    signal("STOP", broker.pid());
    let address = broker.address().parse().unwrap();
    let rush: Vec<_> = (0..500)
        .map(|_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(900)))
        .collect();
    signal("CONT", broker.pid());
    let refused = rush.iter().filter(|connected| connected.is_err()).count();
    assert_eq!(refused, 0);
    neighbour.is_served();
    drop(rush);
    broker.stop();
}

#[test]
fn a_length_that_no_request_has_closes_its_connection() {
    let (_folder, broker, mut neighbour) = broker(&["socket.request.max.bytes=1000000"]);
    for length in [-1, 0, i32::MIN, 1_000_001, i32::MAX] {
        let mut client = Client::connect(broker.address());
        client.send(&length.to_be_bytes());
        client.expect_closed();
        neighbour.is_served();
    }
    expect_lines(broker, &[("allowed are 1 to 1000000", 5)]);
}

#[test]
fn other_protocols_are_told_by_a_close() {
    let (_folder, broker, mut neighbour) = broker(&[]);
    let tls_hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    for greeting in [
        &b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.2\r\n",
        &tls_hello,
    ] {
        let mut client = Client::connect(broker.address());
        client.send(greeting);
        client.expect_closed();
        neighbour.is_served();
    }
    // A length that could be one, then noise: too short for a header, an unknown API, anything.
    let mut noise = tidemill::types::Random::new(1);
    for length in [1, 7, 10, 100, 5000] {
        let mut client = Client::connect(broker.address());
        let garbage: Vec<u8> = (0..length).map(|_| noise.next_u64() as u8 | 0x80).collect();
        client.send(&[&i32::to_be_bytes(length)[..], &garbage].concat());
        client.expect_closed();
        neighbour.is_served();
    }
    expect_lines(
        broker,
        &[
            ("it sent an HTTP request", 1),
            ("it began a TLS handshake", 1),
            ("its frame claims", 1),
            ("the request's header cannot be read", 5),
        ],
    );
}

#[test]
fn half_a_frame_and_then_silence() {
    let (_folder, broker, mut neighbour) = broker(&["tidemill.frame.timeout.ms=200"]);
    // Of the length, of a small frame, of a large one that has hardly begun.
    let halves: [&[u8]; 3] = [&[0, 0], &[0, 0, 0, 50, 0, 3, 0, 0], &[5, 0, 0, 0, 0, 3]];
    let mut clients = halves.map(|half| {
        let mut client = Client::connect(broker.address());
        client.send(half);
        client
    });
    neighbour.is_served();
    clients.iter_mut().for_each(Client::expect_closed);
    neighbour.is_served();
    expect_lines(broker, &[("still incomplete", 3)]);
}

#[test]
fn a_trickle_is_closed_though_it_never_stops() {
    let (_folder, broker, mut neighbour) = broker(&["tidemill.frame.timeout.ms=300"]);
    let mut client = Client::connect(broker.address());
    client.send(&[0, 1, 0, 0]);
    let mut bytes = 0;
    while !client.is_closed(Duration::from_millis(10)) {
        assert!(bytes < 6000, "a minute of it");
        if !client.try_send(&[0]) {
            break;
        }
        bytes += 1;
        neighbour.is_served();
    }
    expect_lines(broker, &[("still incomplete", 1)]);
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let (_folder, broker, mut neighbour) = broker(&["connections.max.idle.ms=1500"]);
    let mut never = Client::connect(broker.address());
    let mut once = Client::connect(broker.address());
    once.call(&ApiVersionsRequest::default(), 0);
    let mut clients = [&mut never, &mut once];
    let mut rounds = 0;
    while !clients
        .iter_mut()
        .all(|client| client.is_closed(Duration::from_millis(10)))
    {
        neighbour.is_served();
        rounds += 1;
    }
    assert!(rounds > 1);
    neighbour.is_served();
    expect_lines(broker, &[("idle for", 2)]);
}

#[test]
fn a_claimed_length_takes_no_memory() {
    let (_folder, broker, mut neighbour) = broker(&[]);
    neighbour.is_served();
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
    };
    let before = resident();
    let clients: Vec<Client> = (0..200)
        .map(|_| {
            let mut client = Client::connect(broker.address());
            client.send(&100_000_000i32.to_be_bytes());
            client.send(&[0; 32 * 1024]);
            client
        })
        .collect();
    neighbour.is_served();
    let grown = resident().saturating_sub(before);
    // 200 claims of 100 MB, of which 6 MiB arrived.
    assert!(grown < 64, "resident memory grew by {grown} MiB");
    drop(clients);
    neighbour.is_served();
    expect_lines(broker, &[]);
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let (_folder, broker, mut neighbour) = broker(&[]);
    let mut client = Client::connect(broker.address());
    for version in [99, 6, -1] {
        // No tagged fields, and a body that nobody knows.
        client.send_request(API_VERSIONS, version, &[0, 1, 2, 3]);
        let answer = client.frame().unwrap();
        let (_, answer): (i32, ApiVersionsResponse) = frame::decode_response::<ApiVersionsRequest>(&answer, 0).unwrap();
        assert_eq!(answer.error_code, ErrorCode::UnsupportedVersion.code());
        let [versions] = &answer.api_keys[..] else {
            panic!("{answer:?}")
        };
        assert_eq!(
            (versions.api_key, versions.min_version, versions.max_version),
            (API_VERSIONS, 0, 5)
        );
    }
    // And the connection goes on.
    let answer = client.call(&ApiVersionsRequest::default(), 0);
    assert!(answer.error_code == 0 && answer.api_keys.len() > 10);
    neighbour.is_served();
    expect_lines(broker, &[]);
}

/// librdkafka 2.2 to 2.16 sends them when it asks for all topics, and Kafka passes over them.
#[test]
fn bytes_behind_a_request_are_passed_over() {
    let (_folder, broker, mut neighbour) = broker(&[]);
    let mut client = Client::connect(broker.address());
    let client = &mut client;
    let tried = [
        answers_alike::<FetchRequest>(client),
        answers_alike::<ListOffsetsRequest>(client),
        answers_alike::<MetadataRequest>(client),
        answers_alike::<ApiVersionsRequest>(client),
        answers_alike::<FindCoordinatorRequest>(client),
        answers_alike::<InitProducerIdRequest>(client),
        answers_alike::<OffsetForLeaderEpochRequest>(client),
        answers_alike::<CreateTopicsRequest>(client),
        answers_alike::<DeleteTopicsRequest>(client),
        answers_alike::<CreatePartitionsRequest>(client),
        answers_alike::<DeleteRecordsRequest>(client),
        answers_alike::<DescribeConfigsRequest>(client),
        answers_alike::<AlterConfigsRequest>(client),
        answers_alike::<IncrementalAlterConfigsRequest>(client),
        answers_alike::<DescribeClusterRequest>(client),
        answers_alike::<DescribeTopicPartitionsRequest>(client),
        answers_alike::<DescribeLogDirsRequest>(client),
    ];
    let served = ApiKey::ALL.iter().filter(|api| api.served() != Versions::NONE);
    let untried: Vec<_> = served.filter(|api| !tried.contains(api)).collect();
    // A produce of nothing wants no answer; the one below wants one.
    assert_eq!(untried, [&ApiKey::Produce]);
    client.send_request(0, 3, b"\xff\xff\0\x01\0\0\0\0\0\0\0\0more");
    client.frame().unwrap();
    neighbour.is_served();
    expect_lines(broker, &[]);
}

/// Names as people have them who never heard of UTF-8: Java reads U+FFFD for what is wrong, and goes on.
#[test]
fn strings_that_are_no_utf8_are_answered() {
    let (_folder, broker, mut neighbour) = broker(&[]);
    let mut client = Client::connect(broker.address());
    // A client id in Latin-1.
    let request = [&18i16.to_be_bytes()[..], &[0, 0, 0, 0, 0, 7, 0, 2, b'b', 0xE4]].concat();
    client.send(&[&(request.len() as i32).to_be_bytes()[..], &request].concat());
    let answer = client.frame().unwrap();
    let (_, answer) = frame::decode_response::<ApiVersionsRequest>(&answer, 0).unwrap();
    assert_eq!(answer.error_code, 0);
    // A topic: of a metadata request and of a produce, which is read another way.
    client.send_request(METADATA, 1, b"\0\0\0\x01\0\x02b\xe4");
    let (_, answer) = frame::decode_response::<MetadataRequest>(&client.frame().unwrap(), 1).unwrap();
    assert_eq!(answer.topics[0].name.as_deref(), Some("b\u{FFFD}"));
    assert_eq!(answer.topics[0].error_code, ErrorCode::InvalidTopicException.code());
    client.send_request(
        0,
        3,
        b"\xff\xff\xff\xff\0\0\x10\0\0\0\0\x01\0\x02b\xe4\0\0\0\x01\0\0\0\0\0\0\0\0",
    );
    let (_, answer) = frame::decode_response::<ProduceRequest>(&client.frame().unwrap(), 3).unwrap();
    assert_eq!(answer.responses[0].name, "b\u{FFFD}");
    neighbour.is_served();
    expect_lines(broker, &[]);
}

/// Asks for nothing in every version that is served, with more and more behind the request.
fn answers_alike<R: Request + Default>(client: &mut Client) -> ApiKey {
    let served = R::KEY.served();
    for version in served.min..=served.max {
        let request = frame::request(&R::default(), version, 7, None).unwrap();
        let answers = [&b""[..], b"\0\0\0", &[0xFF; 100]].map(|behind| {
            let request = [&request[frame::PREFIX_BYTES..], behind].concat();
            client.send(&(request.len() as i32).to_be_bytes());
            client.send(&request);
            client.frame().map(|answer| answer.len())
        });
        let is_same = |answer: &Option<usize>| answer.is_some() && *answer == answers[0];
        assert!(answers.iter().all(is_same), "{:?} {version}: {answers:?}", R::KEY);
    }
    R::KEY
}

#[test]
fn what_cannot_be_read_closes_its_connection() {
    let (_folder, broker, mut neighbour) = broker(&[]);
    let plain_name = |name: &[u8]| [&1i32.to_be_bytes()[..], &(name.len() as i16).to_be_bytes(), name].concat();
    let cases: [(&str, i16, i16, &[u8]); 11] = [
        ("an API that nobody has", 1000, 0, &[]),
        ("an API that we do not serve", 11, 0, &[]),
        ("a version from the future", METADATA, 99, &[]),
        ("a version from the past", 1, 0, &[]),
        ("a negative version", METADATA, -1, &[]),
        ("more topics than bytes", METADATA, 0, &i32::MAX.to_be_bytes()),
        (
            "a negative count where null is forbidden",
            METADATA,
            0,
            &(-1i32).to_be_bytes(),
        ),
        ("a name longer than what is left", METADATA, 1, b"\0\0\0\x01\x7f\xff"),
        (
            "a name that is null where null is forbidden",
            METADATA,
            1,
            b"\0\0\0\x01\xff\xff",
        ),
        (
            "a name that is no UTF-8, three times as long in an answer",
            METADATA,
            0,
            &plain_name(&[0xFF; 20_000]),
        ),
        ("a body that ends too early", METADATA, 4, &plain_name(b"topic")),
    ];
    for (what, api, version, body) in &cases {
        let mut client = Client::connect(broker.address());
        client.send_request(*api, *version, body);
        assert!(client.is_closed(crate::broker::PATIENCE), "{what}");
        neighbour.is_served();
    }
    // Flexible versions: counts and lengths are varints there, and tagged fields have sizes of their own.
    let flexible: [(&str, i16, &[u8]); 5] = [
        ("more topics than bytes", METADATA, &[0, 0xff, 0xff, 0xff, 0xff, 0x07]),
        (
            "a varint that does not end",
            METADATA,
            &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ),
        (
            "a tagged field larger than what is left",
            METADATA,
            &[0, 1, 1, 0, 1, 5, 0x7f],
        ),
        (
            "more tagged fields than bytes",
            API_VERSIONS,
            &[0xff, 0xff, 0xff, 0xff, 0x0f],
        ),
        ("a name longer than what is left", API_VERSIONS, &[0, 0x70, b'a']),
    ];
    for (what, api, body) in &flexible {
        let version = if *api == METADATA { 12 } else { 3 };
        let mut client = Client::connect(broker.address());
        client.send_request(*api, version, body);
        assert!(client.is_closed(crate::broker::PATIENCE), "{what}");
        neighbour.is_served();
    }
    expect_lines(broker, &[("cannot be read: ", cases.len() + flexible.len())]);
}
