//! `tidemill settings`: the table of settings, for people and for README.md.

use std::io::Write;
use std::process::ExitCode;

use super::out::Out;
use crate::config::{Scope, Setting, markdown_table, settings_of};

pub fn run(markdown: bool) -> ExitCode {
    let text = if markdown { markdown_table() } else { plain() };
    let mut out = Out::new();
    let _ = out.write_all(text.as_bytes());
    out.finish(ExitCode::SUCCESS)
}

fn plain() -> String {
    let mut text = String::new();
    for (title, scope) in [
        ("Settings of the broker", Scope::Broker),
        ("Settings of a topic", Scope::Topic),
    ] {
        text.push_str(&format!("{title}\n\n"));
        settings_of(scope).for_each(|setting| text.push_str(&paragraph(setting)));
    }
    text
}

fn paragraph(setting: &Setting) -> String {
    let default = setting.default.unwrap_or("not set");
    let bounds = setting.bounds.to_string();
    let only = setting
        .fixed
        .map(|why| format!(" No other value is accepted: {why}."))
        .unwrap_or_default();
    format!(
        "{}={default}    {}{}{bounds}\n    {}{only}\n\n",
        setting.key,
        setting.kind.to_string().to_lowercase(),
        if bounds.is_empty() { "" } else { " " },
        setting.doc,
    )
}
