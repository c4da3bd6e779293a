//! What a data folder's own files say together, looked at before any shard starts: whether a start may go on, and what was
//! lost if it may not. A start that is refused here has changed nothing. `runtime` looks at a real folder, `sim` at the
//! simulated disk, and `tidemill repair` does what [`Survey::mending`] says.
//!
//! Nothing here is removed or overwritten: what is damaged is renamed, so that a copy that turns up later finds its place.

use std::sync::Arc;

use bytes::Bytes;

use crate::config::BrokerConfig;
use crate::controller::Replay;
use crate::controller::files::{META_PROPERTIES, METADATA_FOLDER, MetaProperties};
use crate::controller::snapshot::{SnapshotId, decode_snapshot};
use crate::journal::format::{Superblock, SuperblockRead};
use crate::journal::{BLOCK, RING_START, RecoveryError};
use crate::log::RECOVERY_POINT;
use crate::types::{Entry, ShardId, Uuid};

use super::effect::{DiskOp, READ_FILE_BYTES_MAX};
use super::folders::{FolderName, STRAY_SUFFIX, name_with_suffix};
use super::format::{self, CLEAN_SHUTDOWN, Format, FormatError};
use super::{CONTROLLER, ring_path};

/// How a survey reads the data folder.
pub trait Files {
    /// The names in a folder ("" is the data folder), sorted; `None` when it is missing.
    fn list(&mut self, path: &str) -> Result<Option<Vec<Entry>>, String>;
    /// The first `len` bytes of a file, or all of a shorter one; `None` when it is missing.
    fn read(&mut self, path: &str, len: u64) -> Result<Option<Bytes>, String>;
}

pub struct Survey {
    pub format: Option<Format>,
    /// The last stop was clean: the journals hold nothing.
    pub is_clean: bool,
    pub problems: Vec<Problem>,
    root: Vec<Entry>,
}

/// Why no start may touch the folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Which file, and what is wrong with it.
    pub what: String,
    /// What is lost without it.
    pub gives_up: &'static str,
    lost: Lost,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lost {
    Format,
    Journal(ShardId),
    MetaProperties,
    Metadata,
}

/// What a ring file is.
enum Ring {
    Missing,
    /// No superblock is intact. With `is_blank`, nothing else is there either.
    Headless {
        is_blank: bool,
    },
    Bad(RecoveryError),
    Good(Superblock),
}

impl Survey {
    /// # Errors
    /// What stands in the way and cannot be accepted: a file that cannot be read, or one that newer software wrote.
    pub fn of(files: &mut impl Files) -> Result<Survey, String> {
        let root = files.list("")?.unwrap_or_default();
        let mut survey = Survey {
            format: None,
            is_clean: root.iter().any(|entry| entry.name == CLEAN_SHUTDOWN),
            problems: Vec::new(),
            root,
        };
        let meta = files.read(META_PROPERTIES, READ_FILE_BYTES_MAX)?;
        let metadata = files.list(METADATA_FOLDER)?;
        let has_log = has_segment(metadata.as_deref().unwrap_or_default());
        let format = match files
            .read(format::FILE, READ_FILE_BYTES_MAX)?
            .map(|content| format::decode(&content))
        {
            None => None,
            Some(Ok(format)) => Some(format),
            Some(Err(error @ FormatError::Newer { .. })) => return Err(error.to_string()),
            Some(Err(error)) => {
                survey.lost(Lost::Format, error.to_string());
                None
            }
        };
        let rings = survey.rings(files)?;
        let was_served = format.is_some_and(|format| format.has_journals || format.has_metadata)
            || survey.partitions().next().is_some()
            || has_log
            // A folder may lose the power while it is made. Its journals, if there are any, hold no commit then.
            || rings.iter().any(|(_, ring, has_commits)| *has_commits && !matches!(ring, Ring::Missing));
        if format.is_none() && survey.problems.is_empty() && !rings.is_empty() && (meta.is_some() || was_served) {
            survey.lost(
                Lost::Format,
                format!("{} is missing, and journals are there", format::FILE),
            );
        }
        survey.format = format;
        survey.judge_rings(&rings)?;
        match meta.map(|content| MetaProperties::decode(&content)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => survey.lost(Lost::MetaProperties, error.to_string()),
            None if was_served => {
                let what = format!("{META_PROPERTIES} is missing, and the folder was served before");
                survey.lost(Lost::MetaProperties, what);
            }
            None => {}
        }
        let is_wanted = format.is_some_and(|format| format.has_metadata) || survey.partitions().next().is_some();
        let what = match &metadata {
            None => Some(format!(
                "{METADATA_FOLDER} is missing, which held every topic and every setting"
            )),
            // After a clean stop it is all in its segments; before, some or all of it may be in a journal only.
            Some(_) if survey.is_clean && !has_log => Some(format!(
                "{METADATA_FOLDER} has no segment of the metadata log, which held every topic and every setting"
            )),
            Some(_) => None,
        };
        if let Some(what) = what.filter(|_| is_wanted) {
            survey.lost(Lost::Metadata, what);
        }
        Ok(survey)
    }

