//! A typed walk over the syntax tree that records every problem instead of stopping at the first.

use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use jsonc_parser::ast::{Object, Value};
use jsonc_parser::common::Ranged;

use super::problem::{Problem, ProblemKind, quoted};

/// The most problems that are kept; more are counted.
const KEPT: usize = 64;

/// What was found wrong so far, and where relative paths start.
pub(super) struct Reader<'a> {
    pub(super) folder: &'a Path,
    problems: Vec<Problem>,
    omitted: usize,
}

/// An object whose keys are known.
pub(super) struct Section<'a> {
    path: String,
    object: &'a Object<'a>,
}

/// A value with the path that leads to it.
pub(super) struct Field<'a> {
    pub(super) path: String,
    value: &'a Value<'a>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(folder: &'a Path) -> Self {
        Self { folder, problems: Vec::new(), omitted: 0 }
    }

    pub(super) fn record(&mut self, problem: Problem) {
        if self.problems.len() < KEPT {
            self.problems.push(problem);
        } else {
            self.omitted += 1;
        }
    }

    /// The problems in the order of the file, and how many more there were.
    pub(super) fn finish(mut self) -> (Vec<Problem>, usize) {
        self.problems.sort_by_key(|problem| problem.span.as_ref().map_or(0, |span| span.start));
        (self.problems, self.omitted)
    }
}

impl<'a> Section<'a> {
    /// Opens an object of which all keys are known, and records those that are not, or are twice.
    pub(super) fn open(
        field: &Field<'a>,
        keys: &[&'static str],
        reader: &mut Reader<'_>,
    ) -> Option<Self> {
        Self::open_or(field, keys, |_| false, reader)
    }

    /// The same where the author may choose further keys, which `is_free` knows.
    pub(super) fn open_or(
        field: &Field<'a>,
        keys: &[&'static str],
        is_free: impl Fn(&str) -> bool,
        reader: &mut Reader<'_>,
    ) -> Option<Self> {
        let section = Self::of_any_keys(field, reader)?;
        for property in &section.object.properties {
            let name = property.name.as_str();
            if !keys.contains(&name) && !is_free(name) {
                let kind = ProblemKind::UnknownKey { key: quoted(name), section: section.name() };
                let span = span_of(property.name.range());
                reader.record(Problem::at(span, kind).help(nearest_key(name, keys)));
            }
        }
        Some(section)
    }

    /// Opens an object whose keys the author chooses.
    pub(super) fn of_any_keys(field: &Field<'a>, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Object(object) = field.value else {
            field.wrong_type("an object", reader);
            return None;
        };
        let section = Self { path: field.path.clone(), object };
        let mut seen = std::collections::BTreeSet::new();
        for property in &object.properties {
            if !seen.insert(property.name.as_str()) {
                let what = format!("{} in {}", quoted(property.name.as_str()), section.name());
                let span = span_of(property.name.range());
                reader.record(Problem::at(span, ProblemKind::Duplicate { what }));
            }
        }
        Some(section)
    }

    /// The value of a key.
    pub(super) fn field(&self, key: &'static str) -> Option<Field<'a>> {
        let property = self.object.properties.iter().find(|p| p.name.as_str() == key)?;
        Some(Field { path: self.path_of(key), value: &property.value })
    }

    /// The value of a key that must be there.
    pub(super) fn required(&self, key: &'static str, reader: &mut Reader<'_>) -> Option<Field<'a>> {
        let field = self.field(key);
        if field.is_none() {
            let kind = ProblemKind::MissingKey { key, section: self.name() };
            let start = self.object.range.start;
            reader.record(Problem::at(start..start + 1, kind));
        }
        field
    }

    /// All keys with their places, and their values.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Range<usize>, Field<'a>)> {
        let path = self.path.clone();
        self.object.properties.iter().map(move |property| {
            let name = property.name.as_str();
            let shown: String = name.chars().take(40).flat_map(char::escape_debug).collect();
            let field = Field { path: join(&path, &shown), value: &property.value };
            (name, span_of(property.name.range()), field)
        })
    }

    fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    fn name(&self) -> String {
        if self.path.is_empty() { "the file".into() } else { format!("`{}`", self.path) }
    }
}

impl<'a> Field<'a> {
    /// The value as it was parsed.
    pub(super) fn value(&self) -> &'a Value<'a> {
        self.value
    }

    /// The value of the whole file.
    pub(super) fn root(value: &'a Value<'a>) -> Self {
        Self { path: String::new(), value }
    }

    pub(super) fn span(&self) -> Range<usize> {
        span_of(self.value.range())
    }

