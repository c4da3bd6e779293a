//! The same requests to Apache Kafka and to this broker, and every field of their replies compared.
//!
//! The scripts beside this file are lists of requests, one a line, sent to both from one connection each. A line is
//! `API VERSIONS FIELDS` (see `notation`); what follows an indent continues it. `{v}` is the version's number. `-> NAME` keeps the
//! producer id or session id of the reply as `$NAME`. `def NAME = ...` makes a word of the script's own, whose arguments are
//! `$1`, `$2`; `## TITLE` begins a section; `settle` waits until Kafka's broker knows what its controller has decided.
//!
//! Ids, ports, folders, clocks and the texts of messages are taken out of the replies. What differs then is a row of
//! `differences` or fails the test, and so does a row that nothing matches.

mod batches;
mod differences;
mod notation;

use std::collections::{HashMap, HashSet};

use tidemill::wire::configs::*;
use tidemill::wire::header::{RequestHeader, ResponseHeader};
use tidemill::wire::metadata::*;
use tidemill::wire::transactions::InitProducerIdRequest;
use tidemill::wire::{ApiKey, Reader, Version, frame};

use crate::broker::wait_for;
use crate::client::{Client, now_ms};
use differences::Differences;
use notation::{Names, Value};

const SCRIPTS: [&str; 6] = ["cluster", "topics", "configs", "produce", "offsets", "fetch"];

/// A file beside this one.
fn read(name: &str) -> String {
    std::fs::read_to_string(format!(
        "{}/tests/real/beside_kafka/{name}.txt",
        env!("CARGO_MANIFEST_DIR")
    ))
    .unwrap()
}

/// Kafka's controller answers these before its broker has heard of it.
const DECISIONS: [ApiKey; 5] = [
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::CreatePartitions,
    ApiKey::AlterConfigs,
    ApiKey::IncrementalAlterConfigs,
];

/// A topic that changes when the script settles.
const BARRIER: &str = "barrier";

/// One line of a script.
struct Step {
    section: String,
    api: ApiKey,
    versions: Vec<i16>,
    body: String,
    keep: Option<String>,
}

enum Line {
    Step(Step),
    Settle,
}

fn parse(script: &str, text: &str) -> Vec<Line> {
    let mut definitions: HashMap<&str, &str> = HashMap::new();
    let mut section = script.to_owned();
    let mut lines = Vec::new();
    let joined = text.replace("\n ", " ");
    for line in joined.lines().map(str::trim) {
        if let Some(title) = line.strip_prefix("## ") {
            section = format!("{script}: {title}");
        } else if line.is_empty() || line.starts_with('#') {
        } else if line == "settle" {
            lines.push(Line::Settle);
        } else if let Some((name, meaning)) = line.strip_prefix("def ").and_then(|line| line.split_once(" = ")) {
            definitions.insert(name, meaning);
        } else {
            lines.push(Line::Step(parse_step(&section, &expand(line, &definitions))));
        }
    }
    lines
}

/// A line that begins with a word of the script's own.
fn expand(line: &str, definitions: &HashMap<&str, &str>) -> String {
    let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
    let Some(meaning) = definitions.get(name) else {
        return line.to_owned();
    };
    let (arguments, keep) = rest
        .split_once(" -> ")
        .map_or((rest, String::new()), |(arguments, keep)| {
            (arguments, format!(" -> {keep}"))
        });
    let (mut depth, mut is_quoted) = (0, false);
    let is_between = |c: char| {
        depth += i32::from("([{".contains(c)) - i32::from(")]}".contains(c));
        is_quoted ^= c == '\'';
        depth == 0 && !is_quoted && c == ' '
    };
    let arguments = arguments.split(is_between).filter(|argument| !argument.is_empty());
    let filled = arguments
        .enumerate()
        .fold(meaning.to_string(), |filled, (i, argument)| {
            filled.replace(&format!("${}", i + 1), argument)
        });
    expand(&(filled + &keep), definitions)
}

