//! The unpacked bytes of one file: read in blocks, held until consumed.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::{Compression, SourceError};

/// How many bytes are read at once.
const BLOCK_BYTES: usize = 256 << 10;

/// The unpacked bytes of one file from some offset on.
pub(super) struct Stream {
    /// How messages name the file.
    name: String,
    path: PathBuf,
    input: Input,
    /// `data[start..end]` was read and is not consumed.
    data: Vec<u8>,
    start: usize,
    end: usize,
    /// The offset of `data[start]` in the unpacked bytes.
    offset: u64,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("name", &self.name).field("offset", &self.offset).finish_non_exhaustive()
    }
}

enum Input {
    Plain(File),
    Gzip(Box<MultiGzDecoder<BufReader<Counted>>>),
    Zstd(Box<zstd::Decoder<'static, BufReader<Counted>>>),
}

/// A file that counts the bytes read from it.
struct Counted {
    file: File,
    bytes: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.read(buffer)?;
        self.bytes += u64::try_from(bytes).expect("usize fits u64");
        Ok(bytes)
    }
}

/// How the file called `name` is packed.
pub(super) fn detect(name: &str, declared: Compression) -> Compression {
    match declared {
        Compression::Auto => {
            let extension = Path::new(name).extension().and_then(|extension| extension.to_str()).unwrap_or("");
            match extension.to_ascii_lowercase().as_str() {
                "gz" | "gzip" => Compression::Gzip,
                "zst" | "zstd" => Compression::Zstd,
                _ => Compression::None,
            }
        }
        Compression::None | Compression::Gzip | Compression::Zstd => declared,
    }
}

impl Stream {
    /// Opens the file at `path`, which messages call `name`, at its beginning.
    pub(super) fn open(name: &str, path: &Path, compression: Compression) -> Result<Stream, SourceError> {
        let failed = |error| SourceError::io(name, "open", error);
        let file = File::open(path).map_err(failed)?;
        let counted = |file| BufReader::with_capacity(BLOCK_BYTES, Counted { file, bytes: 0 });
        let input = match detect(name, compression) {
            Compression::Auto | Compression::None => Input::Plain(file),
            Compression::Gzip => Input::Gzip(Box::new(MultiGzDecoder::new(counted(file)))),
            Compression::Zstd => Input::Zstd(Box::new(zstd::Decoder::with_buffer(counted(file)).map_err(failed)?)),
        };
        let (data, start, end) = (Vec::new(), 0, 0);
        Ok(Stream { name: name.to_owned(), path: path.to_owned(), input, data, start, end, offset: 0 })
    }

    /// How messages name the file.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The bytes that were read and are not consumed.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// The offset of the first of [`Stream::bytes`] in the unpacked file.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Gives up the first `bytes` of [`Stream::bytes`].
    #[inline]
    pub(super) fn consume(&mut self, bytes: usize) {
        assert!(bytes <= self.end - self.start, "only what was read can be consumed");
        self.start += bytes;
        self.offset += u64::try_from(bytes).expect("usize fits u64");
    }

    /// Reads one more block at most behind [`Stream::bytes`]; returns how many bytes came, 0 at the end of the file.
    pub(super) fn fill(&mut self) -> Result<usize, SourceError> {
        self.data.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.data.len() < self.end + BLOCK_BYTES {
            self.data.resize(self.end + BLOCK_BYTES, 0);
        }
        let block = &mut self.data[self.end..self.end + BLOCK_BYTES];
        let bytes = loop {
            let read = match &mut self.input {
                Input::Plain(file) => file.read(block),
                Input::Gzip(unpacked) => unpacked.read(block),
                Input::Zstd(unpacked) => unpacked.read(block),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let action = if matches!(self.input, Input::Plain(_)) { "read" } else { "unpack" };
        let bytes = bytes.map_err(|error| SourceError::io(&self.name, action, error))?;
        self.end += bytes;
        Ok(bytes)
    }

    /// Goes on at `offset`, which is not before the current one unless the file is plain. A packed file is unpacked up to
    /// there.
    ///
    /// # Errors
    /// The file ends before `offset`.
    pub(super) fn seek(&mut self, offset: u64) -> Result<(), SourceError> {
        if let Input::Plain(file) = &mut self.input {
            let length = file.metadata().map_err(|error| SourceError::io(&self.name, "look at", error))?.len();
            if length < offset {
                return Err(SourceError::Shrunk { file: self.name.clone(), offset, length });
            }
            file.seek(SeekFrom::Start(offset)).map_err(|error| SourceError::io(&self.name, "read", error))?;
            (self.start, self.end, self.offset) = (0, 0, offset);
            return Ok(());
        }
        while self.offset < offset {
            if self.bytes().is_empty() && self.fill()? == 0 {
                return Err(SourceError::Shrunk { file: self.name.clone(), offset, length: self.offset });
            }
            let ahead = usize::try_from(offset - self.offset).unwrap_or(usize::MAX);
            self.consume(ahead.min(self.bytes().len()));
        }
        Ok(())
    }

    /// Makes sure that the plain file can go on growing: it is still there under its name and not shorter than
    /// `boundary`, a consumed offset. If it lost bytes behind `boundary` that were read already, they are read again.
    pub(super) fn check_growing(&mut self, boundary: u64) -> Result<(), SourceError> {
        let Input::Plain(open) = &self.input else { return Ok(()) };
        let failed = |error| SourceError::io(&self.name, "look at", error);
        let there = match fs::metadata(&self.path) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SourceError::Gone { file: self.name.clone() });
            }
            Err(error) => return Err(failed(error)),
        };
        let open = open.metadata().map_err(failed)?;
        if (there.dev(), there.ino()) != (open.dev(), open.ino()) {
            return Err(SourceError::Replaced { file: self.name.clone() });
        }
        let read = self.offset + u64::try_from(self.bytes().len()).expect("usize fits u64");
        match there.len() {
            length if length < boundary => {
                Err(SourceError::Shrunk { file: self.name.clone(), offset: boundary, length })
            }
            length if length < read => self.seek(self.offset.min(length)),
            _ => Ok(()),
        }
    }

    /// The packed bytes that were read so far; of a plain file the bytes that were consumed.
    pub(super) fn packed_bytes(&self) -> u64 {
        match &self.input {
            Input::Plain(_) => self.offset,
            Input::Gzip(unpacked) => unpacked.get_ref().get_ref().bytes,
            Input::Zstd(unpacked) => unpacked.get_ref().get_ref().bytes,
        }
    }
}
