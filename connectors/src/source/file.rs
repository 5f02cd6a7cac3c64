//! The file source: files one after the other, in the byte order of their paths, followed if asked.
//!
//! ```text
//! open ─► read the first file that is not done ─► at its end: done ─► … ─► Ended
//!                                    ▲                 │ follow, and no file behind it
//!                                    └── grown or new ─┴─► CaughtUp
//! ```

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use headwater_dataflow::repr::ObjectId;

use super::files::FilePattern;
use super::position::{self, FilePosition, FilePositions};
use super::reader::{Batch, FileReader, Stopped};
use super::stream::{Stream, detect};
use super::{
    Compression, FileOptions, Format, PollState, Polled, Source, SourceDescription, SourceError, SourcePosition,
    SourceProgress,
};
use crate::decode::{Columns, Decoder};

/// How long a poll waits for a file to grow.
const WAIT: Duration = Duration::from_millis(50);
/// How often it looks meanwhile.
const LOOK: Duration = Duration::from_millis(5);
/// Looking for new files takes at most one part in this many of the time.
const LISTING_SHARE: u32 = 20;

/// A source that reads files.
#[derive(Debug)]
pub(super) struct FileSource {
    object: ObjectId,
    pattern: FilePattern,
    follow: bool,
    compression: Compression,
    format: Format,
    /// Every file known, with how far it was read; that of the open file is in `current`.
    files: FilePositions,
    /// The packed bytes of the files that are done.
    bytes_done: u64,
    current: Option<(String, FileReader)>,
    batch: Batch,
    state: PollState,
    /// When new files are looked for again.
    next_listing: Option<Instant>,
    /// Why the source cannot go on.
    failed: Option<SourceError>,
}

impl FileSource {
    /// Opens the files that `options` name at `from`.
    pub(super) fn open(
        description: &SourceDescription,
        options: &FileOptions,
        base_dir: &Path,
        from: &SourcePosition,
    ) -> Result<FileSource, SourceError> {
        let mut source = FileSource {
            object: description.object,
            pattern: FilePattern::new(&options.path, base_dir)?,
            follow: options.follow,
            compression: options.compression,
            format: description.format,
            files: FilePositions::new(),
            bytes_done: 0,
            current: None,
            batch: Batch::new(Columns::of_source(description)?),
            state: PollState::More,
            next_listing: None,
            failed: None,
        };
        // A delimiter that cannot be one is refused even while there is no file.
        Decoder::new(description.format)?;
        let known = position::read(from)?;
        let first = known.is_none();
        source.files = known.unwrap_or_default();
        if source.follow || first {
            source.list()?;
        }
        if source.files.is_empty() && !source.follow {
            return Err(source.pattern.missing(source.pattern.path()));
        }
        for (name, file) in &source.files {
            if file.done {
                source.bytes_done += source.pattern.bytes(name);
            } else if !source.pattern.locate(name).is_file() {
                return Err(source.pattern.missing(name));
            }
        }
        source.open_next()?;
        Ok(source)
    }

    /// Adds the files that match by now and are not known.
    fn list(&mut self) -> Result<(), SourceError> {
        let started = Instant::now();
        for name in self.pattern.find()? {
            if self.follow && detect(&name, self.compression) != Compression::None {
                return Err(SourceError::FollowPacked { file: name });
            }
            self.files.entry(name).or_default();
        }
        self.next_listing = Some(started + (started.elapsed() * LISTING_SHARE).max(WAIT));
        Ok(())
    }

    /// Opens the first file that is not done; false if there is none.
    fn open_next(&mut self) -> Result<bool, SourceError> {
        let Some((name, position)) = self.files.iter().find(|(_, file)| !file.done) else { return Ok(false) };
        let (name, position) = (name.clone(), *position);
        let complete = !self.follow || self.is_before_another(&name);
        let stream = Stream::open(&name, &self.pattern.locate(&name), self.compression)?;
        let decoder = Decoder::new(self.format)?;
        let reader = FileReader::new(stream, decoder, position, complete, &self.batch.columns)?;
        tracing::debug!(object = %self.object, file = name, offset = position.offset, "reading a file");
        self.current = Some((name, reader));
        Ok(true)
    }

