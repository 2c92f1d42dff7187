//! The command line, as types. What the commands do is elsewhere; that keeps this the one place
//! where names, defaults and help are.

mod bench;
mod parsers;
mod profile;
mod test;

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use stage_signal::Trace;
use stage_value::{Address, Id, Value};

pub use bench::{BenchCommand, LoadArgs};
pub use profile::ProfileArgs;
pub use test::TestArgs;

use crate::config::{Config, ConfigErrors, HostPort, LogFormat, Overrides, Refused};

/// A backend node that keeps response times stable.
///
/// Handlers are Lua functions. Instead of locking and waiting they read snapshots, submit work by
/// key, limit work by tickets, and signal other stages; a node in trouble steps aside by itself.
#[derive(Debug, Parser)]
#[command(name = "stage-node", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  stage-node run main.lua                     run one script, with every default
  stage-node run --config stage.json          run a configured node
  stage-node check stage.json                 say all that is wrong with a configuration
  stage-node test                             run the tests of the scripts in this folder
  stage-node signal lobby:join '\"kim\"' 3      signal a running node, print the reply
  stage-node status                           what a running node is doing

Exit codes: 0 done or stopped cleanly, 1 failed, 2 wrong usage or configuration.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node until it is stopped.
    Run(RunArgs),
    /// Check a configuration or a script without running it.
    Check(CheckArgs),
    /// Print the JSON Schema of the configuration, for editors.
    #[command(after_help = SCHEMA_EXAMPLES)]
    Schema,
    /// Run the tests of scripts, in virtual time.
    Test(TestArgs),
    /// Make certificates: an authority for development, and what nodes and clients show.
    #[command(subcommand)]
    Cert(CertCommand),
    /// Signal a running node from outside and print the reply as JSON.
    Signal(SignalArgs),
    /// Print how near running nodes are to their critical region.
    Route(RouteArgs),
    /// Print what a running node is doing.
    Status(StatusArgs),
    /// Print who counts the tickets of the service, and every category.
    #[command(after_help = TICKETS_EXAMPLES)]
    Tickets(StatusArgs),
    /// Sample where a running node spends its time in Lua, and draw it.
    Profile(ProfileArgs),
    /// Load a node and say how much it does and how long it takes.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Print the completions of a shell.
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
    /// Print the manual, or that of one command.
    Man(ManArgs),
}

const SCHEMA_EXAMPLES: &str = "\
Example:
  stage-node schema > stage.schema.json       then, in stage.json: \"$schema\": \"./stage.schema.json\"";

const COMPLETIONS_EXAMPLES: &str = "\
Example:
  stage-node completions bash > /etc/bash_completion.d/stage-node";

/// `run`.
#[derive(Debug, Args)]
#[command(after_help = RUN_EXAMPLES, group = clap::ArgGroup::new("what").required(true))]
pub struct RunArgs {
    /// A Lua script: it becomes one stage named `stage`, and needs no configuration. A file that ends in .json or
    /// .jsonc is taken for one, as with --config.
    #[arg(value_name = "SCRIPT.lua", group = "what")]
    pub script: Option<PathBuf>,
    /// A configuration; docs/configuration.md has every key.
    #[arg(long, value_name = "FILE", group = "what")]
    pub config: Option<PathBuf>,
    /// Stop cleanly after this time: 500ms, 5s, 2m.
    #[arg(long = "for", value_name = "TIME", value_parser = parsers::duration)]
    pub duration: Option<Duration>,
    /// Where other nodes and outside clients connect [default: as configured, else nowhere].
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<SocketAddr>,
    /// Where the operator's surface listens [default: as configured, else nowhere].
    #[arg(long, value_name = "IP:PORT")]
    pub admin: Option<SocketAddr>,
    /// The node's name [default: as configured, else host name and process id].
    #[arg(long, value_parser = parsers::identifier)]
    pub name: Option<Id>,
    /// How the log is written to standard error [default: as configured, else text].
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
}

const RUN_EXAMPLES: &str = "\
Examples:
  stage-node run main.lua --for 5s            a demo that ends by itself
  stage-node run main.lua --listen 127.0.0.1:7701 --admin 127.0.0.1:7780
  stage-node run --config stage.json --name b --log-format json

Flags win over the configuration, RUST_LOG over its log filter. SIGTERM and SIGINT let the node
finish what it accepted, then stop it.";

/// `check`.
#[derive(Debug, Args)]
#[command(after_help = CHECK_EXAMPLES)]
pub struct CheckArgs {
    /// A configuration (.json, .jsonc) or a script (.lua).
    pub file: PathBuf,
}

const CHECK_EXAMPLES: &str = "\
Examples:
  stage-node check stage.json                 the configuration, and that its scripts compile
  stage-node check main.lua                   one script";

/// `cert`.
#[derive(Debug, Subcommand)]
pub enum CertCommand {
    /// Make an authority: ca.pem, and ca.key, which stays secret.
    #[command(after_help = CERT_INIT_EXAMPLES)]
    Init(CertInitArgs),
    /// Make or renew the certificate of a node or of an outside client: NAME.pem and NAME.key.
    #[command(after_help = CERT_NODE_EXAMPLES)]
    Node(CertNodeArgs),
}

/// `cert init`.
#[derive(Debug, Args)]
pub struct CertInitArgs {
    /// The folder of the files; it is made if it is not there.
    #[arg(long, value_name = "FOLDER", default_value = "certs")]
    pub dir: PathBuf,
    /// For how many days it is valid.
    #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub days: u32,
}

const CERT_INIT_EXAMPLES: &str = "\
Example:
  stage-node cert init                        certs/ca.pem and certs/ca.key";

