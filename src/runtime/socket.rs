//! The two socket calls that glommio's stream does not offer: a vectored send and a receive into memory that nobody has
//! written yet. Both never block; waiting is the stream's business.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::os::fd::{AsRawFd, BorrowedFd};

use bytes::{BufMut, Bytes, BytesMut};

/// The kernel's limit for one call (IOV_MAX).
pub(super) const SLICES_MAX: usize = 1024;

/// Sends from the front of `slices` as much as the socket takes in one call, at most `bytes_max` or a little more. `None`
/// when the socket is full.
#[allow(unsafe_code)]
pub(super) fn send_some(fd: BorrowedFd<'_>, slices: &VecDeque<Bytes>, bytes_max: usize) -> Result<Option<usize>> {
    let mut total = 0;
    let mut iov: Vec<IoSlice<'_>> = Vec::with_capacity(slices.len().min(SLICES_MAX));
    for slice in slices.iter().take(SLICES_MAX) {
        iov.push(IoSlice::new(slice));
        total += slice.len();
        if total >= bytes_max {
            break;
        }
    }
    debug_assert!(total > 0, "a send of nothing");
    loop {
        // SAFETY: a zeroed msghdr is a valid value (null pointers with zero lengths).
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        // `IoSlice` is guaranteed to have the layout of `iovec`; the kernel does not write through `msg_iov` on a send.
        message.msg_iov = iov.as_ptr() as *mut libc::iovec;
        message.msg_iovlen = iov.len() as _;
        // SAFETY: `fd` is open for the call; `message` and the slices that it names live until after it and are only read.
        let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
        if sent >= 0 {
            return Ok(Some(sent as usize));
        }
        let error = Error::last_os_error();
        match error.kind() {
            ErrorKind::Interrupted => continue,
            ErrorKind::WouldBlock => return Ok(None),
            _ => return Err(error),
        }
    }
}

/// Appends up to `len` bytes that have arrived to `buffer`, within its capacity. `None` when nothing has arrived,
/// `Some(0)` at the end of the stream.
#[allow(unsafe_code)]
pub(super) fn receive_some(fd: BorrowedFd<'_>, buffer: &mut BytesMut, len: usize) -> Result<Option<usize>> {
    let room = buffer.spare_capacity_mut();
    let len = len.min(room.len());
    debug_assert!(len > 0, "a receive of nothing looks like the end of the stream");
    loop {
        // SAFETY: the pointer and `len` describe memory inside `room`, which is exclusively borrowed and may be written
        // without having been initialised; the kernel writes at most `len` bytes there and reads none.
        let received = unsafe { libc::recv(fd.as_raw_fd(), room.as_mut_ptr().cast(), len, libc::MSG_DONTWAIT) };
        if received >= 0 {
            let received = received as usize;
            // SAFETY: the kernel has just written this many bytes at the start of the spare capacity.
            unsafe { buffer.advance_mut(received) };
            return Ok(Some(received));
        }
        let error = Error::last_os_error();
        match error.kind() {
            ErrorKind::Interrupted => continue,
            ErrorKind::WouldBlock => return Ok(None),
            _ => return Err(error),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    pub(in super::super) fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn receiving_stays_within_the_length_asked_for() {
        let (near, far) = pair();
        send_some(
            near.as_fd(),
            &VecDeque::from([Bytes::from_static(b"abcdef")]),
            usize::MAX,
        )
        .unwrap();
        let mut buffer = BytesMut::with_capacity(100);
        while receive_some(far.as_fd(), &mut buffer, 4).unwrap().is_none() {}
        assert_eq!(&buffer[..], b"abcd");
        receive_some(far.as_fd(), &mut buffer, 4).unwrap();
        assert_eq!(&buffer[..], b"abcdef");
        assert_eq!(receive_some(far.as_fd(), &mut buffer, 4).unwrap(), None);
        drop(near);
        assert_eq!(receive_some(far.as_fd(), &mut buffer, 4).unwrap(), Some(0));
    }
}
