//! The table of settings in README.md, which a test compares with this.

use super::setting::{Bounds, SETTINGS, Scope, Setting};

/// The settings of a scope, by key.
pub fn settings_of(scope: Scope) -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(move |setting| setting.scope == scope)
}

/// Both scopes. Settings that take one value only are listed in a sentence.
pub fn markdown_table() -> String {
    let mut text = String::from("**Broker** (`--config`, `--set`)\n\n");
    text.push_str(&table(Scope::Broker));
    text.push_str(
        "\n**Topic** (`kafka-topics --config`, `kafka-configs --alter`; the broker's setting gives the default)\n\n",
    );
    text.push_str(&table(Scope::Topic));
    text
}

fn table(scope: Scope) -> String {
    let head = match scope {
        Scope::Broker => "| Key | Type | Default | Bounds | What it does |\n|---|---|---|---|---|\n",
        Scope::Topic => {
            "| Key | Broker's setting | Type | Default | Bounds | What it does |\n|---|---|---|---|---|---|\n"
        }
    };
    let mut text = String::from(head);
    // The broker's names of topics' settings stand in the second column of the topics' table.
    let is_listed = |setting: &&Setting| scope == Scope::Topic || !is_default_of_topics(setting.key);
    for setting in settings_of(scope)
        .filter(is_listed)
        .filter(|setting| setting.fixed.is_none())
    {
        text.push_str(&row(setting));
    }
    let fixed: Vec<String> = settings_of(scope)
        .filter(is_listed)
        .filter(|setting| setting.fixed.is_some())
        .map(|setting| format!("`{}={}`", setting.key, setting.default.unwrap_or("")))
        .collect();
    text.push_str(&format!(
        "\nShown to tools, any other value refused: {}.\n",
        fixed.join(", ")
    ));
    text
}

fn is_default_of_topics(key: &str) -> bool {
    settings_of(Scope::Topic).any(|topic| topic.from_broker.iter().any(|from| from.key == key))
}

fn row(setting: &Setting) -> String {
    let from_broker = match setting.scope {
        Scope::Broker => String::new(),
        Scope::Topic => {
            let keys: Vec<String> = setting
                .from_broker
                .iter()
                .map(|from| format!("`{}`", from.key))
                .collect();
            format!(" {} |", keys.join(", "))
        }
    };
    let default = setting
        .default
        .map_or("not set".to_owned(), |default| format!("`{default}`"));
    let bounds = match setting.bounds {
        Bounds::OneOf(values) => values.join(", "),
        other => other.to_string(),
    };
    format!(
        "| `{}` |{from_broker} {} | {default} | {bounds} | {} |\n",
        setting.key,
        setting.kind.to_string().to_lowercase(),
        setting.doc
    )
}
