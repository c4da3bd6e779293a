//! The types that settings have in the typed structs, read from text that [`Setting::check`](super::Setting::check)
//! passed.

use std::fmt;

use super::setting::list_items;

/// Reads a setting's text. An error is the reason.
pub(super) trait Value: Sized {
    fn read(text: &str) -> Result<Self, String>;
    /// The value of Kafka's null; most settings have none.
    fn unset() -> Option<Self> {
        None
    }
}

macro_rules! by_from_str {
    ($($ty:ty),*) => {$(
        impl Value for $ty {
            fn read(text: &str) -> Result<Self, String> {
                text.parse().map_err(|e| format!("{e}"))
            }
        }
    )*};
}
by_from_str!(i32, i64, u16, u32, u64, usize, String);

impl Value for bool {
    fn read(text: &str) -> Result<bool, String> {
        text.to_ascii_lowercase()
            .parse()
            .map_err(|_| "Expected value to be either true or false".into())
    }
}

/// Kafka's "-1 is no limit": any negative number is None.
impl Value for Option<i64> {
    fn read(text: &str) -> Result<Self, String> {
        i64::read(text).map(|n| (n >= 0).then_some(n))
    }
}

impl Value for Option<usize> {
    fn read(text: &str) -> Result<Self, String> {
        i64::read(text).map(|n| usize::try_from(n).ok())
    }
}

impl Value for Option<String> {
    fn read(text: &str) -> Result<Self, String> {
        Ok(Some(text.to_owned()))
    }
    fn unset() -> Option<Self> {
        Some(None)
    }
}

/// The codec that a topic's batches are stored with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CompressionType {
    /// As the producer sent them.
    Producer,
    Uncompressed,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl CompressionType {
    pub(super) const NAMES: &'static [&'static str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
}

impl Value for CompressionType {
    fn read(text: &str) -> Result<Self, String> {
        Ok(match text {
            "producer" => CompressionType::Producer,
            "uncompressed" => CompressionType::Uncompressed,
            "gzip" => CompressionType::Gzip,
            "snappy" => CompressionType::Snappy,
            "lz4" => CompressionType::Lz4,
            "zstd" => CompressionType::Zstd,
            _ => return Err(format!("String must be one of: {}", Self::NAMES.join(", "))),
        })
    }
}

/// What happens to a topic's old records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CleanupPolicy {
    /// Retention deletes old segments.
    Delete,
    /// Nothing is removed: Kafka's policy without an item.
    Keep,
    /// One that is not available here, compaction among them. Only the metadata of a folder that Kafka wrote has it.
    NotFollowed,
}

impl CleanupPolicy {
    /// Of any text: a newer Kafka may have a policy that nobody here has heard of, and taking it for deletion would lose
    /// records.
    pub fn of(text: &str) -> CleanupPolicy {
        let items: Vec<&str> = list_items(text).collect();
        match items[..] {
            [] => CleanupPolicy::Keep,
            _ if items.iter().all(|item| *item == "delete") => CleanupPolicy::Delete,
            _ => CleanupPolicy::NotFollowed,
        }
    }
}

/// Whose clock a topic's timestamps are from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's, at append.
    LogAppendTime,
}

impl TimestampType {
    pub(super) const NAMES: &'static [&'static str] = &["CreateTime", "LogAppendTime"];
}

impl Value for TimestampType {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "CreateTime" => Ok(TimestampType::CreateTime),
            "LogAppendTime" => Ok(TimestampType::LogAppendTime),
            _ => Err(format!("String must be one of: {}", Self::NAMES.join(", "))),
        }
    }
}

/// Permission bits that new files and folders do not get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Umask(pub u32);

impl Value for Umask {
    fn read(text: &str) -> Result<Self, String> {
        let is_octal = !text.is_empty() && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        match u32::from_str_radix(text, 8) {
            Ok(bits) if is_octal && bits & 0o700 == 0 && bits <= 0o777 => Ok(Umask(bits)),
            Ok(bits) if is_octal && bits <= 0o777 => Err("the broker itself must be able to use its files".into()),
            _ => Err("expected three octal digits such as 077 or 027".into()),
        }
    }
}

/// Which events are logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    pub(super) const NAMES: &'static [&'static str] = &["error", "warn", "info", "debug", "trace"];
}

impl Value for LogLevel {
    fn read(text: &str) -> Result<Self, String> {
        Ok(match text {
            "error" => LogLevel::Error,
            "warn" => LogLevel::Warn,
            "info" => LogLevel::Info,
            "debug" => LogLevel::Debug,
            "trace" => LogLevel::Trace,
            _ => return Err(format!("String must be one of: {}", Self::NAMES.join(", "))),
        })
    }
}

/// Where to listen, or what clients are told to connect to: `PLAINTEXT://host:port`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// A name or an address, an IPv6 one without its brackets; never empty.
    pub host: String,
    /// 0: any free one.
    pub port: u16,
}

