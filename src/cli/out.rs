//! What commands print. Nothing else writes to the standard streams, so that no closed pipe and no full device is a panic.

use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, Stdout, Write};
use std::process::ExitCode;

/// Standard output. What cannot be written is remembered, and told by [`Out::finish`].
pub(super) struct Out {
    inner: BufWriter<Stdout>,
    failed: Option<ErrorKind>,
}

impl Out {
    pub(super) fn new() -> Out {
        Out {
            inner: BufWriter::new(io::stdout()),
            failed: None,
        }
    }

    pub(super) fn line(&mut self, line: impl Display) {
        // Remembered in `failed`.
        let _ = writeln!(self, "{line}");
    }

    /// Whether nobody is there to read more, or nothing more can be kept: no reason to go on.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Ends a command that would end with `code`. A reader that has seen enough (`| head`) is no failure; output that is lost
    /// is one.
    pub(super) fn finish(mut self, code: ExitCode) -> ExitCode {
        let _ = self.flush();
        match self.failed {
            None | Some(ErrorKind::BrokenPipe) => code,
            Some(kind) => {
                complain(format_args!("the output could not be written in full: {kind}"));
                ExitCode::FAILURE
            }
        }
    }

    fn remember<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.kind() != ErrorKind::Interrupted
        {
            self.failed.get_or_insert(error.kind());
        }
        result
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.inner.write(bytes);
        self.remember(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.inner.flush();
        self.remember(result)
    }
}

/// A line on standard error. Where that cannot be written either, the exit code has to do.
pub(super) fn complain(what: impl Display) {
    let _ = writeln!(io::stderr(), "tidemill: {what}");
}
