//! Connections of one shard: one task for each, from accept to close.
//!
//! The task receives frames and pushes them to the shard's queue of events. The shard's loop appends replies to the
//! connection's outbox and, at the end of a round, sends each outbox with one vectored call. Only when the socket is full
//! does the connection's task take over sending, until it is empty. Frames that the shard may not have yet wait
//! ([`Pipeline`]), and while one waits nothing more is read.
//!
//! Invariants
//! * Slices leave an outbox in the order in which they entered it, whoever sends.
//! * `held` is what this connection has taken from the budget and not given back: its unanswered requests, those
//!   that wait, and the part of a frame that has arrived.
//! * [`Event::Closed`] is pushed once, after the last [`Event::Request`], and after it the connection is unknown here.
//! * A stream is dropped only after its pending polls have completed: dropping many of them in flight floods glommio's
//!   cancellation queue. (Shutting the socket down completes them.)

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{ErrorKind, Result};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use futures_io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use hashbrown::HashMap;

use super::budget::Budget;
use super::clock::Clock;
use super::complaints::Complaints;
use super::events::Events;
use super::frame::{Frames, Want};
use super::guests::Guests;
use super::outbox::Outbox;
use super::pipeline::{Pipeline, Unsent};
use super::reactor::wake_after_look;
use super::socket::receive_some;
use crate::shard::effect::Event;
use crate::types::ConnId;

/// One receive takes at most this much; it fits into a core's own cache.
const SCRATCH_BYTES: usize = 64 * 1024;
/// After this much a connection lets the others run.
const RECEIVE_BYTES_MAX: usize = 1024 * 1024;
/// What one round sends to one connection at most; the rest follows in the next round.
const SEND_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Beyond its grace time a frame must arrive at this rate at least.
const FRAME_BYTES_PER_SECOND: u64 = 16 * 1024;
/// Bytes of a closing connection that are read and thrown away, so that its last reply is not overtaken by a reset.
const DISCARD_BYTES_MAX: usize = 1024 * 1024;
/// When memory is short, a client takes so much of its replies from one tick to the next at least.
const TAKEN_BYTES_MIN: usize = 16 * 1024;

/// What one connection may do.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) frame_bytes_max: usize,
    /// Replies that wait for a slow reader; beyond this its requests are not read.
    pub(super) outgoing_bytes_max: usize,
    /// The same of all connections of a shard; beyond this its requests are not handled, and who takes nothing is closed.
    pub(super) unsent_bytes_max: usize,
    /// Requests that are read and not answered, over all connections of a shard.
    pub(super) request_memory_bytes: usize,
    /// Of that, what one connection may hold while it waits.
    pub(super) waiting_bytes_max: usize,
    pub(super) idle_us: u64,
    /// Grace time for a frame that has begun.
    pub(super) stall_us: u64,
}

/// The connections of one shard, shared by its tasks.
pub(super) struct Net {
    limits: Limits,
    clock: Clock,
    conns: RefCell<HashMap<ConnId, Rc<Conn>>>,
    next: Cell<u64>,
    budget: RefCell<Budget>,
    scratch: RefCell<Box<[u8]>>,
    unsent: RefCell<Vec<Rc<Conn>>>,
    /// Of all connections.
    unsent_bytes: Cell<usize>,
    events: Rc<Events>,
    guests: Arc<Guests>,
    complaints: Arc<Complaints>,
    shard: usize,
    stopping: Cell<bool>,
}

struct Conn {
    id: ConnId,
    peer: SocketAddr,
    state: RefCell<State>,
}

struct State {
    stream: TcpStream,
    frames: Frames,
    pipeline: Pipeline,
    held: usize,
    outbox: Outbox,
    /// Its share of [`Net::unsent_bytes`].
    unsent_bytes: usize,
    /// Taken by the client since it was last looked at, or nothing was there to take.
    took_bytes: usize,
    /// The socket was full: this connection's task sends, the loop must not.
    blocked: bool,
    /// In [`Net::unsent`].
    listed: bool,
    /// Not reading, for whatever reason; a frame that waits for us does not stall.
    paused: bool,
    /// Close when the outbox is empty.
    closing: bool,
    end: Option<End>,
    active_us: u64,
    frame_since_us: u64,
    waker: Option<Waker>,
}