fn parse_step(section: &str, line: &str) -> Step {
    let (line, keep) = line
        .split_once(" -> ")
        .map_or((line, None), |(line, keep)| (line, Some(keep)));
    let mut words = line.splitn(3, ' ');
    let name = words.next().unwrap();
    let api = ApiKey::ALL.iter().find(|api| format!("{api:?}") == name);
    let versions = words.next().unwrap_or_else(|| panic!("no versions: {line}"));
    let number = |text: &str| text.parse::<i16>().unwrap_or_else(|_| panic!("no versions: {line}"));
    let range = |range: &str| match range.split_once('-') {
        Some((first, last)) => (number(first)..=number(last)).collect::<Vec<_>>(),
        None => vec![number(range)],
    };
    Step {
        section: section.to_owned(),
        api: *api.unwrap_or_else(|| panic!("no API {name}: {line}")),
        versions: versions.split(',').flat_map(range).collect(),
        body: words.next().unwrap_or_default().to_owned(),
        keep: keep.map(|keep| keep.trim().to_owned()),
    }
}

/// One of the two brokers.
struct Peer {
    address: String,
    client: Client,
    names: Names,
}

impl Peer {
    fn new(address: &str, now_ms: i64) -> Peer {
        let mut client = Client::connect(address);
        client.create(BARRIER, 1, &[]);
        // Its first answers say that it has no ids yet.
        wait_for("producer ids", || {
            let request = InitProducerIdRequest {
                transactional_id: None,
                ..Default::default()
            };
            (client.call(&request, 2).error_code == 0).then_some(())
        });
        Peer {
            address: address.to_owned(),
            client,
            names: Names {
                now_ms,
                ..Default::default()
            },
        }
    }

    fn perform(&mut self, step: &Step, version: i16) -> Value {
        let body = Value::parse_body(&step.body.replace("{v}", &version.to_string()));
        let mut topics = Vec::new();
        body.topics_by_id(&mut topics);
        topics.iter().for_each(|topic| self.learn_id(topic));
        let mut w = frame::begin(256);
        RequestHeader::encode(&mut w, step.api, version, 1, Some("test")).unwrap();
        self.names
            .encode(&mut w, &body, step.api.request().fields, version_of(step.api, version))
            .unwrap();
        self.client.send(&frame::finish(w, 0).unwrap());
        let is_silent = step.api == ApiKey::Produce && body.field("acks") == Some(&Value::word(0));
        if is_silent {
            // The reply to the question behind it says that the connection is still there.
            let mut w = frame::begin(64);
            RequestHeader::encode(&mut w, ApiKey::ApiVersions, 0, 2, Some("test")).unwrap();
            self.client.try_send(&frame::finish(w, 0).unwrap());
        }
        let Some(reply) = self.client.frame() else {
            self.client = Client::connect(&self.address);
            return Value::word("(closed)");
        };
        if is_silent {
            return Value::word("(silence)");
        }
        self.decode(step, version, &reply)
            .unwrap_or_else(|error| Value::Word(format!("({error})")))
    }

    fn decode(&mut self, step: &Step, version: i16, reply: &bytes::Bytes) -> Result<Value, tidemill::wire::WireError> {
        let mut r = Reader::sharing(reply);
        ResponseHeader::decode(&mut r, step.api.response_header(version))?;
        let fields = step.api.response().fields;
        if let Some(name) = &step.keep {
            self.keep(name, step.api, &mut Reader::sharing(reply), version);
        }
        let value = self.names.decode(&mut r, fields, version_of(step.api, version))?;
        r.finish()?;
        Ok(value)
    }

    /// The id in this reply, which the brokers choose, gets a name.
    fn keep(&mut self, name: &str, api: ApiKey, r: &mut Reader<'_>, version: i16) {
        ResponseHeader::decode(r, api.response_header(version)).unwrap();
        // Both begin with the throttle time and the error code.
        r.i32().unwrap();
        r.i16().unwrap();
        let id = match api {
            ApiKey::InitProducerId => r.i64().unwrap(),
            ApiKey::Fetch => r.i32().unwrap().into(),
            _ => panic!("{api:?} gives no id"),
        };
        self.names.numbers.insert(name.to_owned(), id);
    }

