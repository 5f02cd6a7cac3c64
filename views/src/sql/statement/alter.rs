//! The grammar of `ALTER SOURCE`, and of the limit that it shares with `CREATE SOURCE`.

use std::num::NonZeroU32;

use super::reader::Reader;
use super::{AlterSource, refuse};
use crate::sql::error::{Position, SqlError};

/// What `ALTER SOURCE` changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaceChange {
    /// `PAUSE`: nothing more is read.
    Pause,
    /// `RESUME`.
    Resume,
    /// `SET (MAX_ROWS_PER_SECOND n)`, or without a limit `RESET (MAX_ROWS_PER_SECOND)`.
    Limit(Option<NonZeroU32>),
}

/// Reads what follows `ALTER`, which stands at `start`.
pub(super) fn alter(reader: &mut Reader<'_>, start: Position) -> Result<AlterSource, SqlError> {
    if !reader.accept("SOURCE") {
        return Err(refuse::alter(reader, start));
    }
    let if_exists = reader.accept_all(&["IF", "EXISTS"]);
    let name = reader.name()?;
    let change = if reader.accept("PAUSE") {
        PaceChange::Pause
    } else if reader.accept("RESUME") {
        PaceChange::Resume
    } else if reader.accept("SET") {
        option(reader, true)?
    } else if reader.accept("RESET") {
        option(reader, false)?
    } else {
        return Err(reader
            .unexpected("PAUSE, RESUME, SET or RESET")
            .hint("anything else of a source is changed by dropping it and creating it anew"));
    };
    Ok(AlterSource { name, if_exists, change })
}

/// Reads `(MAX_ROWS_PER_SECOND)`, with a value if one is to be set.
fn option(reader: &mut Reader<'_>, valued: bool) -> Result<PaceChange, SqlError> {
    reader.expect("(")?;
    let place = reader.place();
    let option = reader.name()?;
    if option != "max_rows_per_second" {
        return Err(SqlError::unsupported(format!("changing option \"{option}\" of a source"))
            .at(place)
            .hint("MAX_ROWS_PER_SECOND can be changed; for anything else drop the source and create it anew"));
    }
    let limit = if valued {
        reader.accept("=");
        Some(rows_per_second(reader)?)
    } else {
        None
    };
    reader.expect(")")?;
    Ok(PaceChange::Limit(limit))
}

/// Reads a limit of rows in a second.
pub(super) fn rows_per_second(reader: &mut Reader<'_>) -> Result<NonZeroU32, SqlError> {
    let place = reader.place();
    let number = reader.accept_number().ok_or_else(|| reader.unexpected("a number of rows"))?;
    u32::try_from(number).ok().and_then(NonZeroU32::new).ok_or_else(|| {
        SqlError::invalid(format!("{number} cannot be the most rows in a second"))
            .at(place)
            .hint(format!("it is 1 to {}; to read nothing, ALTER SOURCE name PAUSE", u32::MAX))
    })
}
