//! Threads for what blocks: folder operations, syncs of whole file systems, long computations.
//!
//! A shard's loop never waits for a file system's metadata or for a decompression; it hands them over here and hears of
//! the result through its [`Inbox`](super::inbox::Inbox).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::inbox::lock;

type Job = Box<dyn FnOnce() + Send>;

/// A pool of threads that take jobs in order. Dropping it waits until every job that was given is done.
pub(super) struct Workers {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    pub(super) fn start(name: &str, threads: usize) -> std::io::Result<Workers> {
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let threads = (0..threads)
            .map(|number| {
                let queue = queue.clone();
                std::thread::Builder::new()
                    .name(format!("{name}-{number}"))
                    .spawn(move || work(&queue))
            })
            .collect::<Result<_, _>>()?;
        Ok(Workers {
            jobs: Some(jobs),
            threads,
        })
    }

    /// One thread whose jobs nobody waits for at the end: what is not done then, the next start does.
    pub(super) fn start_detached(name: &str) -> std::io::Result<Workers> {
        let mut workers = Workers::start(name, 1)?;
        workers.threads.clear();
        Ok(workers)
    }

    pub(super) fn give(&self, job: impl FnOnce() + Send + 'static) {
        let jobs = self.jobs.as_ref().expect("present until dropped");
        jobs.send(Box::new(job))
            .expect("the threads end only when this sender is dropped");
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        // The guard is released before the job runs: the others may take theirs.
        let job = lock(queue).recv();
        let Ok(job) = job else { return };
        // A job reports its own panic (see [`caught`]); a thread must survive whatever is left.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

/// Runs a closure and turns its panic into the panic's message.
pub(super) fn caught<T>(job: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(job)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
        text.or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "unknown panic".to_string())
    })
}

impl Drop for Workers {
    fn drop(&mut self) {
        drop(self.jobs.take());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panicking_job_neither_ends_its_thread_nor_hides_its_words() {
        let workers = Workers::start("test", 1).unwrap();
        let (said, heard) = channel();
        let first = said.clone();
        workers.give(move || first.send(caught::<()>(|| panic!("on purpose"))).unwrap());
        workers.give(|| panic!("and nobody catches this one"));
        workers.give(move || said.send(Ok(())).unwrap());
        assert_eq!(heard.recv().unwrap(), Err("on purpose".to_string()));
        assert_eq!(heard.recv().unwrap(), Ok(()));
    }
}
