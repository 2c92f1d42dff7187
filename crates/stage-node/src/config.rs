//! `stage.json`: what a node is to be, read whole or refused whole.
//!
//! [`Config::load`] reads JSON with comments and trailing commas into types that cannot be wrong:
//! whoever holds a [`Config`] has addresses that parse, numbers within their ranges, and scripts that
//! were there a moment ago. What is wrong with a file comes back in one go, as [`ConfigErrors`], each
//! problem with its line, its column and what to do about it. [`schema`](schema::schema) is the same
//! knowledge for editors; a test holds the two together.
//!
//! Flags of the command line are laid over a configuration by [`Config::overridden`], under the same
//! rules.

mod admin;
pub(crate) mod allow;
mod cluster;
mod db;
mod errors;
mod etcd;
mod file;
mod gateway;
mod limits;
mod log;
mod node;
mod overrides;
mod parse;
mod problem;
mod reader;
mod reload;
mod route;
pub mod schema;
mod settings;
mod snapshot;
mod source;
mod startup;
mod threads;
mod ticket;
mod tls;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use stage_value::{Id, Value};

pub use admin::{Admin, Token};
pub use allow::Allow;
pub use cluster::{HostPort, HostPortError};
pub use db::{Database, DatabaseUrl};
pub use errors::{ConfigErrors, Palette};
pub use etcd::Etcd;
pub use gateway::{Gateway, GatewayToken};
pub use limits::Limits;
pub use log::{Log, LogFormat};
pub use node::Node;
pub use overrides::{Overrides, Refused};
pub use problem::{Problem, ProblemKind};
pub use reload::Reload;
pub use route::Route;
pub use snapshot::Snapshot;
pub use startup::Startup;
pub use tls::Tls;

/// What a node is to be.
///
/// See docs/configuration.md for every key with an example.
#[derive(Clone, Debug, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields, title = "stage.json")]
pub struct Config {
    /// Who this node is and where other nodes reach it.
    #[schemars(rename = "#node", default = "Node::unnamed")]
    pub node: Node,
    /// The other nodes, as "HOST:PORT", or as "dns:HOST:PORT" all nodes that a name resolves to. This node's
    /// own address may be among them and is left out when the list is read, so that all nodes can have the same
    /// list.
    #[schemars(rename = "#cluster", default, schema_with = "cluster::schema")]
    pub cluster: Vec<HostPort>,
    /// The names of `#cluster` that stand for many nodes.
    #[schemars(skip)]
    pub names: Vec<HostPort>,
    /// Who may do what on this node, by the names in certificates; a name may end in `*`. Without this
    /// section every certificate of the authorities may do everything; with it, those not named may do nothing.
    #[schemars(rename = "#allow", default, with = "BTreeMap<String, Allow>")]
    pub allow: Option<BTreeMap<String, Allow>>,
    /// The etcd that the nodes of the service share: one of them counts the tickets of all, and another
    /// one takes over when it is gone. Without this section that is a node of `#cluster`, always the same.
    #[schemars(rename = "#etcd", default, with = "Etcd")]
    pub etcd: Option<Etcd>,
    /// Worker VMs, which run the functions given to stage.submit and those shipped from elsewhere.
    /// Default: the processor cores available.
    #[schemars(
        rename = "#threads",
        default = "threads::available",
        schema_with = "threads::schema"
    )]
    pub threads: usize,
    /// How much delay the node bears before it leaves the mesh, in multiples of the time a message
    /// takes on this machine: smaller is more sensitive. 0 or false: it never leaves.
    #[schemars(rename = "#route", default)]
    pub route: Route,
    /// Ticket categories: how many handlers of each run at once in the whole service. Negative: that
    /// many, and the next is refused instead of queued. Without this section, a category's first use
    /// creates it with 1; with it, categories not listed are errors.
    #[schemars(rename = "#ticket", default, schema_with = "ticket::schema")]
    pub tickets: Option<BTreeMap<Id, i32>>,
    /// The databases that scripts use, by the names that `db` has them under.
    #[schemars(rename = "#db", default, extend("propertyNames" = serde_json::json!({ "pattern": "^(?!(open|blob)$)[A-Za-z_][A-Za-z0-9_]*$" })))]
    pub databases: BTreeMap<String, Database>,
    /// Shared variables that outlive the process. Without this section none do.
    #[schemars(rename = "#snapshot", default, with = "Snapshot")]
    pub snapshot: Option<Snapshot>,
    /// How changed scripts are taken up while the node runs.
    #[schemars(rename = "#reload", default)]
    pub reload: Reload,
    /// The operator's surface. Without this section there is none.
    #[schemars(rename = "#admin", default, with = "Admin")]
    pub admin: Option<Admin>,
    /// The door for browsers and curl. Without this section there is none.
    #[schemars(rename = "#gateway", default, with = "Gateway")]
    pub gateway: Option<Gateway>,
    /// What the node does not exceed.
    #[schemars(rename = "#limits", default)]
    pub limits: Limits,
    /// The node's log, on standard error.
    #[schemars(rename = "#log", default)]
    pub log: Log,
    /// The stages this node carries. An empty list makes a node that carries none and only
    /// coordinates.
    #[schemars(rename = "#startup")]
    pub startup: Vec<Startup>,
    /// The author's own values for scripts, by their keys, which begin with `%`: `process["$%key"]` has them.
    #[schemars(skip)]
    pub settings: BTreeMap<String, Value>,
}

