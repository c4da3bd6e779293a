//! What every disk must do, as one script: the runtime's real disk and the simulated one run it in their tests, so that
//! what the simulator proves is true of the real thing.

use std::sync::Arc;

use bytes::Bytes;

use super::effect::{BLOCK_BYTES, DiskError, DiskOp, DiskReply, Entry, File, OPERATION_BYTES_MAX};
use crate::types::FileId;

type Perform<'a> = &'a mut dyn FnMut(DiskOp) -> Result<DiskReply, DiskError>;

const BLOCK: usize = BLOCK_BYTES as usize;

/// Runs the script in an empty data folder.
pub(crate) fn run(perform: Perform) {
    missing_things_are_not_found(perform);
    writes_are_padded_and_read_back(perform);
    a_hole_reads_as_zeros(perform);
    the_largest_operation(perform);
    reserving_shows_no_bytes(perform);
    filling_keeps_what_is_there(perform);
    truncating(perform);
    names(perform);
    small_files(perform);
    a_name_used_again_is_another_file(perform);
    a_name_is_checked(perform);
    done(perform, DiskOp::SyncDir { path: "".into() });
    assert!(matches!(
        perform(DiskOp::Space),
        Ok(DiskReply::Space { free_bytes: 1.., .. })
    ));
}

fn a_name_is_checked(perform: Perform) {
    let (first, second) = (file(900, "named"), file(901, "named"));
    let is_gone = |result| matches!(result, Err(DiskError::NotFound { .. }));
    let check = |file: &File| DiskOp::CheckName { file: file.clone() };
    assert!(is_gone(perform(check(&first))));
    let fill = |file: &File| DiskOp::Fill {
        file: file.clone(),
        len: 4096,
    };
    done(perform, fill(&first));
    // An operation opens it.
    done(perform, DiskOp::Sync { file: first.clone() });
    done(perform, check(&first));
    done(perform, DiskOp::RemoveFile { path: "named".into() });
    assert!(is_gone(perform(check(&first))));
    // Another one of its name is not it.
    done(perform, fill(&second));
    assert!(is_gone(perform(check(&first))));
    done(perform, check(&second));
    for file in [first, second] {
        done(perform, DiskOp::Close { file });
    }
    done(perform, DiskOp::RemoveFile { path: "named".into() });
}

fn file(id: u64, path: &str) -> File {
    File {
        id: FileId(id),
        path: Arc::from(path),
    }
}

fn pattern(len: usize, seed: usize) -> Bytes {
    (0..len)
        .map(|i| (i * 31 + i / 251 + seed) as u8)
        .collect::<Vec<u8>>()
        .into()
}

#[track_caller]
fn done(perform: Perform, what: DiskOp) {
    let shown = format!("{what:?}");
    match perform(what) {
        Ok(DiskReply::Done) => {}
        other => panic!("{other:?} of {}", &shown[..shown.len().min(200)]),
    }
}

#[track_caller]
fn write(perform: Perform, file: &File, position: u64, slices: &[Bytes], durable: bool) {
    let slices = slices.to_vec();
    done(
        perform,
        DiskOp::Write {
            file: file.clone(),
            position,
            slices,
            durable,
        },
    );
}

#[track_caller]
fn read(perform: Perform, file: &File, position: u64, len: usize) -> Bytes {
    match perform(DiskOp::Read {
        file: file.clone(),
        position,
        len,
    }) {
        Ok(DiskReply::Bytes(bytes)) => bytes,
        other => panic!("{other:?} of a read of {} at {position}", file.path),
    }
}

#[track_caller]
fn size(perform: Perform, path: &str) -> u64 {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let entries = list(perform, folder);
    entries
        .iter()
        .find(|entry| entry.name == name)
        .unwrap_or_else(|| panic!("{path} is not in {entries:?}"))
        .size_bytes
}

#[track_caller]
fn list(perform: Perform, path: &str) -> Vec<Entry> {
    match perform(DiskOp::List { path: path.into() }) {
        Ok(DiskReply::Entries(entries)) => entries,
        other => panic!("{other:?} of a list of {path}"),
    }
}

#[track_caller]
fn not_found(perform: Perform, what: DiskOp) {
    let shown = format!("{what:?}");
    let result = perform(what);
    assert!(
        matches!(result, Err(DiskError::NotFound { .. })),
        "{result:?} of {shown}"
    );
}

#[track_caller]
fn fails(perform: Perform, what: DiskOp) {
    let shown = format!("{what:?}");
    let result = perform(what);
    assert!(matches!(result, Err(DiskError::Io { .. })), "{result:?} of {shown}");
}

