//! One process per data folder.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::blocking::check;
use crate::shard::effect::BLOCK_BYTES;

/// Also serves glommio's first look at the device: it reads a block with polled I/O, and an empty file would make it
/// believe that every device can be polled.
pub(super) const LOCK_FILE: &str = ".lock";

/// Held as long as the process may touch the folder. The kernel releases it with the process, however that ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

/// Creates the folder when it is missing and takes it for this process.
pub(super) fn take(folder: &Path) -> Result<FolderLock, String> {
    let shown = folder.display();
    fs::create_dir_all(folder).map_err(|error| {
        format!("cannot create the data folder {shown}: {error}; create it, or choose another with --data-dir")
    })?;
    let open = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(libc::O_NOFOLLOW)
        .open(folder.join(LOCK_FILE));
    let mut file = open.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => format!(
            "{shown}/{LOCK_FILE} is a symbolic link, and what it leads to would be overwritten: remove it, or choose another \
             folder with --data-dir"
        ),
        _ => format!("cannot write in the data folder {shown}: {error}; make it writable for this user, or choose another with --data-dir"),
    })?;
    lock_or_say(&mut file, folder)?;
    let mut block = format!("{}\n", std::process::id()).into_bytes();
    block.resize(BLOCK_BYTES as usize, b'\n');
    let written = file
        .seek(SeekFrom::Start(0))
        .and_then(|_| file.write_all(&block))
        .and_then(|()| file.sync_all());
    written.map_err(|error| format!("cannot write {shown}/{LOCK_FILE}: {error}"))?;
    Ok(FolderLock { _file: file })
}

/// Whether [`take`] would find the folder taken. Makes nothing, and lets go at once.
pub(super) fn look(folder: &Path) -> Result<(), String> {
    match File::open(folder.join(LOCK_FILE)) {
        Ok(mut file) => lock_or_say(&mut file, folder),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(cannot_read(folder, LOCK_FILE, &error)),
    }
}

/// Why a file of the data folder cannot be read, in words: the folder itself may be none.
pub(super) fn cannot_read(folder: &Path, file: &str, error: &std::io::Error) -> String {
    let shown = folder.display();
    match error.kind() {
        std::io::ErrorKind::NotADirectory => {
            format!("{shown} is a file, or lies below one, and the data folder has to be a folder: name another")
        }
        _ => format!("cannot read {shown}/{file}: {error}"),
    }
}

fn lock_or_say(file: &mut File, folder: &Path) -> Result<(), String> {
    let shown = folder.display();
    let Err(error) = lock(file) else { return Ok(()) };
    if error.kind() != std::io::ErrorKind::WouldBlock {
        return Err(format!("cannot lock {shown}/{LOCK_FILE}: {error}"));
    }
    let mut holder = String::new();
    let _ = Read::by_ref(file).take(32).read_to_string(&mut holder);
    let holder = holder.lines().next().unwrap_or("unknown");
    Err(format!(
        "the data folder {shown} is in use by another Tidemill (process {holder}); stop that one, or choose another folder with \
         --data-dir"
    ))
}

#[allow(unsafe_code)]
fn lock(file: &File) -> std::io::Result<()> {
    // SAFETY: a call on an open descriptor without pointers.
    check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(look(folder.path()), Ok(()));
        let held = take(folder.path()).unwrap();
        assert!(look(folder.path()).unwrap_err().contains("in use by another Tidemill"));
        let refused = take(folder.path()).unwrap_err();
        assert!(
            refused.contains(&format!("process {}", std::process::id())),
            "{refused}"
        );
        assert!(refused.contains("--data-dir"), "{refused}");
        drop(held);
        assert_eq!(look(folder.path()), Ok(()));
        take(folder.path()).unwrap();
    }

    #[test]
    fn a_link_in_place_of_the_lock_is_left_alone() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let foreign = outside.path().join("foreign");
        fs::write(&foreign, "foreign").unwrap();
        std::os::unix::fs::symlink(&foreign, folder.path().join(LOCK_FILE)).unwrap();
        let refused = take(folder.path()).unwrap_err();
        assert!(refused.contains("symbolic link"), "{refused}");
        assert_eq!(fs::read_to_string(&foreign).unwrap(), "foreign");
    }
}
