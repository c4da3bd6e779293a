//! What the host must offer, looked at before glommio is touched: where it is missing, glommio panics or hangs.
//!
//! `tidemill check` prints the lines, `tidemill serve` refuses to start when one of them is [`Verdict::Refuse`].

use std::ffi::{CStr, CString};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{Error, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::blocking::{aligned_zeros, check, space as room};
use super::file_system;
use crate::config::BrokerConfig;
use crate::shard::effect::BLOCK_BYTES;

/// Each executor registers its buffers with three rings.
const RINGS: u64 = 3;
/// Glommio refuses to start below this.
const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;
/// Buffers of one shard for direct I/O; what does not fit comes from the heap.
const IO_MEMORY_BYTES: u64 = 8 * 1024 * 1024;
pub(super) const NO_LOCKABLE_MEMORY: &str = "not enough lockable memory is left for a ring, and the limit is for all that this \
     user runs; raise it (ulimit -l, or LimitMEMLOCK= of the service)";
const KERNEL_MIN: (u32, u32) = (5, 8);
const FILES_MIN: u64 = 1024;

/// One line of the preflight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub what: &'static str,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// With what was found.
    Ok(String),
    /// It will run, less well; what to do.
    Advise(String),
    /// It cannot run; what to do.
    Refuse(String),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Verdict::Ok(found) => write!(f, "ok      {}: {found}", self.what),
            Verdict::Advise(todo) => write!(f, "advice  {}: {todo}", self.what),
            Verdict::Refuse(todo) => write!(f, "refused {}: {todo}", self.what),
        }
    }
}

/// What is to be checked for.
#[derive(Clone, Debug)]
pub struct Needs {
    /// May be missing; then it is the folder in which it would be created.
    pub data_dir: PathBuf,
    pub shards: u16,
    /// The journals' rings, as far as they are not written yet: without them there is no start.
    pub ring_bytes: u64,
    /// Produces are refused while less than this is free; everything else works.
    pub reserve_bytes: u64,
}

impl Needs {
    /// For this configuration on this many cores.
    pub fn of(config: &BrokerConfig, shards: u16) -> Needs {
        let data_dir = PathBuf::from(config.data_dir());
        let missing = |shard| {
            let ring = data_dir.join(format!("tidemill-journal-{shard}.ring"));
            config
                .journal_bytes
                .saturating_sub(fs::metadata(ring).map_or(0, |found| found.len()))
        };
        Needs {
            ring_bytes: (0..shards).map(missing).fold(0, u64::saturating_add),
            reserve_bytes: config.disk_reserve_bytes,
            data_dir,
            shards,
        }
    }
}

/// Looks at everything, also after something was found missing.
pub fn preflight(needs: &Needs) -> Vec<Line> {
    let folder = nearest_existing(&needs.data_dir);
    let limits = (limit(libc::RLIMIT_MEMLOCK), limit(libc::RLIMIT_NOFILE));
    let line = |what, verdict| Line { what, verdict };
    vec![
        line("kernel", kernel(&release())),
        line("io_uring", io_uring(setup_ring())),
        line("locked memory", memlock(limits.0.0, may_lock_all(), needs.shards)),
        line("file system", file_system::check(&folder)),
        direct_io(&folder),
        line("file descriptors", descriptors(limits.1.1)),
        line(
            "free space",
            space(&folder, room(&folder).map(|(free_bytes, _)| free_bytes), needs),
        ),
    ]
}

/// How much buffer memory each shard may register under this process's limit.
pub(super) fn io_memory_bytes(shards: u16) -> usize {
    if may_lock_all() {
        return IO_MEMORY_BYTES as usize;
    }
    // The limit is the user's: half of it is left for the rings themselves, and for what else he runs.
    let each = limit(libc::RLIMIT_MEMLOCK).0 / 2 / (RINGS * u64::from(shards.max(1)));
    let each = each.min(IO_MEMORY_BYTES) / BLOCK_BYTES * BLOCK_BYTES;
    // With less than a few operations' worth registering is not worth while; glommio falls back to plain memory.
    if each < 1024 * 1024 {
        IO_MEMORY_BYTES as usize
    } else {
        each as usize
    }
}

/// Raises the limit of open files to what the system allows, and says what it is then.
#[allow(unsafe_code)]
pub(super) fn raise_files() -> u64 {
    let (soft, hard) = limit(libc::RLIMIT_NOFILE);
    if soft < hard {
        let wanted = libc::rlimit {
            rlim_cur: hard,
            rlim_max: hard,
        };
        // SAFETY: the pointer is to a value that lives through the call and is only read.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &wanted) } == 0 {
            return hard;
        }
    }
    soft
}

fn kernel(release: &str) -> Verdict {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < KERNEL_MIN {
        let (major, minor) = KERNEL_MIN;
        return Verdict::Refuse(format!("this is Linux {release}; install {major}.{minor} or newer"));
    }
    Verdict::Ok(format!("Linux {release}"))
}

