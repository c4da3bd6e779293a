//! Every declared message against the schemas in Kafka's own jars: names, types, versions, nulls, tags, defaults, and what
//! may be dropped. Skipped by name (`java::`) on machines without the jars; never in CI.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tidemill::wire::api::{ApiKey, Declaration};
use tidemill::wire::control_records::CONTROL_RECORDS;
use tidemill::wire::declare::{Field, Shape, Struct, Versions};
use tidemill::wire::metadata_records::METADATA_RECORDS;

/// Kafka's parser knows Produce from version 3 on, but its broker advertises 0, which librdkafka wants to see (KAFKA-18659),
/// and we read what may come then, to answer it properly.
const OLDER_THAN_THE_SCHEMA: &[(&str, i16)] = &[("ProduceRequest", 0), ("ProduceResponse", 0)];

/// Telemetry is served only where a plugin receives it.
const NOT_SERVED: &[&str] = &["GetTelemetrySubscriptionsRequest", "PushTelemetryRequest"];

fn versions(schema: &Value, key: &str) -> Versions {
    match schema.get(key).and_then(Value::as_str) {
        Some(text) => Versions::parse(text),
        None => Versions::NONE,
    }
}

/// Field names differ in their writing only: `IsrNodes` and `isr_nodes`.
fn plain(name: &str) -> String {
    name.trim_start_matches("r#").replace('_', "").to_lowercase()
}

struct Comparison<'a> {
    message: &'a str,
    common: BTreeMap<&'a str, &'a Vec<Value>>,
    differences: Vec<String>,
}

impl Comparison<'_> {
    fn differ(&mut self, what: String) {
        self.differences.push(format!("{}: {what}", self.message));
    }

    fn structure(&mut self, ours: &Struct, fields: &[Value]) {
        // Tagged fields come last here, and in the order of their tags, which is the order in which they are written.
        let mut theirs: Vec<&Value> = fields.iter().collect();
        theirs.sort_by_key(|field| {
            field
                .get("tag")
                .map_or(-1, |tag| tag.as_i64().expect("tags are numbers"))
        });
        let names = |fields: &[String]| fields.join(" ");
        let our_names: Vec<_> = ours.fields.iter().map(|field| plain(field.name)).collect();
        let their_names: Vec<_> = theirs
            .iter()
            .map(|field| plain(field["name"].as_str().unwrap()))
            .collect();
        if our_names != their_names {
            return self.differ(format!(
                "{} has {}, not {}",
                ours.name,
                names(&our_names),
                names(&their_names)
            ));
        }
        for (ours, theirs) in ours.fields.iter().zip(theirs) {
            self.field(ours, theirs);
        }
    }

    fn field(&mut self, ours: &Field, theirs: &Value) {
        let name = ours.name;
        let tag = theirs.get("tag").map(|tag| tag.as_u64().unwrap() as u32);
        if ours.tag != tag {
            self.differ(format!("{name}: tag {tag:?}"));
        }
        let carried = if theirs.get("versions").is_some() {
            "versions"
        } else {
            "taggedVersions"
        };
        if ours.versions != versions(theirs, carried) {
            self.differ(format!("{name}: versions {}", theirs[carried]));
        }
        if tag.is_some() && ours.versions != versions(theirs, "taggedVersions") {
            self.differ(format!("{name}: tagged in {}", theirs["taggedVersions"]));
        }
        if ours.null != versions(theirs, "nullableVersions") {
            self.differ(format!("{name}: null in {}", theirs["nullableVersions"]));
        }
        if ours.ignorable != theirs.get("ignorable").is_some_and(|value| value == true) {
            self.differ(format!("{name}: ignorable {:?}", theirs.get("ignorable")));
        }
        let (nullable, shape) = match ours.shape {
            Shape::Nullable(inner) => (true, *inner),
            shape => (false, shape),
        };
        if nullable != theirs.get("nullableVersions").is_some() {
            self.differ(format!("{name}: may be null: {}", !nullable));
        }
        let default = match theirs.get("default") {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        if number(ours.default) != number(&default) {
            self.differ(format!("{name}: default {default}, not {}", ours.default));
        }
        self.shape(name, shape, theirs["type"].as_str().unwrap(), theirs);
    }

    fn shape(&mut self, name: &str, ours: Shape, theirs: &str, field: &Value) {
        match (ours, theirs) {
            (Shape::Bool, "bool")
            | (Shape::Int8, "int8")
            | (Shape::Int16, "int16")
            | (Shape::Uint16, "uint16")
            | (Shape::Int32, "int32")
            | (Shape::Uint32, "uint32")
            | (Shape::Int64, "int64")
            | (Shape::Float64, "float64")
            | (Shape::Uuid, "uuid")
            | (Shape::String, "string")
            | (Shape::Bytes, "bytes" | "records") => {}
            (Shape::Array(element), array) if array.starts_with("[]") => {
                self.shape(name, *element, &array[2..], field);
            }
            (Shape::Struct(structure), kind) => {
                let fields = field
                    .get("fields")
                    .and_then(Value::as_array)
                    .or_else(|| self.common.get(kind).copied());
                match fields {
                    Some(fields) => self.structure(structure, fields),
                    None => self.differ(format!("{name}: no structure {kind}")),
                }
            }
            _ => self.differ(format!("{name}: type {theirs}, not {ours:?}")),
        }
    }
}

