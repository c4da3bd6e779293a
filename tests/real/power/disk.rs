//! A disk that remembers every write and every flush: a file that this process serves through FUSE, with a loop device on it
//! and a real file system on that. So a power cut can be put between any two operations, and each block that was not flushed
//! then holds any of the versions that were on their way to it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request,
    WriteFlags,
};
use tidemill::types::Random;

use crate::broker::{PATIENCE, run, run_ok};

/// What the device writes as a whole or not at all.
const BLOCK: usize = 4096;

/// Large enough for XFS, which refuses less than 300 MiB. Blocks that nobody wrote take no memory.
const DISK_BLOCKS: usize = (320 << 20) / BLOCK;

type Block = Arc<[u8; BLOCK]>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileSystem {
    Ext4,
    Xfs,
}

impl FileSystem {
    fn name(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "ext4",
            FileSystem::Xfs => "xfs",
        }
    }

    fn options(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "nodiscard",
            // Another mount of the same disk may not be gone yet.
            FileSystem::Xfs => "nodiscard,nouuid",
        }
    }

    fn format(self) -> Command {
        let mut command = Command::new(format!("/sbin/mkfs.{}", self.name()));
        match self {
            FileSystem::Ext4 => command.args(["-q", "-F", "-m", "0", "-b", "4096"]),
            FileSystem::Xfs => command.args(["-q", "-K", "-s", "size=4096"]),
        };
        command
    }
}

enum Operation {
    Write { block: usize, content: Block },
    Flush,
}

/// What is on the disk, and what was done to it since it was switched on.
pub struct Disk {
    blocks: Vec<Option<Block>>,
    at_power_on: Vec<Option<Block>>,
    operations: Vec<Operation>,
}

/// The disk as its holders share it.
pub type SharedDisk = Arc<Mutex<Disk>>;

impl Disk {
    /// With an empty file system.
    pub fn formatted(kind: FileSystem) -> Disk {
        let scratch = tempfile::tempdir().unwrap();
        let image = scratch.path().join("image");
        let file = std::fs::File::create(&image).unwrap();
        file.set_len((DISK_BLOCKS * BLOCK) as u64).unwrap();
        run_ok(kind.format().arg(&image), PATIENCE);
        let bytes = std::fs::read(&image).unwrap();
        let block = |bytes: &[u8]| {
            let content: [u8; BLOCK] = bytes.try_into().unwrap();
            content.iter().any(|&byte| byte != 0).then(|| Arc::new(content))
        };
        Disk::holding(bytes.chunks(BLOCK).map(block).collect())
    }

    fn holding(blocks: Vec<Option<Block>>) -> Disk {
        Disk {
            at_power_on: blocks.clone(),
            blocks,
            operations: Vec::new(),
        }
    }

    /// How many operations were done: what is written from now on comes behind a cut here.
    pub fn now(&self) -> usize {
        self.operations.len()
    }

    /// How many flushes there were before a cut.
    pub fn flushes(&self, cut: usize) -> usize {
        let is_flush = |operation: &&Operation| matches!(operation, Operation::Flush);
        self.operations[..cut].iter().filter(is_flush).count()
    }

    /// The disk after a power cut behind its first `cut` operations. What was written before the last flush is there; of each
    /// block that was written after it any version may be, the one before them included, and `chance` says which.
    pub fn after_power_cut(&self, cut: usize, chance: &mut Random) -> Disk {
        let done = &self.operations[..cut];
        let flushed = done.iter().rposition(|operation| matches!(operation, Operation::Flush));
        let (durable, volatile) = done.split_at(flushed.map_or(0, |last| last + 1));
        let mut blocks = self.at_power_on.clone();
        for operation in durable {
            if let Operation::Write { block, content } = operation {
                blocks[*block] = Some(content.clone());
            }
        }
        let mut versions: BTreeMap<usize, Vec<&Block>> = BTreeMap::new();
        for operation in volatile {
            if let Operation::Write { block, content } = operation {
                versions.entry(*block).or_default().push(content);
            }
        }
        // Most cuts take some and leave some; all or nothing happens too.
        let taste = chance.below(5);
        for (block, versions) in versions {
            let survivor = match taste {
                0 => None,
                1 => versions.last(),
                _ => (chance.below(versions.len() as u64 + 1) as usize)
                    .checked_sub(1)
                    .map(|version| &versions[version]),
            };
            if let Some(&survivor) = survivor {
                blocks[block] = Some(survivor.clone());
            }
        }
        Disk::holding(blocks)
    }

    /// The whole of it as it is now.
    pub fn image(&self) -> Image {
        Image(self.blocks.clone())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        for (n, bytes) in bytes.chunks(BLOCK).enumerate() {
            let block = at as usize / BLOCK + n;
            let content: Block = Arc::new(bytes.try_into().unwrap());
            self.blocks[block] = Some(content.clone());
            self.operations.push(Operation::Write { block, content });
        }
    }

    fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len);
        for block in &self.blocks[at as usize / BLOCK..][..len / BLOCK] {
            match block {
                Some(content) => bytes.extend_from_slice(&content[..]),
                None => bytes.resize(bytes.len() + BLOCK, 0),
            }
        }
        bytes
    }
}

/// What a disk held at one time.
pub struct Image(Vec<Option<Block>>);

