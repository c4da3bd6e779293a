//! The loop of one shard: gather everything that is ready, handle each, close the round, perform all effects.
//!
//! However many requests a round held, it is one write of the journal, one delivery to each other shard and one vectored
//! send to each connection. There is no timer that waits for more: while the journal writes, the next round gathers.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use glommio::io::DmaFile;
use glommio::timer::Timer;

use super::blocking::Folder;
use super::clock::Clock;
use super::complaints::Complaints;
use super::disk::Disk;
use super::events::Events;
use super::folder_lock::LOCK_FILE;
use super::guests::Guests;
use super::inbox::{Inbox, Mail, Taken};
use super::net::{Limits, Net};
use super::reactor::{LOOK_US, look};
use super::workers::{Workers, caught};
use crate::shard::effect::{Compute, ComputePanicked, DiskOp, Effect, Event};
use crate::shard::message::Message;
use crate::shard::{Shard, ShardConfig, is_produce};
use crate::types::{OpId, ShardId};

/// Idle and stalled connections are looked for this often.
const TICK_US: u64 = 1_000_000;
/// At a stop, slow readers get this long to take their last replies.
const FAREWELL_US: u64 = 2_000_000;

/// What a shard's thread tells the thread that started it.
#[derive(Debug)]
pub(super) enum Report {
    Ready {
        registered: bool,
    },
    Stopped {
        is_clean: bool,
    },
    /// The process must end.
    Fatal(String),
}

/// Everything that one shard's thread needs.
pub(super) struct Seat {
    pub(super) config: ShardConfig,
    pub(super) clock: Clock,
    pub(super) limits: Limits,
    pub(super) folder: Arc<Folder>,
    /// For operations on files and folders, and for computations: neither waits for the other.
    pub(super) disk_workers: Arc<Workers>,
    /// For large files that go slowly: of all shards together, so that the device sees one at a time.
    pub(super) removers: Arc<Workers>,
    pub(super) compute_workers: Arc<Workers>,
    /// One thread for all shards, for jobs that take much memory.
    pub(super) large_jobs: Arc<Workers>,
    pub(super) open_files_max: usize,
    /// By shard; one's own is where one reads.
    pub(super) inboxes: Arc<[Inbox]>,
    pub(super) guests: Arc<Guests>,
    pub(super) complaints: Arc<Complaints>,
    pub(super) reports: Sender<Report>,
}

struct Loop {
    id: ShardId,
    clock: Clock,
    inboxes: Arc<[Inbox]>,
    compute_workers: Arc<Workers>,
    large_jobs: Arc<Workers>,
    reports: Sender<Report>,
    events: Rc<Events>,
    net: Rc<Net>,
    disk: Rc<Disk>,
    /// By shard: what this round has said to it.
    outgoing: Vec<Vec<Message>>,
    /// Requests that wait until there is memory for their replies, oldest first.
    held: VecDeque<Event>,
    registered: bool,
    ended: bool,
    /// Nothing was left unwritten at the end.
    is_clean: bool,
    next_tick_us: u64,
    /// When the executor looked at its rings for the last time, as far as is known.
    looked_us: u64,
    timer: Option<(u64, std::pin::Pin<Box<Timer>>)>,
}

