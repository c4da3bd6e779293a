//! How other threads reach a shard: one queue per ordered pair of shards, one for everything else, one wake-up per round.
//!
//! Invariants
//! * Messages of one sender arrive in the order in which they were posted.
//! * A post is either seen by the receiver before it sleeps, or wakes it: the receiver clears `awake` before it looks at
//!   `filled` for the last time, the sender sets `filled` before it looks at `awake` (both sequentially consistent).
//! * A receiver that is awake is never notified: a busy shard looks into its inbox once a round anyway.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

use crate::shard::effect::{ComputeReply, DiskError, DiskReply};
use crate::shard::message::Message;
use crate::types::{OpId, ShardId};

/// What a shard is told by threads that are not shards.
pub(super) enum Mail {
    Accepted {
        stream: TcpStream,
        peer: SocketAddr,
    },
    DiskDone {
        op: OpId,
        result: Result<DiskReply, DiskError>,
    },
    Computed {
        op: OpId,
        result: ComputeReply,
    },
    Stop,
}

pub(super) struct Inbox {
    /// By sender; a shard's own entry stays empty.
    mesh: Box<[Mutex<Vec<Message>>]>,
    mail: Mutex<Vec<Mail>>,
    filled: AtomicBool,
    awake: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// What [`Inbox::take`] found; the vectors go back with the next call, so that their memory is used again.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) messages: Vec<(ShardId, Message)>,
    pub(super) mail: Vec<Mail>,
    swap: Vec<Message>,
}

impl Inbox {
    pub(super) fn new(shards: u16) -> Inbox {
        Inbox {
            mesh: (0..shards).map(|_| Mutex::new(Vec::new())).collect(),
            mail: Mutex::new(Vec::new()),
            filled: AtomicBool::new(false),
            awake: AtomicBool::new(true),
            waker: Mutex::new(None),
        }
    }

    /// Everything that one shard says to this one in one round. `messages` is left empty.
    pub(super) fn deliver(&self, from: ShardId, messages: &mut Vec<Message>) {
        lock(&self.mesh[usize::from(from.0)]).append(messages);
        self.notify();
    }

    pub(super) fn post(&self, mail: Mail) {
        lock(&self.mail).push(mail);
        self.notify();
    }

    fn notify(&self) {
        self.filled.store(true, Ordering::SeqCst);
        if !self.awake.swap(true, Ordering::SeqCst)
            && let Some(waker) = lock(&self.waker).as_ref()
        {
            waker.wake_by_ref();
        }
    }

    /// The receiver's task, to be woken while it sleeps; `None` when the receiver ends.
    pub(super) fn set_waker(&self, waker: Option<Waker>) {
        *lock(&self.waker) = waker;
    }

    /// Moves everything that was posted into `taken`.
    pub(super) fn take(&self, taken: &mut Taken) {
        self.awake.store(true, Ordering::SeqCst);
        if !self.filled.swap(false, Ordering::SeqCst) {
            return;
        }
        for (from, queue) in self.mesh.iter().enumerate() {
            std::mem::swap(&mut *lock(queue), &mut taken.swap);
            let from = ShardId(from as u16);
            taken
                .messages
                .extend(taken.swap.drain(..).map(|message| (from, message)));
        }
        taken.mail.append(&mut lock(&self.mail));
    }

    /// The receiver is about to sleep. `false` when something arrived meanwhile: then it must not.
    pub(super) fn sleep(&self) -> bool {
        self.awake.store(false, Ordering::SeqCst);
        if self.filled.load(Ordering::SeqCst) {
            self.awake.store(true, Ordering::SeqCst);
            return false;
        }
        true
    }
}

/// A thread that panicked while it held one of these locks left whole values behind: every critical section is one move.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn only_a_sleeping_receiver_is_woken_and_only_once() {
        let inbox = Inbox::new(2);
        let count = Arc::new(Count(AtomicUsize::new(0)));
        inbox.set_waker(Some(count.clone().into()));
        let mut taken = Taken::default();

        inbox.post(Mail::Stop);
        assert_eq!(count.0.load(Ordering::SeqCst), 0, "an awake receiver looks by itself");
        assert!(!inbox.sleep(), "what arrived before must be taken first");
        inbox.take(&mut taken);
        assert_eq!(taken.mail.len(), 1);

        assert!(inbox.sleep());
        inbox.post(Mail::Stop);
        inbox.post(Mail::Stop);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        inbox.take(&mut taken);
        assert_eq!(taken.mail.len(), 3);
    }
}
