//! Kafka's lists of listeners, of which one is opened: the one for clients. The controller's are passed over, because this
//! node's controller speaks to no other.

use super::setting::list_items;

/// What listeners are called, and what they speak: the settings `controller.listener.names` and
/// `listener.security.protocol.map`.
pub(super) struct Names<'a> {
    pub(super) controllers: &'a str,
    pub(super) protocols: &'a str,
}

impl Names<'_> {
    /// The one listener for clients in a list, as `PLAINTEXT://HOST:PORT` whatever it is called.
    pub(super) fn for_clients(&self, text: &str) -> Result<String, String> {
        const SYNTAX: &str = "expected PLAINTEXT://HOST:PORT";
        let is_controllers = |item: &str| {
            let name = item.split_once("://").map_or(item, |(name, _)| name);
            list_items(self.controllers).any(|controller| controller.eq_ignore_ascii_case(name))
        };
        let mut own = list_items(text).filter(|item| !is_controllers(item));
        let first = match (own.next(), list_items(text).next()) {
            (Some(first), _) => first,
            (None, Some(_)) => return Err("all of them are the controller's (controller.listener.names)".into()),
            (None, None) => return Err(SYNTAX.into()),
        };
        if own.next().is_some() {
            return Err("only one listener for clients is supported".into());
        }
        let (name, address) = first.split_once("://").ok_or(SYNTAX)?;
        let protocols = list_items(self.protocols).filter_map(|item| item.split_once(':'));
        let protocol = protocols
            .into_iter()
            .find(|(listener, _)| listener.trim().eq_ignore_ascii_case(name));
        let protocol = protocol.map_or(name, |(_, protocol)| protocol.trim());
        match protocol.eq_ignore_ascii_case("PLAINTEXT") {
            true => Ok(format!("PLAINTEXT://{address}")),
            false => Err(format!("the listener {name:?} is not supported, only PLAINTEXT is")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_listener_is_for_clients() {
        let names = Names {
            controllers: "CONTROLLER, OTHER",
            protocols: "CONTROLLER:PLAINTEXT,INTERNAL:PLAINTEXT,EXTERNAL:SSL",
        };
        let found = |text| names.for_clients(text);
        assert_eq!(
            found("PLAINTEXT://:9092,CONTROLLER://:9093").unwrap(),
            "PLAINTEXT://:9092"
        );
        assert_eq!(found("OTHER://a:1, internal://b:2").unwrap(), "PLAINTEXT://b:2");
        for (text, why) in [
            ("", "expected PLAINTEXT://HOST:PORT"),
            (" , ", "expected PLAINTEXT://HOST:PORT"),
            ("localhost:9092", "expected PLAINTEXT://HOST:PORT"),
            ("CONTROLLER://:9093", "all of them are the controller's"),
            ("PLAINTEXT://a:1,INTERNAL://b:2", "only one listener"),
            ("EXTERNAL://a:1", "\"EXTERNAL\" is not supported"),
            ("SSL://a:1", "\"SSL\" is not supported"),
        ] {
            assert!(found(text).unwrap_err().contains(why), "{text:?}: {:?}", found(text));
        }
    }
}
