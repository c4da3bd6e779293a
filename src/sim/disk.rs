//! A disk that forgets what was not flushed.
//!
//! Every file has live bytes (what a read sees) and durable bytes (what a power cut leaves). A completed write changes the
//! live bytes; a flush copies them. At a power cut each 512-byte sector (or, as the seed wills, each 4 KiB block) that was
//! written and not flushed keeps its old or its new content, independently of its neighbours, so that writes are torn,
//! lost and reordered; an operation in flight may have reached any of its sectors. Names in a folder survive as a prefix of
//! the changes since the folder's last sync, as on a journalling file system.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;

use crate::shard::effect::{BLOCK_BYTES, DiskError, DiskOp, DiskReply, Entry, OPERATION_BYTES_MAX};
use crate::types::Random;

pub const SECTOR: usize = 512;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Node {
    File(usize),
    Dir(usize),
}

#[derive(Clone, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors whose live and durable content may differ.
    dirty: BTreeSet<usize>,
    reserved_bytes: u64,
}

#[derive(Clone, Debug)]
enum NameChange {
    Add(String, Node),
    Remove(String),
    Rename(String, String),
}

#[derive(Clone, Default)]
struct Dir {
    live: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    pending: Vec<NameChange>,
}

/// What a power cut did to unflushed data.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct CutReport {
    pub sectors_kept: u64,
    pub sectors_lost: u64,
    pub names_lost: u64,
}

#[derive(Clone)]
pub struct SimDisk {
    inodes: Vec<Inode>,
    dirs: Vec<Dir>,
    /// Bytes of the whole device; what files hold and reserve counts against it.
    pub capacity_bytes: u64,
    /// A file, and from which byte on reads of it fail.
    unreadable: Option<(usize, u64)>,
    /// What is written to files whose path begins so fails, and their flushes do.
    unwritable: Option<String>,
    /// Descriptors: an open file keeps its inode when its name is renamed or used again.
    open: BTreeMap<u64, usize>,
}

impl SimDisk {
    pub fn new(capacity_bytes: u64) -> SimDisk {
        SimDisk {
            inodes: Vec::new(),
            dirs: vec![Dir::default()],
            capacity_bytes,
            unreadable: None,
            unwritable: None,
            open: BTreeMap::new(),
        }
    }

    pub fn used_bytes(&self) -> u64 {
        let mut used = 0;
        let mut stack = vec![0];
        while let Some(dir) = stack.pop() {
            for node in self.dirs[dir].live.values() {
                match *node {
                    Node::File(i) => used += (self.inodes[i].live.len() as u64).max(self.inodes[i].reserved_bytes),
                    Node::Dir(d) => stack.push(d),
                }
            }
        }
        used
    }

    pub fn free_bytes(&self) -> u64 {
        self.capacity_bytes.saturating_sub(self.used_bytes())
    }

