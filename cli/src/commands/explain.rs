//! `headwater explain`: how a view is maintained.

use std::io::Write;
use std::process::ExitCode;

use headwater_proto::v1::ExplainRequest;

use crate::args::{ExplainArgs, Global};
use crate::call::connect;
use crate::output::failure::Failure;
use crate::output::{OutputFormat, csv, stdout, value};

/// Prints the plan: as it is, as a CSV of one column with a row a line, or as a JSON object.
pub(super) async fn run(args: ExplainArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let client = connect(&global.server).await?;
    let texts = [("<query>".to_owned(), args.target.clone())];
    let answer = client.explain(ExplainRequest { target: args.target, analyze: args.analyze }).await;
    let plan = answer.map_err(|error| Failure::of_call(error, &texts))?.plan;
    let mut out = stdout();
    let mut text = String::new();
    match global.output {
        OutputFormat::Table => text.push_str(plan.trim_end()),
        OutputFormat::Csv => {
            text.push_str("plan");
            for line in plan.lines() {
                text.push('\n');
                csv::write_field(line, &mut text);
            }
        }
        OutputFormat::Json => {
            text.push_str("{\"plan\":");
            value::write_json_string(&plan, &mut text);
            text.push('}');
        }
    }
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
