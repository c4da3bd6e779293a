//! Fetch sessions (KIP-227): the broker remembers what a consumer fetches, the consumer sends what changed.
//!
//! A session belongs to the shard of the connection that made it; a client that comes back on another shard is told that its
//! session is unknown and starts a new one, as after any broker restart.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::error::ErrorCode;
use crate::types::{LeaderEpoch, Map, Offset, Random, TopicId};

/// A session younger than this is never evicted for another (Kafka's MinIncrementalFetchSessionEvictionMs).
const EVICTION_AGE_US: u64 = 120_000_000;

/// A partition as the client names it: by id from version 13 on, by name before.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PartitionName {
    pub topic: TopicName,
    pub partition: i32,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum TopicName {
    Id(TopicId),
    Name(Arc<str>),
}

/// What a client wants of one partition.
#[derive(Clone, PartialEq, Debug)]
pub struct Wanted {
    pub offset: Offset,
    pub bytes_max: i32,
    pub leader_epoch: LeaderEpoch,
    pub last_fetched_epoch: LeaderEpoch,
}

/// What the client was last told, so that an incremental response can leave it out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    pub high_watermark: Offset,
    pub log_start: Offset,
}

const NOTHING_TOLD: Told = Told {
    high_watermark: -1,
    log_start: -1,
};

#[derive(Debug)]
struct Session {
    /// The epoch that the next request must carry.
    epoch: i32,
    by_id: bool,
    partitions: IndexMap<PartitionName, (Wanted, Told), foldhash::fast::FixedState>,
    used_us: u64,
}

/// How a fetch request relates to a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Context {
    /// Every partition is answered; no session.
    Sessionless,
    /// Every partition is answered; the response names this session.
    Full(i32),
    /// Only what changed is answered.
    Incremental(i32),
}

impl Context {
    /// The id that the response carries.
    pub fn session_id(self) -> i32 {
        match self {
            Context::Sessionless => 0,
            Context::Full(id) | Context::Incremental(id) => id,
        }
    }
}

pub struct Request {
    pub session_id: i32,
    pub epoch: i32,
    pub by_id: bool,
    pub partitions: Vec<(PartitionName, Wanted)>,
    pub forgotten: Vec<PartitionName>,
}

pub struct Sessions {
    table: Map<i32, Session>,
    sessions_max: usize,
}