    /// A topic that is gone keeps the id that it had.
    fn learn_id(&mut self, topic: &str) {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(topic.to_owned()),
                ..Default::default()
            }]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let found = self.client_call(&request).topics.remove(0);
        if found.error_code == 0 {
            self.names.topic_ids.insert(topic.to_owned(), found.topic_id);
            self.names.topics.insert(found.topic_id, topic.to_owned());
        }
        assert!(self.names.topic_ids.contains_key(topic), "no topic {topic}");
    }

    fn client_call(&mut self, request: &MetadataRequest) -> MetadataResponse {
        Client::connect(&self.address).call(request, 12)
    }

    /// Waits until this broker has done what its controller decided. A change behind it becomes visible before it is carried
    /// out, a second one after the first is.
    fn settle(&mut self) {
        let mut client = Client::connect(&self.address);
        for value in ["60001", "60002"] {
            let resource = IncrementalAlterConfigsResource {
                resource_type: 2,
                resource_name: BARRIER.into(),
                configs: vec![IncrementalAlterConfigsAlterableConfig {
                    name: "file.delete.delay.ms".into(),
                    value: Some(value.into()),
                    ..Default::default()
                }],
            };
            let request = IncrementalAlterConfigsRequest {
                resources: vec![resource],
                ..Default::default()
            };
            assert_eq!(client.call(&request, 1).responses[0].error_code, 0);
            let request = DescribeConfigsRequest {
                resources: vec![DescribeConfigsResource {
                    resource_type: 2,
                    resource_name: BARRIER.into(),
                    configuration_keys: Some(vec!["file.delete.delay.ms".into()]),
                }],
                ..Default::default()
            };
            wait_for("the broker to hear from its controller", || {
                let described = client.call(&request, 4).results.remove(0);
                (described.configs.first()?.value.as_deref() == Some(value)).then_some(())
            });
        }
    }
}

fn version_of(api: ApiKey, number: i16) -> Version {
    Version {
        number,
        flexible: api.is_flexible(number),
    }
}

/// Where two replies differ.
struct Difference {
    path: String,
    kafka: String,
    ours: String,
}

/// Elements of a list are found by what names them.
fn compare(path: &str, kafka: &Value, ours: &Value, found: &mut Vec<Difference>) {
    match (kafka, ours) {
        (Value::Fields(kafka), Value::Fields(ours)) => compare_parts(path, ".", kafka, ours, found),
        (Value::List(kafka), Value::List(ours)) => compare_parts(path, "", &labelled(kafka), &labelled(ours), found),
        _ if kafka == ours => (),
        _ => found.push(Difference {
            path: path.to_owned(),
            kafka: summary(kafka),
            ours: summary(ours),
        }),
    }
}

fn compare_parts(
    path: &str,
    separator: &str,
    kafka: &[(String, Value)],
    ours: &[(String, Value)],
    found: &mut Vec<Difference>,
) {
    let of = |parts: &[(String, Value)], name: &str| parts.iter().find(|(part, _)| part == name).cloned();
    let only_ours = ours.iter().filter(|(name, _)| of(kafka, name).is_none());
    for (name, _) in kafka.iter().chain(only_ours) {
        let path = match path {
            "" => name.clone(),
            _ => format!("{path}{separator}{name}"),
        };
        match (of(kafka, name), of(ours, name)) {
            (Some((_, kafka)), Some((_, ours))) => compare(&path, &kafka, &ours, found),
            (kafka, ours) => found.push(Difference {
                path,
                kafka: kafka.map_or("absent".into(), |(_, value)| summary(&value)),
                ours: ours.map_or("absent".into(), |(_, value)| summary(&value)),
            }),
        }
    }
}

const PARTITIONS: [&str; 2] = ["partitions", "partition_responses"];

/// Elements with what they are called: `[name]`, and `[name]#2` for the second of that name. Of a topic whose partitions stand in
/// several places, they are put together.
fn labelled(values: &[Value]) -> Vec<(String, Value)> {
    const NAMES: [&str; 10] = [
        "name",
        "topic",
        "resource_name",
        "topic_id",
        "partition_index",
        "partition",
        "index",
        "node_id",
        "broker_id",
        "api_key",
    ];
    let mut labelled: Vec<(String, Value)> = Vec::new();
    for (i, value) in values.iter().enumerate() {
        let name = NAMES.iter().find_map(|name| match value.field(name) {
            Some(Value::Word(word)) if !word.is_empty() => Some(word.clone()),
            _ => None,
        });
        let name = format!("[{}]", name.unwrap_or_else(|| i.to_string()));
        let has_name = |(label, _): &&(String, Value)| label.split('#').next() == Some(&name);
        let more = PARTITIONS.iter().find_map(|field| Some((field, value.field(field)?)));
        match (labelled.iter().filter(has_name).count(), more) {
            (0, _) => labelled.push((name, value.clone())),
            (_, Some((field, Value::List(more)))) => {
                let (_, first) = labelled.iter_mut().find(|(label, _)| *label == name).expect("counted");
                if let Value::Fields(fields) = first
                    && let Some((_, Value::List(partitions))) = fields.iter_mut().find(|(name, _)| name == field)
                {
                    partitions.extend(more.iter().cloned());
                }
            }
            (count, _) => labelled.push((format!("{name}#{}", count + 1), value.clone())),
        }
    }
    labelled
}