    fn lost(&mut self, lost: Lost, what: String) {
        let gives_up = match lost {
            Lost::Format => "nothing, if the journals can be read: they say how many shards there are",
            Lost::Journal(CONTROLLER) => {
                "the topics and settings that were made, and the records of this shard's partitions that were acknowledged, \
                 shortly before the last stop"
            }
            Lost::Journal(_) => {
                "records of this shard's partitions that were acknowledged shortly before the last stop"
            }
            Lost::MetaProperties => "the cluster's id: clients and tools see another one from then on",
            Lost::Metadata => {
                "what the newest snapshot of the metadata does not have; without one, every topic, every setting of a topic, and \
                 what the journals hold. Folders of partitions that nobody knows stay under other names (-stray)"
            }
        };
        self.problems.push(Problem { what, gives_up, lost });
    }

    /// Folders of partitions of topics.
    fn partitions(&self) -> impl Iterator<Item = &str> {
        let is_partition = |entry: &&Entry| match FolderName::parse(&entry.name) {
            FolderName::Partition { topic, .. } => entry.is_dir && *topic != *super::kraft::METADATA_TOPIC,
            _ => false,
        };
        (self.root.iter()).filter(is_partition).map(|entry| entry.name.as_str())
    }

    /// The ring files that are there, each with whether its first block holds anything.
    fn rings(&self, files: &mut impl Files) -> Result<Vec<(ShardId, Ring, bool)>, String> {
        let shard = |entry: &Entry| {
            let number = entry.name.strip_prefix("tidemill-journal-")?.strip_suffix(".ring")?;
            number
                .parse()
                .ok()
                .map(ShardId)
                .filter(|&shard| ring_path(shard) == entry.name)
        };
        let mut rings = Vec::new();
        for entry in self.root.iter().filter(|entry| !entry.is_dir) {
            let Some(shard) = shard(entry) else { continue };
            let mut head = files
                .read(&entry.name, RING_START + BLOCK)?
                .unwrap_or_default()
                .to_vec();
            head.resize((RING_START + BLOCK) as usize, 0);
            let (copies, first) = head.split_at(RING_START as usize);
            let has_commits = first.iter().any(|&b| b != 0);
            let ring = match Superblock::newest(copies, entry.size_bytes) {
                Ok(Some((superblock, _))) => Ring::Good(superblock),
                Ok(None) if entry.size_bytes == 0 => Ring::Missing,
                Ok(None) => {
                    let is_blank = |bytes: Bytes| bytes.iter().skip(RING_START as usize).all(|&b| b == 0);
                    let all = files.read(&entry.name, u64::MAX)?;
                    let is_blank = all.is_none_or(is_blank);
                    Ring::Headless { is_blank }
                }
                Err(error @ RecoveryError::Newer { .. }) => return Err(format!("{}: {error}", entry.name)),
                Err(error) => Ring::Bad(error),
            };
            rings.push((shard, ring, has_commits));
        }
        rings.sort_by_key(|(shard, ..)| *shard);
        Ok(rings)
    }