    /// Performs an operation as if it completed now.
    pub fn perform(&mut self, op: &DiskOp) -> Result<DiskReply, DiskError> {
        if let DiskOp::Write { file, .. } | DiskOp::Sync { file } | DiskOp::Truncate { file, .. } = op
            && self.is_unwritable(&file.path)
        {
            return Err(io(&file.path, "input/output error"));
        }
        match op {
            DiskOp::Write {
                file,
                position,
                slices,
                durable,
            } => {
                let len: usize = slices.iter().map(Bytes::len).sum();
                assert!(
                    position % BLOCK_BYTES == 0,
                    "unaligned write at {position} of {}",
                    file.path
                );
                assert!(
                    len > 0 && len <= OPERATION_BYTES_MAX,
                    "write of {len} bytes to {}",
                    file.path
                );
                let at = *position as usize;
                let padded = len.next_multiple_of(BLOCK_BYTES as usize);
                let inode = self.opened(file.id.0, &file.path)?;
                let grows = (at + padded).saturating_sub(
                    self.inodes[inode]
                        .live
                        .len()
                        .max(self.inodes[inode].reserved_bytes as usize),
                );
                if grows as u64 > self.free_bytes() {
                    return Err(DiskError::Full {
                        path: file.path.to_string(),
                    });
                }
                let node = &mut self.inodes[inode];
                if node.live.len() < at + padded {
                    node.live.resize(at + padded, 0);
                }
                let mut position = at;
                for slice in slices {
                    node.live[position..position + slice.len()].copy_from_slice(slice);
                    position += slice.len();
                }
                node.live[position..at + padded].fill(0);
                node.dirty.extend(at / SECTOR..(at + padded) / SECTOR);
                if *durable {
                    node.flush(at..at + padded);
                }
                Ok(DiskReply::Done)
            }
            DiskOp::Sync { file } => {
                let inode = self.opened(file.id.0, &file.path)?;
                self.inodes[inode].flush_all();
                Ok(DiskReply::Done)
            }
            DiskOp::Read { file, position, len } => {
                assert!(
                    position % BLOCK_BYTES == 0 && (*len as u64).is_multiple_of(BLOCK_BYTES),
                    "unaligned read"
                );
                assert!(*len <= OPERATION_BYTES_MAX, "read of {len} bytes");
                let inode = self.opened(file.id.0, &file.path)?;
                let is_unreadable = |(bad, from)| bad == inode && position + *len as u64 > from;
                if self.unreadable.is_some_and(is_unreadable) {
                    return Err(io(&file.path, "input/output error"));
                }
                let live = &self.inodes[inode].live;
                let from = (*position as usize).min(live.len());
                let to = (from + len).min(live.len());
                Ok(DiskReply::Bytes(Bytes::copy_from_slice(&live[from..to])))
            }
            DiskOp::Reserve { file, len } => {
                let inode = self.opened_or_created(file.id.0, &file.path)?;
                let have = self.inodes[inode]
                    .reserved_bytes
                    .max(self.inodes[inode].live.len() as u64);
                if len.saturating_sub(have) > self.free_bytes() {
                    return Err(DiskError::Full {
                        path: file.path.to_string(),
                    });
                }
                self.inodes[inode].reserved_bytes = have.max(*len);
                Ok(DiskReply::Done)
            }
            DiskOp::Fill { file, len } => {
                let inode = self.opened_or_created(file.id.0, &file.path)?;
                let grows = len.saturating_sub(self.inodes[inode].live.len() as u64);
                if grows > self.free_bytes() {
                    return Err(DiskError::Full {
                        path: file.path.to_string(),
                    });
                }
                let node = &mut self.inodes[inode];
                let from = node.live.len();
                if from < *len as usize {
                    node.live.resize(*len as usize, 0);
                    node.dirty.extend(from / SECTOR..(*len as usize).div_ceil(SECTOR));
                }
                node.flush_all();
                Ok(DiskReply::Done)
            }
            DiskOp::Truncate { file, len } => {
                let inode = self.opened(file.id.0, &file.path)?;
                self.inodes[inode].resize(*len as usize);
                Ok(DiskReply::Done)
            }
            DiskOp::CheckName { file } => {
                let inode = self.opened(file.id.0, &file.path)?;
                match self.find(&file.path) {
                    Ok(Node::File(named)) if named == inode => Ok(DiskReply::Done),
                    _ => Err(DiskError::NotFound {
                        path: file.path.to_string(),
                    }),
                }
            }
            DiskOp::Close { file } => {
                self.open.remove(&file.id.0);
                Ok(DiskReply::Done)
            }
            DiskOp::CreateDir { path } => {
                let (parent, name) = self.parent(path)?;
                match self.dirs[parent].live.get(&name) {
                    Some(Node::Dir(_)) => {}
                    Some(Node::File(_)) => return Err(io(path, "is a file")),
                    None => {
                        self.dirs.push(Dir::default());
                        let node = Node::Dir(self.dirs.len() - 1);
                        self.change(parent, NameChange::Add(name, node));
                    }
                }
                Ok(DiskReply::Done)
            }
            DiskOp::SyncDir { path } => {
                let dir = self.dir(path)?;
                self.sync_dir(dir);
                Ok(DiskReply::Done)
            }
            DiskOp::Rename { from, to } => {
                let (parent, old) = self.parent(from)?;
                let (to_parent, new) = self.parent(to)?;
                assert_eq!(parent, to_parent, "rename across folders: {from} to {to}");
                let names = &self.dirs[parent].live;
                match (names.get(&old), names.get(&new)) {
                    (None, _) => return Err(DiskError::NotFound { path: from.clone() }),
                    (Some(Node::Dir(_)), Some(Node::Dir(there))) if !self.dirs[*there].live.is_empty() => {
                        return Err(io(to, "folder not empty"));
                    }
                    (Some(Node::Dir(_)), Some(Node::File(_))) => return Err(io(to, "is a file")),
                    (Some(Node::File(_)), Some(Node::Dir(_))) => return Err(io(to, "is a folder")),
                    _ => {}
                }
                self.change(parent, NameChange::Rename(old, new));
                Ok(DiskReply::Done)
            }
            DiskOp::RemoveFile { path } | DiskOp::RemoveLargeFile { path } => {
                let Ok((parent, name)) = self.parent(path) else {
                    return Ok(DiskReply::Done);
                };
                if let Some(Node::File(_)) = self.dirs[parent].live.get(&name) {
                    self.change(parent, NameChange::Remove(name));
                }
                Ok(DiskReply::Done)
            }
            DiskOp::RemoveDir { path } => {
                let Ok((parent, name)) = self.parent(path) else {
                    return Ok(DiskReply::Done);
                };
                match self.dirs[parent].live.get(&name) {
                    Some(Node::Dir(d)) if !self.dirs[*d].live.is_empty() => Err(io(path, "folder not empty")),
                    Some(Node::Dir(_)) => {
                        self.change(parent, NameChange::Remove(name));
                        Ok(DiskReply::Done)
                    }
                    _ => Ok(DiskReply::Done),
                }
            }
            DiskOp::List { path } => {
                let dir = self.dir(path)?;
                let entries = self.dirs[dir].live.iter().map(|(name, node)| Entry {
                    name: name.clone(),
                    is_dir: matches!(node, Node::Dir(_)),
                    size_bytes: match node {
                        Node::File(i) => self.inodes[*i].live.len() as u64,
                        Node::Dir(_) => 0,
                    },
                });
                Ok(DiskReply::Entries(entries.collect()))
            }
            DiskOp::ReadFile { path } => match self.find(path)? {
                Node::File(i) => Ok(DiskReply::Bytes(Bytes::copy_from_slice(&self.inodes[i].live))),
                Node::Dir(_) => Err(io(path, "is a folder")),
            },
            DiskOp::ReplaceFile { path, content } => {
                let (parent, name) = self.parent(path)?;
                if content.len() as u64 > self.free_bytes() {
                    return Err(DiskError::Full { path: path.clone() });
                }
                self.inodes.push(Inode {
                    live: content.to_vec(),
                    durable: content.to_vec(),
                    ..Inode::default()
                });
                let node = Node::File(self.inodes.len() - 1);
                self.change(parent, NameChange::Add(name, node));
                self.sync_dir(parent);
                Ok(DiskReply::Done)
            }
            DiskOp::Space => Ok(DiskReply::Space {
                free_bytes: self.free_bytes(),
                total_bytes: self.capacity_bytes,
            }),
        }
    }

