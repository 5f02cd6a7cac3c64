//! The commands, their flags and their help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::produce::generated::GeneratorName;
use crate::commands::produce::records::InputForm;
use crate::config::interval;
use crate::demo::DemoArgs;
use crate::output::OutputFormat;

/// SQL views that stay fresh while events arrive.
#[derive(Debug, Parser)]
#[command(name = "headwater", version, propagate_version = true, max_term_width = 120)]
#[command(after_help = "\
Exit codes:
  0  done
  1  refused or failed; the standard error says what, where and what to do
  2  wrong usage

Start with:
  headwater demo
  headwater serve --data-dir data
  headwater deploy sources.sql views.sql
  headwater query 'SELECT * FROM revenue_by_country'
  headwater subscribe revenue_by_country")]
pub(crate) struct Cli {
    /// Which command.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// What all commands share.
    #[command(flatten)]
    pub(crate) global: Global,
}

/// What all commands share.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Where the server is.
    #[arg(long, global = true, env = "HEADWATER_SERVER", value_name = "URL", default_value = "http://127.0.0.1:6565")]
    pub(crate) server: String,
    /// The form of the answer.
    #[arg(short, long, global = true, value_enum, value_name = "FORM", default_value = "table")]
    pub(crate) output: OutputFormat,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the engine.
    Serve(ServeArgs),
    /// Replay a year of a shop in about a minute and show its views changing; needs nothing.
    Demo(DemoArgs),
    /// Print the effective configuration of `serve` and where each value came from.
    Config(ServeArgs),
    /// Check and apply statements: sources, views, changes, drops.
    Deploy(DeployArgs),
    /// Carry out any statements in order: tables and their rows, views, queries; a shell on a terminal.
    Sql(SqlArgs),
    /// Drop a source, a table or a view.
    Drop(DropArgs),
    /// Stop reading a source until it is resumed; its views stay readable, other sources go on.
    Pause(NameArgs),
    /// Read a paused source again, from where it was.
    Resume(NameArgs),
    /// List the sources, tables and views.
    List,
    /// Show everything known of a source, table or view.
    Describe(NameArgs),
    /// Show the plan of a view, or of a query that could be a view.
    Explain(ExplainArgs),
    /// Read views, tables and sources with any SELECT, all at one time.
    Query(QueryArgs),
    /// Print views and then every change of them, as it happens.
    Subscribe(SubscribeArgs),
    /// List the records and rows that failed in a source or view.
    Errors(ErrorsArgs),
    /// Send the records of a file, or made up ones, to Kafka topics.
    Produce(ProduceArgs),
    /// Show how the server is; exit code 0 if everything serves, else 1.
    Status(StatusArgs),
}

impl Command {
    /// Whether the engine runs inside this command.
    pub(crate) fn is_server(&self) -> bool {
        matches!(self, Command::Serve(_) | Command::Demo(_))
    }
}

/// Arguments of `serve` and `config`.
#[derive(Debug, Default, Args)]
#[command(after_help = "\
A value comes from the first of: the flag, the environment variable
HEADWATER__SECTION__KEY, the configuration file, the default.
`headwater config` prints all keys, their values and where each came from.

Examples:
  headwater serve --data-dir data
  headwater serve --config /etc/headwater.toml --workers 4
  HEADWATER__ENGINE__HISTORY=5m headwater serve
  headwater config --data-dir data > headwater.toml")]
pub(crate) struct ServeArgs {
    /// The configuration file; without the flag, headwater.toml in the working directory if it exists.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the log and the catalog are kept [key: server.data_dir].
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where relative paths of file sources are looked for [key: server.base_dir].
    #[arg(long, value_name = "DIR")]
    pub(crate) base_dir: Option<PathBuf>,
    /// Where gRPC is served; port 0 takes a free one [key: server.listen].
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    /// Where /metrics, /healthz and /readyz are served; `off` for nowhere [key: server.http_listen].
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) http_listen: Option<String>,
    /// Allow addresses that others can reach. There is no authentication: whoever reaches the server can read and drop
    /// everything [key: server.allow_remote].
    #[arg(long)]
    pub(crate) allow_remote: bool,
    /// How many threads compute [key: engine.workers].
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<usize>,
    /// How far back `query --at` can read, as 90s, 5m, 1h [key: engine.history].
    #[arg(long, value_name = "TIME", value_parser = interval::parse)]
    pub(crate) history: Option<Duration>,
}

/// Arguments of `deploy`.
#[derive(Debug, Args)]
#[command(after_help = "\
All statements of all files are checked before the first is applied, in the
order given. The same statement again changes nothing; another definition
under the same name is refused.

Examples:
  headwater deploy sources.sql views.sql
  headwater deploy views/                  # all *.sql in it, by name
  headwater deploy --dry-run views/
  echo 'DROP VIEW old' | headwater deploy -")]