    fn judge_rings(&mut self, rings: &[(ShardId, Ring, bool)]) -> Result<(), String> {
        let said = rings.iter().find_map(|(_, ring, _)| match ring {
            Ring::Good(superblock) => Some(superblock.shards),
            _ => None,
        });
        // Without a format the journals say how many they are; where none can, all that are there are lost.
        let (shards, has_journals) = match self.format {
            Some(format) => (format.shards, format.has_journals),
            None => (
                said.unwrap_or(rings.len() as u16),
                !rings.is_empty() && !self.problems.is_empty(),
            ),
        };
        for shard in (0..shards).map(ShardId) {
            let path = ring_path(shard);
            let found = rings
                .iter()
                .find(|(found, ..)| *found == shard)
                .map(|(_, ring, _)| ring);
            let is_expected = has_journals && !self.is_clean;
            let what = match found.unwrap_or(&Ring::Missing) {
                Ring::Missing if is_expected && found.is_some() => format!("{path} is empty"),
                Ring::Missing if is_expected => format!("{path} is missing"),
                Ring::Headless { .. } if is_expected => {
                    format!("{path} has lost both superblocks, so that nothing in it can be found")
                }
                Ring::Headless { is_blank: false } if !self.is_clean => {
                    format!("{path} has no superblock, and something is in it")
                }
                Ring::Good(superblock) if (superblock.shard, superblock.shards) != (shard.0, shards) => format!(
                    "{path} is the journal of shard {} of {}, and not of shard {} of {shards}",
                    superblock.shard, superblock.shards, shard.0
                ),
                Ring::Bad(error) if !self.is_clean => format!("{path}: {error}"),
                _ => continue,
            };
            self.lost(Lost::Journal(shard), what);
        }
        Ok(())
    }

    /// Why no start may touch the folder, and the way out.
    pub fn refusal(&self, data_dir: &str) -> Option<String> {
        let what: Vec<&str> = self.problems.iter().map(|problem| problem.what.as_str()).collect();
        (!what.is_empty()).then(|| {
            format!(
                "{data_dir} cannot be served, and nothing in it was touched: {}. Put back what is lost from a copy if there is \
                 one. {}",
                what.join("; "),
                way_out(data_dir)
            )
        })
    }

    /// The operations, one after the other, after which a start goes on without what is lost. `random` names what is put aside
    /// and, where it is lost, the cluster.
    pub fn mending(&self, files: &mut impl Files, config: &Arc<BrokerConfig>, random: Uuid) -> Vec<DiskOp> {
        let has_lost = |lost: Lost| self.problems.iter().any(|problem| problem.lost == lost);
        let is_there = |name: &str| self.root.iter().any(|entry| entry.name == name);
        let rings = || (self.root.iter()).filter(|entry| entry.name.ends_with(".ring") && !entry.is_dir);
        let mut aside = Vec::new();
        let mut segment = None;
        let mut strays: Vec<String> = Vec::new();
        let snapshot = self.snapshot(files, config);
        let newest = (snapshot.as_ref()).map(|(id, _)| id.end_offset).filter(|&end| end > 0);
        if let (true, Some(end)) = (has_lost(Lost::Metadata), newest) {
            // The log goes on where the snapshot ends.
            let point = format!("{METADATA_FOLDER}/{RECOVERY_POINT}");
            if matches!(files.read(&point, 1), Ok(Some(_))) {
                aside.push(point);
            }
            segment = Some(DiskOp::ReplaceFile {
                path: format!("{METADATA_FOLDER}/{end:020}.log"),
                content: Bytes::new(),
            });
        } else if has_lost(Lost::Metadata) {
            aside.extend(rings().map(|entry| entry.name.clone()));
            strays.extend(self.partitions().map(str::to_owned));
            strays.extend(is_there(METADATA_FOLDER).then(|| METADATA_FOLDER.to_owned()));
        }
        let mut has_lost_journal = false;
        for problem in &self.problems {
            let name = match problem.lost {
                Lost::Journal(shard) => {
                    has_lost_journal = true;
                    ring_path(shard)
                }
                Lost::Format => format::FILE.into(),
                Lost::MetaProperties => META_PROPERTIES.into(),
                Lost::Metadata => continue,
            };
            if is_there(&name) && !aside.contains(&name) {
                aside.push(name);
            }
        }
        let mut operations: Vec<DiskOp> = aside
            .into_iter()
            .map(|from| (aside_name(&from, random), from))
            .chain(
                strays
                    .into_iter()
                    .map(|from| (name_with_suffix(&from, random, STRAY_SUFFIX), from)),
            )
            .map(|(to, from)| DiskOp::Rename { from, to })
            .collect();
        operations.push(DiskOp::SyncDir { path: String::new() });
        let is_metadata_kept = segment.is_some();
        operations.extend(segment);
        if has_lost(Lost::MetaProperties) {
            let voter = snapshot.and_then(|(_, replay)| replay.voter());
            let (node_id, directory_id) = voter.unwrap_or((config.node_id, random));
            let meta = MetaProperties {
                cluster_id: random.to_string(),
                node_id,
                directory_id,
            };
            operations.push(DiskOp::ReplaceFile {
                path: META_PROPERTIES.into(),
                content: meta.encode(),
            });
        }
        // Last: it is what says that something is missing.
        if let Some(shards) = self.shards(files) {
            let has_lost_all = has_lost(Lost::Metadata) && !is_metadata_kept;
            let has_lost_metadata = has_lost_all || has_lost(Lost::Journal(CONTROLLER));
            let format = Format {
                shards,
                has_journals: !has_lost_journal && !has_lost_all,
                has_metadata: !has_lost_metadata && self.format.is_none_or(|format| format.has_metadata),
            };
            operations.push(DiskOp::ReplaceFile {
                path: format::FILE.into(),
                content: format::encode(format),
            });
        }
        operations
    }

