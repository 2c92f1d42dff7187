use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use stage_gateway::Client;

use super::admin::{Token, read_token};
use super::allow::read_stage;
use super::node::{is_loopback, socket};
use super::problem::{Problem, ProblemKind};
use super::reader::{Field, Reader, Section};

pub(super) const KEYS: &[&str] =
    &["listen", "tokens", "origins", "insecure", "rate", "body_bytes", "connections", "in_flight"];

pub(super) const TOKEN_KEYS: &[&str] = &["token", "signal"];

/// Why a gateway beyond loopback needs tokens.
const EXPOSED: &str = "without tokens, whoever reaches this port can signal every stage";

/// The door for browsers and curl: HTTP with JSON, and WebSocket.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub struct Gateway {
    /// Where it listens, as "IP:PORT". Beyond this machine only with tokens.
    #[schemars(default = "address", with = "String", extend("default" = "127.0.0.1:7790"))]
    pub listen: SocketAddr,
    /// Who may come in, by a name for the log. Default: everybody but web pages, to every stage.
    #[schemars(default)]
    pub tokens: BTreeMap<String, GatewayToken>,
    /// Web pages of other origins that may come in, such as `https://game.example`. Default: none.
    #[schemars(default, with = "BTreeSet<String>", inner(regex(pattern = "^https?://[^/A-Z ]+$")))]
    pub origins: BTreeSet<String>,
    /// Allows `listen` beyond this machine without tokens.
    #[schemars(default)]
    pub insecure: bool,
    /// Signals of each client per second; as many at once after a quiet second.
    #[schemars(extend("minimum" = 1, "maximum" = 1_000_000))]
    pub rate: u32,
    /// Bytes of a body, and of a frame of a session.
    #[schemars(extend("minimum" = 1024, "maximum" = 16_777_216))]
    pub body_bytes: usize,
    /// Connections at a time; more are closed at once.
    #[schemars(extend("minimum" = 1, "maximum" = 65_536))]
    pub connections: usize,
    /// Requests at a time that have not ended; more are refused.
    #[schemars(extend("minimum" = 1, "maximum" = 65_536))]
    pub in_flight: usize,
}

/// A client of the gateway.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct GatewayToken {
    /// What it shows as bearer token: 16 to 256 visible ASCII characters.
    #[schemars(with = "String", extend("pattern" = "^[!-~]{16,256}$"))]
    pub token: Token,
    /// The stages that it may signal; "*" stands for all of them.
    pub signal: BTreeSet<String>,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            listen: address(),
            tokens: BTreeMap::new(),
            origins: BTreeSet::new(),
            insecure: false,
            rate: 100,
            body_bytes: 1 << 20,
            connections: 1024,
            in_flight: 1024,
        }
    }
}

fn address() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7790)
}

impl Gateway {
    pub(super) fn read(field: &Field<'_>, reader: &mut Reader<'_>) -> Self {
        let mut gateway = Self::default();
        let Some(section) = Section::open(field, KEYS, reader) else { return gateway };
        if let Some(tokens) = section.field("tokens") {
            gateway.tokens = read_tokens(&tokens, reader);
        }
        if let Some(origins) = section.field("origins").and_then(|origins| origins.list(reader)) {
            gateway.origins = origins.iter().filter_map(|it| read_origin(it, reader)).collect();
        }
        if let Some(insecure) = section.field("insecure") {
            gateway.insecure = insecure.flag(reader).unwrap_or_default();
        }
        let mut count = |key, range, default| {
            section.field(key).and_then(|field| field.count(range, reader)).unwrap_or(default)
        };
        gateway.rate = count("rate", 1..=1_000_000, 100).try_into().unwrap_or(gateway.rate);
        gateway.body_bytes = count("body_bytes", 1024..=16_777_216, gateway.body_bytes);
        gateway.connections = count("connections", 1..=65_536, gateway.connections);
        gateway.in_flight = count("in_flight", 1..=65_536, gateway.in_flight);
        let Some(listen) = section.field("listen") else { return gateway };
        gateway.listen = socket(&listen, reader).unwrap_or(gateway.listen);
        let is_guarded = gateway.insecure || !gateway.tokens.is_empty();
        if !is_loopback(gateway.listen) && !is_guarded {
            let kind = ProblemKind::Exposed { key: listen.path.clone(), reason: EXPOSED };
            let help = "listen on 127.0.0.1, add \"tokens\", or accept it with \"insecure\": true \
                        beside it";
            reader.record(Problem::at(listen.span(), kind).help(help));
        }
        gateway
    }

    /// Who may come in, as the gateway takes it.
    #[must_use]
    pub fn clients(&self) -> Vec<Client> {
        if self.tokens.is_empty() {
            return vec![Client { name: "anyone".into(), token: None, stages: None }];
        }
        let client = |(name, it): (&String, &GatewayToken)| Client {
            name: name.clone(),
            token: Some(it.token.secret().to_owned()),
            stages: (!it.signal.contains("*")).then(|| it.signal.clone()),
        };
        self.tokens.iter().map(client).collect()
    }
}

fn read_origin(field: &Field<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let text = field.text(reader)?;
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_plain = |c: char| c.is_ascii_graphic() && !c.is_ascii_uppercase() && c != '/';
    if host.is_some_and(|host| !host.is_empty() && host.chars().all(is_plain)) {
        return Some(text.to_owned());
    }
    let help = "write it as browsers send it: scheme and host in lower case, a port that is not \
        the scheme's own, and no path";
    field.malformed("an origin such as \"https://game.example\"", help, reader);
    None
}

fn read_tokens(field: &Field<'_>, reader: &mut Reader<'_>) -> BTreeMap<String, GatewayToken> {
    let mut tokens = BTreeMap::<String, GatewayToken>::new();
    let Some(section) = Section::of_any_keys(field, reader) else { return tokens };
    for (name, span, entry) in section.entries() {
        let Some(read) = read_client(&entry, reader) else { continue };
        if tokens.values().any(|other| other.token == read.token) {
            let what = format!("the token of \"{name}\"");
            reader.record(Problem::at(span, ProblemKind::Duplicate { what }));
        }
        tokens.insert(name.to_owned(), read);
    }
    tokens
}

fn read_client(field: &Field<'_>, reader: &mut Reader<'_>) -> Option<GatewayToken> {
    let section = Section::open(field, TOKEN_KEYS, reader)?;
    let token = section.required("token", reader);
    let signal = section.required("signal", reader);
    let stages = signal.and_then(|signal| signal.list(reader)).unwrap_or_default();
    let signal = stages.iter().filter_map(|stage| read_stage(stage, reader)).collect();
    Some(GatewayToken { token: token.and_then(|token| read_token(&token, reader))?, signal })
}
