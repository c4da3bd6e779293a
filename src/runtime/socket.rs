//! The two socket calls that glommio's stream does not offer: a vectored send and a receive into memory that nobody has
//! written yet. Both never block; waiting is the stream's business.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::os::fd::{AsRawFd, BorrowedFd};

use bytes::{BufMut, Bytes, BytesMut};

/// The kernel's limit for one call (IOV_MAX).
const SLICES_MAX: usize = 1024;

/// Sends from the front of `slices` as much as the socket takes in one call, at most `bytes_max` or a little more, and
/// removes what was sent. `None` when the socket is full.
#[allow(unsafe_code)]
pub(super) fn send_some(fd: BorrowedFd<'_>, slices: &mut VecDeque<Bytes>, bytes_max: usize) -> Result<Option<usize>> {
    let mut total = 0;
    let mut iov: Vec<IoSlice<'_>> = Vec::with_capacity(slices.len().min(SLICES_MAX));
    for slice in slices.iter().take(SLICES_MAX) {
        iov.push(IoSlice::new(slice));
        total += slice.len();
        if total >= bytes_max {
            break;
        }
    }
    if total == 0 {
        slices.clear();
        return Ok(Some(0));
    }
    let sent = loop {
        // SAFETY: a zeroed msghdr is a valid value (null pointers with zero lengths).
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        // `IoSlice` is guaranteed to have the layout of `iovec`; the kernel does not write through `msg_iov` on a send.
        message.msg_iov = iov.as_ptr() as *mut libc::iovec;
        message.msg_iovlen = iov.len() as _;
        // SAFETY: `fd` is open for the call; `message` and the slices that it names live until after it and are only read.
        let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
        if sent >= 0 {
            break sent as usize;
        }
        let error = Error::last_os_error();
        match error.kind() {
            ErrorKind::Interrupted => continue,
            ErrorKind::WouldBlock => return Ok(None),
            _ => return Err(error),
        }
    };
    drop(iov);
    advance(slices, sent);
    Ok(Some(sent))
}

/// Removes the first `sent` bytes.
pub(super) fn advance(slices: &mut VecDeque<Bytes>, mut sent: usize) {
    while let Some(first) = slices.front_mut() {
        if first.len() > sent {
            bytes::Buf::advance(first, sent);
            return;
        }
        sent -= first.len();
        slices.pop_front();
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
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn more_slices_than_one_call_takes_arrive_in_order() {
        let (near, mut far) = pair();
        let wanted: Vec<u8> = (0..3000u32).flat_map(|i| i.to_be_bytes()).collect();
        let mut slices: VecDeque<Bytes> = wanted.chunks(4).map(Bytes::copy_from_slice).collect();
        assert_eq!(
            send_some(near.as_fd(), &mut slices, usize::MAX).unwrap(),
            Some(4 * SLICES_MAX)
        );
        while !slices.is_empty() {
            send_some(near.as_fd(), &mut slices, usize::MAX).unwrap();
        }
        drop(near);
        let mut got = Vec::new();
        far.read_to_end(&mut got).unwrap();
        assert_eq!(got, wanted);
    }

    #[test]
    fn a_full_socket_keeps_what_it_did_not_take() {
        let (near, _far) = pair();
        let mut slices: VecDeque<Bytes> = (0..64).map(|_| Bytes::from(vec![1; 1 << 20])).collect();
        let mut sent = 0;
        while let Some(more) = send_some(near.as_fd(), &mut slices, usize::MAX).unwrap() {
            sent += more;
        }
        assert_eq!(sent + slices.iter().map(Bytes::len).sum::<usize>(), 64 << 20);
    }

    #[test]
    fn receiving_stays_within_the_length_asked_for() {
        let (near, far) = pair();
        send_some(
            near.as_fd(),
            &mut VecDeque::from([Bytes::from_static(b"abcdef")]),
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
