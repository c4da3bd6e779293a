//! Disk operations that block: names, folders, whole small files, reservations. Done on worker threads with plain calls.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::config::Umask;
use crate::shard::effect::{BLOCK_BYTES, DiskError, DiskOp, DiskReply, Entry, READ_FILE_BYTES_MAX};

const FILL_BYTES: usize = 256 * 1024;

/// How much of a large file goes at a time: some milliseconds of a device that discards.
const REMOVE_BYTES: u64 = 8 * 1024 * 1024;

/// The data folder.
///
/// It may be reached itself by a symbolic link, and nothing below it may: a link is never followed, by whatever
/// opens, replaces or removes a file, so that nothing outside is read, overwritten or removed.
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(super) fn open(root: &Path) -> Result<Folder> {
        File::open(root)?;
        Ok(Folder {
            root: root.to_path_buf(),
        })
    }

    /// Where it is, with no link among the folders on the way. Whoever opens it adds [`libc::O_NOFOLLOW`] for its own name;
    /// renaming and removing never follow that one.
    pub(super) fn path(&self, relative: &str) -> Result<PathBuf> {
        if relative.is_empty() {
            return Ok(self.root.clone());
        }
        let mut path = self.root.clone();
        if let Some((folders, _)) = relative.rsplit_once('/') {
            for folder in folders.split('/') {
                path.push(folder);
                no_link(&path)?;
            }
        }
        Ok(self.root.join(relative))
    }

    /// The same for a folder that is to be looked into.
    fn folder_path(&self, relative: &str) -> Result<PathBuf> {
        let path = self.path(relative)?;
        if !relative.is_empty() {
            no_link(&path)?;
        }
        Ok(path)
    }

    /// Performs one blocking operation. The others (reads, writes, syncs and truncation of open files) are the ring's.
    pub(super) fn perform(&self, what: &DiskOp) -> std::result::Result<DiskReply, DiskError> {
        let (verb, path) = match what {
            DiskOp::Reserve { file, .. } => ("reserve space for", &*file.path),
            DiskOp::Fill { file, .. } => ("fill", &*file.path),
            DiskOp::CreateDir { path } => ("create folder", path.as_str()),
            DiskOp::SyncDir { path } => ("sync folder", path.as_str()),
            DiskOp::Rename { from, .. } => ("rename", from.as_str()),
            DiskOp::RemoveFile { path } | DiskOp::RemoveLargeFile { path } => ("remove", path.as_str()),
            DiskOp::RemoveDir { path } => ("remove folder", path.as_str()),
            DiskOp::List { path } => ("list", path.as_str()),
            DiskOp::ReadFile { path } => ("read", path.as_str()),
            DiskOp::ReplaceFile { path, .. } => ("replace", path.as_str()),
            DiskOp::Space => ("ask for the free space of", ""),
            DiskOp::Write { file, .. }
            | DiskOp::Read { file, .. }
            | DiskOp::Sync { file }
            | DiskOp::Truncate { file, .. }
            | DiskOp::CheckName { file }
            | DiskOp::Close { file } => ("do on a worker what belongs to the ring, with", &*file.path),
        };
        self.call(what).map_err(|error| disk_error(verb, path, &error))
    }

    fn call(&self, what: &DiskOp) -> Result<DiskReply> {
        let done = |()| DiskReply::Done;
        match what {
            DiskOp::Reserve { file, len } => self.reserve(&file.path, *len).map(done),
            DiskOp::Fill { file, len } => self.fill(&file.path, *len).map(done),
            DiskOp::CreateDir { path } => match fs::create_dir(self.path(path)?) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(DiskReply::Done),
                other => other.map(done),
            },
            DiskOp::SyncDir { path } => File::open(self.folder_path(path)?)?.sync_all().map(done),
            DiskOp::Rename { from, to } => fs::rename(self.path(from)?, self.path(to)?).map(done),
            DiskOp::RemoveFile { path } => fine_when_missing(self.path(path).and_then(fs::remove_file)).map(done),
            DiskOp::RemoveLargeFile { path } => fine_when_missing(self.remove_in_slices(path)).map(done),
            DiskOp::RemoveDir { path } => fine_when_missing(self.path(path).and_then(fs::remove_dir)).map(done),
            DiskOp::List { path } => self.list(path).map(DiskReply::Entries),
            DiskOp::ReadFile { path } => self.read_file(path).map(DiskReply::Bytes),
            DiskOp::ReplaceFile { path, content } => self.replace_file(path, content).map(done),
            DiskOp::Space => space(&self.root).map(|(free_bytes, total_bytes)| DiskReply::Space {
                free_bytes,
                total_bytes,
            }),
            DiskOp::Write { .. }
            | DiskOp::Read { .. }
            | DiskOp::Sync { .. }
            | DiskOp::Truncate { .. }
            | DiskOp::CheckName { .. }
            | DiskOp::Close { .. } => Err(Error::from(ErrorKind::Unsupported)),
        }
    }

    fn reserve(&self, path: &str, len: u64) -> Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(libc::O_NOFOLLOW)
            .open(self.path(path)?)?;
        if len == 0 {
            return Ok(());
        }
        match allocate_keeping_size(&file, len) {
            // A file system that cannot reserve (tmpfs of old kernels, some network ones) allocates as it writes.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
            other => other,
        }
    }

    fn fill(&self, path: &str, len: u64) -> Result<()> {
        let path = self.path(path)?;
        let open = |flags| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .custom_flags(flags | libc::O_NOFOLLOW)
                .open(&path)
        };
        // Gigabytes of zeros must not push everything else out of the page cache; where direct I/O is impossible, they do.
        let mut file = match open(libc::O_DIRECT) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => open(0)?,
            other => other?,
        };
        let zeros = aligned_zeros(FILL_BYTES);
        let size = file.metadata()?.len();
        if size < len {
            // One extent, as far as the file system can: the ring is written round and round.
            match allocate_keeping_size(&file, len) {
                Err(error) if error.raw_os_error() != Some(libc::EOPNOTSUPP) => return Err(error),
                _ => {}
            }
        }
        // Direct writes begin at a block; a last block that is not full is completed without touching its bytes.
        let mut position = size.next_multiple_of(BLOCK_BYTES);
        if size < len && position > size {
            file.set_len(position)?;
        }
        file.seek(SeekFrom::Start(position))?;
        while position < len {
            let piece = (len - position).min(FILL_BYTES as u64) as usize;
            file.write_all(&zeros.as_ref()[..piece])?;
            position += piece as u64;
        }
        file.sync_all()
    }

    fn remove_in_slices(&self, path: &str) -> Result<()> {
        let path = self.path(path)?;
        let opened = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path);
        let file = match opened {
            // A link: its name goes, and what it leads to is not ours.
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return fs::remove_file(path),
            opened => opened?,
        };
        let mut len = file.metadata()?.len();
        while len > REMOVE_BYTES {
            len -= REMOVE_BYTES;
            file.set_len(len)?;
            file.sync_data()?;
        }
        fs::remove_file(path)
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.folder_path(path)?)? {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let metadata = match entry.metadata() {
                // Removed meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                other => other?,
            };
            let is_dir = metadata.is_dir();
            let size_bytes = if is_dir { 0 } else { metadata.len() };
            entries.push(Entry {
                name,
                is_dir,
                size_bytes,
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn read_file(&self, path: &str) -> Result<Bytes> {
        let mut content = Vec::new();
        OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(self.path(path)?)?
            .take(READ_FILE_BYTES_MAX + 1)
            .read_to_end(&mut content)?;
        if content.len() as u64 > READ_FILE_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::FileTooLarge,
                format!("it is larger than {READ_FILE_BYTES_MAX} bytes"),
            ));
        }
        Ok(content.into())
    }

    fn replace_file(&self, path: &str, content: &[u8]) -> Result<()> {
        let target = self.path(path)?;
        let temporary = self.path(&format!("{path}.tmp"))?;
        let mut file = create(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&temporary, &target)?;
        File::open(target.parent().unwrap_or(&self.root))?.sync_all()
    }
}

