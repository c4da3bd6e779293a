//! Accepts connections on a thread of its own and hands each to the shard that has the fewest.
//!
//! One listener, not one per shard: listeners that share a port let the kernel choose by a hash of the addresses, which
//! spreads a handful of connections badly, and they would let a second broker share the port unnoticed.

use std::io::{Error, ErrorKind};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::complaints::Complaints;
use super::guests::Guests;
use super::inbox::{Inbox, Mail};

/// How long to wait when the system has no descriptor left: accepting would fail again at once.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Acceptor {
    listener: Arc<TcpListener>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Acceptor {
    pub(super) fn start(
        listener: TcpListener,
        inboxes: Arc<[Inbox]>,
        guests: Arc<Guests>,
        complaints: Arc<Complaints>,
    ) -> std::io::Result<Acceptor> {
        let listener = Arc::new(listener);
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, told) = (listener.clone(), stop.clone());
        let thread = std::thread::Builder::new().name("accept".into());
        let thread = thread.spawn(move || accept(&theirs, &inboxes, &guests, &complaints, &told))?;
        Ok(Acceptor {
            listener,
            stop,
            thread: Some(thread),
        })
    }

    /// No connection is accepted after this returns.
    pub(super) fn stop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        shut(&self.listener);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Makes a blocked `accept` return: Linux lets go of a listening socket that is shut down.
fn shut(listener: &TcpListener) {
    // A stream and a listener are the same to `shutdown`; the duplicate shares the socket.
    if let Ok(same) = listener.try_clone() {
        let _ = TcpStream::from(OwnedFd::from(same)).shutdown(Shutdown::Both);
    }
}

fn accept(listener: &TcpListener, inboxes: &[Inbox], guests: &Guests, complaints: &Complaints, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((stream, peer)) => {
                // Answers are sent whole; waiting for more to send only delays them.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!("a connection from {peer} was gone before it was served: {error}");
                    continue;
                }
                match guests.admit(peer.ip()) {
                    Ok(shard) => inboxes[shard].post(Mail::Accepted { stream, peer }),
                    Err(why) => complaints.say(&format!("refused a connection from {peer}"), &why),
                }
            }
            Err(_) if stop.load(Ordering::SeqCst) => return,
            // Gone before we looked.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
            Err(error) => {
                complaints.say("cannot accept connections", &format!("{error}{}", advice(&error)));
                std::thread::sleep(PAUSE);
            }
        }
    }
}

fn advice(error: &Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE) => "; raise this process's limit of open files (ulimit -n)",
        Some(libc::ENFILE) => "; raise the system's limit of open files (fs.file-max)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::super::inbox::Taken;
    use super::*;

    #[test]
    fn connections_reach_the_shards_and_stopping_ends_the_thread() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let inboxes: Arc<[Inbox]> = (0..3).map(|_| Inbox::new(3)).collect();
        let guests = Arc::new(Guests::new(3, 9, usize::MAX));
        let mut acceptor = Acceptor::start(listener, inboxes.clone(), guests, Arc::default()).unwrap();
        let clients: Vec<TcpStream> = (0..9).map(|_| TcpStream::connect(address).unwrap()).collect();
        for inbox in &*inboxes {
            let mut taken = Taken::default();
            while taken.mail.len() < 3 {
                inbox.take(&mut taken);
            }
            assert_eq!(taken.mail.len(), 3);
        }
        // One too many is closed at once.
        let mut refused = TcpStream::connect(address).unwrap();
        assert_eq!(std::io::Read::read(&mut refused, &mut [0]).unwrap(), 0);
        acceptor.stop();
        assert!(TcpStream::connect(address).is_err());
        drop(clients);
    }
}
