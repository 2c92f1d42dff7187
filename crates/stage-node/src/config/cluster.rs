use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::node::Node;
use super::problem::{Problem, ProblemKind, quoted};
use super::reader::{Field, Reader};

/// A host and a port to connect to: `127.0.0.1:7701`, `[::1]:7701`, `node-b:7701`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    host: String,
    port: u16,
}

/// Text that is no host and port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a host and a port from 1 to 65535 are expected, such as 127.0.0.1:7701 or [::1]:7701")]
#[non_exhaustive]
pub struct HostPortError;

/// The most bytes of a host name, as in DNS.
const HOST_BYTES: usize = 253;

impl HostPort {
    /// The host: a name or an IP address; an IPv6 address is without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, not 0.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let (host, port) = text.rsplit_once(':').ok_or(HostPortError)?;
        let is_name_character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let valid = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(ip) => ip.parse::<Ipv6Addr>().is_ok(),
            None => (1..=HOST_BYTES).contains(&host.len()) && host.chars().all(is_name_character),
        };
        let digits = port.chars().all(|c| c.is_ascii_digit());
        match port.parse() {
            Ok(port) if valid && digits && port > 0 => Ok(Self { host: host.to_lowercase(), port }),
            _ => Err(HostPortError),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl JsonSchema for HostPort {
    fn schema_name() -> Cow<'static, str> {
        "HostPort".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$",
            "examples": ["127.0.0.1:7702", "[::1]:7702", "node-b:7701"],
        })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// What stands before a name that is many nodes.
const MANY: &str = "dns:";

/// What `#cluster` lists: single nodes without this one, and names that stand for many.
#[derive(Default)]
pub(super) struct Listed {
    pub(super) peers: Vec<HostPort>,
    pub(super) names: Vec<HostPort>,
}

pub(super) fn read(field: &Field<'_>, node: &Node, reader: &mut Reader<'_>) -> Listed {
    let mut seen = BTreeSet::new();
    let mut listed = Listed::default();
    for element in field.list(reader).unwrap_or_default() {
        let Some(text) = element.text(reader) else { continue };
        let name = text.strip_prefix(MANY);
        let Ok(peer) = name.unwrap_or(text).parse::<HostPort>() else {
            let help = "a host and a port, such as 127.0.0.1:7702, [::1]:7702 or node-b:7701, or \
                        dns:nodes:7701 for all that a name resolves to";
            element.malformed("a peer", help, reader);
            continue;
        };
        if !seen.insert((name.is_some(), peer.clone())) {
            let text = format!("{}{peer}", name.map_or("", |_| MANY));
            let what = format!("peer {}", quoted(&text));
            reader.record(Problem::at(element.span(), ProblemKind::Duplicate { what }));
        } else if name.is_some() {
            listed.names.push(peer);
        } else if !node.is_at(&peer) {
            listed.peers.push(peer);
        }
    }
    listed
}

/// Nodes that find each other by a name have no common list, from which they could see who counts
/// the tickets.
pub(super) fn check_names(
    field: &Field<'_>,
    names: &[HostPort],
    is_coordinator_known: bool,
    reader: &mut Reader<'_>,
) {
    if names.is_empty() || is_coordinator_known {
        return;
    }
    let section = format!("`#node`, with names in `{}`,", field.path);
    let kind = ProblemKind::MissingKey { key: "ticket_coordinator", section };
    let help = "a name does not say who counts the tickets: say it, or let `#etcd` choose";
    reader.record(Problem::at(field.span(), kind).help(help));
}

/// The schema of the list.
pub(super) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {
            "type": "string",
            "pattern": r"^(dns:)?([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$",
            "examples": ["127.0.0.1:7702", "[::1]:7702", "node-b:7701", "dns:nodes:7701"],
        },
    })
}