fn missing_things_are_not_found(perform: Perform) {
    let missing = file(1, "missing.log");
    not_found(
        perform,
        DiskOp::Read {
            file: missing.clone(),
            position: 0,
            len: BLOCK,
        },
    );
    for durable in [false, true] {
        let slices = vec![pattern(10, 0)];
        not_found(
            perform,
            DiskOp::Write {
                file: missing.clone(),
                position: 0,
                slices,
                durable,
            },
        );
    }
    not_found(perform, DiskOp::Sync { file: missing.clone() });
    not_found(
        perform,
        DiskOp::Truncate {
            file: missing.clone(),
            len: 0,
        },
    );
    not_found(perform, DiskOp::List { path: "missing".into() });
    not_found(perform, DiskOp::ReadFile { path: "missing".into() });
    not_found(perform, DiskOp::SyncDir { path: "missing".into() });
    not_found(
        perform,
        DiskOp::Rename {
            from: "missing".into(),
            to: "other".into(),
        },
    );
    not_found(
        perform,
        DiskOp::CreateDir {
            path: "missing/below".into(),
        },
    );
    not_found(
        perform,
        DiskOp::Reserve {
            file: file(2, "missing/file"),
            len: 4096,
        },
    );
    done(perform, DiskOp::RemoveFile { path: "missing".into() });
    done(perform, DiskOp::RemoveLargeFile { path: "missing".into() });
    done(perform, DiskOp::RemoveDir { path: "missing".into() });
    done(perform, DiskOp::Close { file: missing });
}

fn writes_are_padded_and_read_back(perform: Perform) {
    let log = file(10, "padded.log");
    done(
        perform,
        DiskOp::Reserve {
            file: log.clone(),
            len: 0,
        },
    );
    // Three slices, one of them empty, end inside the second block.
    let bytes = pattern(5000, 1);
    write(
        perform,
        &log,
        0,
        &[bytes.slice(..10), Bytes::new(), bytes.slice(10..)],
        true,
    );
    assert_eq!(size(perform, "padded.log"), 2 * BLOCK_BYTES);
    let found = read(perform, &log, 0, 4 * BLOCK);
    assert_eq!(found.len(), 2 * BLOCK, "a read ends where the file ends");
    assert_eq!(found[..5000], bytes[..]);
    assert!(found[5000..].iter().all(|&b| b == 0));
    assert_eq!(read(perform, &log, BLOCK_BYTES, BLOCK)[..904], bytes[BLOCK..]);
    assert!(read(perform, &log, 2 * BLOCK_BYTES, BLOCK).is_empty());
    assert!(read(perform, &log, 64 * BLOCK_BYTES, BLOCK).is_empty());
    // A block is written again, not durably; the other stays.
    let again = pattern(BLOCK, 2);
    write(perform, &log, 0, std::slice::from_ref(&again), false);
    done(perform, DiskOp::Sync { file: log.clone() });
    let found = read(perform, &log, 0, 2 * BLOCK);
    assert_eq!(found[..BLOCK], again[..]);
    assert_eq!(found[BLOCK..5000], bytes[BLOCK..]);
    // A descriptor that is forgotten is opened again.
    done(perform, DiskOp::Close { file: log.clone() });
    let reopened = file(11, "padded.log");
    assert_eq!(read(perform, &reopened, 0, BLOCK), again);
}

fn a_hole_reads_as_zeros(perform: Perform) {
    let log = file(20, "hole.log");
    done(
        perform,
        DiskOp::Reserve {
            file: log.clone(),
            len: 64 * 1024,
        },
    );
    let bytes = pattern(BLOCK, 3);
    write(perform, &log, 4 * BLOCK_BYTES, std::slice::from_ref(&bytes), true);
    assert_eq!(size(perform, "hole.log"), 5 * BLOCK_BYTES);
    let found = read(perform, &log, 0, 5 * BLOCK);
    assert!(found[..4 * BLOCK].iter().all(|&b| b == 0));
    assert_eq!(found[4 * BLOCK..], bytes[..]);
}

fn the_largest_operation(perform: Perform) {
    let log = file(30, "large.log");
    done(
        perform,
        DiskOp::Reserve {
            file: log.clone(),
            len: 2 * OPERATION_BYTES_MAX as u64,
        },
    );
    let bytes = pattern(OPERATION_BYTES_MAX, 4);
    for (number, durable) in [(0, true), (1, false)] {
        let slices: Vec<Bytes> = bytes.chunks(100_000).map(Bytes::copy_from_slice).collect();
        write(perform, &log, number * OPERATION_BYTES_MAX as u64, &slices, durable);
    }
    assert_eq!(read(perform, &log, 0, OPERATION_BYTES_MAX), bytes);
    assert_eq!(
        read(perform, &log, OPERATION_BYTES_MAX as u64, OPERATION_BYTES_MAX),
        bytes
    );
}