/// Turns the system's error into the core's: the next action differs only for these.
pub(super) fn disk_error(verb: &str, path: &str, error: &Error) -> DiskError {
    let path = if path.is_empty() { "the data folder" } else { path };
    match error.raw_os_error() {
        Some(libc::ENOENT) => DiskError::NotFound { path: path.into() },
        Some(libc::ENOSPC | libc::EDQUOT) => DiskError::Full { path: path.into() },
        Some(libc::ELOOP) => DiskError::Io {
            message: format!(
                "cannot {verb} {path}: there is a symbolic link in its place or on the way to it, and none is followed below the \
                 data folder; put there what it leads to"
            ),
        },
        _ => DiskError::Io {
            message: format!("cannot {verb} {path}: {error}"),
        },
    }
}

/// From here on, whatever this process creates is without these permissions.
#[allow(unsafe_code)]
pub(super) fn set_umask(umask: Umask) {
    // SAFETY: a call without pointers, which cannot fail.
    unsafe { libc::umask(umask.0) };
}

/// A new file, or an old one of the name emptied; never what a link leads to.
pub(super) fn create(path: &Path) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// An error when the name is a link's; nothing is fine, and whoever wants more finds out.
fn no_link(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => Err(Error::from_raw_os_error(libc::ELOOP)),
        _ => Ok(()),
    }
}

