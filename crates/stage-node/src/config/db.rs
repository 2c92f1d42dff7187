use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use stage_value::Id;

use super::problem::{Problem, ProblemKind, quoted};
use super::reader::{Field, Reader, Section};

pub(super) const KEYS: &[&str] =
    &["url", "connections", "waiting", "timeout_ms", "wait_ms", "rows", "bytes", "ticket"];

const MILLIS: RangeInclusive<i64> = 10..=86_400_000;

/// What `db` has of its own; a database of that name would hide it.
const TAKEN: [&str; 2] = ["open", "blob"];

/// A database that scripts know by its name in `db`.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Database {
    /// Where it is: "postgres://USER:PASSWORD@HOST/NAME", "mysql://...", "mariadb://...", "sqlite:FILE" with
    /// the file from the folder of this one, or "sqlite::memory:". "env:NAME" takes the address from that
    /// variable of the environment.
    #[schemars(with = "String")]
    pub url: DatabaseUrl,
    /// Where a relative file is looked for.
    #[schemars(skip)]
    pub folder: PathBuf,
    /// Connections of this node at a time.
    #[schemars(default, extend("minimum" = 1, "maximum" = 10_000, "default" = 8))]
    pub connections: u32,
    /// Calls that wait for a connection; more fail at once.
    #[schemars(default, extend("minimum" = 1, "maximum" = 1_000_000, "default" = 10_000))]
    pub waiting: usize,
    /// How long a statement may take, in milliseconds.
    #[schemars(rename = "timeout_ms", default, with = "u64", extend("minimum" = MILLIS.start(), "maximum" = MILLIS.end(), "default" = 5000))]
    pub timeout: Duration,
    /// How long a call waits for a connection, in milliseconds.
    #[schemars(rename = "wait_ms", default, with = "u64", extend("minimum" = MILLIS.start(), "maximum" = MILLIS.end(), "default" = 1000))]
    pub wait: Duration,
    /// Rows of a result.
    #[schemars(default, extend("minimum" = 1, "maximum" = 10_000_000, "default" = 10_000))]
    pub rows: usize,
    /// Bytes of a result.
    #[schemars(default, extend("minimum" = 1024, "maximum" = 1_073_741_824, "default" = 16_777_216))]
    pub bytes: usize,
    /// A ticket category: each open connection of any node holds a ticket of it, and for 50 ms after it was closed. So its
    /// limit is how many connections the service has open. A database that takes longer than that to end one counts it
    /// meanwhile.
    #[schemars(default, with = "String")]
    pub ticket: Option<Id>,
}

/// The address of a database, which may hold a password: neither logs nor `Debug` show it.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The address itself.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(..)")
    }
}

/// Databases by name.
pub(super) fn read(
    field: &Field<'_>,
    tickets: Option<&BTreeMap<Id, i32>>,
    reader: &mut Reader<'_>,
) -> BTreeMap<String, Database> {
    let mut databases = BTreeMap::new();
    let Some(section) = Section::of_any_keys(field, reader) else { return databases };
    for (name, span, entry) in section.entries() {
        if !stage_lua::is_variable(name) || TAKEN.contains(&name) {
            let kind = ProblemKind::Malformed {
                key: field.path.clone(),
                expected: "a name for a database",
                found: quoted(name),
            };
            let help = "letters, digits and _, as scripts write it in db.NAME; not open or blob";
            reader.record(Problem::at(span, kind).help(help));
        }
        databases.extend(read_one(&entry, tickets, reader).map(|it| (name.to_owned(), it)));
    }
    databases
}

fn read_one(
    field: &Field<'_>,
    tickets: Option<&BTreeMap<Id, i32>>,
    reader: &mut Reader<'_>,
) -> Option<Database> {
    let section = Section::open(field, KEYS, reader)?;
    let url = section.required("url", reader).and_then(|url| read_url(&url, reader));
    let mut count = |key, range, default| {
        section.field(key).and_then(|field| field.count(range, reader)).unwrap_or(default)
    };
    let connections = count("connections", 1..=10_000, 8);
    let waiting = count("waiting", 1..=1_000_000, 10_000);
    let rows = count("rows", 1..=10_000_000, 10_000);
    let bytes = count("bytes", 1024..=1_073_741_824, 16 << 20);
    let mut millis = |key, default| {
        let given = section.field(key).and_then(|field| field.millis(MILLIS, reader));
        given.unwrap_or(Duration::from_millis(default))
    };
    let (timeout, wait) = (millis("timeout_ms", 5000), millis("wait_ms", 1000));
    let ticket = section.field("ticket").and_then(|field| read_ticket(&field, tickets, reader));
    let connections = u32::try_from(connections).unwrap_or(u32::MAX);
    let folder = reader.folder.to_owned();
    Some(Database { url: url?, folder, connections, waiting, timeout, wait, rows, bytes, ticket })
}

fn read_url(field: &Field<'_>, reader: &mut Reader<'_>) -> Option<DatabaseUrl> {
    let text = field.text(reader)?;
    let address = match text.strip_prefix("env:") {
        Some(name) => match std::env::var(name) {
            Ok(address) => address,
            Err(_) => {
                field.malformed("set in the environment", "set the variable", reader);
                return None;
            }
        },
        None => text.to_owned(),
    };
    if let Some(why) = problem_of(&address, reader.folder) {
        // What was found may hold a password.
        let kind = ProblemKind::Malformed {
            key: field.path.clone(),
            expected: "the address of a database",
            found: "this".into(),
        };
        reader.record(Problem::at(field.span(), kind).help(why));
        return None;
    }
    Some(DatabaseUrl(address))
}

#[cfg(feature = "db")]
fn problem_of(address: &str, folder: &std::path::Path) -> Option<String> {
    stage_db::Config::new(address, folder).err().map(|error| error.to_string())
}

#[cfg(not(feature = "db"))]
fn problem_of(_: &str, _: &std::path::Path) -> Option<String> {
    Some("this program was built without databases, the feature `db`".into())
}

fn read_ticket(
    field: &Field<'_>,
    tickets: Option<&BTreeMap<Id, i32>>,
    reader: &mut Reader<'_>,
) -> Option<Id> {
    let category: Id = field.parsed("a category", super::node::IDENTIFIER, reader)?;
    let limit = tickets.map(|tickets| tickets.get(&category).copied());
    match limit {
        // Without #ticket its first use makes it.
        None | Some(Some(1..)) => return Some(category),
        Some(None) => {
            field.malformed("a category of #ticket", "add it there with its limit", reader);
        }
        Some(Some(_)) => field.malformed(
            "a category that queues",
            "its limit in #ticket is negative, so connections beyond it would fail at once",
            reader,
        ),
    }
    None
}
