use std::path::Path;

use jsonc_parser::errors::{ParseError, ParseErrorKind};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::admin::Admin;
use super::errors::ConfigErrors;
use super::etcd::Etcd;
use super::gateway::Gateway;
use super::limits::Limits;
use super::log::Log;
use super::node::Node;
use super::problem::{Problem, ProblemKind};
use super::reader::{Field, Reader, Section};
use super::reload::Reload;
use super::route::Route;
use super::snapshot::Snapshot;
use super::source::Source;
use super::{Config, allow, cluster, db, settings, startup, threads, ticket};

/// The sections of a file. `$schema` is for editors.
pub(super) const KEYS: &[&str] = &[
    "$schema",
    "#node",
    "#cluster",
    "#etcd",
    "#allow",
    "#threads",
    "#route",
    "#ticket",
    "#db",
    "#snapshot",
    "#reload",
    "#admin",
    "#gateway",
    "#limits",
    "#log",
    "#startup",
];

/// Comments and trailing commas, and nothing else that is not JSON.
const SYNTAX: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_trailing_commas: true,
    allow_loose_object_property_names: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

pub(super) fn parse(text: &str, origin: &Path) -> Result<Config, ConfigErrors> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = || Source::new(origin.display().to_string(), text);
    let tree = match parse_to_ast(text, &CollectOptions::default(), &SYNTAX) {
        Ok(tree) => tree,
        Err(error) => return Err(ConfigErrors::new(source(), vec![syntax(&error)], 0)),
    };
    let Some(root) = tree.value else {
        let help =
            "the least is { \"#startup\": [ { \"stage\": \"stage\", \"script\": \"main.lua\" } ] }";
        let problem = Problem::of_file(ProblemKind::Empty).help(help);
        return Err(ConfigErrors::new(source(), vec![problem], 0));
    };
    let mut reader = Reader::new(origin.parent().unwrap_or(Path::new("")));
    let config = sections(&Field::root(&root), &mut reader);
    let (problems, omitted) = reader.finish();
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(ConfigErrors::new(source(), problems, omitted)),
    }
}

fn sections(root: &Field<'_>, reader: &mut Reader<'_>) -> Option<Config> {
    let file = Section::open_or(root, KEYS, settings::is_setting, reader)?;
    let mut config = Config::empty();
    if let Some(field) = file.field("$schema") {
        field.text(reader);
    }
    if let Some(field) = file.field("#node") {
        config.node = Node::read(&field, reader);
    }
    if let Some(field) = file.field("#cluster") {
        let listed = cluster::read(&field, &config.node, reader);
        (config.cluster, config.names) = (listed.peers, listed.names);
        let is_known = config.node.ticket_coordinator.is_some() || file.field("#etcd").is_some();
        cluster::check_names(&field, &config.names, is_known, reader);
    }
    let has_tls = file.field("#node").is_some_and(|node| node.has("tls"));
    config.allow = file.field("#allow").map(|field| allow::read(&field, has_tls, reader));
    config.etcd = file.field("#etcd").and_then(|field| Etcd::read(&field, reader));
    if let Some(field) = file.field("#threads") {
        config.threads = threads::read(&field, reader);
    }
    if let Some(field) = file.field("#route") {
        config.route = Route::read(&field, reader);
    }
    config.tickets = file.field("#ticket").map(|field| ticket::read(&field, reader));
    if let Some(field) = file.field("#db") {
        config.databases = db::read(&field, config.tickets.as_ref(), reader);
    }
    config.snapshot = file.field("#snapshot").and_then(|field| Snapshot::read(&field, reader));
    if let Some(field) = file.field("#reload") {
        config.reload = Reload::read(&field, reader).unwrap_or_default();
    }
    config.admin = file.field("#admin").map(|field| Admin::read(&field, reader));
    config.gateway = file.field("#gateway").map(|field| Gateway::read(&field, reader));
    if let Some(field) = file.field("#limits") {
        config.limits = Limits::read(&field, reader);
    }
    if let Some(field) = file.field("#log") {
        config.log = Log::read(&field, reader);
    }
    for (key, _, field) in file.entries().filter(|(key, ..)| settings::is_setting(key)) {
        if let Some(value) = settings::read(&field, reader) {
            config.settings.insert(key.to_owned(), value);
        }
    }
    if let Some(field) = file.required("#startup", reader) {
        config.startup = startup::read(&field, reader);
    }
    Some(config)
}

fn syntax(error: &ParseError) -> Problem {
    let help = match error.kind() {
        ParseErrorKind::SingleQuotedStringsNotAllowed => "strings stand in double quotes",
        ParseErrorKind::ExpectedStringObjectProperty | ParseErrorKind::UnexpectedWord => {
            "keys and strings stand in double quotes"
        }
        ParseErrorKind::ExpectedComma => "a comma is missing after this",
        ParseErrorKind::UnterminatedObject => "the `{` that opens here has no `}`",
        ParseErrorKind::UnterminatedArray => "the `[` that opens here has no `]`",
        _ => "JSON with comments and trailing commas is read, and nothing beyond",
    };
    let range = error.range();
    let mut what = error.kind().to_string();
    if let Some(first) = what.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    Problem::at(range.start..range.end, ProblemKind::Syntax(what)).help(help)
}