impl Config {
    /// Reads a file of at most 1 MiB. Scripts are looked for from the folder of the file.
    ///
    /// # Errors
    /// [`ConfigErrors`] with all that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let text = file::read(path)?;
        Self::parse(&text, path)
    }

    /// Reads the text of a configuration. `origin` is the name of the file in errors; scripts are
    /// looked for from its folder.
    ///
    /// # Errors
    /// [`ConfigErrors`] with all that is wrong with it.
    pub fn parse(text: &str, origin: &Path) -> Result<Self, ConfigErrors> {
        parse::parse(text, origin)
    }

    /// What a script alone gets: one instance of a stage named `stage`, no listener, no peers, no
    /// operator's surface, and every default.
    #[must_use]
    pub fn for_script(path: impl Into<PathBuf>) -> Self {
        Self { startup: vec![Startup::of_script(path.into())], ..Self::empty() }
    }

    /// What a test runs in: the stages, tickets, databases and limits of a configuration, without links, ports and files.
    pub(crate) fn for_tests(config: Option<&Self>) -> Self {
        let config = config.cloned().unwrap_or_else(Self::empty);
        let reload = Reload { every: std::time::Duration::ZERO, ..config.reload };
        Self {
            node: Node { listen: None, tls: None, ..config.node },
            threads: 1,
            tickets: config.tickets,
            databases: config.databases,
            limits: config.limits,
            startup: config.startup,
            reload,
            ..Self::empty()
        }
    }

    /// What an embedded node that is to be loaded has: every default, and no look at files.
    pub(crate) fn for_load() -> Self {
        let reload = Reload { every: std::time::Duration::ZERO, rollback: None };
        Self { reload, ..Self::empty() }
    }

    /// The stage that a file with tests is.
    pub(crate) fn test_stage() -> Id {
        #[allow(clippy::expect_used, reason = "the word test is an identifier")]
        "test".parse().expect("an identifier")
    }

    /// Every default, and no stage.
    fn empty() -> Self {
        Self {
            node: Node::unnamed(),
            cluster: Vec::new(),
            names: Vec::new(),
            etcd: None,
            allow: None,
            threads: threads::available(),
            route: Route::default(),
            tickets: None,
            databases: BTreeMap::new(),
            snapshot: None,
            reload: Reload::default(),
            admin: None,
            gateway: None,
            limits: Limits::default(),
            log: Log::default(),
            startup: Vec::new(),
            settings: BTreeMap::new(),
        }
    }
}