    /// The power goes: `in_flight` are operations that were asked for and not yet answered, in any order.
    pub fn cut(&mut self, in_flight: &[DiskOp], random: &mut Random) -> CutReport {
        for op in in_flight {
            match op {
                // Each of its sectors may have arrived; the size too.
                DiskOp::Write { .. } => {
                    let mut op = op.clone();
                    if let DiskOp::Write { durable, .. } = &mut op {
                        *durable = false;
                    }
                    let _ = self.perform(&op);
                }
                DiskOp::ReplaceFile { path, content } => match random.below(3) {
                    0 => {}
                    1 => {
                        let _ = self.perform(op);
                    }
                    _ => {
                        let torn = content.slice(..random.below(content.len() as u64 + 1) as usize);
                        let _ = self.perform(&DiskOp::ReplaceFile {
                            path: format!("{path}.tmp"),
                            content: torn,
                        });
                    }
                },
                DiskOp::RemoveLargeFile { path } => {
                    if let Ok(Node::File(inode)) = self.find(path) {
                        let len = self.inodes[inode].live.len() as u64;
                        self.inodes[inode].resize(random.below(len + 1) as usize);
                    }
                    if random.below(2) == 0 {
                        let _ = self.perform(op);
                    }
                }
                DiskOp::Read { .. }
                | DiskOp::ReadFile { .. }
                | DiskOp::List { .. }
                | DiskOp::Space
                | DiskOp::CheckName { .. }
                | DiskOp::Close { .. } => {}
                _ => {
                    if random.below(2) == 0 {
                        let _ = self.perform(op);
                    }
                }
            }
        }
        self.open.clear();
        let mut report = CutReport::default();
        for dir in &mut self.dirs {
            let kept = random.below(dir.pending.len() as u64 + 1) as usize;
            report.names_lost += (dir.pending.len() - kept) as u64;
            for change in dir.pending.drain(..).take(kept) {
                apply(&mut dir.durable, change);
            }
            dir.live = dir.durable.clone();
        }
        // One of four mixtures: nothing unflushed survives, everything does, a mixture of sectors, a mixture of blocks.
        let mixture = random.below(4);
        for inode in &mut self.inodes {
            let (live_len, durable_len) = (inode.live.len(), inode.durable.len());
            let len = if random.below(2) == 0 { live_len } else { durable_len };
            let mut after = inode.durable.clone();
            after.resize(live_len.max(durable_len), 0);
            let unit = if mixture == 3 { BLOCK_BYTES as usize / SECTOR } else { 1 };
            let mut choice = (usize::MAX, false);
            for &sector in &inode.dirty {
                if choice.0 != sector / unit {
                    choice = (sector / unit, random.below(2) == 0);
                }
                let keep = match mixture {
                    0 => false,
                    1 => true,
                    _ => choice.1,
                };
                let range = sector * SECTOR..((sector + 1) * SECTOR).min(live_len);
                if keep && range.start < range.end {
                    after[range.clone()].copy_from_slice(&inode.live[range]);
                    report.sectors_kept += 1;
                } else {
                    report.sectors_lost += 1;
                }
            }
            after.resize(if mixture == 0 { durable_len } else { len }, 0);
            inode.live = after.clone();
            inode.durable = after;
            inode.dirty.clear();
            inode.reserved_bytes = 0;
        }
        report
    }

