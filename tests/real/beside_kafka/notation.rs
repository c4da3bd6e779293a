//! Messages as text: what a script writes down as a request, and what a reply is read into, by the shapes that the wire
//! format's declarations give.
//!
//! ```text
//! topics: [{name: a, partitions: [{partition_index: 0, timestamp: now-5}]}], isolation_level: 1
//! ```
//!
//! A field that is not mentioned has its default; one that the version does not carry is left out. `null` is null, `''` and
//! `'a b'` are strings. Numbers may be `$name` (what an earlier reply said) and `now`, `now+5`, `now-5` (milliseconds); a topic's
//! id is `@name`, `@unknown` for one that nobody has and `@` for zeros; records are batches (`batches`).

use std::collections::HashMap;

use bytes::Bytes;
use tidemill::types::Uuid;
use tidemill::wire::declare::{Field, Shape, Struct, Version};
use tidemill::wire::{Reader, WireError, Writer};

use super::batches;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Word(String),
    List(Vec<Value>),
    Fields(Vec<(String, Value)>),
}

/// What the words of a script stand for at one of the two brokers.
#[derive(Default)]
pub struct Names {
    /// The time that the script calls `now`, in milliseconds.
    pub now_ms: i64,
    /// Numbers that a broker made up, each by the name that the script gives it.
    pub numbers: HashMap<String, i64>,
    pub topic_ids: HashMap<String, Uuid>,
    /// The topic of every id seen so far, also of topics that are gone.
    pub topics: HashMap<Uuid, String>,
}

impl Value {
    pub fn word(word: impl ToString) -> Value {
        Value::Word(word.to_string())
    }

    /// A whole body: fields without braces around them.
    pub fn parse_body(text: &str) -> Value {
        let mut rest = text;
        let fields = parse_fields(&mut rest);
        assert!(rest.is_empty(), "not understood: {rest}");
        fields
    }

    /// Of a structure.
    pub fn field(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Fields(fields) => fields.iter().find(|(field, _)| field == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The topics whose ids are asked for.
    pub fn topics_by_id(&self, found: &mut Vec<String>) {
        match self {
            Value::Null => (),
            Value::Word(word) => found.extend(
                word.strip_prefix('@')
                    .filter(|topic| !matches!(*topic, "" | "unknown"))
                    .map(str::to_owned),
            ),
            Value::List(values) => values.iter().for_each(|value| value.topics_by_id(found)),
            Value::Fields(fields) => fields.iter().for_each(|(_, value)| value.topics_by_id(found)),
        }
    }
}

fn parse_fields(rest: &mut &str) -> Value {
    let mut fields = Vec::new();
    *rest = rest.trim_start();
    while !rest.is_empty() && !rest.starts_with('}') {
        let (name, behind) = rest.split_once(':').unwrap_or_else(|| panic!("no field: {rest}"));
        *rest = behind.trim_start();
        fields.push((name.trim().to_owned(), parse_value(rest)));
        skip_comma(rest);
    }
    Value::Fields(fields)
}

fn parse_value(rest: &mut &str) -> Value {
    if let Some(inside) = rest.strip_prefix('{') {
        *rest = inside;
        let fields = parse_fields(rest);
        *rest = rest.strip_prefix('}').unwrap_or_else(|| panic!("no end: {rest}"));
        return fields;
    }
    if let Some(inside) = rest.strip_prefix('[') {
        *rest = inside.trim_start();
        let mut values = Vec::new();
        while !rest.starts_with(']') {
            assert!(!rest.is_empty(), "a list without an end");
            values.push(parse_value(rest));
            skip_comma(rest);
        }
        *rest = &rest[1..];
        return Value::List(values);
    }
    if let Some(inside) = rest.strip_prefix('\'') {
        let (word, behind) = inside.split_once('\'').expect("a closing quote");
        *rest = behind;
        return Value::word(word);
    }
    // What is in parentheses belongs to the word.
    let mut depth = 0;
    let is_end = |c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0 && (c == ',' || c == ']' || c == '}' || c.is_whitespace())
    };
    let end = rest.find(is_end).unwrap_or(rest.len());
    let word = &rest[..end];
    *rest = &rest[end..];
    match word {
        "null" => Value::Null,
        _ => Value::word(word),
    }
}

fn skip_comma(rest: &mut &str) {
    *rest = rest.trim_start();
    *rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
}

impl Names {
    pub fn number<T: TryFrom<i64>>(&self, word: &str) -> T {
        let number = if let Some(name) = word.strip_prefix('$') {
            self.numbers.get(name).copied()
        } else if let Some(distance) = word.strip_prefix("now") {
            let distance = if distance.is_empty() { "0" } else { distance };
            distance.parse::<i64>().ok().map(|distance| self.now_ms + distance)
        } else {
            word.parse().ok()
        };
        let number = number.and_then(|number| T::try_from(number).ok());
        number.unwrap_or_else(|| panic!("{word:?} is not a number of this size"))
    }

