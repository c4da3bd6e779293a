//! Blocks of producer ids, so that ids are handed out without a record for each.

use crate::error::ErrorCode;
use crate::types::{NodeId, ProducerId};
use crate::wire::metadata_records::ProducerIdsRecord;

use super::decide::{Controller, Decision};
use super::image::Image;

/// How many ids a broker gets at once.
pub const BLOCK_IDS: i32 = 1000;

/// Ids `first .. first + BLOCK_IDS`, never given to anyone else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    pub first: ProducerId,
}

impl Controller {
    /// AllocateProducerIds. The error is STALE_BROKER_EPOCH for a broker that registered anew since, and
    /// BROKER_ID_NOT_REGISTERED for one that never did.
    pub fn allocate_producer_ids(
        &self,
        image: &Image,
        broker: NodeId,
        broker_epoch: i64,
    ) -> Decision<Result<ProducerIdBlock, ErrorCode>> {
        match image.brokers.get(&broker) {
            None => return Decision::nothing(Err(ErrorCode::BrokerIdNotRegistered)),
            Some(registered) if registered.epoch != broker_epoch => {
                return Decision::nothing(Err(ErrorCode::StaleBrokerEpoch));
            }
            Some(_) => {}
        }
        let first = image.next_producer_id;
        let Some(next) = first.checked_add(BLOCK_IDS.into()) else {
            return Decision::nothing(Err(ErrorCode::UnknownServerError));
        };
        let record = ProducerIdsRecord {
            broker_id: broker,
            broker_epoch,
            next_producer_id: next,
        };
        Decision {
            records: vec![record.into()],
            reply: Ok(ProducerIdBlock { first }),
        }
    }
}
