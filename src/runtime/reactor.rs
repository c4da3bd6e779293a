//! How a shard's executor is set up, and how its tasks let it look at its rings.
//!
//! Glommio looks at sockets and disks when no task can run, or when its preemption timer has fired. Here that timer must
//! never fire: an executor that finds it fired before it has run the first task takes itself for idle, and sleeps although
//! tasks can run (glommio 0.9.0, `run_task_queues` in `executor/mod.rs`). Nothing wakes it but the next outside event. For
//! that it is enough that the thread loses its core at the wrong moment for longer than the timer, as on every loaded host.
//! So the timer is set beyond reach, and what goes on and on lets the executor look by itself.

use std::task::Waker;
use std::time::Duration;

use glommio::timer::Timer;
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};

/// Submission queue entries of a shard's rings. The kernel is entered once per round, with all that a round wants.
const RING_DEPTH: usize = 512;
const NO_PREEMPTION: Duration = Duration::from_secs(24 * 60 * 60);
/// A shard that works without a pause lets its executor look this often.
pub(super) const LOOK_US: u64 = 250;

/// The executor of a shard on this core.
pub(super) fn executor(core: usize, spin_us: u64, io_memory_bytes: usize) -> LocalExecutorBuilder {
    LocalExecutorBuilder::new(Placement::Fixed(core))
        .spin_before_park(Duration::from_micros(spin_us))
        .io_memory(io_memory_bytes)
        .ring_depth(RING_DEPTH)
        .preempt_timer(NO_PREEMPTION)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
}

/// Returns when the executor has looked at its rings.
pub(super) async fn look() {
    // Timers are the executor's to fire, between its turns. One that is over before it is first asked has cost its owner
    // the core, and that is a pause as well.
    Timer::new(Duration::from_micros(1)).await;
}

/// Wakes a task that could go on at once, but only when the executor has looked at its rings.
pub(super) fn wake_after_look(waker: &Waker) {
    let waker = waker.clone();
    glommio::spawn_local(async move {
        look().await;
        waker.wake();
    })
    .detach();
}

#[cfg(test)]
mod tests {
    use super::super::inbox::{Inbox, Mail, Taken};
    use super::super::workers::Workers;
    use super::*;
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::channel;
    use std::task::Poll;
    use std::time::Instant;

    /// Asks a worker and waits for its answer, over and over for a while, as a shard does when it starts.
    async fn ask_and_wait(inbox: Arc<Inbox>, until: Instant) {
        let workers = Workers::start("echo", 1).unwrap();
        let mut taken = Taken::default();
        while Instant::now() < until {
            let echo = inbox.clone();
            workers.give(move || echo.post(Mail::Stop));
            poll_fn(|cx| {
                inbox.set_waker(Some(cx.waker().clone()));
                if inbox.sleep() { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            inbox.take(&mut taken);
            assert_eq!(taken.mail.drain(..).count(), 1);
        }
    }

    #[test]
    fn an_executor_that_loses_its_core_again_and_again_does_not_fall_asleep() {
        let core = core_affinity::get_core_ids().unwrap()[0];
        let done = AtomicBool::new(false);
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    core_affinity::set_for_current(core);
                    while !done.load(Ordering::Relaxed) && begun.elapsed() < Duration::from_secs(30) {
                        std::hint::spin_loop();
                    }
                });
            }
            let (finished, finish) = channel();
            std::thread::spawn(move || {
                let until = begun + Duration::from_secs(2);
                let inbox = Arc::new(Inbox::new(1));
                let executor = executor(core.id, 50, 1 << 20).make().unwrap();
                executor.run(ask_and_wait(inbox, until));
                finished.send(()).unwrap();
            });
            let ended = finish.recv_timeout(Duration::from_secs(20));
            done.store(true, Ordering::Relaxed);
            ended.expect("the executor sleeps although it has something to do");
        });
    }
}