fn reserving_shows_no_bytes(perform: Perform) {
    let log = file(40, "reserved.log");
    for len in [1 << 20, 1 << 20, 4096] {
        done(perform, DiskOp::Reserve { file: log.clone(), len });
        assert_eq!(size(perform, "reserved.log"), 0);
    }
    assert!(read(perform, &log, 0, BLOCK).is_empty());
}

fn filling_keeps_what_is_there(perform: Perform) {
    let ring = file(50, "ring");
    done(
        perform,
        DiskOp::Fill {
            file: ring.clone(),
            len: 16 * BLOCK_BYTES,
        },
    );
    assert_eq!(size(perform, "ring"), 16 * BLOCK_BYTES);
    assert!(read(perform, &ring, 0, 16 * BLOCK).iter().all(|&b| b == 0));
    let bytes = pattern(BLOCK, 5);
    write(perform, &ring, 3 * BLOCK_BYTES, std::slice::from_ref(&bytes), true);
    for len in [100 * BLOCK_BYTES, 100 * BLOCK_BYTES, BLOCK_BYTES] {
        done(
            perform,
            DiskOp::Fill {
                file: ring.clone(),
                len,
            },
        );
        assert_eq!(size(perform, "ring"), 100 * BLOCK_BYTES);
        assert_eq!(read(perform, &ring, 3 * BLOCK_BYTES, BLOCK), bytes);
    }
    assert!(read(perform, &ring, 99 * BLOCK_BYTES, BLOCK).iter().all(|&b| b == 0));
    // What ends inside a block keeps its bytes too.
    done(
        perform,
        DiskOp::Truncate {
            file: ring.clone(),
            len: 3 * BLOCK_BYTES + 100,
        },
    );
    done(
        perform,
        DiskOp::Fill {
            file: ring.clone(),
            len: 5 * BLOCK_BYTES,
        },
    );
    let found = read(perform, &ring, 3 * BLOCK_BYTES, 2 * BLOCK);
    assert_eq!(found[..100], bytes[..100]);
    assert!(found.len() == 2 * BLOCK && found[100..].iter().all(|&b| b == 0));
}

fn truncating(perform: Perform) {
    let log = file(60, "truncated.log");
    done(
        perform,
        DiskOp::Reserve {
            file: log.clone(),
            len: 1 << 20,
        },
    );
    let bytes = pattern(8 * BLOCK, 6);
    write(perform, &log, 0, std::slice::from_ref(&bytes), false);
    done(
        perform,
        DiskOp::Truncate {
            file: log.clone(),
            len: 5000,
        },
    );
    done(perform, DiskOp::Sync { file: log.clone() });
    assert_eq!(size(perform, "truncated.log"), 5000);
    assert_eq!(read(perform, &log, 0, 8 * BLOCK), bytes.slice(..5000));
    // What was cut does not come back, whether the size grows or a write makes it grow.
    let grown = BLOCK_BYTES + 5000;
    done(
        perform,
        DiskOp::Truncate {
            file: log.clone(),
            len: grown,
        },
    );
    assert_eq!(size(perform, "truncated.log"), grown);
    assert!(read(perform, &log, 0, 8 * BLOCK)[5000..].iter().all(|&b| b == 0));
    done(
        perform,
        DiskOp::Truncate {
            file: log.clone(),
            len: 5000,
        },
    );
    write(perform, &log, 2 * BLOCK_BYTES, &[pattern(1, 7)], true);
    let found = read(perform, &log, 0, 8 * BLOCK);
    assert_eq!(found.len(), 3 * BLOCK);
    assert!(found[5000..2 * BLOCK].iter().all(|&b| b == 0));
    done(
        perform,
        DiskOp::Truncate {
            file: log.clone(),
            len: 0,
        },
    );
    assert!(read(perform, &log, 0, BLOCK).is_empty());
}