pub(crate) struct DeployArgs {
    /// Files of statements, directories of *.sql files, or - for the standard input.
    #[arg(required = true, value_name = "FILE|DIR|-")]
    pub(crate) paths: Vec<PathBuf>,
    /// Return once the catalog is durable; do not wait until the views have caught up.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Only check, and say what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Wait no longer than this, as 30s, 5m; the deployment itself goes on.
    #[arg(long, value_name = "TIME", value_parser = interval::parse, conflicts_with_all = ["no_wait", "dry_run"])]
    pub(crate) timeout: Option<Duration>,
}

/// Arguments of `sql`.
#[derive(Debug, Args)]
#[command(after_help = "\
Statements of any kind, in order: those of `deploy`, INSERT, UPDATE, DELETE,
COPY ... FROM STDIN (its lines follow, up to a line \\.) and queries. Each write
is seen whole or not at all, and is durable when its tag is printed. The first
statement that fails ends the run; what stands before it has been done. The
standard output has the answers, and as a table the tags (INSERT 0 3) too; in
csv and json the tags go to the standard error.

Without a flag the statements come from the standard input; on a terminal that
is a shell: \\? lists its commands.

Examples:
  headwater sql
  headwater sql -c \"INSERT INTO weights VALUES ('velocity', 0.8)\"
  headwater sql -f tables.sql -f rows.sql
  pg_dump --data-only --table t db | grep -v '^SET\\|^SELECT' | headwater sql -")]
pub(crate) struct SqlArgs {
    /// A file of statements; may be given several times.
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["command", "stdin"])]
    pub(crate) file: Vec<PathBuf>,
    /// Statements; may be given several times.
    #[arg(short, long, value_name = "TEXT", conflicts_with = "stdin")]
    pub(crate) command: Vec<String>,
    /// - reads the standard input, even on a terminal.
    #[arg(value_name = "-", value_parser = ["-"])]
    pub(crate) stdin: Option<String>,
    /// What to do when a statement fails: end, or go on with the next one and end with exit code 1.
    #[arg(long, value_enum, value_name = "WHAT", default_value = "stop")]
    pub(crate) on_error: OnError,
}

/// What to do when a statement fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnError {
    /// End.
    Stop,
    /// Go on with the next statement.
    Continue,
}

/// Arguments of `drop`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater drop revenue_by_country
  headwater drop --cascade lines           # and every view over it
  headwater drop --if-exists old")]
pub(crate) struct DropArgs {
    /// The source or view.
    pub(crate) name: String,
    /// Also drop everything that depends on it.
    #[arg(long)]
    pub(crate) cascade: bool,
    /// Do nothing if it does not exist.
    #[arg(long)]
    pub(crate) if_exists: bool,
}

/// Arguments of commands about one object.
#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The source, table or view.
    pub(crate) name: String,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater explain revenue_by_country
  headwater explain --analyze revenue_by_country
  headwater explain 'SELECT country, count(*) FROM lines GROUP BY country'")]
pub(crate) struct ExplainArgs {
    /// The name of a view, or a query.
    #[arg(value_name = "NAME|SQL")]
    pub(crate) target: String,
    /// Of a view that is maintained: also what every operator has done since the server started, and what it holds.
    #[arg(long)]
    pub(crate) analyze: bool,
}

/// Arguments of `query`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater query 'SELECT * FROM revenue_by_country ORDER BY 2 DESC LIMIT 5'
  headwater query -o csv -f report.sql > report.csv
  headwater query --at 1764140400000 'SELECT * FROM revenue_by_country'
  echo 'SELECT 1' | headwater query -")]
pub(crate) struct QueryArgs {
    /// One SELECT, or - to read it from the standard input.
    #[arg(required_unless_present = "file")]
    pub(crate) sql: Option<String>,
    /// Read the SELECT from this file.
    #[arg(short, long, value_name = "FILE", conflicts_with = "sql")]
    pub(crate) file: Option<PathBuf>,
    /// The time to read at, in ms since 1970, within the server's history; without it the newest.
    #[arg(long, value_name = "MS")]
    pub(crate) at: Option<i64>,
}

/// Arguments of `subscribe`.
#[derive(Debug, Args)]
#[command(after_help = "\
The rows of the views at one time come first, then every change: a row that
came has a positive diff, one that went a negative. Several views change at the
same times. `NAME$errors` are the errors of the view NAME.

