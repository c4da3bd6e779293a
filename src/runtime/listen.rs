//! The address that the broker listens on: taken at the start, so that a port in use is told before anything is done, and
//! listened on once the broker is ready. Until then a connection is refused, and its client tries again; it does not wait for
//! an answer that no shard can give yet.

use std::io::{Error, ErrorKind};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use socket2::{Domain, Socket, Type};

use crate::config::{BrokerConfig, Endpoint};

/// An address that is taken and not listened on.
#[derive(Debug)]
pub(super) struct Bound {
    socket: Socket,
    /// As the settings have it.
    shown: Endpoint,
    backlog: i32,
}

/// How the listener's sockets are set up.
pub(super) struct Sockets {
    pub(super) backlog: i32,
    /// Kernel buffers; accepted sockets inherit them.
    pub(super) receive_bytes: Option<usize>,
    pub(super) send_bytes: Option<usize>,
}

/// Takes the address. Without SO_REUSEPORT, so that a port in use is an error.
pub(super) fn bind(config: &BrokerConfig) -> Result<Bound, String> {
    let sockets = Sockets {
        backlog: config.socket_listen_backlog_size,
        receive_bytes: config.socket_receive_buffer_bytes,
        send_bytes: config.socket_send_buffer_bytes,
    };
    bind_to(&config.listeners, &sockets)
}

pub(super) fn bind_to(shown: &Endpoint, sockets: &Sockets) -> Result<Bound, String> {
    let addresses = (shown.host.as_str(), shown.port).to_socket_addrs();
    let addresses = addresses.map_err(|error| refused(shown, error))?;
    let mut last = Error::from(ErrorKind::AddrNotAvailable);
    for address in addresses {
        match socket_at(address, sockets) {
            Ok(socket) => {
                return Ok(Bound {
                    socket,
                    shown: shown.clone(),
                    backlog: sockets.backlog,
                });
            }
            Err(error) => last = error,
        }
    }
    Err(refused(shown, last))
}

fn socket_at(address: SocketAddr, sockets: &Sockets) -> Result<Socket, Error> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // What is left of an earlier process's connections does not keep the port from us; another listener does.
    socket.set_reuse_address(true)?;
    if let Some(bytes) = sockets.receive_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = sockets.send_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

impl Bound {
    /// With the port that the system chose.
    pub(super) fn address(&self) -> std::io::Result<SocketAddr> {
        let address = self.socket.local_addr()?;
        address.as_socket().ok_or_else(|| ErrorKind::AddrNotAvailable.into())
    }

    /// From now on who connects waits to be accepted. Two processes that start at the same time are told apart here.
    pub(super) fn listen(self) -> Result<TcpListener, String> {
        match self.socket.listen(self.backlog) {
            Ok(()) => Ok(self.socket.into()),
            Err(error) => Err(refused(&self.shown, error)),
        }
    }
}

fn refused(listen: &Endpoint, error: Error) -> String {
    match error.kind() {
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
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    const SOCKETS: Sockets = Sockets {
        backlog: 50,
        receive_bytes: Some(64 * 1024),
        send_bytes: None,
    };

    fn at(host: &str, port: u16) -> Endpoint {
        Endpoint {
            host: host.into(),
            port,
        }
    }

    #[test]
    fn nobody_connects_before_it_listens() {
        let bound = bind_to(&at("127.0.0.1", 0), &SOCKETS).unwrap();
        let address = bound.address().unwrap();
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let _listener = bound.listen().unwrap();
        TcpStream::connect(address).unwrap();
    }

    #[test]
    fn a_port_in_use_is_said_in_plain_words() {
        let bound = bind_to(&at("127.0.0.1", 0), &SOCKETS).unwrap();
        let taken = at("127.0.0.1", bound.address().unwrap().port());
        let at_the_same_time = bind_to(&taken, &SOCKETS).unwrap();
        let _listener = bound.listen().unwrap();
        for refused in [
            at_the_same_time.listen().unwrap_err(),
            bind_to(&taken, &SOCKETS).unwrap_err(),
        ] {
            assert!(refused.contains("the port is in use"), "{refused}");
        }
        let refused = bind_to(&at("192.0.2.1", 0), &SOCKETS).unwrap_err();
        assert!(refused.contains("no such address"), "{refused}");
    }
}