/// A default as a number; the zero of every type is the same. `None` is null.
fn number(text: &str) -> Option<i64> {
    match text {
        "" | "false" => Some(0),
        "true" => Some(1),
        "null" | "None" => None,
        "i32::MAX" => Some(i32::MAX.into()),
        "i32::MIN" => Some(i32::MIN.into()),
        "i64::MAX" => Some(i64::MAX),
        hex if hex.starts_with("0x") => Some(i64::from_str_radix(&hex[2..], 16).unwrap()),
        decimal => Some(
            decimal
                .replace(' ', "")
                .parse()
                .unwrap_or_else(|_| panic!("default {text}")),
        ),
    }
}

fn compare(ours: &Declaration, schema: &Value) -> Vec<String> {
    let common = schema.get("commonStructs").and_then(Value::as_array);
    let mut comparison = Comparison {
        message: ours.name,
        common: common
            .into_iter()
            .flatten()
            .map(|part| (part["name"].as_str().unwrap(), part["fields"].as_array().unwrap()))
            .collect(),
        differences: Vec::new(),
    };
    let mut valid = versions(schema, "validVersions");
    if let Some((_, min)) = OLDER_THAN_THE_SCHEMA.iter().find(|(name, _)| *name == ours.name) {
        valid.min = *min;
    }
    if ours.versions != valid {
        comparison.differ(format!("versions {}", schema["validVersions"]));
    }
    if ours.flexible != versions(schema, "flexibleVersions") {
        comparison.differ(format!("flexible {}", schema["flexibleVersions"]));
    }
    comparison.structure(ours.fields, schema["fields"].as_array().unwrap());
    comparison.differences
}

