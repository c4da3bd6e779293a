//! Rules of the house that the compiler does not know. Each check is a plain function over text, with a test beside it
//! that shows it bite, and a test that runs it over the tree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tidemill::config::{SETTINGS, markdown_table};
use tidemill::wire::{ApiKey, Versions};

/// A file of the tree: its path from the root, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The text without comments and without what is inside string and character literals.
    fn code(&self) -> String {
        code_of(&self.text)
    }

    /// [`Source::code`] without modules that exist for tests only.
    fn product_code(&self) -> String {
        without_test_modules(&self.code())
    }

    /// The top-level part of the source tree that the file belongs to: `log` for `src/log/mod.rs` and for `src/log.rs`.
    fn part(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
    }
}

#[test]
fn parts_import_only_what_lies_below_them() {
    expect_none(product().iter().flat_map(forbidden_imports).collect());
}

#[test]
fn every_file_is_part_of_the_crate() {
    expect_none(unreached_files(&tree(&["src"])));
}

#[test]
fn nothing_is_left_to_do() {
    let sources = tree(&["src", "tests", "benches", "fuzz/fuzz_targets"]);
    expect_none(
        sources
            .iter()
            .filter(|source| source.path != "tests/tidy.rs")
            .flat_map(unfinished)
            .collect(),
    );
}

#[test]
fn the_core_does_not_touch_the_world() {
    expect_none(product().iter().flat_map(world_in_the_core).collect());
}

#[test]
fn unsafe_code_is_in_the_runtime_and_checksums_only() {
    expect_none(tree(&["src"]).iter().flat_map(unsafe_elsewhere).collect());
}

#[test]
fn no_file_is_longer_than_a_thousand_lines() {
    expect_none(tree(&["src", "tests", "benches"]).iter().filter_map(too_long).collect());
}

#[test]
fn every_setting_is_read() {
    let sources = product();
    let fields: BTreeSet<&str> = SETTINGS.iter().filter_map(|setting| setting.field).collect();
    let mut unread = unread_fields(&fields, &sources);
    // What is read only to derive a limit counts once somebody reads the limit.
    let limits = sources
        .iter()
        .find(|source| source.path == "src/config/limits.rs")
        .unwrap()
        .code();
    let outside: Vec<Source> = sources.into_iter().filter(|source| source.part() != "config").collect();
    unread.extend(unread_fields(&public_fields(&limits), &outside));
    expect_none(unread);
}

#[test]
fn the_readme_lists_the_settings_as_they_are() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    if between_markers(&readme) != Some(markdown_table().trim()) {
        panic!("README.md: put the output of `tidemill settings --markdown` between {BEGIN} and {END}");
    }
}

#[test]
fn the_readme_lists_the_apis_as_they_are() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let served = ApiKey::ALL
        .iter()
        .map(|api| (format!("{api:?}"), api.served()))
        .filter(|(_, served)| *served != Versions::NONE)
        .map(|(name, served)| match served.min == served.max {
            true => (name, served.min.to_string()),
            false => (name, format!("{}-{}", served.min, served.max)),
        });
    assert_eq!(apis_listed(&readme), served.collect());
}

const BEGIN: &str = "<!-- settings -->";
const END: &str = "<!-- end of settings -->";

// The tree

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files that the product is built from, without files that are test modules.
fn product() -> Vec<Source> {
    let sources = tree(&["src"]);
    let tests = test_files(&sources);
    sources
        .into_iter()
        .filter(|source| !tests.contains(&source.path))
        .collect()
}

fn tree(folders: &[&str]) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut folders: Vec<_> = folders
        .iter()
        .map(|folder| root().join(folder))
        .filter(|folder| folder.exists())
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                sources.push(Source {
                    path: name,
                    text: std::fs::read_to_string(&path).unwrap(),
                });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

#[track_caller]
fn expect_none(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

// The checks

/// Who may import whom. A part that is missing here may import nothing.
fn may_import(part: &str) -> &'static [&'static str] {
    const PEER: &[&str] = &["types", "error", "config", "wire", "record"];
    match part {
        "config" | "wire" | "record" => &["types", "error"],
        "log" | "journal" | "replica" | "group" | "txn" | "controller" => PEER,
        "shard" => &[
            "types",
            "error",
            "config",
            "wire",
            "record",
            "log",
            "journal",
            "replica",
            "group",
            "txn",
            "controller",
        ],
        "client" => PEER,
        "runtime" => &["types", "error", "config", "wire", "record", "shard", "controller"],
        "sim" => &[
            "types",
            "error",
            "config",
            "wire",
            "record",
            "log",
            "journal",
            "replica",
            "controller",
            "shard",
        ],
        "cli" => &[
            "types",
            "error",
            "config",
            "wire",
            "record",
            "log",
            "journal",
            "controller",
            "shard",
            "client",
            "runtime",
        ],
        "main" => &["cli"],
        _ => &[],
    }
}