/// The partitions of a fetch that have no error stand in an order that counts.
fn fetched(reply: &Value) -> Value {
    let list = |value: &Value, field: &str| match value.field(field) {
        Some(Value::List(values)) => values.clone(),
        _ => Vec::new(),
    };
    let mut order = Vec::new();
    for topic in list(reply, "responses") {
        let name = topic
            .field("topic")
            .or(topic.field("topic_id"))
            .map_or(String::new(), summary);
        for partition in list(&topic, "partitions") {
            if partition.field("error_code") == Some(&Value::word(0)) {
                order.extend(
                    partition
                        .field("partition_index")
                        .map(|index| format!("{name}-{}", summary(index))),
                );
            }
        }
    }
    Value::word(order.join(" "))
}

fn summary(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Word(word) if word.trim() != word => format!("'{word}'"),
        Value::Word(word) => word.clone(),
        Value::List(values) => format!("[{}]", values.iter().map(summary).collect::<Vec<_>>().join(", ")),
        Value::Fields(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name}: {}", summary(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

mod java {
    use super::*;
    use crate::broker::Broker;
    use crate::kafka::{Node, free_ports};

    #[test]
    fn every_reply_is_kafkas_or_differs_for_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        // Its controller otherwise waits for more before it decides.
        let node = Node::start(
            &folder.path().join("kafka"),
            free_ports(),
            &["controller.quorum.append.linger.ms=0"],
        );
        let broker = Broker::start(&folder.path().join("tidemill"), &[]);
        // An hour back: no clock of a broker says a time that the script means.
        let now_ms = now_ms() - 3_600_000;
        let mut kafka = Peer::new(&node.address, now_ms);
        let mut ours = Peer::new(broker.address(), now_ms);
        let (mut asked, mut unexplained, mut occurred) = (0, Vec::new(), HashSet::new());
        let differences = Differences::read();
        for script in SCRIPTS {
            for line in parse(script, &read(script)) {
                let Line::Step(step) = line else {
                    kafka.settle();
                    continue;
                };
                for &version in &step.versions {
                    asked += 1;
                    println!("{}: {:?} {version} {}", step.section, step.api, step.body);
                    let (theirs, own) = (kafka.perform(&step, version), ours.perform(&step, version));
                    let mut found = Vec::new();
                    compare("", &theirs, &own, &mut found);
                    if step.api == ApiKey::Fetch {
                        compare("(order)", &fetched(&theirs), &fetched(&own), &mut found);
                    }
                    println!("    {}", summary(&theirs));
                    for difference in found {
                        let row = differences.find(&step, version, &difference);
                        occurred.extend(row);
                        if row.is_none() {
                            let Difference { path, kafka, ours } = &difference;
                            let (section, api) = (&step.section, step.api);
                            unexplained.push(format!(
                                "{section} | {api:?} {version} | {path} | {kafka} | {ours} |   {}",
                                step.body
                            ));
                        }
                    }
                    let is_decided =
                        summary(&theirs).contains("error_code: 0") && !step.body.contains("validate_only: true");
                    if is_decided && DECISIONS.contains(&step.api) {
                        kafka.settle();
                    }
                }
            }
        }
        println!("{asked} requests");
        let gone = differences.all_but(&occurred);
        assert!(
            unexplained.is_empty() && gone.is_empty(),
            "{} differences that have no row:\n{}\n{} rows that nothing matches:\n{}",
            unexplained.len(),
            unexplained.join("\n"),
            gone.len(),
            gone.join("\n")
        );
        broker.stop();
        node.stop();
    }
}
