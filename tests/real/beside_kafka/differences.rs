//! Where this broker differs from Kafka on purpose, and why: `differences.txt`.

use std::collections::HashSet;

use super::{Difference, Step};

/// Each row has what section of a script, what API and version, what field of the reply, what Kafka says there, what we say,
/// and why; `*` stands for anything.
pub struct Differences {
    rows: Vec<[String; COLUMNS]>,
}

const COLUMNS: usize = 6;

impl Differences {
    pub fn read() -> Differences {
        let text = super::read("differences");
        let rows = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let columns = |row: &str| {
            let columns: Vec<String> = row.split('|').map(|column| column.trim().to_owned()).collect();
            columns
                .try_into()
                .unwrap_or_else(|_| panic!("{COLUMNS} columns: {row}"))
        };
        Differences {
            rows: rows.map(columns).collect(),
        }
    }

    /// The row that explains it.
    pub fn find(&self, step: &Step, version: i16, difference: &Difference) -> Option<usize> {
        let api = format!("{:?} {version}", step.api);
        let found = [
            &step.section,
            &api,
            &difference.path,
            &difference.kafka,
            &difference.ours,
        ];
        (self.rows.iter()).position(|row| row.iter().zip(found).all(|(pattern, found)| is_like(pattern, found)))
    }

    pub fn all_but(&self, occurred: &HashSet<usize>) -> Vec<String> {
        let rows = self.rows.iter().enumerate().filter(|(i, _)| !occurred.contains(i));
        rows.map(|(_, row)| row.join(" | ")).collect()
    }
}

fn is_like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, "")) => text.starts_with(start),
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            let ends = (0..=text.len()).filter_map(|at| text.get(at..));
            ends.into_iter().any(|text| is_like(rest, text))
        }),
    }
}