fn fine_when_missing(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[allow(unsafe_code)]
fn allocate_keeping_size(file: &File, len: u64) -> Result<()> {
    let len = libc::off_t::try_from(len).map_err(|_| Error::from(ErrorKind::InvalidInput))?;
    // SAFETY: a call on an open descriptor without pointers.
    check(unsafe { libc::fallocate(file.as_raw_fd(), libc::FALLOC_FL_KEEP_SIZE, 0, len) })
}

/// Bytes of the file system that this process may still use.
#[allow(unsafe_code)]
/// Free and total bytes of the file system.
pub(super) fn space(path: &Path) -> Result<(u64, u64)> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: zero is a valid value of every field (numbers).
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a terminated string and `found` may be written; both outlive the call.
    check(unsafe { libc::statvfs(path.as_ptr(), &mut found) })?;
    Ok((found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize))
}

pub(super) fn check(result: libc::c_int) -> Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(Error::last_os_error())
    }
}

/// Zeros at an address that direct I/O accepts.
pub(super) fn aligned_zeros(len: usize) -> Aligned {
    let block = BLOCK_BYTES as usize;
    let memory = vec![0; len + block];
    let start = memory.as_ptr().align_offset(block);
    Aligned { memory, start, len }
}

pub(super) struct Aligned {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl AsMut<[u8]> for Aligned {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{File as LogFile, FileIds};
    use std::os::unix::fs::symlink;

    /// A data folder whose every name is a link to the outside, where one file is; what must be left of that.
    fn with_links() -> (tempfile::TempDir, Folder, PathBuf) {
        let scratch = tempfile::tempdir().unwrap();
        let (root, outside) = (scratch.path().join("data"), scratch.path().join("outside"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&outside).unwrap();
        let foreign = outside.join("foreign");
        fs::write(&foreign, vec![7; 20_000_000]).unwrap();
        symlink(&outside, root.join("t-0")).unwrap();
        fs::create_dir(root.join("u-0")).unwrap();
        symlink(&foreign, root.join("u-0/foreign")).unwrap();
        symlink(&foreign, root.join("u-0/new.tmp")).unwrap();
        let folder = Folder::open(&root).unwrap();
        (scratch, folder, foreign)
    }

    #[test]
    fn a_link_below_the_data_folder_is_never_followed() {
        let (_scratch, folder, foreign) = with_links();
        let mut files = FileIds::default();
        let mut file = |path: &str| LogFile {
            id: files.next(),
            path: path.into(),
        };
        let path = |path: &str| path.to_string();
        let mut refused = Vec::new();
        for through in ["t-0/foreign", "u-0/foreign"] {
            refused.push(DiskOp::ReadFile { path: path(through) });
            let (file, len) = (file(through), 4096);
            refused.push(DiskOp::Reserve {
                file: file.clone(),
                len,
            });
            refused.push(DiskOp::Fill { file, len });
        }
        refused.extend([
            DiskOp::List { path: path("t-0") },
            DiskOp::SyncDir { path: path("t-0") },
            DiskOp::CreateDir { path: path("t-0/made") },
            DiskOp::RemoveFile {
                path: path("t-0/foreign"),
            },
            DiskOp::RemoveLargeFile {
                path: path("t-0/foreign"),
            },
            DiskOp::ReplaceFile {
                path: path("t-0/new"),
                content: Bytes::from_static(b"new"),
            },
            DiskOp::ReplaceFile {
                path: path("u-0/new"),
                content: Bytes::from_static(b"new"),
            },
            DiskOp::Rename {
                from: path("t-0/foreign"),
                to: path("u-0/taken"),
            },
            DiskOp::RemoveDir { path: path("t-0") },
        ]);
        for what in &refused {
            let error = folder.perform(what).expect_err(&format!("{what:?}")).to_string();
            let is_last = matches!(what, DiskOp::RemoveDir { .. });
            assert!(is_last || error.contains("symbolic link"), "{what:?}: {error}");
        }
        // A link's own name may go.
        for path in ["u-0/foreign", "u-0/new.tmp"].map(path) {
            folder.perform(&DiskOp::RemoveLargeFile { path }).unwrap();
        }
        let path = path("u-0");
        folder.perform(&DiskOp::RemoveDir { path }).unwrap();
        assert!(fs::read(&foreign).unwrap() == vec![7; 20_000_000]);
        assert_eq!(fs::read_dir(foreign.parent().unwrap()).unwrap().count(), 1);
    }
}
