//! What a direct read brought, as [`Bytes`] without a copy: the buffer that the device wrote is the one that is sent.
//!
//! Glommio's buffers belong to the executor that made them: their reference counts are not atomic and they return to a pool
//! that only its thread may touch. `Bytes` may go anywhere. So a lent buffer knows its thread, and only there does it ever
//! touch the count or the pool; the core copies what it sends to another shard, and should one be dropped on another
//! thread after all, its memory is given up rather than given back.
//!
//! Lent memory is taken from what operations need next, and one small batch keeps all of the read that brought it. It is
//! therefore bounded: what is read beyond the bound is copied to memory of its own.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::thread::ThreadId;

use bytes::Bytes;
use glommio::io::ReadResult;

/// Bytes of one shard's reads that may be lent at a time.
const LENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How much of one shard's memory is lent.
#[derive(Default)]
pub(super) struct Lender {
    lent: Rc<Cell<usize>>,
}

impl Lender {
    pub(super) fn lend(&self, read: ReadResult) -> Bytes {
        let len = read.len();
        if self.lent.get() + len > LENT_BYTES_MAX {
            return Bytes::copy_from_slice(&read);
        }
        self.lent.set(self.lent.get() + len);
        Bytes::from_owner(Lent {
            start: read.as_ptr(),
            len,
            thread: std::thread::current().id(),
            inner: ManuallyDrop::new(Inner {
                lent: self.lent.clone(),
                _read: read,
            }),
        })
    }
}

struct Lent {
    /// Of the memory that `inner` keeps alive; read here so that reading it touches nothing of the executor's.
    start: *const u8,
    len: usize,
    thread: ThreadId,
    inner: ManuallyDrop<Inner>,
}

struct Inner {
    lent: Rc<Cell<usize>>,
    _read: ReadResult,
}

// SAFETY: on another thread than its own nothing of `inner` is touched: `as_ref` uses `start` and `len` only, and `drop`
// leaves `inner` alone there. The memory itself is plain, is not written any more once the read is complete, and stays
// where it is as long as `inner` is not dropped, which keeps the allocation and its pool alive.
#[allow(unsafe_code)]
unsafe impl Send for Lent {}

impl AsRef<[u8]> for Lent {
    #[allow(unsafe_code)]
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `start` and `len` are those of the slice that the read result derefs to. Its memory does not move with
        // the result, is initialised, is never written while the result lives, and lives as long as `inner`.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl Drop for Lent {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        if std::thread::current().id() != self.thread {
            debug_assert!(false, "a shard's read buffer was sent to another thread");
            return;
        }
        self.inner.lent.set(self.inner.lent.get() - self.len);
        // SAFETY: dropped here, once, and not used after it.
        unsafe { ManuallyDrop::drop(&mut self.inner) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use glommio::io::DmaFile;
    use glommio::{LocalExecutorBuilder, Placement};

    #[test]
    fn a_read_is_lent_up_to_a_bound_and_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let content: Vec<u8> = (0..512 * 1024).map(|i| (i / 4096) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(1 << 20)
            .make()
            .unwrap();
        executor.run(async move {
            let file = DmaFile::open(&path).await.unwrap();
            let lender = Lender::default();
            let mut held = Vec::new();
            for i in 0..12 {
                let read = file.read_at_aligned(0, content.len()).await.unwrap();
                let memory = read.as_ptr();
                let bytes = lender.lend(read);
                assert!(bytes == content);
                assert_eq!(bytes.as_ptr() == memory, i < LENT_BYTES_MAX / content.len());
                held.push(bytes.slice(4096..));
            }
            assert_eq!(lender.lent.get(), LENT_BYTES_MAX);
            assert!(held.iter().all(|bytes| bytes[..] == content[4096..]));
            held.clear();
            assert_eq!(lender.lent.get(), 0);
            file.close().await.unwrap();
        });
    }
}
