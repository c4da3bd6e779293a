//! `tidemill dump FILE`: what a file of the data folder says, in the product's own words. The file is only read, and
//! may belong to a running broker, whose newest bytes may then be missing.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use super::out::{Out, complain};
use crate::controller::files::{META_PROPERTIES, METADATA_FOLDER, QUORUM_STATE};
use crate::journal::parked::{Part, PartName};
use crate::log::producers::decode_snapshot;
use crate::log::{
    DELETED_SUFFIX, INDEX_SUFFIX, RECOVERY_POINT, describe_recovery_point, describe_segment_index, side_files,
};
use crate::shard::format;

mod batches;
mod ring;

/// How much of a file is shown.
#[derive(clap::Args)]
pub struct Options {
    /// A segment, a journal, a recovery point, or one of the small files beside them
    file: std::path::PathBuf,
    /// Show the records of each batch too. (Those of the cluster's metadata are always shown.)
    #[arg(long)]
    records: bool,
}

/// Why there is no, or no complete, dump.
#[derive(Debug, thiserror::Error)]
enum DumpError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What could be read was shown.
    #[error("{0}")]
    Damaged(String),
    #[error("this is a folder: name one of the files in it")]
    Folder,
    #[error(
        "this is no file that Tidemill writes: expected a segment (*.log), a journal (*.ring), what was put aside of it \
         (tidemill-parked-*), a metadata snapshot (*.checkpoint), producer state (*.snapshot), {RECOVERY_POINT}, a segment's \
         index (*{INDEX_SUFFIX}) or one of the small files beside them"
    )]
    Unknown,
}

pub fn run(options: &Options) -> ExitCode {
    let mut out = Out::new();
    let shown = show(options, &mut out);
    // What was shown comes before what is complained about.
    let _ = out.flush();
    match shown {
        // It is the output that failed, not the file.
        Err(DumpError::Io(_)) if out.has_failed() => out.finish(ExitCode::SUCCESS),
        Ok(()) => out.finish(ExitCode::SUCCESS),
        Err(error) => {
            complain(format_args!("{}: {error}", options.file.display()));
            out.finish(ExitCode::FAILURE)
        }
    }
}

fn show(options: &Options, out: &mut impl Write) -> Result<(), DumpError> {
    let path = &options.file;
    let mut file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(DumpError::Folder);
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = name.strip_suffix(DELETED_SUFFIX).unwrap_or(name);
    match name.rsplit_once('.') {
        Some((_, "log")) => {
            let detail = match (is_metadata_log(path), options.records) {
                (true, _) => batches::Detail::Metadata,
                (false, true) => batches::Detail::Records,
                (false, false) => batches::Detail::Batches,
            };
            return batches::show(&mut file, detail, out);
        }
        Some((_, "checkpoint")) => return batches::show(&mut file, batches::Detail::Metadata, out),
        Some((_, "ring")) => return ring::show(&mut file, options.records, out),
        _ => {}
    }
    let content = std::fs::read(path)?;
    match name {
        RECOVERY_POINT => writeln!(out, "{}", describe_recovery_point(&content).map_err(damaged)?)?,
        side_files::PARTITION_METADATA => {
            let topic = side_files::parse_partition_metadata(&content).map_err(damaged)?;
            writeln!(out, "topic {topic}")?;
        }
        side_files::LEADER_EPOCHS => {
            for entry in side_files::parse_leader_epochs(&content).map_err(damaged)?.entries() {
                writeln!(out, "epoch {} from {}", entry.epoch, entry.start)?;
            }
        }
        side_files::RECOVERY_POINTS | side_files::HIGH_WATERMARKS | side_files::LOG_STARTS => {
            for entry in side_files::parse_offsets(&content).map_err(damaged)? {
                writeln!(out, "{}-{} {}", entry.topic, entry.partition, entry.offset)?;
            }
        }
        side_files::CLEAN_SHUTDOWN => match side_files::parse_clean_shutdown(&content).map_err(damaged)? {
            Some(epoch) => writeln!(out, "stopped cleanly in broker epoch {epoch}")?,
            None => writeln!(out, "stopped cleanly in an unknown broker epoch")?,
        },
        _ if PartName::parse(name).is_some() => {
            writeln!(out, "{}", Part::decode(&content.into()).map_err(damaged)?)?;
        }
        format::FILE => {
            format::decode(&content).map_err(damaged)?;
            out.write_all(&content)?;
        }
        _ if name.ends_with(INDEX_SUFFIX) => writeln!(out, "{}", describe_segment_index(&content).map_err(damaged)?)?,
        // Text already.
        META_PROPERTIES | QUORUM_STATE => out.write_all(&content)?,
        _ if name.ends_with(".snapshot") => {
            for (id, producer) in decode_snapshot(&content).map_err(damaged)?.iter() {
                writeln!(out, "producer {id} {producer}")?;
            }
        }
        _ => return Err(DumpError::Unknown),
    }
    Ok(())
}

fn damaged(error: impl std::fmt::Display) -> DumpError {
    DumpError::Damaged(error.to_string())
}

fn is_metadata_log(path: &Path) -> bool {
    let folder = path
        .canonicalize()
        .ok()
        .and_then(|path| path.parent().map(Path::to_owned));
    folder.is_some_and(|folder| folder.file_name().is_some_and(|name| name == METADATA_FOLDER))
}
