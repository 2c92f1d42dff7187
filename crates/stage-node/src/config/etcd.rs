use std::ops::RangeInclusive;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::cluster::HostPort;
use super::problem::{Problem, ProblemKind};
use super::reader::{Field, Reader, Section};
use stage_ticket::Shards;

pub(super) const KEYS: &[&str] = &["endpoints", "prefix", "authority_ms", "ticket_shards"];

const AUTHORITY: RangeInclusive<i64> = 1000..=60_000;
const TICKET_SHARDS: RangeInclusive<i64> = 1..=Shards::MOST as i64;

/// The etcd that the nodes of a service share.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Etcd {
    /// Its members, as "HOST:PORT".
    #[schemars(with = "Vec<HostPort>", length(min = 1))]
    pub endpoints: Vec<HostPort>,
    /// Where the service's keys are: nodes with one prefix are one service.
    #[schemars(default = "prefix", schema_with = "prefix_schema")]
    pub prefix: String,
    /// For how long the node that counts tickets may go on without writing to etcd, in milliseconds: another
    /// node takes over that long after its death.
    #[schemars(rename = "authority_ms", default = "authority_ms", with = "u64", extend("minimum" = AUTHORITY.start(), "maximum" = AUTHORITY.end()))]
    pub authority: Duration,
    /// Over how many nodes the counting of tickets is spread: each category is counted by one of them.
    #[schemars(default = "ticket_shards", with = "u32", extend("minimum" = TICKET_SHARDS.start(), "maximum" = TICKET_SHARDS.end()))]
    pub ticket_shards: Shards,
}

impl Etcd {
    pub(super) fn read(field: &Field<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let section = Section::open(field, KEYS, reader)?;
        let endpoints = section.required("endpoints", reader)?;
        let listed = read_endpoints(&endpoints, reader);
        let prefix = match section.field("prefix") {
            Some(field) => read_prefix(&field, reader)?,
            None => prefix(),
        };
        let authority = match section.field("authority_ms") {
            Some(field) => field.millis(AUTHORITY, reader)?,
            None => authority(),
        };
        let ticket_shards = match section.field("ticket_shards") {
            Some(field) => Shards::try_new(field.count(TICKET_SHARDS, reader)? as u32).ok()?,
            None => Shards::ONE,
        };
        Some(Self { endpoints: listed, prefix, authority, ticket_shards })
    }
}

fn read_endpoints(field: &Field<'_>, reader: &mut Reader<'_>) -> Vec<HostPort> {
    let help = "a host and a port, such as 127.0.0.1:2379";
    let Some(elements) = field.list(reader) else { return Vec::new() };
    if elements.is_empty() {
        field.malformed("at least one member of etcd", help, reader);
    }
    let mut endpoints = Vec::new();
    for element in elements {
        let Some(endpoint) = element.parsed("a member of etcd", help, reader) else { continue };
        if endpoints.contains(&endpoint) {
            let what = format!("endpoint \"{endpoint}\"");
            reader.record(Problem::at(element.span(), ProblemKind::Duplicate { what }));
        } else {
            endpoints.push(endpoint);
        }
    }
    endpoints
}

fn read_prefix(field: &Field<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let text = field.text(reader)?.trim_end_matches('/');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    if (2..=200).contains(&text.len()) && text.starts_with('/') && text.chars().all(is_plain) {
        return Some(text.to_owned());
    }
    let help = "such as /game or /game/eu: letters, digits, `/`, `-`, `_` and `.`";
    field.malformed("a prefix of keys that starts with `/`", help, reader);
    None
}

fn authority() -> Duration {
    Duration::from_millis(authority_ms())
}

fn authority_ms() -> u64 {
    3000
}

fn ticket_shards() -> u32 {
    Shards::ONE.count()
}

fn prefix() -> String {
    "/stage".to_owned()
}

fn prefix_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^/[A-Za-z0-9/_.-]{1,199}$" })
}
