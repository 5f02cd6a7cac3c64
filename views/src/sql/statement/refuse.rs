//! Statements that exist elsewhere and not here: what to do instead.

use super::reader::Reader;
use crate::sql::error::{Position, SqlError};

/// A statement that begins with none of our words.
pub(super) fn statement(reader: &Reader<'_>, start: Position) -> SqlError {
    let known = [
        (["MERGE"].as_slice(), "use INSERT INTO … ON CONFLICT, UPDATE and DELETE"),
        (&["TRUNCATE"], "use DELETE FROM name"),
        (&["SET", "RESET"], "there are no settings in SQL: see the options of the server"),
        (
            &["BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT"],
            "the statements of one deployment are applied together, and every read sees one time: leave it out",
        ),
        (&["SUBSCRIBE"], "subscriptions are opened with the command line or over gRPC: headwater subscribe name"),
        (&["DESCRIBE"], "use SHOW CREATE name"),
        (&["TABLE"], "write SELECT * FROM name"),
        (&["REFRESH"], "a materialized view is always fresh: leave it out"),
    ];
    for (words, hint) in known {
        if let Some(word) = words.iter().find(|word| reader.at(word)) {
            return SqlError::unsupported(format!("the statement {word}")).at(start).hint(hint);
        }
    }
    SqlError::invalid(format!("expected a statement, found {}", reader.shown()))
        .at(start)
        .hint("statements are CREATE SOURCE, TABLE, VIEW, MATERIALIZED VIEW and INDEX, ALTER SOURCE, DROP, INSERT, UPDATE, DELETE, COPY, SHOW, EXPLAIN and SELECT")
}

/// `CREATE` and then something that is not ours.
pub(super) fn create(reader: &Reader<'_>, start: Position) -> SqlError {
    let known = [
        (
            ["EXTERNAL", "UNLOGGED"].as_slice(),
            "write CREATE TABLE name (…), or CREATE SOURCE name (…) FROM FILE (…) FORMAT …",
        ),
        (&["SINK"], "read the changes of a materialized view by subscribing to it"),
        (
            &["UNIQUE"],
            "an index does not make its columns unique: declare a PRIMARY KEY on the table, and CREATE INDEX",
        ),
        (&["OR"], "there is no replacement in place: DROP the object first, then create it"),
        (&["TEMP", "TEMPORARY", "GLOBAL", "LOCAL"], "objects are durable: leave the word out"),
        (&["SCHEMA", "DATABASE"], "all objects share one name space: leave it out"),
        (&["RECURSIVE"], "recursive views are not supported"),
        (
            &["FUNCTION", "PROCEDURE", "TRIGGER", "TYPE", "EXTENSION"],
            "express it with views and the built-in functions",
        ),
    ];
    for (words, hint) in known {
        if let Some(word) = words.iter().find(|word| reader.at(word)) {
            let what = if *word == "OR" { "CREATE OR REPLACE".to_owned() } else { format!("CREATE {word}") };
            return SqlError::unsupported(what).at(start).hint(hint);
        }
    }
    reader.unexpected("SOURCE, TABLE, VIEW, MATERIALIZED VIEW or INDEX")
}

/// `ALTER` and then something that is not ours.
pub(super) fn alter(reader: &Reader<'_>, start: Position) -> SqlError {
    for word in ["VIEW", "MATERIALIZED", "TABLE", "SINK", "INDEX", "SYSTEM", "DATABASE"] {
        if reader.at(word) {
            return SqlError::unsupported(format!("the statement ALTER {word}"))
                .at(start)
                .hint("drop the object and create it anew; sources can be paused, resumed and limited");
        }
    }
    reader.unexpected("SOURCE")
}

/// `DROP` and then something that is not ours.
pub(super) fn drop(reader: &Reader<'_>, start: Position) -> SqlError {
    for word in ["SINK", "SCHEMA", "DATABASE", "FUNCTION"] {
        if reader.at(word) {
            return SqlError::unsupported(format!("DROP {word}"))
                .at(start)
                .hint("objects are sources, tables, views, materialized views and indexes");
        }
    }
    reader.unexpected("SOURCE, TABLE, VIEW, MATERIALIZED VIEW or INDEX")
}