    fn is_before_another(&self, name: &str) -> bool {
        self.files.last_key_value().is_some_and(|(last, _)| last.as_str() > name)
    }

    /// Reads until the batch is full or there is nothing more to read for the time being.
    fn read(&mut self) -> Result<PollState, SourceError> {
        let started = Instant::now();
        loop {
            if let Some((_, reader)) = &mut self.current {
                match reader.read(&mut self.batch)? {
                    Stopped::Full => return Ok(PollState::More),
                    Stopped::AtEnd if reader.is_complete() => {
                        self.finish_current();
                        continue;
                    }
                    Stopped::AtEnd => reader.check_growing()?,
                }
            } else if self.open_next()? {
                continue;
            }
            if !self.follow {
                return Ok(PollState::Ended);
            }
            if self.next_listing.is_none_or(|due| due <= Instant::now()) {
                self.list()?;
                if self.turn_to_new_files() {
                    continue;
                }
            }
            // Whoever was told of more must hear at once that there is none; after that, waiting is what there is to do.
            if !self.batch.is_empty() || self.state != PollState::CaughtUp || started.elapsed() >= WAIT {
                return Ok(PollState::CaughtUp);
            }
            thread::sleep(LOOK);
        }
    }

    /// Marks the open file as done.
    fn finish_current(&mut self) {
        if let Some((name, reader)) = self.current.take() {
            self.bytes_done += reader.packed_bytes();
            self.files.insert(name, FilePosition { done: true, ..reader.position() });
        }
    }

    /// Whether files that were just found change what is read next: the open file is complete once a later one exists,
    /// and steps aside for an earlier one.
    fn turn_to_new_files(&mut self) -> bool {
        let Some((name, reader)) = &mut self.current else { return self.files.values().any(|file| !file.done) };
        let last = self.files.last_key_value().is_none_or(|(last, _)| last == name);
        if !last {
            // It may have grown before the later file came, so it is read to its end once more.
            reader.complete();
            return true;
        }
        let earlier = self.files.iter().take_while(|(other, _)| *other < name).any(|(_, file)| !file.done);
        if earlier {
            self.files.insert(name.clone(), reader.position());
            self.current = None;
        }
        earlier
    }

    fn position(&mut self) -> SourcePosition {
        if let Some((name, reader)) = &self.current
            && let Some(file) = self.files.get_mut(name)
        {
            *file = reader.position();
        }
        position::write(&self.files, self.follow)
    }
}

impl Source for FileSource {
    fn poll(&mut self, rows_max: usize) -> Result<Polled, SourceError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.batch.start(rows_max);
        self.state = match self.read() {
            Ok(state) => state,
            Err(error) => {
                self.failed = Some(error.clone());
                if self.batch.is_empty() {
                    return Err(error);
                }
                PollState::More
            }
        };
        Ok(Polled {
            rows: self.batch.columns.finish(),
            errors: self.batch.errors.finish(),
            position: self.position(),
            state: self.state,
        })
    }

    fn progress(&self) -> SourceProgress {
        let waiting = self.files.iter().filter(|(_, file)| !file.done);
        let read: u64 = match &self.current {
            Some((open, reader)) => {
                let parked = waiting.clone().filter(|(name, _)| *name != open).map(|(_, file)| file.offset);
                reader.packed_bytes() + parked.sum::<u64>()
            }
            None => 0,
        };
        let total = self.bytes_done + waiting.map(|(name, _)| self.pattern.bytes(name)).sum::<u64>();
        SourceProgress {
            bytes_read: self.bytes_done + read,
            bytes_total: Some(total.max(self.bytes_done + read)),
            records: self.batch.records,
            ..SourceProgress::default()
        }
    }
}