    /// The text of a number, as it is written.
    pub(super) fn number(&self) -> Option<&'a str> {
        self.value.as_number_lit().map(|literal| literal.value)
    }

    /// Whether it is the word `false`.
    pub(super) fn is_false(&self) -> bool {
        self.value.as_boolean_lit().is_some_and(|literal| !literal.value)
    }

    /// Whether it is an object with this key.
    pub(super) fn has(&self, key: &str) -> bool {
        let object = self.value.as_object();
        object.is_some_and(|object| object.properties.iter().any(|p| p.name.as_str() == key))
    }

    pub(super) fn is_object(&self) -> bool {
        self.value.as_object().is_some()
    }

    pub(super) fn text(&self, reader: &mut Reader<'_>) -> Option<&'a str> {
        let Value::StringLit(literal) = self.value else {
            self.wrong_type("a string", reader);
            return None;
        };
        Some(literal.value.as_ref())
    }

    pub(super) fn flag(&self, reader: &mut Reader<'_>) -> Option<bool> {
        let Value::BooleanLit(literal) = self.value else {
            self.wrong_type("true or false", reader);
            return None;
        };
        Some(literal.value)
    }

    pub(super) fn list(&self, reader: &mut Reader<'_>) -> Option<Vec<Field<'a>>> {
        let Value::Array(array) = self.value else {
            self.wrong_type("a list", reader);
            return None;
        };
        let element = |(index, value)| Field { path: format!("{}[{index}]", self.path), value };
        Some(array.elements.iter().enumerate().map(element).collect())
    }

    /// A whole number of a range. As in JSON Schema, `1.0` and `1e3` are whole.
    pub(super) fn integer(
        &self,
        range: RangeInclusive<i64>,
        reader: &mut Reader<'_>,
    ) -> Option<i64> {
        let Some(literal) = self.number() else {
            self.wrong_type("an integer", reader);
            return None;
        };
        let value = literal.parse().ok().or_else(|| whole(literal));
        if let Some(value) = value.filter(|value| range.contains(value)) {
            return Some(value);
        }
        let range = format!("an integer from {} to {}", range.start(), range.end());
        self.out_of_range(range, literal, reader);
        None
    }

    pub(super) fn count(
        &self,
        range: RangeInclusive<i64>,
        reader: &mut Reader<'_>,
    ) -> Option<usize> {
        self.integer(range, reader).and_then(|value| usize::try_from(value).ok())
    }

    pub(super) fn millis(
        &self,
        range: RangeInclusive<i64>,
        reader: &mut Reader<'_>,
    ) -> Option<Duration> {
        let value = self.integer(range, reader)?;
        u64::try_from(value).ok().map(Duration::from_millis)
    }

    /// A text of a form of its own; `help` tells the form.
    pub(super) fn parsed<T: FromStr>(
        &self,
        expected: &'static str,
        help: &str,
        reader: &mut Reader<'_>,
    ) -> Option<T> {
        let text = self.text(reader)?;
        let value = text.parse().ok();
        if value.is_none() {
            self.malformed(expected, help, reader);
        }
        value
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(
        &self,
        words: &[(&'static str, T)],
        reader: &mut Reader<'_>,
    ) -> Option<T> {
        let text = self.text(reader)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.malformed("a known word", &suggestion(text, &words, "known words"), reader);
        None
    }

    pub(super) fn malformed(&self, expected: &'static str, help: &str, reader: &mut Reader<'_>) {
        let found = self.value.as_string_lit().map_or_else(String::new, |text| quoted(&text.value));
        let kind = ProblemKind::Malformed { key: self.path.clone(), expected, found };
        reader.record(Problem::at(self.span(), kind).help(help));
    }

    pub(super) fn out_of_range(&self, range: String, found: &str, reader: &mut Reader<'_>) {
        let found = found.chars().take(40).collect();
        let kind = ProblemKind::OutOfRange { key: self.path.clone(), range, found };
        reader.record(Problem::at(self.span(), kind));
    }

    pub(super) fn wrong_type(&self, expected: &'static str, reader: &mut Reader<'_>) {
        let (key, found) = (self.path.clone(), type_of(self.value));
        let kind = match key.is_empty() {
            true => ProblemKind::Empty,
            false => ProblemKind::WrongType { key, expected, found },
        };
        reader.record(Problem::at(self.span(), kind));
    }
}

/// The whole number that a literal with a point or an exponent stands for, if it is one.
fn whole(literal: &str) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let value: f64 = literal.parse().ok()?;
    #[allow(clippy::cast_possible_truncation, reason = "whole and within 53 bits")]
    (value.fract() == 0.0 && value.abs() <= EXACT).then_some(value as i64)
}

fn nearest_key(name: &str, keys: &[&'static str]) -> String {
    suggestion(name, keys, "known keys")
}

/// The nearest word, or all of them if none is near.
pub(super) fn suggestion(name: &str, words: &[&str], all: &str) -> String {
    /// Comparing takes time in the product of both lengths.
    const COMPARED: usize = 64;
    let plain = |word: &str| word.trim_start_matches('#').to_lowercase();
    let wanted = plain(name);
    let near = words
        .iter()
        .filter(|_| wanted.len() <= COMPARED)
        .map(|word| (strsim::damerau_levenshtein(&wanted, &plain(word)), word))
        .filter(|(distance, word)| *distance <= word.len().div_ceil(3))
        .min_by_key(|(distance, _)| *distance);
    match near {
        Some((_, word)) => format!("did you mean `{word}`?"),
        None => format!("{all}: {}", Listed(words)),
    }
}

/// Words with commas between.
struct Listed<'a>(&'a [&'a str]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}`{word}`")?;
        }
        Ok(())
    }
}

fn type_of(value: &Value<'_>) -> &'static str {
    match value {
        Value::StringLit(_) => "a string",
        Value::NumberLit(_) => "a number",
        Value::BooleanLit(literal) if literal.value => "true",
        Value::BooleanLit(_) => "false",
        Value::Object(_) => "an object",
        Value::Array(_) => "a list",
        Value::NullKeyword(_) => "null",
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn span_of(range: jsonc_parser::common::Range) -> Range<usize> {
    range.start..range.end
}