impl Endpoint {
    /// Reads `host:port` or `[v6 address]:port`.
    pub fn parse(text: &str) -> Result<Endpoint, String> {
        let (host, port) = text.rsplit_once(':').ok_or("expected HOST:PORT")?;
        let port = port
            .parse()
            .map_err(|_| format!("{port:?} is not a port number (0 to 65535)"))?;
        let host = match host.strip_prefix('[') {
            Some(v6) => v6
                .strip_suffix(']')
                .ok_or("the bracket of the IPv6 address is not closed")?,
            None if host.contains(':') => return Err("an IPv6 address needs brackets: [::1]:9092".into()),
            None => host,
        };
        if host.contains(|c: char| c.is_whitespace() || c == '/') {
            return Err(format!("{host:?} is not a host name"));
        }
        // Kafka's `PLAINTEXT://:9092` listens everywhere.
        let host = if host.is_empty() { "0.0.0.0" } else { host };
        Ok(Endpoint {
            host: host.to_owned(),
            port,
        })
    }

    /// Whether this is an address to listen on but not one to connect to.
    pub fn is_wildcard(&self) -> bool {
        matches!(self.host.as_str(), "0.0.0.0" | "::" | "0:0:0:0:0:0:0:0")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Value for Endpoint {
    fn read(text: &str) -> Result<Endpoint, String> {
        if text.contains(',') {
            return Err("only one listener is supported".into());
        }
        let (protocol, address) = text.split_once("://").ok_or("expected PLAINTEXT://HOST:PORT")?;
        if !protocol.eq_ignore_ascii_case("PLAINTEXT") {
            return Err(format!("the listener {protocol:?} is not supported, only PLAINTEXT is"));
        }
        Endpoint::parse(address)
    }
}

impl Value for Option<Endpoint> {
    fn read(text: &str) -> Result<Self, String> {
        let endpoint = Endpoint::read(text)?;
        if endpoint.is_wildcard() {
            return Err(format!(
                "clients cannot connect to {}: name an address of this host that they can reach",
                endpoint.host
            ));
        }
        if endpoint.port == 0 {
            return Err("clients cannot connect to port 0: name the port that they reach".into());
        }
        Ok(Some(endpoint))
    }
    fn unset() -> Option<Self> {
        Some(None)
    }
}

/// Which processor cores get a shard each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cores {
    /// Every core that this process may run on.
    Auto,
    /// These, each once, in ascending order.
    List(Vec<usize>),
}

impl Value for Cores {
    /// `auto`, or numbers and ranges: `0,2-3`.
    fn read(text: &str) -> Result<Cores, String> {
        if text == "auto" {
            return Ok(Cores::Auto);
        }
        let mut cores = Vec::new();
        for item in text.split(',').map(str::trim) {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            let number = |text: &str| text.trim().parse::<usize>().ok().filter(|&core| core < CORES_MAX);
            match (number(first), number(last)) {
                (Some(first), Some(last)) if first <= last => cores.extend(first..=last),
                _ => {
                    return Err(format!(
                        "{item:?} is not a core or a range of cores, expected auto or 0,2-3"
                    ));
                }
            }
        }
        cores.sort_unstable();
        cores.dedup();
        Ok(Cores::List(cores))
    }
}

/// A bound on core numbers, so that a range cannot ask for unbounded memory.
const CORES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_kafka_writes_them() {
        let ok = |text: &str| Endpoint::read(text).unwrap().to_string();
        assert_eq!(ok("PLAINTEXT://127.0.0.1:9092"), "127.0.0.1:9092");
        assert_eq!(ok("plaintext://:9092"), "0.0.0.0:9092");
        assert_eq!(ok("PLAINTEXT://[::1]:0"), "[::1]:0");
        for bad in [
            "localhost:9092",
            "SSL://a:1",
            "PLAINTEXT://a",
            "PLAINTEXT://a:99999",
            "PLAINTEXT://::1:9",
            "PLAINTEXT://a:1,b:2",
        ] {
            assert!(Endpoint::read(bad).is_err(), "{bad}");
        }
        assert!(Option::<Endpoint>::read("PLAINTEXT://0.0.0.0:9092").is_err());
        assert!(Option::<Endpoint>::read("PLAINTEXT://here:0").is_err());
    }

    #[test]
    fn cores_are_numbers_and_ranges() {
        assert_eq!(Cores::read("auto"), Ok(Cores::Auto));
        assert_eq!(Cores::read("3, 0-1,1"), Ok(Cores::List(vec![0, 1, 3])));
        for bad in ["", "a", "3-1", "0-99999999999", "1,,2", "-1"] {
            assert!(Cores::read(bad).is_err(), "{bad}");
        }
    }
}
