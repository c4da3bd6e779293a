//! Fetch sessions (KIP-227): the broker remembers what a consumer fetches, the consumer sends what changed.
//!
//! A session lives as long as the connection that used it last: a client that comes back is told that its session is unknown
//! and starts a new one, as after any broker restart.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::ErrorCode;
use crate::types::{ClientMap, ConnId, LeaderEpoch, Map, Offset, Random, TopicId, client_map};

/// A session younger than this is never evicted for another (Kafka's MinIncrementalFetchSessionEvictionMs).
const EVICTION_AGE_US: u64 = 120_000_000;

/// A client with more partitions than this gets no session, and neither does anybody while all sessions of the shard
/// together have more than [`PARTITIONS_MAX`]: it sends its whole list with each fetch then.
const SESSION_PARTITIONS_MAX: usize = 50_000;
/// About 200 bytes each, and as many more for a long name.
const PARTITIONS_MAX: usize = 200_000;
/// No topic has a longer name; who asks for one gets no session.
const NAME_BYTES_MAX: usize = 249;

/// A partition as the client names it: by id from version 13 on, by name before.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartitionName {
    pub topic: TopicName,
    pub partition: i32,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
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
    /// Who used it last.
    conn: ConnId,
    /// The epoch that the next request must carry.
    epoch: i32,
    by_id: bool,
    partitions: ClientMap<PartitionName, Kept>,
    used_us: u64,
}

#[derive(Debug)]
struct Kept {
    wanted: Wanted,
    told: Told,
    /// Got records of the last fetch.
    is_served: bool,
}

impl Kept {
    fn new(wanted: Wanted) -> Kept {
        Kept {
            wanted,
            told: NOTHING_TOLD,
            is_served: false,
        }
    }
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
    pub conn: ConnId,
    pub session_id: i32,
    pub epoch: i32,
    pub by_id: bool,
    pub partitions: Vec<(PartitionName, Wanted)>,
    pub forgotten: Vec<PartitionName>,
}

pub struct Sessions {
    table: Map<i32, Session>,
    sessions_max: usize,
    /// Of all sessions.
    partitions: usize,
}