fn io_uring(setup: Result<(), Error>) -> Verdict {
    let Err(error) = setup else {
        return Verdict::Ok("allowed".into());
    };
    Verdict::Refuse(match error.raw_os_error() {
        Some(libc::ENOSYS) => "this kernel has no io_uring; use one that is built with CONFIG_IO_URING".into(),
        Some(libc::EPERM | libc::EACCES) => {
            let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
            match disabled.trim() {
                "1" | "2" => format!(
                    "forbidden by kernel.io_uring_disabled={}; set it to 0 (sysctl kernel.io_uring_disabled=0)",
                    disabled.trim()
                ),
                _ => "forbidden for this process, usually by a container's seccomp profile; allow io_uring_setup, \
                      io_uring_enter and io_uring_register in it (docker: --security-opt seccomp=...)"
                    .into(),
            }
        }
        Some(libc::ENOMEM) => NO_LOCKABLE_MEMORY.into(),
        _ => format!("cannot set up a ring: {error}"),
    })
}

fn memlock(limit: u64, may_lock_all: bool, shards: u16) -> Verdict {
    let need = 2 * u64::from(shards) * RINGS * IO_MEMORY_BYTES;
    if may_lock_all {
        return Verdict::Ok("not limited for this user".into());
    }
    if limit < MEMLOCK_BYTES_MIN {
        return Verdict::Refuse(format!(
            "the limit is {} KiB; raise it to at least {} KiB, better {} KiB (ulimit -l, or LimitMEMLOCK= of the service)",
            limit / 1024,
            MEMLOCK_BYTES_MIN / 1024,
            need / 1024
        ));
    }
    if limit < need {
        return Verdict::Advise(format!(
            "the limit is {} KiB; {} KiB are needed before every shard registers all its buffers (ulimit -l, or \
             LimitMEMLOCK= of the service)",
            limit / 1024,
            need / 1024
        ));
    }
    Verdict::Ok(format!("{} KiB needed", need / 1024))
}

fn descriptors(hard: u64) -> Verdict {
    if hard < FILES_MIN {
        return Verdict::Refuse(format!(
            "at most {hard} open files are allowed; raise the limit to {FILES_MIN} or more (ulimit -Hn, or LimitNOFILE= of the \
             service)"
        ));
    }
    Verdict::Ok(format!("{hard} allowed"))
}

fn space(folder: &Path, free: std::io::Result<u64>, needs: &Needs) -> Verdict {
    const MIB: u64 = 1024 * 1024;
    let shown = folder.display();
    let free = match free {
        Err(error) => return Verdict::Refuse(format!("cannot ask for the free space of {shown}: {error}")),
        Ok(free) => free,
    };
    let found = format!("{shown} has {} MiB free", free / MIB);
    if free < needs.ring_bytes {
        return Verdict::Refuse(format!(
            "{found}, the journals need {} MiB; make room, or choose another folder with --data-dir",
            needs.ring_bytes.div_ceil(MIB)
        ));
    }
    if free - needs.ring_bytes < needs.reserve_bytes {
        return Verdict::Advise(format!(
            "{found}; make room: while less than {} MiB are left, produces are refused (tidemill.disk.reserve.bytes)",
            needs.reserve_bytes.div_ceil(MIB)
        ));
    }
    Verdict::Ok(found)
}

/// Writes and reads a block past the page cache, in the folder that will hold the data. Where no file can be made at all, it is
/// not direct I/O that is missing.
fn direct_io(folder: &Path) -> Line {
    let path = folder.join(format!(".tidemill-check-{}", std::process::id()));
    let verdict = try_direct_io(&path);
    let _ = fs::remove_file(&path);
    let shown = folder.display();
    let mut what = "direct I/O";
    let verdict = match verdict {
        Ok(()) => match direct_alignment(folder) {
            Some(align) if align > BLOCK_BYTES => Verdict::Refuse(format!(
                "{shown} is on a device that needs an alignment of {align} bytes, Tidemill uses {BLOCK_BYTES}; choose another \
                 with --data-dir"
            )),
            Some(align) => Verdict::Ok(format!("in {shown}, alignment {align}")),
            None => Verdict::Ok(format!("in {shown}, alignment {BLOCK_BYTES} works")),
        },
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Verdict::Refuse(format!(
            "the file system of {shown} does not support it; use ext4 or xfs on a local device, or choose another folder with \
             --data-dir"
        )),
        Err(error) => {
            what = "write access";
            Verdict::Refuse(format!(
                "cannot write in {shown}: {error}; make it writable, or choose another with --data-dir"
            ))
        }
    };
    Line { what, verdict }
}

fn try_direct_io(path: &Path) -> std::io::Result<()> {
    let zeros = aligned_zeros(BLOCK_BYTES as usize);
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(libc::O_DIRECT | libc::O_DSYNC | libc::O_NOFOLLOW);
    options.open(path)?.write_all(zeros.as_ref())?;
    let mut back = aligned_zeros(BLOCK_BYTES as usize);
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)?
        .read_exact(back.as_mut())
}