/// Why a connection ends.
enum End {
    /// As the client or the shard wished.
    Quiet,
    /// Said in one line of the log.
    Because(String),
}

impl Net {
    pub(super) fn new(
        limits: Limits,
        clock: Clock,
        events: Rc<Events>,
        guests: Arc<Guests>,
        complaints: Arc<Complaints>,
        shard: usize,
    ) -> Rc<Net> {
        Rc::new(Net {
            budget: RefCell::new(Budget::new(limits.request_memory_bytes, limits.waiting_bytes_max)),
            limits,
            clock,
            conns: RefCell::default(),
            next: Cell::new(1),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into()),
            unsent: RefCell::default(),
            unsent_bytes: Cell::new(0),
            events,
            guests,
            complaints,
            shard,
            stopping: Cell::new(false),
        })
    }

    /// Takes over an accepted socket, which was admitted already.
    #[allow(unsafe_code)]
    pub(super) fn open(self: &Rc<Net>, socket: std::net::TcpStream, peer: SocketAddr) {
        if self.stopping.get() {
            return self.guests.leave(self.shard, peer.ip());
        }
        // SAFETY: `into_raw_fd` gives up the only owner of an open socket, which the stream now owns.
        let stream = unsafe { TcpStream::from_raw_fd(socket.into_raw_fd()) };
        let id = ConnId(self.next.replace(self.next.get() + 1));
        let now_us = self.clock.mono_us();
        let conn = Rc::new(Conn {
            id,
            peer,
            state: RefCell::new(State {
                stream,
                frames: Frames::new(self.limits.frame_bytes_max),
                pipeline: Pipeline::default(),
                held: 0,
                outbox: Outbox::default(),
                unsent_bytes: 0,
                took_bytes: TAKEN_BYTES_MIN,
                blocked: false,
                listed: false,
                paused: false,
                closing: false,
                end: None,
                active_us: now_us,
                frame_since_us: now_us,
                waker: None,
            }),
        });
        self.conns.borrow_mut().insert(id, conn.clone());
        self.events.push(Event::Connected { conn: id });
        glommio::spawn_local(serve(self.clone(), conn)).detach();
    }

    pub(super) fn count(&self) -> usize {
        self.conns.borrow().len()
    }

    /// Replies that are not sent, with so many bytes more, are more than there is memory for.
    pub(super) fn is_short(&self, more: usize) -> bool {
        self.unsent_bytes.get() + more > self.limits.unsent_bytes_max
    }

    fn find(&self, id: ConnId) -> Option<Rc<Conn>> {
        self.conns.borrow().get(&id).cloned()
    }

    /// The answer to a connection's oldest unanswered request; sent by [`Net::send_all`]. Nothing follows a close.
    pub(super) fn reply(&self, id: ConnId, slices: Vec<Bytes>) {
        // The shard may not have heard yet that the connection is gone.
        let Some(conn) = self.find(id) else { return };
        let mut state = conn.state.borrow_mut();
        if let Some(bytes) = state.pipeline.answered() {
            state.held -= bytes;
            self.budget.borrow_mut().give(id, bytes);
            if state.paused {
                state.wake();
            }
        }
        if state.closing {
            return;
        }
        if state.outbox.is_empty() {
            state.took_bytes = TAKEN_BYTES_MIN;
        }
        state.outbox.push(slices);
        state.count(self);
        if !state.listed && !state.blocked && !state.outbox.is_empty() {
            state.listed = true;
            self.unsent.borrow_mut().push(conn.clone());
        }
    }

    /// Closes a connection once what is in its outbox is sent.
    pub(super) fn close(&self, id: ConnId, why: String) {
        let Some(conn) = self.find(id) else { return };
        if !why.is_empty() {
            self.complain(conn.peer, &why);
        }
        let mut state = conn.state.borrow_mut();
        state.closing = true;
        state.wake();
    }

    /// Sends what the round has put into outboxes: one call for each connection, as long as its socket takes it.
    pub(super) fn send_all(&self) {
        let mut unsent = self.unsent.take();
        unsent.retain(|conn| {
            let mut state = conn.state.borrow_mut();
            state.listed = state.send(self, self.clock.mono_us());
            state.listed
        });
        self.unsent.borrow_mut().append(&mut unsent);
        self.wake_freed();
    }

    /// Those that wait for memory may read on when there is room or the lane is free.
    fn wake_freed(&self) {
        while let Some(id) = self.budget.borrow_mut().freed() {
            if let Some(conn) = self.find(id) {
                conn.state.borrow_mut().wake();
            }
        }
    }

    /// There is more to send, and sockets that may take it.
    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.borrow().is_empty()
    }

    fn complain(&self, peer: SocketAddr, why: &str) {
        self.complaints.say(&format!("connection from {peer} closed"), why);
    }

    /// Closes connections that are idle or that have stopped in the middle of a frame. To be called about once a second.
    pub(super) fn tick(&self) {
        self.complaints.tick();
        let now_us = self.clock.mono_us();
        for conn in self.conns.borrow().values() {
            let mut state = conn.state.borrow_mut();
            let still_us = now_us.saturating_sub(state.active_us);
            let partial = state.frames.is_partial() && !state.paused;
            // What has arrived earns time, not what was claimed: and none for a silence.
            let earned_us = state.frames.partial_bytes() as u64 * 1_000_000 / FRAME_BYTES_PER_SECOND;
            let frame_us = now_us.saturating_sub(state.frame_since_us);
            let is_slow = frame_us > self.limits.stall_us + earned_us;
            if partial && (is_slow || frame_us.min(still_us) > self.limits.stall_us) {
                let seconds = frame_us / 1_000_000;
                state.end = Some(End::Because(format!(
                    "a request that it began {seconds} s ago is still incomplete"
                )));
            } else if still_us > self.limits.idle_us && state.may_idle() {
                state.end = Some(End::Because(format!("idle for {} s", still_us / 1_000_000)));
            } else if self.is_short(0) && state.blocked && state.took_bytes < TAKEN_BYTES_MIN {
                state.end = Some(End::Because(format!(
                    "it does not take its replies ({} bytes are left), and others wait for the memory",
                    state.outbox.bytes()
                )));
            } else {
                state.took_bytes = 0;
                continue;
            }
            state.wake();
        }
    }

    /// No more requests are read.
    pub(super) fn stop_reading(&self) {
        self.stopping.set(true);
    }

    /// Ends every connection, with what is in the outboxes sent or not.
    pub(super) fn end_all(&self, quietly: bool) {
        for conn in self.conns.borrow().values() {
            let mut state = conn.state.borrow_mut();
            if quietly {
                state.closing = true;
            } else {
                state.end = Some(End::Quiet);
            }
            state.wake();
        }
    }
}