impl Sessions {
    pub fn new(sessions_max: usize) -> Sessions {
        Sessions {
            table: Map::default(),
            sessions_max,
            partitions: 0,
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
                self.remove(request.session_id);
                Ok((Context::Sessionless, request.partitions))
            }
            0 => {
                self.remove(request.session_id);
                let count = request.partitions.len();
                let may_be = (1..=SESSION_PARTITIONS_MAX).contains(&count) && are_kept(&request.partitions);
                if !may_be || !self.make_room(now_us, count) {
                    return Ok((Context::Sessionless, request.partitions));
                }
                let id = loop {
                    let id = (random.next_u64() >> 33) as i32;
                    if id > 0 && !self.table.contains_key(&id) {
                        break id;
                    }
                };
                let mut partitions = client_map(random);
                let wanted = request.partitions.iter().cloned();
                partitions.extend(wanted.map(|(name, wanted)| (name, Kept::new(wanted))));
                let session = Session {
                    conn: request.conn,
                    epoch: 1,
                    by_id: request.by_id,
                    partitions,
                    used_us: now_us,
                };
                self.partitions += session.partitions.len();
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
                session.conn = request.conn;
                let may_be = are_kept(&request.partitions);
                let count_before = session.partitions.len();
                // Who got records waits behind the others.
                session.partitions.sort_by_key(|_, kept| kept.is_served);
                session.partitions.values_mut().for_each(|kept| kept.is_served = false);
                for (name, wanted) in request.partitions {
                    let kept = session
                        .partitions
                        .entry(name)
                        .or_insert_with(|| Kept::new(wanted.clone()));
                    kept.wanted = wanted;
                }
                if !request.forgotten.is_empty() {
                    let forgotten: BTreeSet<PartitionName> = request.forgotten.into_iter().collect();
                    session.partitions.retain(|name, _| !forgotten.contains(name));
                }
                let count = session.partitions.len();
                self.partitions = self.partitions + count - count_before;
                let is_too_much = count > SESSION_PARTITIONS_MAX || self.partitions > PARTITIONS_MAX;
                if !may_be || count > count_before && is_too_much {
                    // The client starts over, and learns then that there is no session for it.
                    self.remove(request.session_id);
                    return Err(ErrorCode::FetchSessionIdNotFound);
                }
                if count == 0 {
                    self.remove(request.session_id);
                    return Ok((Context::Sessionless, Vec::new()));
                }
                let wanted = session
                    .partitions
                    .iter()
                    .map(|(name, kept)| (name.clone(), kept.wanted.clone()));
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
        let Some(kept) = session.partitions.get_mut(name) else {
            return true;
        };
        let changed = kept.told != told;
        // An error is told again until it is gone: the client must learn what follows it.
        kept.told = if is_error { NOTHING_TOLD } else { told };
        kept.is_served = has_records;
        matches!(context, Context::Full(_)) || changed || has_records || is_error
    }

    /// Nobody asks for its sessions again.
    pub fn closed(&mut self, conn: ConnId) {
        let partitions = &mut self.partitions;
        for (_, session) in self.table.extract_if(|_, session| session.conn == conn) {
            *partitions -= session.partitions.len();
        }
    }

    fn remove(&mut self, id: i32) {
        if let Some(session) = self.table.remove(&id) {
            self.partitions -= session.partitions.len();
        }
    }

    /// For one more session of so many partitions.
    fn make_room(&mut self, now_us: u64, partitions: usize) -> bool {
        while self.table.len() >= self.sessions_max || self.partitions + partitions > PARTITIONS_MAX {
            let oldest = self.table.iter().min_by_key(|(id, session)| (session.used_us, **id));
            match oldest {
                Some((&id, session)) if now_us.saturating_sub(session.used_us) > EVICTION_AGE_US => self.remove(id),
                _ => return false,
            }
        }
        true
    }
}

fn are_kept(partitions: &[(PartitionName, Wanted)]) -> bool {
    partitions.iter().all(|(name, _)| match &name.topic {
        TopicName::Id(_) => true,
        TopicName::Name(name) => name.len() <= NAME_BYTES_MAX,
    })
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
            conn: ConnId(1),
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
    fn partitions_of_all_sessions_are_bounded() {
        let (mut sessions, mut random) = (Sessions::new(100), Random::new(1));
        let all = |count: usize| (0..count as i32).collect::<Vec<_>>();
        let mut begin = |now_us, request| sessions.begin(now_us, &mut random, request).map(|(context, _)| context);
        let too_many = begin(0, request(0, 0, &all(SESSION_PARTITIONS_MAX + 1)));
        assert_eq!(too_many, Ok(Context::Sessionless));
        let mut ids = Vec::new();
        for _ in 0..PARTITIONS_MAX / SESSION_PARTITIONS_MAX {
            let context = begin(0, request(0, 0, &all(SESSION_PARTITIONS_MAX))).unwrap();
            ids.push(context.session_id());
            assert!(ids.last() > Some(&0));
        }
        assert_eq!(begin(1, request(0, 0, &[0])), Ok(Context::Sessionless));
        // Growing is no way around it.
        let more: Vec<i32> = vec![SESSION_PARTITIONS_MAX as i32];
        assert_eq!(
            begin(1, request(ids[0], 1, &more)),
            Err(ErrorCode::FetchSessionIdNotFound)
        );
        assert!(matches!(begin(1, request(0, 0, &[0])), Ok(Context::Full(_))));
        let mut forget = request(ids[1], 1, &[]);
        forget.forgotten = all(SESSION_PARTITIONS_MAX).into_iter().map(name).collect();
        assert_eq!(begin(2, forget), Ok(Context::Sessionless));
        begin(3, request(ids[2], -1, &[])).unwrap();
        assert_eq!(sessions.partitions, SESSION_PARTITIONS_MAX + 1);
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

    fn order(all: &[(PartitionName, Wanted)]) -> Vec<i32> {
        all.iter().map(|(name, _)| name.partition).collect()
    }

    #[test]
    fn what_is_served_or_forgotten_leaves_the_others_in_order() {
        let (mut sessions, mut random) = (Sessions::new(1), Random::new(1));
        let (context, _) = sessions
            .begin(0, &mut random, request(0, 0, &[5, 3, 1, 4, 2, 0]))
            .unwrap();
        for served in [3, 4, 0] {
            sessions.answer(context, &name(served), TOLD, true, false);
        }
        let id = context.session_id();
        let (context, all) = sessions.begin(1, &mut random, request(id, 1, &[])).unwrap();
        assert_eq!(order(&all), [5, 1, 2, 3, 4, 0]);
        // Who was served before is not served now.
        sessions.answer(context, &name(1), TOLD, true, false);
        let mut change = request(id, 2, &[9, 4]);
        change.forgotten = vec![name(2), name(7), name(3), name(2)];
        let (_, all) = sessions.begin(2, &mut random, change).unwrap();
        assert_eq!(order(&all), [5, 4, 0, 1, 9]);
        assert_eq!(sessions.partitions, 5);
    }

    #[test]
    fn many_small_sessions_do_not_grow_beyond_the_bound_of_all() {
        let count = PARTITIONS_MAX / SESSION_PARTITIONS_MAX;
        let (mut sessions, mut random) = (Sessions::new(100), Random::new(1));
        let all: Vec<i32> = (0..SESSION_PARTITIONS_MAX as i32).collect();
        let ids: Vec<i32> = (0..=count)
            .map(|_| {
                sessions
                    .begin(0, &mut random, request(0, 0, &[0]))
                    .unwrap()
                    .0
                    .session_id()
            })
            .collect();
        let grown = ids
            .iter()
            .map(|&id| sessions.begin(0, &mut random, request(id, 1, &all)).is_ok());
        let grown: Vec<bool> = grown.collect();
        // The last one but one finds what the last one has.
        assert_eq!(grown.iter().filter(|&&grown| grown).count(), count);
        assert!(sessions.partitions <= PARTITIONS_MAX);
    }

    #[test]
    fn a_name_that_no_topic_has_is_not_kept() {
        let (mut sessions, mut random) = (Sessions::new(1), Random::new(1));
        let long = PartitionName {
            topic: TopicName::Name("x".repeat(NAME_BYTES_MAX + 1).into()),
            partition: 0,
        };
        let mut first = request(0, 0, &[0, 1]);
        first.partitions.push((long.clone(), wanted(0)));
        let begun = sessions.begin(0, &mut random, first).unwrap();
        assert_eq!((begun.0, begun.1.len()), (Context::Sessionless, 3));

        let (context, _) = sessions.begin(0, &mut random, request(0, 0, &[0, 1])).unwrap();
        let mut swapped = request(context.session_id(), 1, &[]);
        swapped.partitions.push((long, wanted(0)));
        swapped.forgotten = vec![name(0)];
        assert_eq!(
            sessions.begin(0, &mut random, swapped).unwrap_err(),
            ErrorCode::FetchSessionIdNotFound
        );
        assert_eq!((sessions.len(), sessions.partitions), (0, 0));
    }

    #[test]
    fn a_session_ends_with_the_connection_that_used_it_last() {
        let (mut sessions, mut random) = (Sessions::new(2), Random::new(1));
        let (context, _) = sessions.begin(0, &mut random, request(0, 0, &[0, 1])).unwrap();
        sessions.begin(0, &mut random, request(0, 0, &[0])).unwrap();
        let mut elsewhere = request(context.session_id(), 1, &[]);
        elsewhere.conn = ConnId(2);
        sessions.begin(0, &mut random, elsewhere).unwrap();
        sessions.closed(ConnId(1));
        assert_eq!((sessions.len(), sessions.partitions), (1, 2));
        sessions.closed(ConnId(2));
        assert_eq!((sessions.len(), sessions.partitions), (0, 0));
    }
}
