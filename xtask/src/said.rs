//! Lines on standard error that nobody has to read: where it is closed, a drill goes on, since a source may be waiting for it.

use std::fmt::Arguments;
use std::io::Write;

/// Writes a text, as it is.
pub(crate) fn text(text: Arguments<'_>) {
    let mut errors = std::io::stderr().lock();
    // A reader that went away, or a terminal that was closed.
    let _ = errors.write_fmt(text).and_then(|()| errors.flush());
}

/// Writes a line.
pub(crate) fn line(line: Arguments<'_>) {
    text(format_args!("{line}\n"));
}