async fn serve(net: Rc<Net>, conn: Rc<Conn>) {
    let end = poll_fn(|cx| conn.state.borrow_mut().poll(&net, conn.id, cx)).await;
    if let End::Because(why) = end {
        net.complain(conn.peer, &why);
    }
    net.conns.borrow_mut().remove(&conn.id);
    let held = std::mem::take(&mut conn.state.borrow_mut().held);
    net.budget.borrow_mut().leave(conn.id, held);
    net.events.push(Event::Closed { conn: conn.id });
    let mut discarded = 0;
    poll_fn(|cx| conn.state.borrow_mut().poll_shut(&net, cx, &mut discarded)).await;
    net.guests.leave(net.shard, conn.peer.ip());
}

impl State {
    /// Not while it waits for us; but where nothing is read, a client that is gone is not noticed otherwise.
    fn may_idle(&self) -> bool {
        self.pipeline.unanswered() == 0 || self.paused || self.outbox.bytes() > 0
    }

    fn wake(&mut self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    #[allow(unsafe_code)]
    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the stream owns this descriptor and lives as long as `self`, which the result borrows.
        unsafe { BorrowedFd::borrow_raw(self.stream.as_raw_fd()) }
    }

    fn poll(&mut self, net: &Net, id: ConnId, cx: &mut Context<'_>) -> Poll<End> {
        if self.waker.is_none() {
            self.waker = Some(cx.waker().clone());
        }
        if let Some(end) = self.end.take() {
            return Poll::Ready(end);
        }
        if let Err(error) = self.poll_send(net, cx) {
            return Poll::Ready(lost(&error));
        }
        if self.closing && self.outbox.is_empty() {
            return Poll::Ready(End::Quiet);
        }
        self.poll_receive(net, id, cx)
    }