/// The alignment that direct I/O needs for positions, where the kernel says it (6.1 and later).
#[allow(unsafe_code)]
fn direct_alignment(folder: &Path) -> Option<u64> {
    let probe = folder.join(super::folder_lock::LOCK_FILE);
    let path = if probe.exists() {
        probe
    } else {
        fs::read_dir(folder)
            .ok()?
            .flatten()
            .find(|e| e.path().is_file())?
            .path()
    };
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: zero is a valid value of every field (numbers).
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a terminated string, `found` may be written; both outlive the call.
    let failed = unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), 0, libc::STATX_DIOALIGN, &mut found) };
    let known = failed == 0 && found.stx_mask & libc::STATX_DIOALIGN != 0 && found.stx_dio_offset_align > 0;
    known.then(|| u64::from(found.stx_dio_offset_align))
}

/// The folder itself, or the closest folder above it that exists.
fn nearest_existing(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    absolute
        .ancestors()
        .find(|path| path.is_dir())
        .unwrap_or(Path::new("/"))
        .to_path_buf()
}

#[allow(unsafe_code)]
fn release() -> String {
    // SAFETY: zero is a valid value of every field (characters).
    let mut names: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a value that may be written and lives through the call.
    if check(unsafe { libc::uname(&mut names) }).is_err() {
        return "unknown".into();
    }
    // SAFETY: the kernel terminates every name with a zero inside its array.
    unsafe { CStr::from_ptr(names.release.as_ptr()) }
        .to_string_lossy()
        .into_owned()
}

/// Sets up the smallest ring and gives it back.
#[allow(unsafe_code)]
fn setup_ring() -> Result<(), Error> {
    // `struct io_uring_params` is 120 bytes, all zero for a ring without wishes.
    let mut params = [0u64; 15];
    // SAFETY: the kernel reads and writes 120 bytes at the pointer, which `params` has.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) };
    if ring < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: a descriptor that the kernel has just opened for us and that nobody else has.
    drop(unsafe { OwnedFd::from_raw_fd(ring as i32) });
    Ok(())
}

/// Soft and hard limit.
#[allow(unsafe_code)]
fn limit(of: libc::__rlimit_resource_t) -> (u64, u64) {
    let mut found = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a value that may be written and lives through the call.
    match check(unsafe { libc::getrlimit(of, &mut found) }) {
        Ok(()) => (found.rlim_cur, found.rlim_max),
        Err(_) => (u64::MAX, u64::MAX),
    }
}

/// The kernel does not count locked memory of a process with CAP_IPC_LOCK (root, usually).
fn may_lock_all() -> bool {
    const CAP_IPC_LOCK: u64 = 14;
    let mut status = String::new();
    if File::open("/proc/self/status")
        .and_then(|mut file| file.read_to_string(&mut status))
        .is_err()
    {
        return false;
    }
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = mask
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    mask >> CAP_IPC_LOCK & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ok(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Ok(_))
    }

    fn refusal(verdict: Verdict) -> String {
        match verdict {
            Verdict::Refuse(todo) => todo,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_line_says_what_to_do() {
        assert!(is_ok(&kernel("6.18.0-generic")));
        assert!(is_ok(&kernel("5.8.1")));
        assert!(refusal(kernel("5.4.0-42")).contains("5.8 or newer"));
        assert!(is_ok(&io_uring(Ok(()))));
        assert!(refusal(io_uring(Err(Error::from_raw_os_error(libc::ENOSYS)))).contains("CONFIG_IO_URING"));
        assert!(refusal(io_uring(Err(Error::from_raw_os_error(libc::EPERM)))).contains("io_uring"));
        assert!(is_ok(&memlock(0, true, 64)));
        assert!(is_ok(&memlock(96 << 20, false, 2)));
        assert!(matches!(memlock(8 << 20, false, 2), Verdict::Advise(todo) if todo.contains("98304 KiB")));
        assert!(refusal(memlock(64 << 10, false, 2)).contains("at least 512 KiB"));
        assert!(refusal(descriptors(256)).contains("ulimit -Hn"));
        let needs = Needs {
            data_dir: "/x".into(),
            shards: 1,
            ring_bytes: 5 << 20,
            reserve_bytes: 3 << 20,
        };
        assert!(refusal(space(Path::new("/x"), Ok(1 << 20), &needs)).contains("1 MiB free, the journals need 5 MiB"));
        assert!(
            matches!(space(Path::new("/x"), Ok(7 << 20), &needs), Verdict::Advise(todo) if todo.contains("less than 3 MiB"))
        );
        assert!(is_ok(&space(Path::new("/x"), Ok(8 << 20), &needs)));
    }

    #[test]
    fn this_host_passes_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let needs = Needs {
            data_dir: folder.path().join("not/yet"),
            shards: 2,
            ring_bytes: 1,
            reserve_bytes: 1,
        };
        let lines = preflight(&needs);
        assert_eq!(lines.len(), 7);
        for line in &lines {
            assert!(!matches!(line.verdict, Verdict::Refuse(_)), "{line}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
