//! What a start of a data folder would say, found out without changing a byte of it, and the way past what it would refuse:
//! `tidemill repair`.
//!
//! The look is a start itself: the same shards, whose reads are done and whose writes are only said to be done. The way past it
//! puts aside what is damaged, under other names, and then writes out what is intact, as `tidemill trim` does.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tracing::subscriber::{NoSubscriber, with_default};

use super::blocking::{Folder, disk_error};
use super::clock::Clock;
use super::{Place, folder_lock, seal, seed};
use crate::config::BrokerConfig;
use crate::shard::effect::{Compute, DiskError, DiskOp, DiskReply, Effect, Entry, Event};
use crate::shard::survey::{Files, Survey, aside_name};
use crate::shard::{Shard, ShardConfig, ring_path};
use crate::types::{Random, ShardId, Uuid};

/// The data folder, to be looked at only.
pub(super) struct Reader<'a>(pub(super) &'a Folder);

impl Files for Reader<'_> {
    fn list(&mut self, path: &str) -> Result<Option<Vec<Entry>>, String> {
        match self.0.perform(&DiskOp::List { path: path.into() }) {
            Ok(DiskReply::Entries(entries)) => Ok(Some(entries)),
            Ok(other) => unreachable!("a folder's names, not {other:?}"),
            Err(DiskError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn read(&mut self, path: &str, len: u64) -> Result<Option<Bytes>, String> {
        let mut content = Vec::new();
        let read = open(self.0, path).and_then(|file| file.take(len).read_to_end(&mut content));
        match read {
            Ok(_) => Ok(Some(content.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("cannot read {path}: {error}")),
        }
    }
}

fn open(folder: &Folder, path: &str) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(folder.path(path)?)
}

/// Whether the data folder's own files keep a start from it.
pub(super) fn look(folder: &Path) -> Result<(), String> {
    if !folder.is_dir() {
        return Ok(());
    }
    let shown = folder.display().to_string();
    let open = Folder::open(folder).map_err(|error| format!("{shown}: {error}"))?;
    let survey = Survey::of(&mut Reader(&open)).map_err(|why| format!("{shown}: {why}"))?;
    survey.refusal(&shown).map_or(Ok(()), Err)
}

/// What a start would say.
struct Rehearsal {
    /// Why it would not go on.
    refusal: Option<String>,
    /// What it would find damaged or lost, a sentence each.
    findings: Vec<String>,
}

/// Says what a start would refuse and what is lost; with `accepts_loss`, gives that up, so that the next start goes on. True when
/// nothing stands in the way of a start, and nothing is lost, any more.
///
/// # Errors
/// Why nothing can be said, or why the folder could not be repaired.
pub fn repair(
    config: &Arc<BrokerConfig>,
    shard_config: &impl Fn(Place) -> ShardConfig,
    accepts_loss: bool,
    out: &mut impl Write,
) -> Result<bool, String> {
    let dir = config.data_dir();
    if !Path::new(dir).is_dir() {
        return Err(format!("{dir} is no folder"));
    }
    let mut say = |line: String| writeln!(out, "{line}").map_err(|error| format!("cannot say what was found: {error}"));
    let root = std::path::absolute(dir).map_err(|error| format!("{dir}: {error}"))?;
    let lock = folder_lock::take(&root)?;
    let folder = Folder::open(&root).map_err(|error| format!("{dir}: {error}"))?;
    let survey = Survey::of(&mut Reader(&folder))?;
    for problem in &survey.problems {
        say(format!("a start refuses: {}", problem.what))?;
        say(format!("  given up without it: {}", problem.gives_up))?;
    }
    if !survey.problems.is_empty() {
        if !accepts_loss {
            say("what else is lost can be said once this is put right".into())?;
            say(format!("to give it up: tidemill repair {dir} --accept-loss"))?;
            return Ok(false);
        }
        let random = Random::new(seed()).uuid();
        for what in survey.mending(&mut Reader(&folder), config, random) {
            folder
                .perform(&what)
                .map_err(|error| format!("{dir} could not be repaired: {error}"))?;
            if let DiskOp::Rename { from, to } = what {
                say(format!("{from} is kept as {to}"))?;
            }
        }
        let survey = Survey::of(&mut Reader(&folder))?;
        if let Some(refusal) = survey.refusal(dir) {
            return Err(refusal);
        }
    }
    // What is found is said below.
    let rehearse = || {
        let survey = Survey::of(&mut Reader(&folder))?;
        Ok::<_, String>(with_default(NoSubscriber::new(), || {
            rehearse(&folder, &survey, config, shard_config)
        }))
    };
    let rehearsal = rehearse()?;
    let is_whole = rehearsal.refusal.is_none() && rehearsal.findings.is_empty();
    for finding in &rehearsal.findings {
        say(format!("lost or damaged: {finding}"))?;
    }
    if let Some(refusal) = &rehearsal.refusal {
        say(format!("a start refuses: {refusal}"))?;
    }
    if is_whole {
        say("a start goes on".into())?;
        return Ok(true);
    }
    if !accepts_loss {
        say(format!("to give up what is lost: tidemill repair {dir} --accept-loss"))?;
        return Ok(false);
    }
    // Taken again by what writes everything out.
    drop(lock);
    let _lock = seal(config, true, shard_config)?;
    put_damaged_rings_aside(&folder, &rehearsal.findings, &mut say)
        .map_err(|error| format!("{dir}: a damaged journal could not be put aside: {error}"))?;
    let survey = Survey::of(&mut Reader(&folder))?;
    if let Some(refusal) = survey.refusal(dir) {
        return Err(refusal);
    }
    match rehearse()?.refusal {
        Some(refusal) => Err(format!("a start still refuses: {refusal}")),
        None => {
            say("what was lost is given up: a start goes on".into())?;
            Ok(true)
        }
    }
}

/// Their intact frames are in the segments by now, and the next start makes new ones.
fn put_damaged_rings_aside(
    folder: &Folder,
    findings: &[String],
    say: &mut impl FnMut(String) -> Result<(), String>,
) -> Result<(), String> {
    let random = Random::new(seed()).uuid();
    for ring in (0..u16::MAX).map(|shard| ring_path(ShardId(shard))) {
        if !folder.path(&ring).is_ok_and(|path| path.exists()) {
            break;
        }
        if findings.iter().any(|finding| finding.starts_with(&ring)) {
            put_aside(folder, &ring, random).map_err(|error| error.to_string())?;
            say(format!("{ring} is kept as {}", aside_name(&ring, random)))?;
        }
    }
    Ok(())
}

fn put_aside(folder: &Folder, name: &str, random: Uuid) -> Result<(), DiskError> {
    let (from, to) = (name.to_owned(), aside_name(name, random));
    folder.perform(&DiskOp::Rename { from, to })?;
    folder.perform(&DiskOp::SyncDir { path: String::new() })?;
    Ok(())
}

/// A start on the folder as it is, of which nothing is written.
fn rehearse(
    folder: &Folder,
    survey: &Survey,
    config: &BrokerConfig,
    shard_config: &impl Fn(Place) -> ShardConfig,
) -> Rehearsal {
    let count = match survey.format {
        Some(format) => format.shards,
        None => super::cores(&config.cores).map_or(1, |cores| cores.len() as u16),
    };
    let clock = Clock::start();
    let mut shards: Vec<Shard> = (0..count)
        .map(|id| {
            Shard::new(shard_config(Place {
                id: ShardId(id),
                shards: count,
                address: SocketAddr::from(([127, 0, 0, 1], 9092)),
                seed: seed(),
                only_seal: false,
                was_clean: survey.is_clean,
                accepts_loss: false,
            }))
        })
        .collect();
    let mut stage = Stage {
        folder,
        events: VecDeque::new(),
        ready: 0,
        refusal: None,
    };
    for (id, shard) in shards.iter_mut().enumerate() {
        let mut out = Vec::new();
        shard.start(clock.now(), &mut out);
        stage.perform(ShardId(id as u16), out);
    }
    while stage.refusal.is_none() && stage.ready < count {
        let Some((id, event)) = stage.events.pop_front() else {
            stage.refusal = Some("it never comes to its end".into());
            break;
        };
        let (mut out, now) = (Vec::new(), clock.now());
        let shard = &mut shards[usize::from(id.0)];
        shard.handle(now, event, &mut out);
        shard.end_round(now, &mut out);
        stage.perform(id, out);
    }
    Rehearsal {
        refusal: stage.refusal,
        findings: shards.iter().flat_map(|shard| shard.findings().to_vec()).collect(),
    }
}

struct Stage<'a> {
    folder: &'a Folder,
    events: VecDeque<(ShardId, Event)>,
    ready: u16,
    refusal: Option<String>,
}

impl Stage<'_> {
    fn perform(&mut self, shard: ShardId, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Disk { op, what } => {
                    let result = self.pretend(&what);
                    self.events.push_back((shard, Event::Disk { op, result }));
                }
                Effect::Compute {
                    op,
                    what: Compute::Run(job),
                } => {
                    let result = (job.run)();
                    self.events.push_back((shard, Event::Computed { op, result }));
                }
                Effect::ToShard { to, message } => {
                    self.events.push_back((to, Event::FromShard { from: shard, message }));
                }
                Effect::Ready => self.ready += 1,
                Effect::Fatal { message } => drop(self.refusal.get_or_insert(message)),
                Effect::Reply { .. } | Effect::Close { .. } | Effect::Stopped { .. } => {}
            }
        }
    }

    /// A start reads nothing that it has written.
    fn pretend(&self, what: &DiskOp) -> Result<DiskReply, DiskError> {
        match what {
            DiskOp::Read { file, position, len } => self
                .read(&file.path, *position, *len)
                .map_err(|error| disk_error("read", &file.path, &error)),
            DiskOp::List { .. } | DiskOp::ReadFile { .. } | DiskOp::Space => self.folder.perform(what),
            _ => Ok(DiskReply::Done),
        }
    }

    fn read(&self, path: &str, position: u64, len: usize) -> std::io::Result<DiskReply> {
        let file = open(self.folder, path)?;
        let mut bytes = vec![0; len];
        let mut found = 0;
        while found < len {
            match file.read_at(&mut bytes[found..], position + found as u64)? {
                0 => break,
                more => found += more,
            }
        }
        bytes.truncate(found);
        Ok(DiskReply::Bytes(bytes.into()))
    }
}