    /// How many shards wrote the folder: as its format says, or any of its journals.
    fn shards(&self, files: &mut impl Files) -> Option<u16> {
        let of_ring = |entry: &Entry| {
            let head = files.read(&entry.name, BLOCK).ok().flatten()?;
            match Superblock::decode(&head) {
                SuperblockRead::Valid(superblock) => Some(superblock.shards),
                _ => None,
            }
        };
        let format = self.format.map(|format| format.shards);
        let mut rings = self.root.iter().filter(|entry| entry.name.ends_with(".ring"));
        format.or_else(|| rings.find_map(of_ring))
    }

    /// The newest snapshot of the metadata that can be used, and what it says.
    fn snapshot(&self, files: &mut impl Files, config: &Arc<BrokerConfig>) -> Option<(SnapshotId, Replay)> {
        let names = files.list(METADATA_FOLDER).ok().flatten()?;
        let mut snapshots: Vec<SnapshotId> = names
            .iter()
            .filter_map(|entry| SnapshotId::parse(&entry.name))
            .collect();
        snapshots.sort_unstable();
        snapshots.into_iter().rev().find_map(|id| {
            let path = format!("{METADATA_FOLDER}/{}", id.file_name());
            let content = files.read(&path, READ_FILE_BYTES_MAX).ok().flatten()?;
            let replay = decode_snapshot(id, &content, "", config.node_id, config.clone()).ok()?;
            Some((id, replay))
        })
    }
}

/// Whether the metadata's folder has a segment with records, or one that begins where a snapshot ends and needs none.
fn has_segment(entries: &[Entry]) -> bool {
    let snapshots = entries.iter().filter_map(|entry| SnapshotId::parse(&entry.name));
    let follows: Vec<String> = snapshots
        .filter(|id| id.end_offset > 0)
        .map(|id| format!("{:020}.log", id.end_offset))
        .collect();
    (entries.iter()).any(|entry| follows.contains(&entry.name) || entry.name.ends_with(".log") && entry.size_bytes > 0)
}

/// The name under which a damaged file of the data folder is kept.
pub fn aside_name(name: &str, random: Uuid) -> String {
    format!("{name}.{random}-aside")
}

/// The last sentence of every refusal of a start that a person may decide to overrule.
pub fn way_out(data_dir: &str) -> String {
    format!(
        "`tidemill repair {data_dir}` says what would be given up without it; with --accept-loss it puts aside what is damaged, \
         removes nothing, and the next start goes on"
    )
}