/// Runs a shard until it says that it has stopped, or that the process must not go on.
pub(super) async fn drive(seat: Seat) {
    let id = seat.config.id;
    let events = Rc::new(Events::default());
    // The first direct open of a device makes glommio try polled I/O with one read; it must find a written block.
    let path = seat
        .folder
        .path(LOCK_FILE)
        .expect("its folder is the data folder itself");
    let probe = DmaFile::open(path).await;
    let registered = match &probe {
        Ok(file) => buffers_registered(file),
        Err(error) => {
            let _ = seat.reports.send(Report::Fatal(format!(
                "cannot open {LOCK_FILE} for direct I/O: {error}"
            )));
            return;
        }
    };
    drop(probe);
    let disk = Disk::start(
        seat.folder,
        seat.disk_workers,
        seat.removers,
        seat.inboxes.clone(),
        id,
        events.clone(),
        seat.open_files_max,
    );
    let mut this = Loop {
        id,
        clock: seat.clock,
        net: Net::new(
            seat.limits,
            seat.clock,
            events.clone(),
            seat.guests,
            seat.complaints,
            usize::from(id.0),
        ),
        disk,
        outgoing: seat.inboxes.iter().map(|_| Vec::new()).collect(),
        inboxes: seat.inboxes,
        compute_workers: seat.compute_workers,
        large_jobs: seat.large_jobs,
        reports: seat.reports,
        events,
        held: VecDeque::new(),
        registered,
        ended: false,
        is_clean: false,
        next_tick_us: 0,
        looked_us: 0,
        timer: None,
    };
    this.run(Shard::new(seat.config)).await;
    this.farewell().await;
    this.inboxes[usize::from(id.0)].set_waker(None);
    let is_clean = this.is_clean;
    let _ = this.reports.send(Report::Stopped { is_clean });
}

/// Glommio only warns when it could not register its buffers, and tells nobody but the debug output of a buffer.
fn buffers_registered(file: &DmaFile) -> bool {
    format!("{:?}", file.alloc_dma_buffer(4096)).contains("uring_buffer_id: Some")
}

/// Produces are answered with little, however short memory is.
fn has_large_reply(event: &Event) -> bool {
    matches!(event, Event::Request { frame, .. } if !is_produce(frame))
}

fn reply_bytes(effect: &Effect) -> usize {
    match effect {
        Effect::Reply { slices, .. } => slices.iter().map(Bytes::len).sum(),
        _ => 0,
    }
}

impl Loop {
    async fn run(&mut self, mut shard: Shard) {
        poll_fn(|cx| {
            self.events.set_waker(cx.waker().clone());
            self.inboxes[usize::from(self.id.0)].set_waker(Some(cx.waker().clone()));
            Poll::Ready(())
        })
        .await;
        let mut taken = Taken::default();
        let mut round = VecDeque::new();
        let mut effects = Vec::new();
        shard.start(self.clock.now(), &mut effects);
        loop {
            if self.perform(&mut effects) {
                // The device has its reads before the copies to sockets take their time.
                look().await;
            }
            self.send();
            if self.ended {
                return;
            }
            self.wait(shard.deadline()).await;
            self.gather(&mut taken);
            let now = self.clock.now();
            self.events.swap(&mut round);
            let mut replied = 0;
            let held = std::mem::take(&mut self.held);
            for event in held.into_iter().chain(round.drain(..)) {
                // A connection's next request comes only when this one is answered: none is overtaken.
                if self.net.is_short(replied) && has_large_reply(&event) {
                    self.held.push_back(event);
                    continue;
                }
                let before = effects.len();
                shard.handle(now, event, &mut effects);
                replied += effects[before..].iter().map(reply_bytes).sum::<usize>();
            }
            shard.end_round(now, &mut effects);
        }
    }

    /// Moves what other threads have posted to the events.
    fn gather(&self, taken: &mut Taken) {
        self.inboxes[usize::from(self.id.0)].take(taken);
        for (from, message) in taken.messages.drain(..) {
            self.events.push(Event::FromShard { from, message });
        }
        for mail in taken.mail.drain(..) {
            match mail {
                Mail::Accepted { stream, peer } => self.net.open(stream, peer),
                Mail::DiskDone { op, result } => self.events.push(Event::Disk { op, result }),
                Mail::Computed { op, result } => self.events.push(Event::Computed { op, result }),
                Mail::Stop => {
                    self.net.stop_reading();
                    self.events.push(Event::Stop);
                }
            }
        }
    }