    /// A name was made that a power cut may take away again.
    pub fn has_unsynced_names(&self) -> bool {
        let made = |change: &NameChange| match change {
            NameChange::Add(name, _) | NameChange::Rename(_, name) => {
                !name.ends_with("deleted") && !name.ends_with("-delete")
            }
            NameChange::Remove(_) => false,
        };
        self.dirs.iter().any(|dir| dir.pending.iter().any(made))
    }

    /// A power cut leaves this name.
    #[cfg(test)]
    pub fn is_synced(&self, path: &str) -> bool {
        let (parent, name) = self.parent(path).expect("the caller knows it");
        self.dirs[parent].durable.contains_key(&name)
    }

    /// The process that held the descriptors is gone.
    pub fn close_all(&mut self) {
        self.open.clear();
    }

    /// Removes a folder with all that is in it, as somebody who is not the broker does.
    #[cfg(test)]
    pub fn remove_tree(&mut self, path: &str) {
        let (parent, name) = self.parent(path).expect("the caller knows it");
        self.change(parent, NameChange::Remove(name));
    }

    /// Reads of a file fail from this byte on, until [`SimDisk::repair`]. What it holds is as it was.
    pub fn make_unreadable(&mut self, path: &str, from: u64) {
        if let Ok(Node::File(inode)) = self.find(path) {
            self.unreadable = Some((inode, from));
        }
    }

    /// Something of what it holds cannot be read or written.
    pub fn is_failing(&self) -> bool {
        self.unreadable.is_some() || self.unwritable.is_some()
    }

    /// How the paths of files begin that cannot be written.
    pub fn unwritable(&self) -> Option<&str> {
        self.unwritable.as_deref()
    }

    /// Writes and flushes of files whose path begins so fail, until [`SimDisk::repair`].
    pub fn make_unwritable(&mut self, prefix: &str) {
        self.unwritable = Some(prefix.into());
    }

    fn is_unwritable(&self, path: &str) -> bool {
        self.unwritable.as_ref().is_some_and(|prefix| path.starts_with(prefix))
    }

    pub fn repair(&mut self) {
        self.unreadable = None;
        self.unwritable = None;
    }

    /// Length of a file.
    pub fn len(&self, path: &str) -> Option<u64> {
        match self.find(path) {
            Ok(Node::File(i)) => Some(self.inodes[i].live.len() as u64),
            _ => None,
        }
    }

    /// Flips one bit of a file, on the device too. False when the file is not that long.
    pub fn flip(&mut self, path: &str, position: usize, bit: u8) -> bool {
        let Ok(Node::File(i)) = self.find(path) else {
            return false;
        };
        let inode = &mut self.inodes[i];
        match (inode.live.get_mut(position), inode.durable.get_mut(position)) {
            (Some(live), Some(durable)) => {
                *live ^= 1 << (bit % 8);
                *durable ^= 1 << (bit % 8);
                true
            }
            _ => false,
        }
    }

