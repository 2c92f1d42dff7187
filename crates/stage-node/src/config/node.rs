use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use stage_value::Id;

use super::cluster::HostPort;
use super::problem::{Problem, ProblemKind};
use super::reader::{Field, Reader, Section};
use super::tls::Tls;

pub(super) const KEYS: &[&str] =
    &["name", "listen", "advertise", "tls", "insecure", "group", "ticket_coordinator"];

/// What an identifier is, as a help line.
pub(super) const IDENTIFIER: &str =
    "letters, digits, `_`, `-` and `$` make an identifier, at most 128 bytes";

/// Why a listener that is not on loopback is refused.
pub(super) const EXPOSED: &str =
    "without a certificate, whoever reaches this port could run code here";

/// Who a node is and where other nodes reach it.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Node {
    /// The node's name, unique among the nodes. Default: host name and process id.
    #[schemars(default = "unnamed", with = "String", extend("pattern" = ID_PATTERN))]
    pub name: Id,
    /// Where other nodes and outside clients connect, as "IP:PORT". Default: nowhere.
    #[schemars(default, with = "String")]
    pub listen: Option<SocketAddr>,
    /// Where the others reach this node, as "HOST:PORT", if that is not `listen`.
    #[schemars(default, with = "HostPort")]
    pub advertise: Option<HostPort>,
    /// The node's certificate. With it every link is encrypted and both sides know who the other is.
    #[schemars(default, with = "Tls")]
    pub tls: Option<Tls>,
    /// Allows `listen` beyond this machine without a certificate, although nobody is asked who they are.
    #[schemars(default)]
    pub insecure: bool,
    /// Nodes of one group are reached by addresses that start with `=`. Default: the host name.
    #[schemars(default = "host", with = "String", extend("pattern" = ID_PATTERN))]
    pub group: Id,
    /// The node that counts the tickets of all, as "HOST:PORT"; the same on every node. Default: the one of
    /// the lowest address among `#cluster` and this node.
    #[schemars(default, with = "HostPort")]
    pub ticket_coordinator: Option<HostPort>,
}

/// An identifier as a regular expression of JSON Schema.
pub(super) const ID_PATTERN: &str = r"^[\p{Alphabetic}\p{N}_$-]{1,128}$";

impl Node {
    pub(super) fn unnamed() -> Self {
        Self {
            name: unnamed(),
            listen: None,
            advertise: None,
            tls: None,
            insecure: false,
            group: host(),
            ticket_coordinator: None,
        }
    }

    /// Where others reach the node whose listener is at `bound`.
    pub(crate) fn address(&self, bound: Option<SocketAddr>) -> Option<String> {
        let advertised = self.advertise.as_ref().map(ToString::to_string);
        advertised.or_else(|| bound.map(|bound| bound.to_string()))
    }

    /// Whether this address is how the node says it is reached.
    pub(super) fn is_at(&self, address: &HostPort) -> bool {
        let listens = self.listen.is_some_and(|listen| address.to_string().parse() == Ok(listen));
        listens || self.advertise.as_ref() == Some(address)
    }

    pub(super) fn read(field: &Field<'_>, reader: &mut Reader<'_>) -> Self {
        let mut node = Self::unnamed();
        let Some(section) = Section::open(field, KEYS, reader) else { return node };
        if let Some(name) = section.field("name") {
            node.name = name.parsed("an identifier", IDENTIFIER, reader).unwrap_or(node.name);
        }
        if let Some(group) = section.field("group") {
            node.group = group.parsed("an identifier", IDENTIFIER, reader).unwrap_or(node.group);
        }
        if let Some(insecure) = section.field("insecure") {
            node.insecure = insecure.flag(reader).unwrap_or_default();
        }
        let mut place = |key, what| {
            let help = "a host and a port, such as 10.0.0.5:7701 or node-a:7701";
            section.field(key).and_then(|field| field.parsed(what, help, reader))
        };
        node.advertise = place("advertise", "an address of this node");
        node.ticket_coordinator = place("ticket_coordinator", "an address of a node");
        let tls = section.field("tls");
        node.tls = tls.as_ref().and_then(|field| Tls::read(field, reader));
        let Some(listen) = section.field("listen") else { return node };
        node.listen = socket(&listen, reader);
        let is_guarded = node.insecure || tls.is_some();
        if node.listen.is_some_and(|address| !is_loopback(address)) && !is_guarded {
            let kind = ProblemKind::Exposed { key: listen.path.clone(), reason: EXPOSED };
            let help = "listen on 127.0.0.1, give it a certificate with \"tls\", or accept it with \
                        \"insecure\": true beside it";
            reader.record(Problem::at(listen.span(), kind).help(help));
        }
        node
    }
}

/// A listener's address.
pub(super) fn socket(field: &Field<'_>, reader: &mut Reader<'_>) -> Option<SocketAddr> {
    let help = "an IP address and a port, such as 127.0.0.1:7701 or [::1]:7701";
    field.parsed("an address to listen on", help, reader)
}

/// Whether only this machine reaches an address.
pub(super) fn is_loopback(address: SocketAddr) -> bool {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback(),
    }
}

/// Host name and process id.
fn unnamed() -> Id {
    identifier(&format!("{}-{}", host(), std::process::id()))
}

/// The host name, with the characters replaced that identifiers do not have.
fn host() -> Id {
    let host = gethostname::gethostname();
    let name = host.to_string_lossy();
    let name: String =
        name.chars().take(64).map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    identifier(if name.is_empty() { "localhost" } else { &name })
}

fn identifier(text: &str) -> Id {
    #[allow(clippy::expect_used, reason = "letters, digits and `-`, one to 96 of them, are an Id")]
    text.parse().expect("an identifier")
}
