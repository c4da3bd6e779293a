//! The syntax of `server.properties`: Java's, as `java.util.Properties` reads it.

use super::setting::{ConfigError, Origin, Pair};

/// The pairs of a file, in its order, and what is wrong with lines that are none. `path` is for messages. A byte order mark,
/// which editors of other systems write, is passed over.
///
/// `#` and `!` begin comments; `=`, `:` or blanks end a key; a backslash at a line's end continues it, elsewhere it
/// escapes the next character (`\t \n \r \f \uXXXX`). A key without a value has the empty one.
pub fn parse_properties(path: &str, text: &str) -> (Vec<Pair>, Vec<ConfigError>) {
    let (mut pairs, mut problems) = (Vec::new(), Vec::new());
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let origin = Origin::File {
            path: path.to_owned(),
            line: index + 1,
        };
        let first = first.trim_start();
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut line = first.to_owned();
        while ends_in_odd_backslashes(&line) {
            line.pop();
            match lines.next() {
                Some((_, next)) => line.push_str(next.trim_start()),
                None => break,
            }
        }
        let (key, value) = split(&line);
        match (unescape(key), unescape(value)) {
            (Ok(key), Ok(value)) if !key.is_empty() => pairs.push(Pair { key, value, origin }),
            (Ok(_), Ok(_)) => problems.push(ConfigError::BadLine {
                reason: format!("expected KEY=VALUE, found {line:?}"),
                origin,
            }),
            (Err(reason), _) | (_, Err(reason)) => problems.push(ConfigError::BadLine { reason, origin }),
        }
    }
    (pairs, problems)
}

fn ends_in_odd_backslashes(line: &str) -> bool {
    line.bytes().rev().take_while(|&b| b == b'\\').count() % 2 == 1
}

/// Key and value of a logical line, both still escaped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && (matches!(c, '=' | ':') || is_blank(c));
        escaped = !escaped && c == '\\';
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(is_blank))
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0C')
}

fn unescape(text: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\x0C'),
            Some('u') => {
                let hex: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == 4);
                plain.push(
                    code.and_then(char::from_u32)
                        .ok_or(format!("\\u{hex} is not a character"))?,
                );
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String, usize)> {
        let (pairs, problems) = parse_properties("f", text);
        assert_eq!(problems, []);
        pairs
            .into_iter()
            .map(|pair| match pair.origin {
                Origin::File { line, .. } => (pair.key, pair.value, line),
                other => panic!("{other}"),
            })
            .collect()
    }

    #[test]
    fn lines_are_read_as_java_reads_them() {
        let text =
            "# comment\n! another\n\n  a = 1 \nb:2\nc 3\nd\ne=x\\\n   y\n log.dirs = /tmp/a=b\nk\\=y=v\\u0041\\t.\n";
        let expected = [
            ("a", "1 ", 4),
            ("b", "2", 5),
            ("c", "3", 6),
            ("d", "", 7),
            ("e", "xy", 8),
            ("log.dirs", "/tmp/a=b", 10),
            ("k=y", "vA\t.", 11),
        ];
        let expected: Vec<_> = expected
            .iter()
            .map(|&(k, v, line)| (k.to_string(), v.to_string(), line))
            .collect();
        assert_eq!(read(text), expected);
    }

    #[test]
    fn a_line_without_a_key_names_its_place() {
        let (pairs, problems) = parse_properties("server.properties", "a=1\n=2\nb=\\u12\nc=3\n");
        let problems: Vec<_> = problems.iter().map(ConfigError::to_string).collect();
        assert_eq!(
            problems,
            [
                "server.properties:2: expected KEY=VALUE, found \"=2\"",
                "server.properties:3: \\u12 is not a character"
            ]
        );
        assert_eq!(pairs.len(), 2);
        assert_eq!(read("\u{FEFF}a=1"), [("a".to_string(), "1".to_string(), 1)]);
        assert_eq!(read("a=1\\"), [("a".to_string(), "1".to_string(), 1)]);
    }
}