    /// Everything but the sends. True when something is to be read.
    fn perform(&mut self, effects: &mut Vec<Effect>) -> bool {
        let mut reads = false;
        for effect in effects.drain(..) {
            match effect {
                Effect::Reply { conn, slices } => self.net.reply(conn, slices),
                Effect::Close { conn, why } => self.net.close(conn, why),
                Effect::ToShard { to, message } if to == self.id => {
                    self.events.push(Event::FromShard { from: to, message });
                }
                Effect::ToShard { to, message } => self.outgoing[usize::from(to.0)].push(message),
                Effect::Disk { op, what } => {
                    reads |= matches!(what, DiskOp::Read { .. });
                    self.disk.submit(op, what);
                }
                Effect::Compute { op, what } => self.compute(op, what),
                Effect::Ready => self.report(Report::Ready {
                    registered: self.registered,
                }),
                Effect::Stopped { is_clean } => {
                    self.ended = true;
                    self.is_clean = is_clean;
                }
                Effect::Fatal { message } => {
                    self.report(Report::Fatal(message));
                    self.ended = true;
                }
            }
        }
        for (to, messages) in self.outgoing.iter_mut().enumerate() {
            if !messages.is_empty() {
                self.inboxes[to].deliver(self.id, messages);
            }
        }
        reads
    }

    fn send(&mut self) {
        self.net.send_all();
        let now_us = self.clock.mono_us();
        if now_us >= self.next_tick_us {
            self.next_tick_us = now_us + TICK_US;
            self.net.tick();
        }
    }

    fn report(&self, report: Report) {
        // Nobody listens any more when the process is about to end.
        let _ = self.reports.send(report);
    }

    fn compute(&self, op: OpId, what: Compute) {
        let Compute::Run(job) = what;
        let workers = if job.is_large {
            &self.large_jobs
        } else {
            &self.compute_workers
        };
        let (inboxes, id) = (self.inboxes.clone(), usize::from(self.id.0));
        workers.give(move || {
            let result = caught(job.run).unwrap_or_else(|panic| Box::new(ComputePanicked(panic)));
            inboxes[id].post(Mail::Computed { op, result });
        });
    }

    /// Returns when there is something to do: an event, the shard's deadline, or the tick for connections.
    async fn wait(&mut self, deadline: Option<u64>) {
        let mut now_us = self.clock.mono_us();
        if now_us >= self.looked_us + LOOK_US {
            look().await;
            now_us = self.clock.mono_us();
            self.looked_us = now_us;
        }
        if self.net.has_unsent() || deadline.is_some_and(|at| at <= now_us) {
            // Others first: connections may have received more by then.
            glommio::executor().yield_now().await;
            return;
        }
        let tick = (self.net.count() > 0).then_some(self.next_tick_us);
        let wake_us = deadline.into_iter().chain(tick).min();
        // A timer that fires too early only costs a look; one is set anew only to fire earlier.
        if let Some(wake_us) = wake_us
            && self.timer.as_ref().is_none_or(|(at, _)| *at <= now_us || *at > wake_us)
        {
            let sleep = Duration::from_micros(wake_us.saturating_sub(now_us));
            self.timer = Some((wake_us, Box::pin(Timer::new(sleep))));
        }
        let mut slept = false;
        poll_fn(|cx| {
            let goes_on = !self.held.is_empty() && !self.net.is_short(0);
            if goes_on || !self.events.is_empty() || !self.inboxes[usize::from(self.id.0)].sleep() {
                return Poll::Ready(());
            }
            let fired = self
                .timer
                .as_mut()
                .is_some_and(|(_, timer)| timer.as_mut().poll(cx).is_ready());
            if fired {
                self.timer = None;
                return Poll::Ready(());
            }
            slept = true;
            Poll::Pending
        })
        .await;
        if slept {
            self.looked_us = self.clock.mono_us();
        }
    }

    /// Sends the last replies and ends every connection.
    async fn farewell(&self) {
        let until_us = self.clock.mono_us() + FAREWELL_US;
        self.net.end_all(true);
        while self.net.count() > 0 {
            self.net.send_all();
            if self.clock.mono_us() > until_us {
                self.net.end_all(false);
            }
            pin!(Timer::new(Duration::from_millis(1))).await;
        }
    }
}