    fn topic_id(&self, word: &str) -> Uuid {
        match word.strip_prefix('@') {
            None | Some("") => Uuid::ZERO,
            Some("unknown") => Uuid([7; 16]),
            Some(topic) => *self.topic_ids.get(topic).unwrap_or_else(|| panic!("no id of {topic}")),
        }
    }

    pub fn encode(&self, w: &mut Writer, value: &Value, fields: &Struct, version: Version) -> Result<(), WireError> {
        let Value::Fields(given) = value else {
            panic!("{} is not {value:?}", fields.name);
        };
        for (name, _) in given {
            let exists = fields.fields.iter().any(|field| field.name == name);
            assert!(exists, "{} has no field {name}", fields.name);
        }
        let mut tagged = Vec::new();
        for field in fields
            .fields
            .iter()
            .filter(|field| field.versions.contains(version.number))
        {
            let value = value.field(field.name);
            match field.tag {
                None => self.encode_value(w, value.unwrap_or(&default_of(field)), &field.shape, version)?,
                Some(tag) => tagged.extend(value.map(|value| (tag, field, value))),
            }
        }
        if version.flexible {
            w.uvarint(tagged.len() as u32);
            for (tag, field, value) in tagged {
                w.tagged_field(tag, |w| self.encode_value(w, value, &field.shape, version))?;
            }
        }
        Ok(())
    }

    fn encode_value(&self, w: &mut Writer, value: &Value, shape: &Shape, version: Version) -> Result<(), WireError> {
        match (shape, value) {
            (Shape::Nullable(Shape::Struct(fields)), Value::Fields(_)) => {
                w.i8(1);
                self.encode(w, value, fields, version)?;
            }
            (Shape::Nullable(Shape::Struct(_)), Value::Null) => w.i8(-1),
            (Shape::Nullable(inner), _) => self.encode_value(w, value, inner, version)?,
            // Also where no null may be: that is for the brokers to notice.
            (Shape::String, Value::Null) => w.str(None, version.flexible)?,
            (Shape::Bytes, Value::Null) => w.bytes(None, version.flexible)?,
            (Shape::Array(_), Value::Null) => w.count(None, version.flexible)?,
            (Shape::Array(element), Value::List(values)) => {
                w.count(Some(values.len()), version.flexible)?;
                for value in values {
                    self.encode_value(w, value, element, version)?;
                }
            }
            (Shape::Struct(fields), Value::Fields(_)) => self.encode(w, value, fields, version)?,
            (Shape::Bool, Value::Word(word)) => w.bool(word.parse().unwrap()),
            (Shape::Int8, Value::Word(word)) => w.i8(self.number(word)),
            (Shape::Int16, Value::Word(word)) => w.i16(self.number(word)),
            (Shape::Int32, Value::Word(word)) => w.i32(self.number(word)),
            (Shape::Int64, Value::Word(word)) => w.i64(self.number(word)),
            (Shape::Uuid, Value::Word(word)) => w.uuid(self.topic_id(word)),
            (Shape::String, Value::Word(word)) => w.str(Some(word), version.flexible)?,
            (Shape::Bytes, Value::Word(word)) => w.bytes(Some(&batches::build(word, self)), version.flexible)?,
            _ => panic!("{shape:?} is not {value:?}"),
        }
        Ok(())
    }

    /// Without what no two brokers can have in common.
    pub fn decode(&self, r: &mut Reader<'_>, fields: &Struct, version: Version) -> Result<Value, WireError> {
        let mut values = Vec::new();
        let is_carried = |field: &&Field| field.versions.contains(version.number);
        for field in fields
            .fields
            .iter()
            .filter(is_carried)
            .filter(|field| field.tag.is_none())
        {
            let value = self.decode_value(r, field, &field.shape, version)?;
            values.push((field.name.to_owned(), value));
        }
        if version.flexible {
            r.tagged_fields(|tag, r| {
                let field = fields.fields.iter().find(|field| field.tag == Some(tag));
                let Some(field) = field.filter(is_carried) else {
                    return Ok(false);
                };
                let value = self.decode_value(r, field, &field.shape, version)?;
                values.push((field.name.to_owned(), value));
                Ok(true)
            })?;
        }
        values.retain(|(name, _)| name != "throttle_time_ms");
        Ok(Value::Fields(values))
    }

