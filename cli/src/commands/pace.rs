//! `headwater pause` and `headwater resume`: sources that are not read for a while.

use std::process::ExitCode;

use headwater_proto::v1::{DeployRequest, Encoding, Script};

use super::deploy;
use crate::args::{Global, NameArgs};
use crate::call::{connect, failure};

/// Lets a source be `PAUSE`d or `RESUME`d, which also holds after a restart.
pub(super) async fn run(args: NameArgs, word: &str, global: &Global) -> anyhow::Result<ExitCode> {
    let client = connect(&global.server).await?;
    let text = format!("ALTER SOURCE {} {word}", quoted(&args.name));
    let scripts = vec![Script { origin: format!("<{}>", word.to_lowercase()), text }];
    let request = DeployRequest { scripts, validate_only: false, encoding: Encoding::ArrowIpc.into() };
    let outcomes = client.deploy(request).await.map_err(failure)?.outcomes;
    deploy::print(outcomes, global.output, false)?;
    Ok(ExitCode::SUCCESS)
}

/// The name as SQL text that means it to the letter.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_meant_to_the_letter() {
        assert_eq!(quoted("Orders; DROP \"x\""), "\"Orders; DROP \"\"x\"\"\"");
    }
}
