//! Two hundred thousand connections that come and go: whole requests, halves, nothing at all. What a connection costs must
//! be gone with it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::broker::{Broker, PATIENCE, wait_for};

const CONNECTIONS: usize = 200_000;
/// By then every pool, arena and table has the size that it needs.
const WARM: usize = 20_000;
const THREADS: usize = 4;
/// One byte for each of the connections in between would be 176 KiB; a leaked connection is a kilobyte and more.
const GROWTH_KIB_MAX: usize = 8 * 1024;

/// ApiVersions, version 0: no client id, no body.
const REQUEST: &[u8] = &[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];

/// Connects from an address of the thread's own, since each has no more than some 28,000 ports, and ends with a reset, so
/// that none of them waits for a straggler.
fn connect(from: u8, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 1, from], 0)).into()).unwrap();
    socket.connect_timeout(&to.into(), PATIENCE).unwrap();
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

fn come_and_go(number: usize, from: u8, to: SocketAddr) {
    let mut client = connect(from, to);
    match number % 4 {
        0 => {}
        1 => client.write_all(&REQUEST[..9]).unwrap(),
        // Gone before the answer.
        2 => client.write_all(REQUEST).unwrap(),
        _ => {
            client.write_all(REQUEST).unwrap();
            let mut length = [0; 4];
            client.read_exact(&mut length).unwrap();
            let mut answer = vec![0; u32::from_be_bytes(length) as usize];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(
                answer[..6],
                [0, 0, 0, 7, 0, 0],
                "the answer to this request, without an error"
            );
        }
    }
}

/// A number from /proc/PID/status, in KiB.
fn status_kib(broker: &Broker, key: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn descriptors(broker: &Broker) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", broker.pid())).unwrap().count()
}

/// Seconds of processor time since the process began.
fn cpu_seconds(broker: &Broker) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", broker.pid())).unwrap();
    let after_name: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // In hundredths, on every Linux there is.
    (after_name[11].parse::<f64>().unwrap() + after_name[12].parse::<f64>().unwrap()) / 100.0
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), &[]);
    let address: SocketAddr = broker.address().parse().unwrap();
    let at_rest = descriptors(&broker);
    let next = AtomicUsize::new(0);
    let until = |last: usize| {
        std::thread::scope(|scope| {
            for from in 1..=THREADS as u8 {
                let next = &next;
                scope.spawn(move || {
                    // Once it has passed `last` it has taken a number that nobody uses, which does no harm.
                    while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&number| number < last)
                    {
                        come_and_go(number, from, address);
                    }
                });
            }
        });
        wait_for("the last connections to end", || {
            (descriptors(&broker) <= at_rest).then_some(())
        });
    };
    let begun = Instant::now();
    until(WARM);
    let warm = status_kib(&broker, "VmRSS");
    until(CONNECTIONS);
    let after = status_kib(&broker, "VmRSS");
    println!(
        "{CONNECTIONS} connections in {:?}: resident {warm} KiB, then {after} KiB",
        begun.elapsed()
    );
    assert!(
        after < warm + GROWTH_KIB_MAX,
        "resident memory grew from {warm} to {after} KiB"
    );

    // Not a test of speed: a broker that spins takes a whole core, and more on two.
    let (quiet, used) = (Duration::from_secs(2), cpu_seconds(&broker));
    std::thread::sleep(quiet);
    let idle = (cpu_seconds(&broker) - used) / quiet.as_secs_f64();
    println!("idle: {:.1} % of a core", idle * 100.0);
    assert!(idle < 0.5, "an idle broker takes {:.0} % of a core", idle * 100.0);
    broker.stop();
}
