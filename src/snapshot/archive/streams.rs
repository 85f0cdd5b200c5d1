//! What an archive is compressed with, told by its first bytes, and its bytes without that.

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

/// Largest window of zstd, in bytes: what `zstd --long` makes.
const WINDOW: u64 = 128 << 20;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Tar,
    Gzip,
    Zstd,
    Database,
}

/// What a file is by its first bytes; nothing is consumed.
pub(super) fn recognised(file: &mut BufReader<File>) -> io::Result<Option<Form>> {
    let head = file.fill_buf()?;
    let form = if head.starts_with(&[0x1f, 0x8b]) {
        Some(Form::Gzip)
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Some(Form::Zstd)
    } else if head.starts_with(b"SQLite format 3\0") {
        Some(Form::Database)
    } else if head.get(257..262) == Some(b"ustar") {
        Some(Form::Tar)
    } else {
        None
    };
    Ok(form)
}

/// The tar's own bytes.
pub(super) fn stream(form: Form, file: BufReader<File>) -> io::Result<Box<dyn Read>> {
    Ok(match form {
        Form::Tar | Form::Database => Box::new(file),
        Form::Gzip => Box::new(MultiGzDecoder::new(file)),
        Form::Zstd => Box::new(Frames {
            current: Some(frame(file)?),
        }),
    })
}

type Frame = StreamingDecoder<BufReader<File>, FrameDecoder>;

/// One frame after the other, each held against its own checksum.
struct Frames {
    current: Option<Frame>,
}

fn frame(file: BufReader<File>) -> io::Result<Frame> {
    StreamingDecoder::new_with_max_window_size(file, WINDOW).map_err(|error| io::Error::other(error.to_string()))
}

impl Read for Frames {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(mut current) = self.current.take() {
            let read = current.read(buffer)?;
            if read > 0 {
                self.current = Some(current);
                return Ok(read);
            }
            let (mut file, decoder) = current.into_parts();
            let stated = decoder.get_checksum_from_data();
            if stated.is_some() && stated != decoder.get_calculated_checksum() {
                return Err(io::Error::other("a frame's checksum does not hold"));
            }
            if !file.fill_buf()?.is_empty() {
                self.current = Some(frame(file)?);
            }
        }
        Ok(0)
    }
}

/// Counts what was read, and how many of the last bytes were zeros.
pub(super) struct Counted {
    inner: Box<dyn Read>,
    pub(super) read: u64,
    pub(super) zeros: u64,
}

impl Counted {
    pub(super) fn new(inner: Box<dyn Read>) -> Counted {
        Counted {
            inner,
            read: 0,
            zeros: 0,
        }
    }
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read += read as u64;
        match buffer[..read].iter().rposition(|byte| *byte != 0) {
            Some(last) => self.zeros = (read - 1 - last) as u64,
            None => self.zeros += read as u64,
        }
        Ok(read)
    }
}