fn forbidden_imports(source: &Source) -> Vec<String> {
    let part = source.part();
    let code = source.product_code();
    let mut imported = path_heads(&code, "crate::");
    imported.extend(path_heads(&code, "tidemill::"));
    imported
        .iter()
        .filter(|name| part != "lib" && *name != part && !may_import(part).contains(&name.as_str()))
        .map(|name| format!("{}: {part} must not import {name}", source.path))
        .collect()
}

/// The first names after `prefix` in the code: `a` and `b` for `crate::{a::x, b}`.
fn path_heads(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut heads = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => heads.extend(head(rest)),
            Some(group) => {
                let mut depth = 0;
                let mut item_begins = true;
                for (i, c) in group.char_indices() {
                    if item_begins && !c.is_whitespace() {
                        heads.extend(head(&group[i..]));
                        item_begins = false;
                    }
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => item_begins = true,
                        _ => {}
                    }
                }
            }
        }
    }
    heads
}

/// The lower-case name at the start of `text`. (Macros and types of the crate's root are no parts.)
fn head(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|c| is_name(*c)).collect();
    name.starts_with(|c: char| c.is_ascii_lowercase()).then_some(name)
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Files that no `mod` reaches.
fn unreached_files(sources: &[Source]) -> Vec<String> {
    let declared = declared_modules(sources);
    sources
        .iter()
        .filter(|source| !matches!(source.path.as_str(), "src/lib.rs" | "src/main.rs"))
        .filter(|source| !source.path.starts_with("src/bin/") && !declared.contains_key(&source.path))
        .map(|source| format!("{}: no file declares this module", source.path))
        .collect()
}

/// Files that are declared under `#[cfg(test)]`.
fn test_files(sources: &[Source]) -> BTreeSet<String> {
    declared_modules(sources)
        .into_iter()
        .filter(|(_, is_test)| *is_test)
        .map(|(path, _)| path)
        .collect()
}

/// Every file that a `mod name;` names, and whether it is for tests only.
fn declared_modules(sources: &[Source]) -> BTreeMap<String, bool> {
    let mut declared = BTreeMap::new();
    for source in sources {
        let folder = match source.path.rsplit_once('/') {
            Some((folder, "lib.rs" | "main.rs" | "mod.rs")) => folder.to_owned(),
            _ => source.path.trim_end_matches(".rs").to_owned(),
        };
        let code = source.code();
        let words: Vec<&str> = code.split_whitespace().collect();
        for (i, pair) in words.windows(2).enumerate() {
            if let ("mod", Some(name)) = (pair[0], pair[1].strip_suffix(';')) {
                // Only what stands between the item before and this one is its own.
                let own = words[..i].iter().rev().take_while(|word| !word.ends_with([';', '}']));
                let is_test = own.into_iter().any(|word| *word == "#[cfg(test)]");
                declared.insert(format!("{folder}/{name}.rs"), is_test);
                declared.insert(format!("{folder}/{name}/mod.rs"), is_test);
            }
        }
    }
    declared
}

fn unfinished(source: &Source) -> Vec<String> {
    const MACROS: &[&str] = &["todo!", "unimplemented!", "dbg!"];
    const NOTES: &[&str] = &["FIXME", "XXX", "TODO"];
    let code = source.code();
    let macros = MACROS.iter().filter(|word| has_word(&code, word));
    // Notes are looked for in comments too.
    let notes = NOTES.iter().filter(|word| has_word(&source.text, word));
    macros
        .chain(notes)
        .map(|word| format!("{}: {word}", source.path))
        .collect()
}

/// Files, sockets, clocks, threads, chance and async code belong to `runtime`, `client` and `cli`.
fn world_in_the_core(source: &Source) -> Vec<String> {
    const WORLD: &[&str] = &[
        "async",
        "await",
        "glommio",
        "std::fs",
        "std::env",
        "std::thread",
        "std::process",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "File::open",
        "Instant",
        "SystemTime",
        "rand",
        "getrandom",
        // Seeded at random: its order differs from run to run, and the simulator's traces with it.
        "std::collections::HashMap",
        "std::collections::HashSet",
        "RandomState",
    ];
    if matches!(source.part(), "runtime" | "client" | "cli" | "main") {
        return Vec::new();
    }
    let code = source.product_code();
    WORLD
        .iter()
        .filter(|word| has_word(&code, word) || imports(&code, word))
        .map(|word| {
            format!(
                "{}: {word} belongs to the runtime, the client or the command line",
                source.path
            )
        })
        .collect()
}

