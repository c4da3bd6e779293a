//! Events of one shard that its own tasks push, and the loop that waits for them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::task::Waker;

use crate::shard::effect::Event;

/// What the next round will handle.
#[derive(Default)]
pub(super) struct Events {
    queue: RefCell<VecDeque<Event>>,
    waker: RefCell<Option<Waker>>,
}

impl Events {
    pub(super) fn push(&self, event: Event) {
        self.queue.borrow_mut().push_back(event);
        self.wake();
    }

    /// The loop looks again.
    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// Exchanges the queue for another, empty one.
    pub(super) fn swap(&self, other: &mut VecDeque<Event>) {
        std::mem::swap(&mut *self.queue.borrow_mut(), other);
    }

    pub(super) fn set_waker(&self, waker: Waker) {
        *self.waker.borrow_mut() = Some(waker);
    }
}
