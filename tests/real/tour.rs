//! README's tour, line by line as it stands there: on a port and in a folder of the test's own, and otherwise unchanged.

mod java {
    mod kcat {
        use std::path::Path;
        use std::process::Command;

        use crate::broker::{Broker, run_ok, serve_in};
        use crate::kafka::TOOL_TIME;

        const ROOT: &str = env!("CARGO_MANIFEST_DIR");

        /// The blocks of commands in the section of this name.
        fn blocks(readme: &str, section: &str) -> Vec<Vec<String>> {
            let (_, section) = readme
                .split_once(&format!("\n## {section}\n"))
                .expect("the section is there");
            let section = section.split("\n## ").next().unwrap();
            let lines: Vec<&str> = section.lines().collect();
            let is_command = |line: &&str| line.starts_with("    ");
            let blocks = lines.chunk_by(|a, b| is_command(a) == is_command(b));
            let commands = blocks.filter(|block| is_command(&block[0]));
            commands
                .map(|block| block.iter().map(|line| line.trim().to_owned()).collect())
                .collect()
        }

        /// Runs a line as a shell does, in this folder; what it prints.
        #[track_caller]
        fn run_line(line: &str, folder: &Path, address: &str) -> String {
            let line = line
                .replace("cargo run --release --", env!("CARGO_BIN_EXE_tidemill"))
                .replace("tools/kafka", &format!("{ROOT}/tools/kafka"))
                .replace("127.0.0.1:9092", address);
            let script = format!("set -o pipefail; {line}");
            run_ok(
                Command::new("bash").args(["-c", &script]).current_dir(folder),
                TOOL_TIME,
            )
        }

        #[test]
        fn every_line_does_what_it_says() {
            let readme = std::fs::read_to_string(format!("{ROOT}/README.md")).unwrap();
            let blocks = blocks(&readme, "Two minutes");
            let [first, second, after, repair] = &blocks[..] else {
                panic!("the broker, what a second terminal does, and what comes after it: {blocks:#?}");
            };
            let folder = tempfile::tempdir().unwrap();
            let folder = folder.path();
            assert_eq!(first[..], ["cargo run --release -- serve"]);
            let broker = Broker::spawn(&mut serve_in(folder)).unwrap();
            let mut said = second.iter().map(|line| run_line(line, folder, broker.address()));
            assert_eq!(said.next().unwrap(), "");
            let all: String = (1..=1000).map(|number| format!("{number}\n")).collect();
            assert_eq!(said.next().unwrap(), all);
            assert_eq!(said.next().unwrap(), "first\n");
            assert_eq!(said.next(), None);
            let address = broker.address().to_owned();
            broker.interrupt();
            let mut said = after.iter().map(|line| run_line(line, folder, &address));
            let check = said.next().unwrap();
            assert!(!check.contains("refused"), "{check}");
            // It was stored as it was sent.
            let dump = said.next().unwrap();
            assert!(dump.to_lowercase().contains("lz4"), "{dump}");
            assert_eq!(said.next().unwrap(), "");
            let dump = said.next().unwrap();
            assert!(dump.contains("lz4") && dump.contains("isvalid: true"), "{dump}");
            assert_eq!(said.next(), None);
            let found: Vec<String> = repair.iter().map(|line| run_line(line, folder, &address)).collect();
            assert_eq!(found, ["a start goes on\n"]);
        }
    }
}