#[test]
fn a_difference_is_seen() {
    let schema = |fields: &str| -> Value {
        let text = format!(r#"{{"validVersions": "0-2", "flexibleVersions": "0+", "fields": [{fields}]}}"#);
        serde_json::from_str(&text).unwrap()
    };
    let ours = ApiKey::UnregisterBroker.request();
    let differences = |fields: &str| compare(&ours, &schema(fields)).join("; ");
    assert!(differences(r#"{"name": "BrokerId", "type": "int32", "versions": "0+"}"#).ends_with(r#"versions "0-2""#));
    for (fields, what) in [
        (
            r#"{"name": "BrokerId", "type": "int64", "versions": "0+"}"#,
            "type int64",
        ),
        (
            r#"{"name": "BrokerId", "type": "int32", "versions": "1+"}"#,
            "versions \"1+\"",
        ),
        (
            r#"{"name": "BrokerId", "type": "int32", "versions": "0+", "default": "-1"}"#,
            "default -1",
        ),
        (
            r#"{"name": "BrokerId", "type": "int32", "versions": "0+", "ignorable": true}"#,
            "ignorable",
        ),
        (r#"{"name": "Broker", "type": "int32", "versions": "0+"}"#, "not broker"),
        (
            r#"{"name": "BrokerId", "type": "int32", "taggedVersions": "0+", "tag": 0}"#,
            "tag Some(0)",
        ),
        ("", "has brokerid"),
    ] {
        assert!(differences(fields).contains(what), "{fields}: {}", differences(fields));
    }
}

mod java {
    use std::io::Read;
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    /// The schemas of one jar by their message's name.
    fn schemas(jar: &str, folder: &str) -> BTreeMap<String, Value> {
        let root = env!("CARGO_MANIFEST_DIR");
        let output = Command::new(format!("{root}/tools/kafka"))
            .arg("install")
            .output()
            .expect("tools/kafka runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let home = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        let path = home.join("jars").join(format!("{jar}-4.4.0.jar"));
        let jar = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let schemas: BTreeMap<_, _> = files(&jar)
            .filter(|(name, _)| name.starts_with(folder) && name.ends_with(".json"))
            .map(|(_, text)| {
                let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                let schema: Value = serde_json::from_str(&lines.collect::<Vec<_>>().join("\n")).unwrap();
                (schema["name"].as_str().unwrap().to_owned(), schema)
            })
            .collect();
        assert!(!schemas.is_empty(), "{} holds no {folder}*.json", path.display());
        schemas
    }

    /// The text files of a zip archive, from its directory at the end.
    fn files(zip: &[u8]) -> impl Iterator<Item = (String, String)> {
        let u16_at = |at: usize| usize::from(u16::from_le_bytes(zip[at..at + 2].try_into().unwrap()));
        let u32_at = |at: usize| u32::from_le_bytes(zip[at..at + 4].try_into().unwrap()) as usize;
        let end = zip
            .windows(4)
            .rposition(|bytes| bytes == b"PK\x05\x06")
            .expect("a zip archive");
        let mut entry = u32_at(end + 16);
        let entries = u16_at(end + 10);
        (0..entries).filter_map(move |_| {
            let (method, packed) = (u16_at(entry + 10), u32_at(entry + 20));
            let name = String::from_utf8_lossy(&zip[entry + 46..entry + 46 + u16_at(entry + 28)]).into_owned();
            let local = u32_at(entry + 42);
            entry += 46 + u16_at(entry + 28) + u16_at(entry + 30) + u16_at(entry + 32);
            if !name.ends_with(".json") {
                return None;
            }
            let start = local + 30 + u16_at(local + 26) + u16_at(local + 28);
            let bytes = &zip[start..start + packed];
            let mut text = String::new();
            match method {
                0 => text.push_str(std::str::from_utf8(bytes).unwrap()),
                _ => drop(
                    flate2::read::DeflateDecoder::new(bytes)
                        .read_to_string(&mut text)
                        .unwrap(),
                ),
            }
            Some((name, text))
        })
    }

    #[test]
    fn requests_and_responses_are_kafkas() {
        let schemas = schemas("kafka-clients", "common/message/");
        let mut differences = Vec::new();
        for api in ApiKey::ALL {
            for ours in [api.request(), api.response()] {
                let schema = &schemas[ours.name];
                assert_eq!(schema["apiKey"], api.code(), "{}", ours.name);
                differences.extend(compare(&ours, schema));
            }
            differences.extend(served(*api, &schemas[api.request().name]));
        }
        let declared: BTreeSet<_> = ApiKey::ALL.iter().map(|api| api.request().name).collect();
        for (name, schema) in &schemas {
            let alive = schema["type"] == "request" && schema["validVersions"] != "none";
            if alive && !declared.contains(name.as_str()) {
                differences.push(format!("{name} is not declared"));
            }
        }
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }

    /// What we serve, we serve as Kafka's broker does: the stable versions of what its broker listener knows.
    fn served(api: ApiKey, schema: &Value) -> Option<String> {
        let listeners = schema["listeners"].as_array().unwrap();
        let mut expected = Versions::NONE;
        if listeners.iter().any(|listener| listener == "broker") && !NOT_SERVED.contains(&api.request().name) {
            expected = versions(schema, "validVersions");
            expected.min = api.request().versions.min;
            expected.max -= i16::from(schema["latestVersionUnstable"] == true);
        }
        // All versions unstable: nothing to serve.
        if expected.max < expected.min {
            expected = Versions::NONE;
        }
        // What this broker lacks is not advertised; what it has, it serves as Kafka does.
        let is_right = api.served() == expected || api.served() == Versions::NONE;
        (!is_right).then(|| format!("{api:?} is served in {:?}, not {expected:?}", api.served()))
    }

    #[test]
    fn metadata_records_are_kafkas() {
        let schemas = schemas("kafka-metadata", "common/metadata/");
        let mut differences = Vec::new();
        for (kind, ours) in METADATA_RECORDS {
            let schema = &schemas[ours.name];
            assert_eq!(schema["apiKey"], *kind, "{}", ours.name);
            differences.extend(compare(ours, schema));
        }
        assert_eq!(METADATA_RECORDS.len(), schemas.len());
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }

    #[test]
    fn control_records_are_kafkas() {
        let schemas = schemas("kafka-clients", "common/message/");
        let differences: Vec<_> = CONTROL_RECORDS
            .iter()
            .flat_map(|ours| compare(ours, &schemas[ours.name]))
            .collect();
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }
}