/// `cert node`.
#[derive(Debug, Args)]
pub struct CertNodeArgs {
    /// The node's name, as in its configuration, or a name for a client.
    #[arg(value_parser = parsers::certified_name)]
    pub name: String,
    /// A host name or IP address at which others reach it, as they write it; may be repeated
    /// [default: localhost, 127.0.0.1 and ::1].
    #[arg(long, value_name = "HOST")]
    pub host: Vec<String>,
    /// The folder of the authority, and of the new files.
    #[arg(long, value_name = "FOLDER", default_value = "certs")]
    pub dir: PathBuf,
    /// For how many days it is valid.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub days: u32,
}

const CERT_NODE_EXAMPLES: &str = "\
Examples:
  stage-node cert node a                      for nodes of this machine
  stage-node cert node b --host 10.0.0.5 --host b.example.net

A running node takes up the new files by itself.";

/// `signal`.
#[derive(Debug, Args)]
#[command(after_help = SIGNAL_EXAMPLES)]
pub struct SignalArgs {
    /// The address: STAGE:MESSAGE, or any other form a script may use.
    #[arg(value_parser = parsers::address)]
    pub address: Address,
    /// The arguments, each as JSON; a string has its double quotes.
    #[arg(value_name = "JSON", value_parser = parsers::json, allow_negative_numbers = true)]
    pub args: Vec<Value>,
    /// The node to signal.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7701")]
    pub to: HostPort,
    /// The own certificate, if the node wants one, with --key and --ca.
    #[arg(long, value_name = "FILE", requires_all = ["key", "ca"])]
    pub cert: Option<PathBuf>,
    /// The private key of the certificate.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// The authorities that the node's certificate may be of.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub ca: Option<PathBuf>,
    /// The step of a distributed trace that sends it (W3C trace context).
    #[arg(long, value_name = "TEXT")]
    pub traceparent: Option<Trace>,
    /// How long to wait for the reply.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parsers::duration)]
    pub wait: Duration,
}

const SIGNAL_EXAMPLES: &str = "\
Examples:
  stage-node signal lobby:join '\"kim\"' 3
  stage-node signal lobby:list --to 10.0.0.5:7701 --wait 2s
  stage-node signal lobby:list --cert web.pem --key web.key --ca ca.pem
  stage-node signal shop:buy '{\"item\": 7, \"count\": -1}' --wait 500ms";

/// `route`.
#[derive(Args)]
#[command(after_help = ROUTE_EXAMPLES)]
pub struct RouteArgs {
    /// The operator surface of a node; once for each node.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7780")]
    pub admin: Vec<HostPort>,
    /// Print it as JSON: a list with an object for each node.
    #[arg(long)]
    pub json: bool,
    /// The token of `#admin`. Better in the environment: others can read command lines.
    #[arg(long, env = "STAGE_ADMIN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

const ROUTE_EXAMPLES: &str = "\
Examples:
  stage-node route
  stage-node route --admin 127.0.0.1:7781 --admin 127.0.0.1:7782
  stage-node route --json";

/// `status`.
#[derive(Args)]
#[command(after_help = STATUS_EXAMPLES)]
pub struct StatusArgs {
    /// The node's operator surface.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7780")]
    pub admin: HostPort,
    /// Print JSON, as the node gives it.
    #[arg(long)]
    pub json: bool,
    /// The token of `#admin`. Better in the environment: others can read command lines.
    #[arg(long, env = "STAGE_ADMIN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

const TICKETS_EXAMPLES: &str = "\
Examples:
  stage-node tickets
  stage-node tickets --admin 127.0.0.1:7781 --json | jq .categories.login";

const STATUS_EXAMPLES: &str = "\
Examples:
  stage-node status
  stage-node status --admin 127.0.0.1:7781 --json | jq .queues";

/// `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: Shell,
}

/// `man`.
#[derive(Debug, Args)]
#[command(after_help = MAN_EXAMPLES)]
pub struct ManArgs {
    /// A command; without one, the page of stage-node itself.
    #[arg(value_parser = parsers::command_name)]
    pub command: Option<String>,
}

const MAN_EXAMPLES: &str = "\
Examples:
  stage-node man | man -l -
  stage-node man run | man -l -";

/// Why a node cannot be run as it is asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunRefused {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// A flag asks for what the configuration does not allow.
    #[error(transparent)]
    Flag(#[from] Refused),
}

impl RunArgs {
    /// The configuration with the flags laid over it.
    ///
    /// # Errors
    /// [`RunRefused`] if the file is wrong or a flag is not allowed by it.
    pub fn config(&self) -> Result<Config, RunRefused> {
        let config = match (&self.config, &self.script) {
            (Some(file), _) => Config::load(file)?,
            (None, Some(file)) if is_configuration(file) => Config::load(file)?,
            (None, script) => Config::for_script(script.clone().unwrap_or_default()),
        };
        let overrides = Overrides {
            name: self.name.clone(),
            listen: self.listen,
            admin: self.admin,
            log_format: self.log_format,
        };
        Ok(config.overridden(&overrides)?)
    }
}

/// A script of that name would not be Lua.
fn is_configuration(file: &Path) -> bool {
    matches!(file.extension().and_then(OsStr::to_str), Some("json" | "jsonc"))
}

impl std::fmt::Debug for RouteArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = self.token.as_ref().map(|_| "..");
        let Self { admin, json, .. } = self;
        write!(f, "RouteArgs {{ admin: {admin:?}, json: {json}, token: {token:?} }}")
    }
}

impl std::fmt::Debug for StatusArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = self.token.as_ref().map(|_| "..");
        let Self { admin, json, .. } = self;
        write!(f, "StatusArgs {{ admin: {admin}, json: {json}, token: {token:?} }}")
    }
}