    fn decode_value(
        &self,
        r: &mut Reader<'_>,
        field: &Field,
        shape: &Shape,
        version: Version,
    ) -> Result<Value, WireError> {
        let number = |number: i64| Value::Word(self.number_word(field.name, number));
        Ok(match shape {
            Shape::Nullable(Shape::Struct(_)) if r.i8()? < 0 => Value::Null,
            Shape::Nullable(inner) => self.decode_value(r, field, inner, version)?,
            Shape::Struct(fields) => self.decode(r, fields, version)?,
            Shape::Array(element) => match r.count(version.flexible, 1)? {
                None => Value::Null,
                Some(count) => (0..count)
                    .map(|_| self.decode_value(r, field, element, version))
                    .collect::<Result<_, _>>()
                    .map(Value::List)?,
            },
            Shape::String => r
                .str(version.flexible)?
                .map_or(Value::Null, |text| string_word(field.name, &text)),
            Shape::Bytes => r
                .bytes(version.flexible)?
                .map_or(Value::Null, |bytes| self.records(&bytes)),
            Shape::Bool => Value::word(r.bool()?),
            Shape::Int8 => number(r.i8()?.into()),
            Shape::Int16 => number(r.i16()?.into()),
            Shape::Uint16 => number(r.u16()?.into()),
            Shape::Int32 => number(r.i32()?.into()),
            Shape::Uint32 => number(r.u32()?.into()),
            Shape::Int64 => number(r.i64()?),
            Shape::Float64 => Value::word(r.f64()?),
            Shape::Uuid => match r.uuid()? {
                Uuid::ZERO => Value::word("@"),
                Uuid(bytes) if bytes == [7; 16] => Value::word("@unknown"),
                id => Value::Word(self.topics.get(&id).map_or("(id)".into(), |topic| format!("@{topic}"))),
            },
        })
    }

    fn number_word(&self, field: &str, number: i64) -> String {
        match field {
            "port" => "(port)".into(),
            "finalized_features_epoch" => "(offset)".into(),
            "total_bytes" | "usable_bytes" if number > 0 => "(bytes)".into(),
            "timestamp" | "log_append_time_ms" => self.time_word(number),
            "producer_id" | "session_id" if number > 0 || (field == "producer_id" && number == 0) => {
                let known = self.numbers.iter().find(|(_, known)| **known == number);
                known.map_or("(number)".into(), |(name, _)| format!("${name}"))
            }
            _ => number.to_string(),
        }
    }

    /// A time that the test made, as the script writes it, or any other.
    pub fn time_word(&self, time_ms: i64) -> String {
        match time_ms - self.now_ms {
            0 => "now".into(),
            distance @ -60_000..=60_000 => format!("now{distance:+}"),
            _ if time_ms > self.now_ms => "(clock)".into(),
            _ => time_ms.to_string(),
        }
    }

    fn records(&self, bytes: &Bytes) -> Value {
        Value::List(batches::describe(bytes, self).map(Value::Word).collect())
    }
}

fn string_word(field: &str, text: &str) -> Value {
    match field {
        _ if text.is_empty() => Value::word("''"),
        "error_message" | "batch_index_error_message" | "documentation" => Value::word("(text)"),
        "cluster_id" => Value::word("(cluster)"),
        "log_dir" => Value::word("(folder)"),
        _ => Value::word(text),
    }
}

/// The default is declared as Rust writes it.
fn default_of(field: &Field) -> Value {
    match field.default {
        "" => initial(&field.shape),
        "None" => Value::Null,
        "i32::MAX" => Value::word(i32::MAX),
        "i64::MAX" => Value::word(i64::MAX),
        default => Value::word(default),
    }
}

fn initial(shape: &Shape) -> Value {
    match shape {
        Shape::Bool => Value::word("false"),
        Shape::String | Shape::Bytes | Shape::Uuid => Value::word(""),
        Shape::Array(_) => Value::List(Vec::new()),
        Shape::Nullable(inner) => initial(inner),
        Shape::Struct(_) => Value::Fields(Vec::new()),
        _ => Value::word("0"),
    }
}
