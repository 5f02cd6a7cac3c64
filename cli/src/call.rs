//! Calls to the server.

use std::io::Read;
use std::path::Path;

use headwater_proto::client::{Client, ClientError};
use headwater_proto::v1::Script;

use crate::output::failure::Failure;

/// Connects to the server.
pub(crate) async fn connect(server: &str) -> Result<Client, Failure> {
    Client::connect(server).await.map_err(failure)
}

/// Says why a call without SQL text failed.
pub(crate) fn failure(error: ClientError) -> Failure {
    Failure::of_call(error, &[])
}

/// Reads a script from a file, or from the standard input for `-`.
pub(crate) fn read_script(path: &Path) -> Result<Script, Failure> {
    let unreadable = |name: &str, error: &std::io::Error| {
        Failure::with_hint(format!("cannot read {name}: {error}"), "give a file of SQL statements in UTF-8")
    };
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|error| unreadable("the standard input", &error))?;
        return Ok(Script { origin: "<stdin>".to_owned(), text });
    }
    let origin = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(&origin, &error))?;
    Ok(Script { origin, text })
}

/// The (name, text) pairs in which a failure looks up the offending line.
pub(crate) fn texts(scripts: &[Script]) -> Vec<(String, String)> {
    scripts.iter().map(|script| (script.origin.clone(), script.text.clone())).collect()
}