/// Whether `use std::collections::{.., HashMap}` or the like brings in `path`.
fn imports(code: &str, path: &str) -> bool {
    let Some((module, name)) = path.rsplit_once("::") else {
        return false;
    };
    code.match_indices(&format!("{module}::{{")).any(|(at, found)| {
        let group = &code[at + found.len()..];
        has_word(&group[..group.find(';').unwrap_or(group.len())], name)
    })
}

fn unsafe_elsewhere(source: &Source) -> Vec<String> {
    let allowed = source.part() == "runtime" || source.path == "src/record/crc.rs";
    let found = !allowed && has_word(&source.code(), "unsafe");
    found
        .then(|| format!("{}: unsafe belongs to the runtime and to checksums", source.path))
        .into_iter()
        .collect()
}

fn too_long(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    (lines > 1000).then(|| format!("{}: {lines} lines, it holds two ideas", source.path))
}

/// Fields that no product code reads outside the files that declare and parse them.
fn unread_fields(fields: &BTreeSet<&str>, sources: &[Source]) -> Vec<String> {
    let readers: Vec<String> = sources
        .iter()
        .filter(|source| source.path != "src/config/table.rs")
        .map(Source::product_code)
        .collect();
    let is_read = |field: &str| readers.iter().any(|code| has_word(code, &format!(".{field}")));
    fields
        .iter()
        .filter(|field| !is_read(field))
        .map(|field| field.to_string())
        .collect()
}

/// The names in `pub name: Type`.
fn public_fields(code: &str) -> BTreeSet<&str> {
    let words: Vec<&str> = code.split_whitespace().collect();
    words
        .windows(2)
        .filter(|pair| pair[0] == "pub")
        .filter_map(|pair| pair[1].strip_suffix(':'))
        .collect()
}

fn between_markers(readme: &str) -> Option<&str> {
    let (_, rest) = readme.split_once(BEGIN)?;
    let (table, _) = rest.split_once(END)?;
    Some(table.trim())
}

/// Names and versions in the table of APIs, which has two of them in a row.
fn apis_listed(readme: &str) -> BTreeMap<String, String> {
    let rows = readme
        .lines()
        .skip_while(|line| !line.starts_with("| API |"))
        .take_while(|line| line.starts_with('|'));
    let mut listed = BTreeMap::new();
    for row in rows.skip(2) {
        let cells: Vec<&str> = row.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect();
        for pair in cells.chunks_exact(2) {
            listed.insert(pair[0].to_owned(), pair[1].to_owned());
        }
    }
    listed
}

/// Whether `word` stands in the text and not as a part of a longer name.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back().filter(|_| word.starts_with(is_name));
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    })
}

// A little of Rust's syntax

fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if c == '"' {
            1 + quoted(&rest[1..], '"')
        } else if c == 'r' && !code.ends_with(is_name) && raw_string(rest).is_some() {
            raw_string(rest).unwrap_or(1)
        } else if c == '\'' && is_character(rest) {
            1 + quoted(&rest[1..], '\'')
        } else {
            0
        };
        if skipped == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            // A blank keeps the words around apart.
            code.push(' ');
            rest = &rest[skipped..];
        }
    }
    code
}

/// The length of what is quoted, with its closing quote.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return i + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string(text: &str) -> Option<usize> {
    let hashes = text[1..].chars().take_while(|&c| c == '#').count();
    let open = 1 + hashes;
    let body = text[open..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(open + 1 + body.find(&close).map_or(body.len(), |end| end + close.len()))
}

/// A character literal, not a lifetime.
fn is_character(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    matches!((chars.next(), chars.next()), (Some('\\'), _) | (Some(_), Some('\'')))
}

fn without_test_modules(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        let item = &rest[at..];
        let end = match (item.find('{'), item.find(';')) {
            (Some(open), semicolon) if semicolon.is_none_or(|semicolon| open < semicolon) => {
                open + block(&item[open..])
            }
            (_, Some(semicolon)) => semicolon + 1,
            _ => item.len(),
        };
        rest = &item[end..];
    }
    kept + rest
}

