//! From records to batches of the metadata log.

use crate::record::{Batch, BatchBuilder};
use crate::wire::WireError;
use crate::wire::control_records::ControlRecord;
use crate::wire::metadata_records::{BeginTransactionRecord, EndTransactionRecord, MetadataRecord};

/// Records that belong together, for one append to a log of this level of `metadata.version`: one batch, or, when that would be
/// larger than `batch_bytes_max`, several between a BeginTransaction and an EndTransaction record. Empty for no records.
pub fn encode(
    records: &[MetadataRecord],
    metadata_version: i16,
    now_ms: i64,
    batch_bytes_max: usize,
) -> Result<Vec<Batch>, WireError> {
    let write = |record: &MetadataRecord| record.encode(metadata_version);
    let values: Vec<_> = records.iter().map(write).collect::<Result<_, _>>()?;
    let records_bytes: usize = (values.iter())
        .map(|value| value.len() + RECORD_OVERHEAD_BYTES_MAX)
        .sum();
    let fits = BatchBuilder::new().size_bytes() + records_bytes <= batch_bytes_max;
    if values.is_empty() {
        return Ok(Vec::new());
    }
    let (begin, end) = match fits {
        true => (None, None),
        false => {
            let begin = BeginTransactionRecord {
                name: Some("Records of one request".into()),
            };
            (
                Some(write(&begin.into())?),
                Some(write(&EndTransactionRecord {}.into())?),
            )
        }
    };
    let mut batches = Vec::new();
    let mut batch = BatchBuilder::new();
    for value in begin.into_iter().chain(values).chain(end) {
        let bytes = batch.size_bytes() + value.len() + RECORD_OVERHEAD_BYTES_MAX;
        if batch.record_count() > 0 && bytes > batch_bytes_max {
            batches.push(std::mem::take(&mut batch).build_checked());
        }
        batch.push(now_ms, None, Some(&value), &[]);
    }
    batches.push(batch.build_checked());
    Ok(batches)
}

/// One control batch.
pub(super) fn control_batch(records: &[ControlRecord], now_ms: i64) -> Result<BatchBuilder, WireError> {
    let mut batch = BatchBuilder::new().control();
    for record in records {
        let (key, value) = record.encode()?;
        batch.push(now_ms, Some(&key), Some(&value), &[]);
    }
    Ok(batch)
}

/// Length, attributes, timestamp and offset deltas, the lengths of key and value, and the number of headers.
const RECORD_OVERHEAD_BYTES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::metadata_records::{FeatureLevelRecord, METADATA_VERSION};

    #[test]
    fn a_group_too_large_for_one_batch_becomes_a_transaction() {
        let level = |level| {
            MetadataRecord::from(FeatureLevelRecord {
                name: "x".repeat(100),
                feature_level: level,
            })
        };
        let records: Vec<_> = (1..=10).map(level).collect();
        assert_eq!(encode(&records, METADATA_VERSION, 5, 10_000).unwrap().len(), 1);
        let batches = encode(&records, METADATA_VERSION, 5, 500).unwrap();
        assert!(batches.len() > 2);
        assert!(batches.iter().all(|batch| batch.size_bytes <= 500));
        assert_eq!(batches.iter().map(|batch| batch.record_count).sum::<i32>(), 12);
        assert!(encode(&[], METADATA_VERSION, 5, 500).unwrap().is_empty());
        // Whatever is in no transaction is in one batch: each batch is applied at once.
        for batch_bytes_max in 200..2_000 {
            let batches = encode(&records, METADATA_VERSION, 5, batch_bytes_max).unwrap();
            let count = batches.iter().map(|batch| batch.record_count).sum::<i32>();
            assert!(count == 12 || batches.len() == 1, "batches of {batch_bytes_max} bytes");
        }
    }
}
