//! Accepts connections on a thread of its own and hands each to the shard that has the fewest.
//!
//! One listener, not one per shard: listeners that share a port let the kernel choose by a hash of the addresses, which
//! spreads a handful of connections badly, and they would let a second broker share the port unnoticed.

use std::io::{Error, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::inbox::{Inbox, Mail};

/// How long to wait when the system has no descriptor left: accepting would fail again at once.
const PAUSE: Duration = Duration::from_millis(100);
/// Repeated troubles are logged once in this time.
const QUIET: Duration = Duration::from_secs(10);

/// Where an accepted connection may go.
pub(super) struct Door {
    pub(super) inboxes: Arc<[Inbox]>,
    pub(super) shard: usize,
    /// Connections of this shard; raised here, lowered by the shard.
    pub(super) open: Arc<AtomicUsize>,
}

pub(super) struct Acceptor {
    listener: Arc<TcpListener>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Binds without SO_REUSEPORT, so that a port in use is an error.
pub(super) fn bind(listen: &str) -> Result<TcpListener, String> {
    TcpListener::bind(listen).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => {
            format!(
                "cannot listen on {listen}: the port is in use; stop the other process, or choose another with --listen"
            )
        }
        ErrorKind::AddrNotAvailable => {
            format!("cannot listen on {listen}: this host has no such address; choose one of its own with --listen")
        }
        ErrorKind::PermissionDenied => {
            format!("cannot listen on {listen}: not allowed for this user; choose a port of 1024 or more with --listen")
        }
        _ => format!("cannot listen on {listen}: {error}"),
    })
}

impl Acceptor {
    pub(super) fn start(listener: TcpListener, doors: Vec<Door>, connections_max: usize) -> std::io::Result<Acceptor> {
        let listener = Arc::new(listener);
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, told) = (listener.clone(), stop.clone());
        let thread = std::thread::Builder::new().name("accept".into());
        let thread = thread.spawn(move || accept(&theirs, &doors, connections_max, &told))?;
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

fn accept(listener: &TcpListener, doors: &[Door], connections_max: usize, stop: &AtomicBool) {
    let mut complained: Option<Instant> = None;
    let mut complain = |what: String| {
        if complained.is_none_or(|at| at.elapsed() > QUIET) {
            complained = Some(Instant::now());
            tracing::warn!("{what}");
        }
    };
    while !stop.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((stream, peer)) => {
                let open: usize = doors.iter().map(|door| door.open.load(Ordering::Relaxed)).sum();
                if open >= connections_max {
                    complain(format!(
                        "refused a connection from {peer}: {open} are open (max.connections)"
                    ));
                    continue;
                }
                hand_over(stream, peer, doors);
            }
            Err(_) if stop.load(Ordering::SeqCst) => return,
            // Gone before we looked.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
            Err(error) => {
                complain(format!("cannot accept connections: {error}{}", advice(&error)));
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

fn hand_over(stream: TcpStream, peer: SocketAddr, doors: &[Door]) {
    // Answers are sent whole; waiting for more to send only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("a connection from {peer} was gone before it was served: {error}");
        return;
    }
    let Some(door) = doors.iter().min_by_key(|door| door.open.load(Ordering::Relaxed)) else {
        return;
    };
    door.open.fetch_add(1, Ordering::Relaxed);
    door.inboxes[door.shard].post(Mail::Accepted { stream, peer });
}

#[cfg(test)]
mod tests {
    use super::super::inbox::Taken;
    use super::*;

    fn doors(count: usize) -> Vec<Door> {
        let inboxes: Arc<[Inbox]> = (0..count).map(|_| Inbox::new(count as u16)).collect();
        (0..count)
            .map(|shard| Door {
                inboxes: inboxes.clone(),
                shard,
                open: Arc::default(),
            })
            .collect()
    }

    #[test]
    fn connections_spread_evenly_and_stopping_ends_the_thread() {
        let listener = bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let doors = doors(3);
        let inboxes = doors[0].inboxes.clone();
        let watched: Vec<_> = doors.iter().map(|door| (door.shard, door.open.clone())).collect();
        let mut acceptor = Acceptor::start(listener, doors, 9).unwrap();
        let clients: Vec<TcpStream> = (0..9).map(|_| TcpStream::connect(address).unwrap()).collect();
        while watched
            .iter()
            .map(|(_, open)| open.load(Ordering::SeqCst))
            .sum::<usize>()
            < 9
        {
            std::thread::yield_now();
        }
        for (shard, open) in &watched {
            assert_eq!(open.load(Ordering::SeqCst), 3);
            let mut taken = Taken::default();
            inboxes[*shard].take(&mut taken);
            assert_eq!(taken.mail.len(), 3);
        }
        // One too many is closed at once.
        let mut refused = TcpStream::connect(address).unwrap();
        assert_eq!(std::io::Read::read(&mut refused, &mut [0]).unwrap(), 0);
        acceptor.stop();
        assert!(TcpStream::connect(address).is_err());
        drop(clients);
    }

    #[test]
    fn a_port_in_use_is_said_in_plain_words() {
        let listener = bind("127.0.0.1:0").unwrap();
        let refused = bind(&listener.local_addr().unwrap().to_string()).unwrap_err();
        assert!(refused.contains("the port is in use"), "{refused}");
        assert!(bind("192.0.2.1:0").unwrap_err().contains("no such address"));
    }
}