    /// A sector of a file, or what the file has of its last one, comes back as zeros, on the device too. False when it is nothing
    /// else, or the file is not that long.
    pub fn lose_sector(&mut self, path: &str, position: usize) -> bool {
        let Ok(Node::File(i)) = self.find(path) else {
            return false;
        };
        let inode = &mut self.inodes[i];
        let from = position / SECTOR * SECTOR;
        let mut changed = false;
        for bytes in [&mut inode.live, &mut inode.durable] {
            let to = (from + SECTOR).min(bytes.len());
            let Some(sector) = bytes.get_mut(from..to) else {
                return false;
            };
            changed |= sector.iter().any(|byte| *byte != 0);
            sector.fill(0);
        }
        changed
    }

    /// A stretch of a file holds something else, on the device too. False when it holds that already, or the file is not that long.
    pub fn overwrite(&mut self, path: &str, position: usize, content: &[u8]) -> bool {
        let Ok(Node::File(i)) = self.find(path) else {
            return false;
        };
        let inode = &mut self.inodes[i];
        let mut changed = false;
        for bytes in [&mut inode.live, &mut inode.durable] {
            let Some(stretch) = bytes.get_mut(position..position + content.len()) else {
                return false;
            };
            changed |= stretch != content;
            stretch.copy_from_slice(content);
        }
        changed
    }

    /// A file ends earlier than it did, on the device too.
    pub fn shorten(&mut self, path: &str, len: usize) {
        if let Ok(Node::File(i)) = self.find(path) {
            let inode = &mut self.inodes[i];
            inode.live.truncate(len);
            inode.durable.truncate(len);
            inode.dirty.retain(|sector| *sector < len / SECTOR);
        }
    }

    /// Bytes of a file become zeros, on the device too, as far as it goes.
    pub fn zero(&mut self, path: &str, range: Range<usize>) {
        let Ok(Node::File(i)) = self.find(path) else {
            panic!("{path} is there")
        };
        let inode = &mut self.inodes[i];
        for bytes in [&mut inode.live, &mut inode.durable] {
            let len = bytes.len();
            bytes[range.start.min(len)..range.end.min(len)].fill(0);
        }
    }

    /// Content of a file, as far as it goes.
    pub fn content(&self, path: &str, range: Range<usize>) -> &[u8] {
        let Ok(Node::File(i)) = self.find(path) else {
            return &[];
        };
        self.inodes[i].live.get(range).unwrap_or_default()
    }

    /// Paths of all files, sorted.
    pub fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        let mut stack = vec![(String::new(), 0)];
        while let Some((prefix, dir)) = stack.pop() {
            for (name, node) in &self.dirs[dir].live {
                let path = if prefix.is_empty() {
                    name.clone()
                } else {
                    format!("{prefix}/{name}")
                };
                match node {
                    Node::File(_) => files.push(path),
                    Node::Dir(d) => stack.push((path, *d)),
                }
            }
        }
        files.sort();
        files
    }

    fn opened(&mut self, id: u64, path: &str) -> Result<usize, DiskError> {
        if let Some(&inode) = self.open.get(&id) {
            return Ok(inode);
        }
        match self.find(path)? {
            Node::File(inode) => {
                self.open.insert(id, inode);
                Ok(inode)
            }
            Node::Dir(_) => Err(io(path, "is a folder")),
        }
    }

    fn opened_or_created(&mut self, id: u64, path: &str) -> Result<usize, DiskError> {
        match self.opened(id, path) {
            Err(DiskError::NotFound { .. }) => {
                let (parent, name) = self.parent(path)?;
                self.inodes.push(Inode::default());
                let inode = self.inodes.len() - 1;
                self.change(parent, NameChange::Add(name, Node::File(inode)));
                self.open.insert(id, inode);
                Ok(inode)
            }
            other => other,
        }
    }

    fn find(&self, path: &str) -> Result<Node, DiskError> {
        let mut node = Node::Dir(0);
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let Node::Dir(dir) = node else {
                return Err(DiskError::NotFound { path: path.to_string() });
            };
            name_fits(part)?;
            node = *self.dirs[dir]
                .live
                .get(part)
                .ok_or_else(|| DiskError::NotFound { path: path.to_string() })?;
        }
        Ok(node)
    }

    fn dir(&self, path: &str) -> Result<usize, DiskError> {
        match self.find(path)? {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(io(path, "is a file")),
        }
    }

    fn parent(&self, path: &str) -> Result<(usize, String), DiskError> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        name_fits(name)?;
        Ok((self.dir(parent)?, name.to_string()))
    }

    fn change(&mut self, dir: usize, change: NameChange) {
        apply(&mut self.dirs[dir].live, change.clone());
        self.dirs[dir].pending.push(change);
    }

    fn sync_dir(&mut self, dir: usize) {
        let dir = &mut self.dirs[dir];
        for change in dir.pending.drain(..) {
            apply(&mut dir.durable, change);
        }
    }
}