impl Sessions {
    pub fn new(sessions_max: usize) -> Sessions {
        Sessions {
            table: Map::default(),
            sessions_max,
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.table.len()
    }

    /// What this request fetches, in order of service.
    pub fn begin(
        &mut self,
        now_us: u64,
        random: &mut Random,
        request: Request,
    ) -> Result<(Context, Vec<(PartitionName, Wanted)>), ErrorCode> {
        match request.epoch {
            -1 => {
                self.table.remove(&request.session_id);
                Ok((Context::Sessionless, request.partitions))
            }
            0 => {
                self.table.remove(&request.session_id);
                if request.partitions.is_empty() || !self.make_room(now_us) {
                    return Ok((Context::Sessionless, request.partitions));
                }
                let id = loop {
                    let id = (random.next_u64() >> 33) as i32;
                    if id > 0 && !self.table.contains_key(&id) {
                        break id;
                    }
                };
                let partitions = request
                    .partitions
                    .iter()
                    .cloned()
                    .map(|(name, wanted)| (name, (wanted, NOTHING_TOLD)));
                let session = Session {
                    epoch: 1,
                    by_id: request.by_id,
                    partitions: partitions.collect(),
                    used_us: now_us,
                };
                self.table.insert(id, session);
                Ok((Context::Full(id), request.partitions))
            }
            epoch => {
                let session = self
                    .table
                    .get_mut(&request.session_id)
                    .ok_or(ErrorCode::FetchSessionIdNotFound)?;
                if session.epoch != epoch {
                    return Err(ErrorCode::InvalidFetchSessionEpoch);
                }
                if session.by_id != request.by_id {
                    return Err(ErrorCode::FetchSessionTopicIdError);
                }
                session.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
                session.used_us = now_us;
                for (name, wanted) in request.partitions {
                    let told = session.partitions.get(&name).map_or(NOTHING_TOLD, |(_, told)| *told);
                    session.partitions.insert(name, (wanted, told));
                }
                for name in &request.forgotten {
                    session.partitions.shift_remove(name);
                }
                if session.partitions.is_empty() {
                    self.table.remove(&request.session_id);
                    return Ok((Context::Sessionless, Vec::new()));
                }
                let wanted = session
                    .partitions
                    .iter()
                    .map(|(name, (wanted, _))| (name.clone(), wanted.clone()));
                Ok((Context::Incremental(request.session_id), wanted.collect()))
            }
        }
    }

    /// Must this partition be in the response? Remembers what the client is told, and lets a partition that got records
    /// wait behind the others next time.
    pub fn answer(
        &mut self,
        context: Context,
        name: &PartitionName,
        told: Told,
        has_records: bool,
        is_error: bool,
    ) -> bool {
        let (Context::Full(id) | Context::Incremental(id)) = context else {
            return true;
        };
        let Some(session) = self.table.get_mut(&id) else {
            return true;
        };
        let Some(index) = session.partitions.get_index_of(name) else {
            return true;
        };
        let before = &mut session.partitions[index].1;
        let changed = *before != told;
        // An error is told again until it is gone: the client must learn what follows it.
        *before = if is_error { NOTHING_TOLD } else { told };
        if has_records {
            session.partitions.move_index(index, session.partitions.len() - 1);
        }
        matches!(context, Context::Full(_)) || changed || has_records || is_error
    }

    fn make_room(&mut self, now_us: u64) -> bool {
        if self.table.len() < self.sessions_max {
            return true;
        }
        let oldest = self.table.iter().min_by_key(|(id, session)| (session.used_us, **id));
        match oldest {
            Some((&id, session)) if now_us.saturating_sub(session.used_us) > EVICTION_AGE_US => {
                self.table.remove(&id);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(partition: i32) -> PartitionName {
        PartitionName {
            topic: TopicName::Name("t".into()),
            partition,
        }
    }

    fn wanted(offset: Offset) -> Wanted {
        Wanted {
            offset,
            bytes_max: 100,
            leader_epoch: -1,
            last_fetched_epoch: -1,
        }
    }

    fn request(session_id: i32, epoch: i32, partitions: &[i32]) -> Request {
        Request {
            session_id,
            epoch,
            by_id: false,
            partitions: partitions.iter().map(|&p| (name(p), wanted(0))).collect(),
            forgotten: Vec::new(),
        }
    }

    const TOLD: Told = Told {
        high_watermark: 5,
        log_start: 0,
    };

    #[test]
    fn a_session_lives_through_its_epochs() {
        let (mut sessions, mut random) = (Sessions::new(2), Random::new(1));
        let (context, all) = sessions.begin(0, &mut random, request(0, 0, &[0, 1, 2])).unwrap();
        let Context::Full(id) = context else {
            panic!("{context:?}")
        };
        assert_eq!(all.len(), 3);
        assert!(
            sessions.answer(context, &name(0), TOLD, true, false),
            "a full response names every partition"
        );

        let (context, all) = sessions.begin(1, &mut random, request(id, 1, &[])).unwrap();
        assert_eq!(context, Context::Incremental(id));
        let order: Vec<i32> = all.iter().map(|(name, _)| name.partition).collect();
        assert_eq!(order, [1, 2, 0], "who got records waits behind the others");
        assert!(
            !sessions.answer(context, &name(0), TOLD, false, false),
            "unchanged is left out"
        );
        assert!(
            sessions.answer(context, &name(1), TOLD, false, false),
            "never told before"
        );
        assert!(
            sessions.answer(context, &name(0), TOLD, false, true),
            "an error is always told"
        );

        assert_eq!(
            sessions.begin(2, &mut random, request(id, 1, &[])).unwrap_err(),
            ErrorCode::InvalidFetchSessionEpoch
        );
        assert_eq!(
            sessions.begin(2, &mut random, request(id + 1, 2, &[])).unwrap_err(),
            ErrorCode::FetchSessionIdNotFound
        );

        let mut forget = request(id, 2, &[]);
        forget.forgotten = vec![name(0), name(1), name(2)];
        assert_eq!(sessions.begin(3, &mut random, forget).unwrap().0, Context::Sessionless);
        assert_eq!(sessions.len(), 0);
    }

    #[test]
    fn a_young_session_is_not_evicted() {
        let (mut sessions, mut random) = (Sessions::new(1), Random::new(1));
        sessions.begin(0, &mut random, request(0, 0, &[0])).unwrap();
        assert_eq!(
            sessions.begin(1, &mut random, request(0, 0, &[0])).unwrap().0,
            Context::Sessionless
        );
        let later = EVICTION_AGE_US + 1;
        assert!(matches!(
            sessions.begin(later, &mut random, request(0, 0, &[0])).unwrap().0,
            Context::Full(_)
        ));
    }

    #[test]
    fn the_final_epoch_closes_the_session() {
        let (mut sessions, mut random) = (Sessions::new(1), Random::new(1));
        let id = sessions
            .begin(0, &mut random, request(0, 0, &[0]))
            .unwrap()
            .0
            .session_id();
        assert_eq!(
            sessions.begin(1, &mut random, request(id, -1, &[0])).unwrap().0,
            Context::Sessionless
        );
        assert_eq!(sessions.len(), 0);
    }
}
