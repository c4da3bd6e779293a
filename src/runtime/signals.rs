//! SIGTERM, Ctrl-C and a terminal that is closed (SIGHUP): the first stops the broker cleanly, the second at once.

use std::io::{Error, Result};

/// Takes these signals away from every thread that starts after this one call, so that [`Signals::wait`] gets them.
pub(super) struct Signals {
    set: libc::sigset_t,
}

impl Signals {
    #[allow(unsafe_code)]
    pub(super) fn take() -> Result<Signals> {
        // SAFETY: a signal set is plain bits, for which zero is a value; `sigemptyset` makes it the right one.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: `set` is ours and may be written; the calls keep no pointer.
        let failed = unsafe {
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGTERM);
            libc::sigaddset(&mut set, libc::SIGINT);
            // Who started it with nohup wants it to outlive the terminal.
            if !is_ignored(libc::SIGHUP) {
                libc::sigaddset(&mut set, libc::SIGHUP);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut())
        };
        if failed == 0 {
            Ok(Signals { set })
        } else {
            Err(Error::from_raw_os_error(failed))
        }
    }

    /// Waits for the next of them; its number.
    #[allow(unsafe_code)]
    pub(super) fn wait(&self) -> i32 {
        loop {
            let mut signal = 0;
            // SAFETY: both pointers are to values of the right type that live through the call.
            if unsafe { libc::sigwait(&self.set, &mut signal) } == 0 {
                return signal;
            }
        }
    }
}

#[allow(unsafe_code)]
fn is_ignored(signal: i32) -> bool {
    // SAFETY: an action is plain bits, for which zero is a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: nothing is set; `action` may be written and lives through the call.
    let failed = unsafe { libc::sigaction(signal, std::ptr::null(), &mut action) };
    failed == 0 && action.sa_sigaction == libc::SIG_IGN
}