impl Image {
    /// To a file that `mount -o loop` takes.
    pub fn write(&self, path: &Path) {
        let file = std::fs::File::create(path).unwrap();
        file.set_len((DISK_BLOCKS * BLOCK) as u64).unwrap();
        for (n, block) in self.0.iter().enumerate() {
            if let Some(content) = block {
                file.write_all_at(&content[..], (n * BLOCK) as u64).unwrap();
            }
        }
    }
}

/// A disk with its file system mounted. Dropping it unmounts it, whatever state it is in.
pub struct Mounted {
    kind: FileSystem,
    scratch: tempfile::TempDir,
    session: Option<BackgroundSession>,
    device: Option<String>,
}

impl Mounted {
    /// Why this process cannot have such a disk, where it cannot: it takes root, FUSE and a loop device.
    pub fn new(kind: FileSystem, disk: SharedDisk) -> Result<Mounted, String> {
        let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut mounted = Mounted {
            kind,
            scratch,
            session: None,
            device: None,
        };
        for folder in [mounted.served(), mounted.at()] {
            std::fs::create_dir(folder).map_err(|error| error.to_string())?;
        }
        let session = fuser::spawn_mount(Served { disk }, mounted.served(), &fuser::Config::default());
        mounted.session = Some(session.map_err(|error| format!("cannot mount a FUSE file system: {error}"))?);
        let mut attach = Command::new("losetup");
        attach.args(["--find", "--show", "--direct-io=on", "--sector-size", "4096"]);
        mounted.device = Some(said(attach.arg(mounted.served().join(FILE)))?.trim().to_owned());
        let mut mount = Command::new("mount");
        mount.args(["-t", kind.name(), "-o", kind.options()]);
        said(mount.arg(mounted.device.as_ref().unwrap()).arg(mounted.at()))?;
        Ok(mounted)
    }

    pub fn at(&self) -> PathBuf {
        self.scratch.path().join("mounted")
    }

    fn served(&self) -> PathBuf {
        self.scratch.path().join("served")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Each lets go of the one below it as soon as nobody uses it, and the last one ends the session.
        let _ = Command::new("umount").arg("-l").arg(self.at()).output();
        if let Some(device) = &self.device {
            let _ = Command::new("losetup").args(["-d", device]).output();
        }
        let _ = Command::new("umount").arg("-l").arg(self.served()).output();
        if let Some(session) = self.session.take()
            && let Err(error) = session.join()
        {
            eprintln!("{:?}: the server of the disk ended with an error: {error}", self.kind);
        }
    }
}

/// What a command printed, or why it failed.
fn said(command: &mut Command) -> Result<String, String> {
    let output = run(command, PATIENCE);
    let stderr = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{command:?}: {}", stderr.trim())),
    }
}

/// The one file of the file system that serves the disk.
const FILE: &str = "disk";
const FILE_INODE: INodeNo = INodeNo(2);

/// Nobody but this process changes what it serves.
const FOR_EVER: Duration = Duration::from_secs(3600);

struct Served {
    disk: SharedDisk,
}

impl Served {
    fn describe(inode: INodeNo) -> FileAttr {
        let (kind, size) = match inode {
            FILE_INODE => (FileType::RegularFile, (DISK_BLOCKS * BLOCK) as u64),
            _ => (FileType::Directory, 0),
        };
        let time = SystemTime::UNIX_EPOCH;
        FileAttr {
            ino: inode,
            size,
            blocks: size / 512,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: BLOCK as u32,
            flags: 0,
        }
    }
}

impl Filesystem for Served {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let _ = config.set_max_write(1 << 20);
        Ok(())
    }

    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name == FILE {
            true => reply.entry(&FOR_EVER, &Served::describe(FILE_INODE), Generation(0)),
            false => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOR_EVER, &Served::describe(inode));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Past the page cache: each write arrives when the device above is given it.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let bytes = self.disk.lock().unwrap().read(offset, size as usize);
        reply.data(&bytes);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.disk.lock().unwrap().write(offset, data);
        reply.written(data.len() as u32);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.disk.lock().unwrap().operations.push(Operation::Flush);
        reply.ok();
    }
}

#[test]
fn a_power_cut_leaves_what_was_flushed_and_any_version_of_what_was_not() {
    let mut disk = Disk::holding(vec![None; 4]);
    let fill = |byte: u8| [byte; BLOCK];
    disk.write(0, &[fill(1), fill(1)].concat());
    disk.operations.push(Operation::Flush);
    disk.write(BLOCK as u64, &[fill(2), fill(2)].concat());
    disk.write(BLOCK as u64, &fill(3));
    assert_eq!(disk.read(0, 4 * BLOCK), [fill(1), fill(3), fill(2), fill(0)].concat());
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let after = disk.after_power_cut(disk.now(), &mut Random::new(seed));
        let first_bytes: Vec<u8> = after.read(0, 4 * BLOCK).chunks(BLOCK).map(|block| block[0]).collect();
        seen.insert(first_bytes);
    }
    let expected = [
        [1, 1, 0, 0],
        [1, 1, 2, 0],
        [1, 2, 0, 0],
        [1, 2, 2, 0],
        [1, 3, 0, 0],
        [1, 3, 2, 0],
    ];
    assert!(seen.iter().eq(expected.iter().map(|blocks| &blocks[..])), "{seen:?}");
    let before = disk.after_power_cut(1, &mut Random::new(0));
    assert_eq!(disk.flushes(disk.now()), 1);
    assert!(before.read(BLOCK as u64, BLOCK)[0] <= 1);
}