/// The length of a block in braces.
fn block(text: &str) -> usize {
    let mut depth = 0;
    for (i, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    text.len()
}

mod each_check_bites {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.into(),
            text: text.into(),
        }
    }

    #[test]
    fn a_peer_that_imports_a_peer() {
        let bad = forbidden_imports(&source("src/log/mod.rs", "use crate::{types::Offset, journal::Ring};"));
        assert_eq!(bad, ["src/log/mod.rs: log must not import journal"]);
        let bad = forbidden_imports(&source("src/record/read.rs", "fn f() { crate::wire::codec::read() }"));
        assert_eq!(bad.len(), 1);
        assert_eq!(
            forbidden_imports(&source("src/sim/mod.rs", "use crate::runtime::disk;")).len(),
            1
        );
        assert_eq!(
            forbidden_imports(&source("src/types.rs", "use crate::error::ErrorCode;")).len(),
            1
        );
        let fine =
            "// use crate::journal;\nuse crate::config::X;\n#[cfg(test)]\nmod tests { use crate::journal::Ring; }";
        assert!(forbidden_imports(&source("src/log/mod.rs", fine)).is_empty());
    }

    #[test]
    fn a_file_that_nobody_declares() {
        let sources = [
            source("src/lib.rs", "pub mod log;"),
            source("src/log/mod.rs", "mod index;"),
            source("src/log/index.rs", ""),
        ];
        assert!(unreached_files(&sources).is_empty());
        let sources = [source("src/lib.rs", "// mod log;"), source("src/log.rs", "")];
        assert_eq!(unreached_files(&sources), ["src/log.rs: no file declares this module"]);
    }

    #[test]
    fn work_that_is_left() {
        assert_eq!(unfinished(&source("src/a.rs", "fn f() { todo!() }")).len(), 1);
        assert_eq!(unfinished(&source("src/a.rs", "// FIXME: later")).len(), 1);
        assert!(unfinished(&source("src/a.rs", "fn f() { let s = \"todo!\"; }")).is_empty());
    }

    #[test]
    fn a_core_that_asks_the_time() {
        let bite = |text| world_in_the_core(&source("src/log/mod.rs", text)).len();
        assert_eq!(bite("let t = std::time::Instant::now();"), 1);
        assert_eq!(bite("use std::collections::{BTreeMap, HashMap};"), 1);
        assert_eq!(bite("async fn f() { g().await }"), 2);
        assert_eq!(bite("use std::fs;"), 1);
        assert_eq!(
            bite("// async\nuse hashbrown::HashMap; let operand = 'a'; let s = \"async\";"),
            0
        );
        assert!(world_in_the_core(&source("src/runtime/disk.rs", "use std::fs;")).is_empty());
    }

    #[test]
    fn unsafe_code_in_the_core() {
        assert_eq!(unsafe_elsewhere(&source("src/log/mod.rs", "unsafe { f() }")).len(), 1);
        assert!(unsafe_elsewhere(&source("src/log/mod.rs", "#![allow(unsafe_code)] // unsafe")).is_empty());
        assert!(unsafe_elsewhere(&source("src/runtime/net.rs", "unsafe { f() }")).is_empty());
    }

    #[test]
    fn a_long_file() {
        assert!(too_long(&source("src/a.rs", &"\n".repeat(1001))).is_some());
        assert!(too_long(&source("src/a.rs", &"\n".repeat(1000))).is_none());
    }

    #[test]
    fn a_setting_that_nobody_reads() {
        let fields = BTreeSet::from(["segment_ms", "cores"]);
        let reader = source("src/log/mod.rs", "if age > config.segment_ms {} // config.cores");
        let declares = source("src/config/table.rs", "config.cores");
        assert_eq!(unread_fields(&fields, &[reader, declares]), ["cores"]);
        let in_a_test = source(
            "src/log/mod.rs",
            "#[cfg(test)]\nmod tests { fn f() { c.cores; c.segment_ms; } }",
        );
        assert_eq!(unread_fields(&fields, &[in_a_test]).len(), 2);
        assert_eq!(
            unread_fields(&fields, &[source("src/a.rs", "c.segment_ms_max; c.cores_of")]).len(),
            2
        );
    }

    #[test]
    fn a_readme_that_lags_behind() {
        assert_eq!(
            between_markers("a\n<!-- settings -->\n\nx\n<!-- end of settings -->\n"),
            Some("x")
        );
        assert_eq!(between_markers("no table"), None);
        let table = "| a | 9 |\n\n| API | Versions | | API | Versions |\n|---|---|---|---|---|\n| A | 0-1 | | B | 2 |\n\n| c | 3 |";
        let listed = [("A", "0-1"), ("B", "2")].map(|(name, versions)| (name.to_owned(), versions.to_owned()));
        assert_eq!(apis_listed(table), BTreeMap::from(listed));
    }

    #[test]
    fn literals_and_comments_are_no_code() {
        let code =
            code_of("let a = r#\"x \" y\"#; /* b */ let c = '\\''; fn f<'a>(s: &'a str) { g(\"\\\"h\") } // i\nj");
        let words: Vec<&str> = code.split_whitespace().collect();
        assert_eq!(words.join(" "), "let a = ; let c = ; fn f<'a>(s: &'a str) { g( ) } j");
    }
}