fn names(perform: Perform) {
    done(perform, DiskOp::CreateDir { path: "topic-0".into() });
    done(perform, DiskOp::CreateDir { path: "topic-0".into() });
    done(
        perform,
        DiskOp::Reserve {
            file: file(70, "topic-0/b.log"),
            len: 0,
        },
    );
    done(
        perform,
        DiskOp::Reserve {
            file: file(71, "topic-0/a.log"),
            len: 0,
        },
    );
    done(
        perform,
        DiskOp::CreateDir {
            path: "topic-0/c".into(),
        },
    );
    done(perform, DiskOp::SyncDir { path: "topic-0".into() });
    let names: Vec<(String, bool)> = list(perform, "topic-0")
        .into_iter()
        .map(|e| (e.name, e.is_dir))
        .collect();
    assert_eq!(
        names,
        [("a.log".into(), false), ("b.log".into(), false), ("c".into(), true)]
    );
    fails(perform, DiskOp::RemoveDir { path: "topic-0".into() });
    done(
        perform,
        DiskOp::Rename {
            from: "topic-0".into(),
            to: "topic-0.id-delete".into(),
        },
    );
    not_found(perform, DiskOp::List { path: "topic-0".into() });
    // A new name replaces an old one of the same kind.
    let (from, to) = ("topic-0.id-delete/a.log".into(), "topic-0.id-delete/b.log".into());
    done(perform, DiskOp::Rename { from, to });
    assert_eq!(list(perform, "topic-0.id-delete").len(), 2);
    // A folder takes the place of an empty one, never of one that holds something.
    let content = pattern(3, 7);
    let (path, taken) = ("topic-1/file".to_string(), "topic-1".to_string());
    done(perform, DiskOp::CreateDir { path: taken.clone() });
    let rename = |from: &str, to: &str| DiskOp::Rename {
        from: from.into(),
        to: to.into(),
    };
    done(perform, DiskOp::ReplaceFile { path, content });
    fails(perform, rename("topic-1", "topic-0.id-delete"));
    assert_eq!(list(perform, "topic-0.id-delete").len(), 2);
    assert_eq!(list(perform, "topic-1").len(), 1);
    done(perform, DiskOp::CreateDir { path: "topic-2".into() });
    done(perform, rename("topic-1", "topic-2"));
    assert_eq!(list(perform, "topic-2").len(), 1);
    not_found(perform, DiskOp::List { path: taken });
    // A name has at most 255 bytes, whatever is asked of it.
    let long = "x".repeat(255);
    done(perform, DiskOp::CreateDir { path: long.clone() });
    done(perform, DiskOp::RemoveDir { path: long.clone() });
    let path = long + "x";
    fails(perform, DiskOp::List { path: path.clone() });
    fails(perform, rename("topic-2", &path));
    fails(perform, DiskOp::CreateDir { path });
    done(
        perform,
        DiskOp::RemoveFile {
            path: "topic-0.id-delete/b.log".into(),
        },
    );
    done(
        perform,
        DiskOp::RemoveDir {
            path: "topic-0.id-delete/c".into(),
        },
    );
    done(
        perform,
        DiskOp::RemoveDir {
            path: "topic-0.id-delete".into(),
        },
    );
    not_found(
        perform,
        DiskOp::List {
            path: "topic-0.id-delete".into(),
        },
    );
}

fn small_files(perform: Perform) {
    for content in [pattern(3, 8), pattern(10_000, 9), Bytes::new()] {
        done(
            perform,
            DiskOp::ReplaceFile {
                path: "small".into(),
                content: content.clone(),
            },
        );
        match perform(DiskOp::ReadFile { path: "small".into() }) {
            Ok(DiskReply::Bytes(found)) => assert_eq!(found, content),
            other => panic!("{other:?}"),
        }
        assert_eq!(size(perform, "small"), content.len() as u64);
    }
    assert!(list(perform, "").iter().all(|entry| !entry.name.ends_with(".tmp")));
    not_found(
        perform,
        DiskOp::ReplaceFile {
            path: "missing/small".into(),
            content: pattern(3, 8),
        },
    );
}

fn a_name_used_again_is_another_file(perform: Perform) {
    let old = file(80, "again.log");
    done(
        perform,
        DiskOp::Reserve {
            file: old.clone(),
            len: 0,
        },
    );
    write(perform, &old, 0, &[pattern(BLOCK, 10)], true);
    done(perform, DiskOp::Close { file: old });
    done(
        perform,
        DiskOp::RemoveFile {
            path: "again.log".into(),
        },
    );
    let new = file(81, "again.log");
    not_found(
        perform,
        DiskOp::Read {
            file: new.clone(),
            position: 0,
            len: BLOCK,
        },
    );
    done(
        perform,
        DiskOp::Reserve {
            file: new.clone(),
            len: 0,
        },
    );
    assert!(read(perform, &new, 0, BLOCK).is_empty());
    // More than one slice of what goes slowly.
    done(
        perform,
        DiskOp::Truncate {
            file: new.clone(),
            len: 20 << 20,
        },
    );
    done(perform, DiskOp::Close { file: new });
    let path = "again.log".to_string();
    done(perform, DiskOp::RemoveLargeFile { path });
    let entries = list(perform, "");
    assert!(entries.iter().all(|entry| entry.name != "again.log"));
}