    /// Sends while the socket was full; waits until it takes more.
    fn poll_send(&mut self, net: &Net, cx: &mut Context<'_>) -> Result<()> {
        while self.blocked {
            let Some(first) = self.outbox.first() else {
                self.blocked = false;
                break;
            };
            match Pin::new(&mut self.stream).poll_write(cx, first) {
                Poll::Pending => return Ok(()),
                Poll::Ready(sent) => {
                    let sent = sent?;
                    self.outbox.sent(sent);
                    self.took(net, sent);
                    self.active_us = net.clock.mono_us();
                    self.blocked = false;
                    // Whatever is left after this waits for the next turn, so that the others get theirs.
                    if self.send(net, self.active_us) {
                        self.blocked = true;
                        wake_after_look(cx.waker());
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn took(&mut self, net: &Net, bytes: usize) {
        self.took_bytes += bytes;
        self.count(net);
    }

    /// The outbox has changed.
    fn count(&mut self, net: &Net) {
        let was_short = net.is_short(0);
        let held_bytes = self.outbox.held_bytes();
        net.unsent_bytes
            .set(net.unsent_bytes.get() - self.unsent_bytes + held_bytes);
        self.unsent_bytes = held_bytes;
        if was_short && !net.is_short(0) {
            net.events.wake();
        }
    }

    /// Sends a turn's worth without waiting. `true`: there is more, and the socket may take it.
    fn send(&mut self, net: &Net, now_us: u64) -> bool {
        let mut left = SEND_BYTES_MAX;
        while !self.blocked && self.end.is_none() && !self.outbox.is_empty() {
            if left == 0 {
                return true;
            }
            let mut outbox = std::mem::take(&mut self.outbox);
            let sent = outbox.send(self.fd(), left);
            self.outbox = outbox;
            match sent {
                Ok(Some(sent)) => {
                    self.took(net, sent);
                    self.active_us = now_us;
                    left = left.saturating_sub(sent);
                }
                Ok(None) => {
                    self.blocked = true;
                    self.wake();
                }
                Err(error) => {
                    self.end = Some(lost(&error));
                    self.wake();
                }
            }
        }
        if self.closing && self.outbox.is_empty() || self.paused && self.outbox.bytes() <= net.limits.outgoing_bytes_max
        {
            self.wake();
        }
        false
    }

    fn poll_receive(&mut self, net: &Net, id: ConnId, cx: &mut Context<'_>) -> Poll<End> {
        let mut left = RECEIVE_BYTES_MAX;
        let now_us = net.clock.mono_us();
        self.start_waiting(net, id);
        loop {
            // Others wait for the lane: a frame in it is read to its end, however slowly this client reads.
            let in_lane = self.frames.is_partial() && net.budget.borrow().is_in_lane(id);
            let may_read = !self.closing
                && !net.stopping.get()
                && !self.pipeline.is_waiting()
                && (in_lane || self.outbox.bytes() <= net.limits.outgoing_bytes_max);
            // What it would read now, the shard gets only when the client wishes: when a fetch has waited as long as it
            // asked for, or earlier replies were taken.
            let is_ahead = !in_lane && (self.pipeline.other_bytes().is_some() || !self.outbox.is_empty());
            let granted = match may_read {
                true if is_ahead => net.budget.borrow().ahead(left, self.held),
                true => net.budget.borrow_mut().grant(id, left),
                false => 0,
            };
            if granted == 0 {
                self.paused = true;
                return Poll::Pending;
            }
            if std::mem::take(&mut self.paused) {
                self.frame_since_us = now_us;
            }
            let received = match self.poll_receive_once(net, id, cx, granted, now_us) {
                Poll::Pending => {
                    if !self.frames.is_partial() {
                        net.budget.borrow_mut().rest(id);
                        net.wake_freed();
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Err(end)) => return Poll::Ready(end),
                Poll::Ready(Ok(received)) => received,
            };
            left = left.saturating_sub(received);
            if left == 0 {
                wake_after_look(cx.waker());
                return Poll::Pending;
            }
        }
    }

    /// Gives the shard what it may have now of the requests that wait.
    fn start_waiting(&mut self, net: &Net, id: ConnId) {
        let mut started = false;
        while !self.closing
            && !net.stopping.get()
            && let Some(frame) = self.pipeline.next(self.unsent(net, id))
        {
            net.events.push(Event::Request { conn: id, frame });
            started = true;
        }
        if started {
            self.leave_lane(net, id);
        }
    }

    /// The lane is not kept by a request that may wait for as long as its client wishes.
    fn leave_lane(&self, net: &Net, id: ConnId) {
        if let Some(bytes) = self.pipeline.other_bytes() {
            net.budget.borrow_mut().may_wait(id, bytes);
        }
    }

    /// Others wait for the lane: the frame in it is not kept waiting by a client that does not read.
    fn unsent(&self, net: &Net, id: ConnId) -> Unsent {
        if self.outbox.is_empty() || net.budget.borrow().hurries(id, self.pipeline.unanswered()) {
            Unsent::Nothing
        } else if self.outbox.bytes() <= net.limits.outgoing_bytes_max {
            Unsent::Little
        } else {
            Unsent::TooMuch
        }
    }

    fn poll_receive_once(
        &mut self,
        net: &Net,
        id: ConnId,
        cx: &mut Context<'_>,
        granted: usize,
        now_us: u64,
    ) -> Poll<std::result::Result<usize, End>> {
        let mut scratch = net.scratch.borrow_mut();
        let was_partial = self.frames.is_partial();
        let unsent = self.unsent(net, id);
        let unanswered = self.pipeline.unanswered();
        let mut completed = 0;
        let mut out = |frame: BytesMut| {
            completed += 1;
            if let Some(frame) = self.pipeline.arrived(frame, unsent) {
                net.events.push(Event::Request { conn: id, frame });
            }
        };
        let from_scratch = match self.frames.want(granted, scratch.len()) {
            Want::Direct(buffer, len) => {
                // SAFETY of the descriptor: see `State::fd`; the stream is borrowed for the call only.
                #[allow(unsafe_code)]
                let fd = unsafe { BorrowedFd::borrow_raw(self.stream.as_raw_fd()) };
                match receive_some(fd, buffer, len) {
                    Ok(Some(received)) => Err(received),
                    // The stream waits for more, and gives us its first piece.
                    Ok(None) => Ok(len.min(4096)),
                    Err(error) => return Poll::Ready(Err(lost(&error))),
                }
            }
            Want::Scratch(len) => Ok(len),
        };
        let (received, fed) = match from_scratch {
            Err(received) => (received, self.frames.received(&mut out)),
            Ok(len) => match Pin::new(&mut self.stream).poll_read(cx, &mut scratch[..len]) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(lost(&error))),
                Poll::Ready(Ok(received)) => (received, self.frames.feed(&scratch[..received], &mut out)),
            },
        };
        if received == 0 {
            return Poll::Ready(Err(End::Quiet));
        }
        self.active_us = now_us;
        self.held += received;
        net.budget.borrow_mut().take(received);
        if completed > 0 {
            net.budget.borrow_mut().completed(id, unanswered);
            self.leave_lane(net, id);
        }
        if completed > 0 || !was_partial {
            self.frame_since_us = now_us;
        }
        match fed {
            Ok(()) => Poll::Ready(Ok(received)),
            Err(bad) => Poll::Ready(Err(End::Because(bad.to_string()))),
        }
    }

    /// Shuts the socket down and waits until nothing of this stream is in flight.
    fn poll_shut(&mut self, net: &Net, cx: &mut Context<'_>, discarded: &mut usize) -> Poll<()> {
        let mut scratch = net.scratch.borrow_mut();
        if *discarded == 0 {
            *discarded = 1;
            self.outbox.clear();
            self.count(net);
            // Completes at once, and fails only when the other side has closed already.
            let _ = std::pin::pin!(self.stream.shutdown(Shutdown::Both)).poll(cx);
        }
        while *discarded < DISCARD_BYTES_MAX {
            match Pin::new(&mut self.stream).poll_read(cx, &mut scratch[..]) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0) | Err(_)) => break,
                Poll::Ready(Ok(received)) => *discarded += received,
            }
        }
        Poll::Ready(())
    }
}

/// The end of a connection whose socket failed: worth a line only when it is not simply gone.
fn lost(error: &std::io::Error) -> End {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::TimedOut | ErrorKind::NotConnected => {
            End::Quiet
        }
        _ => End::Because(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::accept::Acceptor;
    use super::super::inbox::{Inbox, Mail, Taken};
    use super::super::listen::{Sockets, bind_to};
    use super::*;
    use crate::config::Endpoint;
    use glommio::timer::Timer;
    use glommio::{LocalExecutorBuilder, Placement};
    use std::collections::VecDeque;
    use std::io::{Read, Write};
    use std::net::TcpStream as Client;
    use std::time::Duration;

    const MIB: usize = 1024 * 1024;

    fn limits() -> Limits {
        Limits {
            frame_bytes_max: 8 * MIB,
            outgoing_bytes_max: MIB,
            unsent_bytes_max: 64 * MIB,
            request_memory_bytes: 4 * MIB,
            waiting_bytes_max: MIB / 8,
            idle_us: 60_000_000,
            stall_us: 60_000_000,
        }
    }

    /// Serves connections without a shard: `respond` answers requests. `clients` runs meanwhile; when it returns, every
    /// connection must end and all memory be given back.
    fn serve_while(
        limits: Limits,
        mut respond: impl FnMut(&Net, ConnId, BytesMut) + Send + 'static,
        clients: impl FnOnce(SocketAddr),
    ) {
        let endpoint = Endpoint {
            host: "127.0.0.1".into(),
            port: 0,
        };
        let bound = bind_to(
            &endpoint,
            &Sockets {
                backlog: 1000,
                receive_bytes: None,
                send_bytes: None,
            },
        )
        .unwrap();
        let address = bound.address().unwrap();
        let listener = bound.listen().unwrap();
        let inboxes: Arc<[Inbox]> = [Inbox::new(1)].into();
        let guests = Arc::new(Guests::new(1, 10_000, usize::MAX));
        let _acceptor = Acceptor::start(listener, inboxes.clone(), guests.clone(), Arc::default()).unwrap();
        let theirs = inboxes.clone();
        let server = std::thread::spawn(move || {
            let executor = LocalExecutorBuilder::new(Placement::Unbound)
                .io_memory(1 << 20)
                .make()
                .unwrap();
            executor.run(async move {
                let events = Rc::new(Events::default());
                let net = Net::new(limits, Clock::start(), events.clone(), guests, Arc::default(), 0);
                let (mut taken, mut round) = (Taken::default(), VecDeque::new());
                let mut known = std::collections::BTreeSet::new();
                let mut stopping = false;
                while !stopping || net.count() > 0 {
                    Timer::new(Duration::from_micros(100)).await;
                    theirs[0].take(&mut taken);
                    for mail in taken.mail.drain(..) {
                        match mail {
                            Mail::Accepted { stream, peer } => net.open(stream, peer),
                            _ => stopping = true,
                        }
                    }
                    events.swap(&mut round);
                    for event in round.drain(..) {
                        match event {
                            Event::Connected { conn } => assert!(known.insert(conn)),
                            Event::Closed { conn } => assert!(known.remove(&conn)),
                            Event::Request { conn, frame } => {
                                assert!(known.contains(&conn));
                                respond(&net, conn, frame);
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                    net.send_all();
                    net.tick();
                }
                assert!(net.budget.borrow().is_unused());
                assert_eq!(net.unsent_bytes.get(), 0);
            });
        });
        clients(address);
        inboxes[0].post(Mail::Stop);
        server.join().unwrap();
    }

    fn reply(net: &Net, conn: ConnId, body: &[u8]) {
        let length = Bytes::copy_from_slice(&(body.len() as i32).to_be_bytes());
        net.reply(conn, vec![length, Bytes::copy_from_slice(body)]);
    }

    fn echo(net: &Net, conn: ConnId, frame: BytesMut) {
        reply(net, conn, &frame);
    }

    fn connect(address: SocketAddr) -> Client {
        let client = Client::connect(address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client
    }

    fn send(mut client: &Client, body: &[u8]) {
        client
            .write_all(&[&(body.len() as i32).to_be_bytes(), body].concat())
            .unwrap();
    }

    fn receive(mut client: &Client) -> Vec<u8> {
        let mut length = [0; 4];
        client.read_exact(&mut length).unwrap();
        let mut body = vec![0; i32::from_be_bytes(length) as usize];
        client.read_exact(&mut body).unwrap();
        body
    }

    fn is_closed(mut client: &Client) -> bool {
        matches!(client.read(&mut [0]), Ok(0) | Err(_))
    }

    #[test]
    fn pipelined_frames_of_any_size_are_answered_in_order() {
        serve_while(limits(), echo, |address| {
            let client = connect(address);
            let bodies: Vec<Vec<u8>> = (0..300usize)
                .map(|i| vec![i as u8; [1, 100, 16_384, 70_000, 15_000, 1_500_000][(i / 3) % 6] + i])
                .collect();
            std::thread::scope(|scope| {
                scope.spawn(|| bodies.iter().for_each(|body| send(&client, body)));
                for body in &bodies {
                    assert!(receive(&client) == *body);
                }
            });
        });
    }

    #[test]
    fn frames_that_together_exceed_the_memory_are_all_answered() {
        let limits = Limits {
            request_memory_bytes: 256 * 1024,
            ..limits()
        };
        serve_while(limits, echo, |address| {
            std::thread::scope(|scope| {
                for i in 0..8u8 {
                    scope.spawn(move || {
                        let client = connect(address);
                        for len in [300_000, 10, 700_000, 100_000, 3_000_000] {
                            let body = vec![i; len];
                            send(&client, &body);
                            assert!(receive(&client) == body);
                        }
                    });
                }
            });
        });
    }

    #[test]
    fn a_request_is_handled_when_the_reply_before_it_has_left() {
        let respond = |net: &Net, conn, _| {
            let unsent = net.find(conn).unwrap().state.borrow().outbox.bytes();
            assert_eq!(unsent, 0, "replies wait for a reader who is answered all the same");
            reply(net, conn, &vec![7; MIB]);
        };
        serve_while(limits(), respond, |address| {
            let client = connect(address);
            // All in one piece.
            let requests = [&4i32.to_be_bytes(), &b"more"[..]].concat().repeat(200);
            (&client).write_all(&requests).unwrap();
            for _ in 0..200 {
                assert_eq!(receive(&client).len(), MIB);
            }
        });
    }

    #[test]
    fn what_waits_behind_a_request_takes_little_of_the_memory() {
        let mut waits = None;
        let respond = move |net: &Net, conn, frame: BytesMut| match &frame[..] {
            b"wait" => waits = Some(conn),
            b"over" => {
                reply(net, waits.take().unwrap(), b"waited");
                echo(net, conn, frame);
            }
            _ => {
                let used = net.budget.borrow().used();
                let is_over = waits.is_none();
                assert!(is_over || used <= MIB / 8 + 100_004, "{used} bytes are used");
                echo(net, conn, frame);
            }
        };
        serve_while(limits(), respond, |address| {
            let (flood, other) = (connect(address), connect(address));
            let behind = vec![3; 3 * MIB];
            std::thread::scope(|scope| {
                send(&flood, b"wait");
                scope.spawn(|| send(&flood, &behind));
                for _ in 0..100 {
                    send(&other, &[5; 100_000]);
                    assert_eq!(receive(&other).len(), 100_000);
                }
                send(&other, b"over");
                assert_eq!(receive(&other), b"over");
                assert_eq!(receive(&flood), b"waited");
                assert!(receive(&flood) == behind);
            });
        });
    }

    #[test]
    fn a_request_that_came_by_the_lane_and_waits_does_not_keep_it() {
        let (seen, see) = std::sync::mpsc::channel();
        let mut held = Vec::new();
        let respond = move |net: &Net, conn, frame: BytesMut| match frame[0] {
            b'h' | b'w' => {
                held.push(conn);
                seen.send(()).unwrap();
            }
            b'o' => {
                held.drain(..).for_each(|conn| reply(net, conn, b"over"));
                reply(net, conn, b"over");
            }
            _ => echo(net, conn, frame),
        };
        serve_while(limits(), respond, |address| {
            let [holds, waits, other] = [(); 3].map(|_| connect(address));
            // All that there is.
            send(&holds, &vec![b'h'; 4 * MIB - 4]);
            see.recv().unwrap();
            send(&waits, b"wait");
            see.recv().unwrap();
            send(&other, b"still here");
            assert_eq!(receive(&other), b"still here");
            send(&other, b"over");
            for client in [&other, &holds, &waits] {
                assert_eq!(receive(client), b"over");
            }
        });
    }

    #[test]
    fn lengths_that_no_request_has_close_the_connection() {
        serve_while(limits(), echo, |address| {
            for length in [0, -1, i32::MAX, 9 * MIB as i32] {
                let mut client = connect(address);
                client.write_all(&length.to_be_bytes()).unwrap();
                assert!(is_closed(&client));
            }
        });
    }

    #[test]
    fn half_a_frame_and_then_silence_closes_the_connection_and_no_other() {
        let limits = Limits {
            stall_us: 200_000,
            ..limits()
        };
        serve_while(limits, echo, |address| {
            let good = connect(address);
            let mut halves = [connect(address), connect(address), connect(address)];
            halves[0].write_all(&[0]).unwrap();
            halves[1].write_all(&10i32.to_be_bytes()).unwrap();
            halves[2].write_all(&[0, 0, 0, 10, 1, 2, 3]).unwrap();
            assert!(halves.iter().all(is_closed));
            send(&good, b"still here");
            assert_eq!(receive(&good), b"still here");
        });
    }

    #[test]
    fn an_idle_connection_is_closed() {
        let limits = Limits {
            idle_us: 200_000,
            ..limits()
        };
        serve_while(limits, echo, |address| {
            let client = connect(address);
            send(&client, b"once");
            assert_eq!(receive(&client), b"once");
            assert!(is_closed(&client));
        });
    }

    #[test]
    fn the_last_reply_arrives_before_the_close() {
        let respond = |net: &Net, conn, frame: BytesMut| {
            reply(net, conn, &vec![1; 3 * MIB]);
            net.close(
                conn,
                if frame[0] == 1 {
                    "asked for".into()
                } else {
                    String::new()
                },
            );
        };
        serve_while(limits(), respond, |address| {
            let client = connect(address);
            // The second request is never read.
            send(&client, &[0]);
            send(&client, &[0]);
            assert_eq!(receive(&client).len(), 3 * MIB);
            assert!(is_closed(&client));
        });
    }

    #[test]
    fn clients_that_come_and_go_leave_nothing_behind() {
        serve_while(limits(), echo, |address| {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(move || {
                        for i in 0..250 {
                            let mut client = connect(address);
                            match i % 4 {
                                0 => {}
                                1 => client.write_all(&[0, 0, 1, 0, 9]).unwrap(),
                                2 => send(&client, &vec![1; 100_000]),
                                _ => {
                                    send(&client, b"answer");
                                    assert_eq!(receive(&client), b"answer");
                                }
                            }
                        }
                    });
                }
            });
        });
    }
}
