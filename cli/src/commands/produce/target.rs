//! A file that generated records go to, instead of a topic.

use std::fs::File;
use std::io::{BufWriter, Write, stdout};
use std::path::Path;

use anyhow::Context;
use flate2::write::GzEncoder;

use super::generated::Text;

/// How hard files are packed: quickly.
const ZSTD_LEVEL: i32 = 3;

/// An open file, packed if its name says so.
pub(super) enum Target {
    Plain(Box<dyn Write>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

/// The ending of a name that is no packing, in lower case, and the packing.
fn endings(path: &Path) -> (String, String) {
    let ending = |path: &Path| path.extension().map(|text| text.to_string_lossy().to_lowercase()).unwrap_or_default();
    let packing = ending(path);
    if ["gz", "gzip", "zst", "zstd"].contains(&packing.as_str()) {
        (ending(&path.with_extension("")), packing)
    } else {
        (packing, String::new())
    }
}

/// What a file of that name holds: CSV if it says so, else JSON.
pub(super) fn text_of(path: &Path) -> Text {
    if endings(path).0 == "csv" { Text::Csv } else { Text::Json }
}

impl Target {
    /// Creates the file, or writes to the standard output for `-`.
    pub(super) fn create(path: &Path) -> anyhow::Result<Target> {
        if path == Path::new("-") {
            return Ok(Target::Plain(Box::new(BufWriter::new(stdout()))));
        }
        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        let file = BufWriter::with_capacity(1 << 18, file);
        Ok(match endings(path).1.as_str() {
            "gz" | "gzip" => Target::Gzip(GzEncoder::new(file, flate2::Compression::fast())),
            "zst" | "zstd" => Target::Zstd(zstd::Encoder::new(file, ZSTD_LEVEL)?),
            _ => Target::Plain(Box::new(file)),
        })
    }

    /// Writes a line.
    pub(super) fn line(&mut self, text: &[u8]) -> std::io::Result<()> {
        let out: &mut dyn Write = match self {
            Target::Plain(out) => out,
            Target::Gzip(out) => out,
            Target::Zstd(out) => out,
        };
        out.write_all(text)?;
        out.write_all(b"\n")
    }

    /// Writes what is still held back.
    pub(super) fn finish(self) -> std::io::Result<()> {
        match self {
            Target::Plain(mut out) => out.flush(),
            Target::Gzip(out) => out.finish()?.flush(),
            Target::Zstd(out) => out.finish()?.flush(),
        }
    }
}
