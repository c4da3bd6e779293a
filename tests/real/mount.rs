//! A small file system of a test's own, which needs root to be mounted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::broker::{PATIENCE, run_ok};

const BYTES: u64 = 96 * 1024 * 1024;

/// An ext4 in a file. Dropping it unmounts it.
pub struct Mount {
    scratch: tempfile::TempDir,
}

impl Mount {
    /// `None` where this process may not mount; with CI set it must. tools/test skips who asks, by name, without root.
    pub fn make() -> Option<Mount> {
        let scratch = tempfile::tempdir().unwrap();
        let image = scratch.path().join("image");
        fs::File::create(&image).unwrap().set_len(BYTES).unwrap();
        let mut format = Command::new("/sbin/mkfs.ext4");
        run_ok(
            format.args(["-q", "-F", "-m", "0"]).arg(&image),
            Duration::from_secs(30),
        );
        let mount = Mount { scratch };
        fs::create_dir(mount.at()).unwrap();
        if mount.mounts() {
            return Some(mount);
        }
        assert!(std::env::var_os("CI").is_none(), "cannot mount {}", image.display());
        eprintln!("SKIPPED: this process may not mount a file system");
        None
    }

    pub fn at(&self) -> PathBuf {
        self.scratch.path().join("mounted")
    }

    fn mounts(&self) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]).arg(self.scratch.path().join("image"));
        mount.arg(self.at()).status().is_ok_and(|status| status.success())
    }

    /// From now on every operation fails with EIO, writes and flushes that are under way too, and what the file system has
    /// not flushed of its own journal is lost: EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH.
    pub fn break_down(&self) {
        let script = "import fcntl, os, struct, sys\n\
                      fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";
        run_ok(Command::new("python3").args(["-c", script]).arg(self.at()), PATIENCE);
    }

    /// A new device with what the broken one held: nobody may have a file open.
    pub fn mend(&self) {
        run_ok(Command::new("umount").arg(self.at()), PATIENCE);
        assert!(self.mounts(), "cannot mount again: {}", describe(&self.at()));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.at()).status();
    }
}

fn describe(at: &Path) -> String {
    fs::read_to_string("/proc/mounts")
        .unwrap()
        .lines()
        .filter(|line| line.contains(at.to_str().unwrap()))
        .collect()
}
