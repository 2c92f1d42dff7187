use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use stage_signal::{Policy, Rule};

use super::node::IDENTIFIER;
use super::problem::{Problem, ProblemKind, quoted};
use super::reader::{Field, Reader, Section};

pub(super) const KEYS: &[&str] = &["signal", "functions", "link"];

/// Why rules without certificates are refused.
const UNKNOWN: &str = "without \"#node.tls\" nobody is asked who they are, so no rule would hold";

/// The most bytes of a name in a certificate.
const NAME_BYTES: usize = 253;

/// What the holder of a certificate may do on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Allow {
    /// The stages of this node that it may signal; "*" stands for all of them.
    #[schemars(default)]
    pub signal: BTreeSet<String>,
    /// Whether functions may be among what it sends; they run here, in a sandbox.
    #[schemars(default)]
    pub functions: bool,
    /// Whether it may be a node of the mesh: link with this one, carry stages, share tickets.
    #[schemars(default)]
    pub link: bool,
}

impl Allow {
    fn read(field: &Field<'_>, reader: &mut Reader<'_>) -> Self {
        let mut allow = Self::default();
        let Some(section) = Section::open(field, KEYS, reader) else { return allow };
        if let Some(stages) = section.field("signal") {
            let stages = stages.list(reader).unwrap_or_default();
            allow.signal = stages.iter().filter_map(|stage| read_stage(stage, reader)).collect();
        }
        if let Some(functions) = section.field("functions") {
            allow.functions = functions.flag(reader).unwrap_or_default();
        }
        if let Some(link) = section.field("link") {
            allow.link = link.flag(reader).unwrap_or_default();
        }
        allow
    }

    fn rule(&self) -> Rule {
        let stages = self.signal.iter().map(|stage| stage.as_str().into()).collect();
        let is_all = self.signal.contains("*");
        Rule { stages: (!is_all).then_some(stages), functions: self.functions, link: self.link }
    }
}

/// The rules as the links take them.
pub(crate) fn policy(rules: &BTreeMap<String, Allow>) -> Policy {
    rules.iter().fold(Policy::default(), |policy, (who, allow)| policy.allow(who, allow.rule()))
}

pub(super) fn read(
    field: &Field<'_>,
    has_tls: bool,
    reader: &mut Reader<'_>,
) -> BTreeMap<String, Allow> {
    let mut rules = BTreeMap::new();
    let Some(section) = Section::of_any_keys(field, reader) else { return rules };
    if !has_tls {
        let kind = ProblemKind::Exposed { key: field.path.clone(), reason: UNKNOWN };
        let help = "give the node a certificate with \"tls\" in \"#node\"";
        reader.record(Problem::at(field.span(), kind).help(help));
    }
    for (who, span, rule) in section.entries() {
        if is_name(who) {
            rules.insert(who.to_owned(), Allow::read(&rule, reader));
        } else {
            let (key, found) = (field.path.clone(), quoted(who));
            let kind = ProblemKind::Malformed { key, expected: "a name in certificates", found };
            let help = "a DNS name, or the start of one and a final `*`: `web`, `game-*`, `*`";
            reader.record(Problem::at(span, kind).help(help));
        }
    }
    rules
}

fn is_name(who: &str) -> bool {
    let name = who.strip_suffix('*').unwrap_or(who);
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !who.is_empty() && name.len() <= NAME_BYTES && name.chars().all(is_part)
}

pub(super) fn read_stage(field: &Field<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let text = field.text(reader)?;
    if text == "*" || text.parse::<stage_value::Id>().is_ok() {
        return Some(text.to_owned());
    }
    field.malformed("a stage's name or \"*\"", IDENTIFIER, reader);
    None
}
