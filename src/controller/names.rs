//! What a topic may be called, in Kafka's words (`org.apache.kafka.common.internals.Topic`).

use std::sync::Arc;

use super::image::Image;
use crate::types::Excerpt;

const NAME_CHARS_MAX: usize = 249;

/// Topics of the broker's own, which clients read as internal. (`__cluster_metadata` is not among them in Kafka either: it
/// is no topic that the metadata knows.)
const INTERNAL: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

pub const CLUSTER_METADATA: &str = "__cluster_metadata";

pub fn is_internal(name: &str) -> bool {
    INTERNAL.contains(&name)
}

/// Why `name` cannot be a topic's; the text of INVALID_TOPIC_EXCEPTION.
pub fn check(name: &str) -> Result<(), String> {
    let reason = if name.is_empty() {
        "the empty string is not allowed".to_owned()
    } else if name == "." || name == ".." {
        format!("'{name}' is not allowed")
    } else if name.encode_utf16().count() > NAME_CHARS_MAX {
        let name = Excerpt(name);
        format!("the length of '{name}' is longer than the max allowed length {NAME_CHARS_MAX}")
    } else if !name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    {
        format!("'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
    } else {
        return Ok(());
    };
    Err(format!("Topic name is invalid: {reason}"))
}

/// The name that a topic's metrics would have, when it can be another topic's as well: metrics write '.' as '_'.
pub fn metric_name(name: &str) -> Option<Arc<str>> {
    name.contains(['.', '_']).then(|| name.replace('.', "_").into())
}

/// The topic whose metrics would have the name of `name`'s.
pub fn colliding<'a>(image: &'a Image, name: &str) -> Option<&'a str> {
    let metric = metric_name(name)?;
    let first = image.metric_names.range((metric.clone(), "".into())..).next()?;
    (first.0 == metric).then_some(&*first.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_kafkas() {
        assert_eq!(check("a.b_c-D9"), Ok(()));
        assert_eq!(
            check("").unwrap_err(),
            "Topic name is invalid: the empty string is not allowed"
        );
        assert_eq!(check("..").unwrap_err(), "Topic name is invalid: '..' is not allowed");
        assert_eq!(
            check("a b").unwrap_err(),
            "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        );
        assert_eq!(check(&"x".repeat(249)), Ok(()));
        assert!(
            check(&"x".repeat(250))
                .unwrap_err()
                .ends_with("is longer than the max allowed length 249")
        );
    }
}