Forms:
  table  + and - lines
  csv    time,diff,columns... (several views: time,diff,view,columns...)
  json   {\"time\":...,\"diff\":...,\"view\":...,\"row\":{...}}, view only with several

With --progress there are marks that all before a time was printed: in csv a
row with only the time, in json {\"progress\":...,\"errors\":...}.

Examples:
  headwater subscribe revenue_by_country
  headwater subscribe -o json --progress daily hourly
  headwater subscribe -o csv --until-progress 1764140400000 daily > changes.csv")]
pub(crate) struct SubscribeArgs {
    /// Materialised views, tables and sources with a key, or their `NAME$errors`.
    #[arg(required = true, value_name = "VIEW")]
    pub(crate) views: Vec<String>,
    /// Only changes from now on.
    #[arg(long)]
    pub(crate) no_snapshot: bool,
    /// Also print when a time is complete.
    #[arg(long)]
    pub(crate) progress: bool,
    /// End once everything before this time has been printed, in ms since 1970.
    #[arg(long, value_name = "MS")]
    pub(crate) until_progress: Option<i64>,
}

/// Arguments of `errors`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater errors lines
  headwater errors -o csv lines > broken.csv")]
pub(crate) struct ErrorsArgs {
    /// The source or view.
    pub(crate) name: String,
    /// The time to read at, in ms since 1970, within the server's history; without it the newest.
    #[arg(long, value_name = "MS")]
    pub(crate) at: Option<i64>,
}

/// Arguments of `produce`.
#[derive(Debug, Args)]
#[command(after_help = "\
Records go out in the order of the file. A record with a key goes to the
partition that Kafka's own clients would choose, one without to the partitions
in turn: the same file and flags always give the same topics.

Instead of a file, a generator makes records up, the same ones for one seed,
and sends them or writes them to a file.

Examples:
  headwater produce --brokers localhost:9092 --topic transactions --partitions 6 --generator commerce-bench --rows 1000000 --key customer_id
  headwater produce --generator commerce-bench --rows 1000000 --seed 42 --to transactions.csv.zst
  headwater produce --brokers localhost:9092 --topic sales --key customer_id sales.ndjson.zst
  headwater produce --brokers localhost:9092 --topic sales --partitions 6 --rate 1000 sales.csv
  headwater produce --brokers localhost:9092 --partitions 6 --form events events.jsonl")]
pub(crate) struct ProduceArgs {
    /// The file, packed with gzip or zstd or not; - is the standard input.
    #[arg(required_unless_present = "generator", conflicts_with = "generator")]
    pub(crate) file: Option<PathBuf>,
    /// Make the records up.
    #[arg(long, value_enum, value_name = "NAME")]
    pub(crate) generator: Option<GeneratorName>,
    /// How many records are made up.
    #[arg(long, value_name = "N", requires = "generator", conflicts_with = "file")]
    pub(crate) rows: Option<u64>,
    /// What decides which records are made up.
    #[arg(long, value_name = "N", requires = "generator", conflicts_with = "file", default_value_t = 42)]
    pub(crate) seed: u64,
    /// Write what is made up to this file instead of a topic: CSV or NDJSON, packed or not, by its name; - is the standard
    /// output.
    #[arg(long, value_name = "FILE", requires = "generator", conflicts_with_all = ["file", "brokers", "topic", "key", "rate", "partitions", "properties"])]
    pub(crate) to: Option<PathBuf>,
    /// Some brokers of the cluster, with commas between.
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "to")]
    pub(crate) brokers: Option<String>,
    /// The topic; events name their own unless this is given.
    #[arg(long, value_name = "NAME")]
    pub(crate) topic: Option<String>,
    /// The field or column whose value is the key.
    #[arg(long, value_name = "FIELD")]
    pub(crate) key: Option<String>,
    /// What the file holds.
    #[arg(long, value_enum, value_name = "FORM", default_value = "auto")]
    pub(crate) form: InputForm,
    /// Records a second; without it as fast as the brokers take them.
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Create a topic that does not exist with so many partitions, and nothing in it ever too old.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub(crate) partitions: Option<i32>,
    /// How batches are packed.
    #[arg(long, value_enum, value_name = "CODEC", default_value = "lz4")]
    pub(crate) compression: Codec,
    /// A property of the client library; may be given several times.
    #[arg(long = "property", value_name = "NAME=VALUE")]
    pub(crate) properties: Vec<String>,
}

/// How batches of records are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Codec {
    /// Not at all.
    None,
    /// Gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Codec {
    /// The name that Kafka gives it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("a rate is a number of records a second, above 0".to_owned()),
    }
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Show it again every second until interrupted.
    #[arg(long)]
    pub(crate) watch: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_usage_is_exit_code_2() {
        for line in [
            "",
            "nonsense",
            "deploy",
            "query",
            "subscribe",
            "drop",
            "produce a.csv",
            "produce --brokers b",
            "produce --brokers b --generator commerce-bench a.csv",
            "produce --generator commerce-bench --rows 1",
            "produce --to x a.csv",
            "sql -c a -",
            "sql -c a -f b",
            "sql b.sql",
            "deploy --no-wait --timeout 3s a.sql",
        ] {
            let error = Cli::try_parse_from(["headwater"].into_iter().chain(line.split_whitespace())).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn everything_is_documented() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
        }
    }
}