impl Inode {
    fn resize(&mut self, len: usize) {
        let from = len.min(self.live.len());
        let to = len.max(self.live.len());
        self.live.resize(len, 0);
        self.dirty.extend(from / SECTOR..to.div_ceil(SECTOR));
        // Growing keeps what was reserved.
        if from == len {
            self.reserved_bytes = 0;
        }
    }

    fn flush(&mut self, range: std::ops::Range<usize>) {
        if self.durable.len() < range.end {
            self.durable.resize(range.end, 0);
        }
        self.durable[range.clone()].copy_from_slice(&self.live[range.clone()]);
        for sector in range.start / SECTOR..range.end / SECTOR {
            self.dirty.remove(&sector);
        }
    }

    fn flush_all(&mut self) {
        self.durable.resize(self.live.len(), 0);
        for &sector in &self.dirty {
            let range = (sector * SECTOR).min(self.live.len())..((sector + 1) * SECTOR).min(self.live.len());
            self.durable[range.clone()].copy_from_slice(&self.live[range]);
        }
        self.dirty.clear();
    }
}

fn apply(names: &mut BTreeMap<String, Node>, change: NameChange) {
    match change {
        NameChange::Add(name, node) => {
            names.insert(name, node);
        }
        NameChange::Remove(name) => {
            names.remove(&name);
        }
        NameChange::Rename(from, to) => {
            if let Some(node) = names.remove(&from) {
                names.insert(to, node);
            }
        }
    }
}

/// What Linux's file systems take.
fn name_fits(name: &str) -> Result<(), DiskError> {
    if name.len() > 255 {
        return Err(io(name, "name too long"));
    }
    Ok(())
}

fn io(path: &str, what: &str) -> DiskError {
    DiskError::Io {
        message: format!("{path}: {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::effect::File;
    use crate::types::FileId;

    fn file(id: u64, path: &str) -> File {
        File {
            id: FileId(id),
            path: path.into(),
        }
    }

    #[test]
    fn the_simulated_disk_keeps_the_contract() {
        let mut disk = SimDisk::new(1 << 30);
        crate::shard::contract::run(&mut |what| disk.perform(&what));
    }

    #[test]
    fn unflushed_writes_may_be_lost_and_flushed_ones_never() {
        let mut lost = 0;
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let mut disk = SimDisk::new(1 << 20);
            let f = file(1, "a");
            disk.perform(&DiskOp::Reserve {
                file: f.clone(),
                len: 8192,
            })
            .unwrap();
            disk.perform(&DiskOp::SyncDir { path: String::new() }).unwrap();
            let write = |position, byte: u8, durable| DiskOp::Write {
                file: f.clone(),
                position,
                slices: vec![Bytes::from(vec![byte; 4096])],
                durable,
            };
            disk.perform(&write(0, 1, true)).unwrap();
            disk.perform(&write(4096, 2, false)).unwrap();
            disk.cut(&[], &mut random);
            let DiskReply::Bytes(bytes) = disk.perform(&DiskOp::ReadFile { path: "a".into() }).unwrap() else {
                panic!()
            };
            assert!(bytes[..4096].iter().all(|&b| b == 1));
            lost += u64::from(bytes.len() < 8192 || bytes[4096..].iter().any(|&b| b != 2));
        }
        assert!(lost > 50 && lost < 200, "{lost} of 200");
    }

    #[test]
    fn a_name_that_was_not_synced_may_vanish() {
        let mut seen = BTreeSet::new();
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let mut disk = SimDisk::new(1 << 20);
            disk.perform(&DiskOp::Reserve {
                file: file(1, "a"),
                len: 0,
            })
            .unwrap();
            disk.perform(&DiskOp::Reserve {
                file: file(2, "b"),
                len: 0,
            })
            .unwrap();
            disk.cut(&[], &mut random);
            seen.insert(disk.files());
        }
        assert_eq!(seen.len(), 3, "nothing, a, or a and b: {seen:?}");
    }
}
