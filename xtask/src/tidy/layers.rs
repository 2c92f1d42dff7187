//! The layering table of docs/ARCHITECTURE.md, held against what each crate depends on.
//!
//! A crate imports crates of rows below its own, never of its own row. The row `tools` stands
//! apart: it imports no other row, and no other row imports it. What the third column names is
//! never a dependency that the crate cannot switch off.

use std::fs;

use anyhow::{Context, Result};

use super::Finding;
use crate::workspace::{Kind, Member, Workspace};

const DOCUMENT: &str = "docs/ARCHITECTURE.md";
/// The table is the one whose header starts so.
const HEADER: &str = "| Layer |";
/// The row that stands apart.
const TOOLS: &str = "tools";

pub(crate) fn check(workspace: &Workspace) -> Result<Vec<Finding>> {
    let document = fs::read_to_string(workspace.root.join(DOCUMENT))
        .with_context(|| format!("cannot read {DOCUMENT}"))?;
    Ok(findings(&rows(&document), &workspace.members))
}

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    /// Counted from the top: a crate imports from rows of higher rank.
    rank: usize,
    line: usize,
    name: String,
    crates: Vec<String>,
    keeps_out: Vec<String>,
}

fn rows(document: &str) -> Vec<Row> {
    let lines = document.lines().enumerate().skip_while(|(_, line)| !line.starts_with(HEADER));
    let body = lines.skip(2).take_while(|(_, line)| line.starts_with('|'));
    body.enumerate()
        .map(|(rank, (index, line))| {
            let mut cells = line.trim_matches('|').split('|');
            Row {
                rank,
                line: index + 1,
                name: cells.next().unwrap_or_default().trim().to_owned(),
                crates: names(cells.next()),
                keeps_out: names(cells.next()),
            }
        })
        .collect()
}

/// What stands between backquotes in a cell.
fn names(cell: Option<&str>) -> Vec<String> {
    cell.unwrap_or_default().split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn findings(rows: &[Row], members: &[Member]) -> Vec<Finding> {
    let Some(first) = rows.first() else {
        return vec![Finding::new(DOCUMENT, 1, format!("no table with the header `{HEADER}`"))];
    };
    let mut findings = Vec::new();
    for member in members {
        match row_of(&member.name, rows) {
            Some(row) => findings.extend(imports(member, row, rows)),
            None => {
                let message = format!("the layering table lacks the crate {}", member.name);
                findings.push(Finding::new(DOCUMENT, first.line, message));
            }
        }
    }
    for row in rows {
        let is_gone = |name: &&String| !members.iter().any(|member| member.name == **name);
        findings.extend(row.crates.iter().filter(is_gone).map(|name| {
            Finding::new(DOCUMENT, row.line, format!("no crate of the workspace is named {name}"))
        }));
    }
    findings
}

fn row_of<'a>(name: &str, rows: &'a [Row]) -> Option<&'a Row> {
    rows.iter().find(|row| row.crates.iter().any(|listed| listed == name))
}

/// The dependencies of a crate that its row does not allow.
fn imports(member: &Member, row: &Row, rows: &[Row]) -> Vec<Finding> {
    let manifest = member.folder.join("Cargo.toml");
    let shipped = member.dependencies.iter().filter(|dependency| dependency.kind != Kind::Dev);
    let broken = shipped.filter_map(|dependency| {
        if !dependency.optional && row.keeps_out.contains(&dependency.name) {
            return Some(format!("the layer `{}` keeps out {}", row.name, dependency.name));
        }
        let other = row_of(&dependency.name, rows)?;
        (!may_import(row, other)).then(|| {
            let (mine, theirs) = (&row.name, &other.name);
            format!("the layer `{mine}` may not import {} of `{theirs}`", dependency.name)
        })
    });
    let place = |message| format!("{message} ({DOCUMENT}:{})", row.line);
    broken.map(|message| Finding::new(&manifest, 1, place(message))).collect()
}

fn may_import(from: &Row, to: &Row) -> bool {
    if from.name == TOOLS || to.name == TOOLS {
        return from.name == to.name;
    }
    to.rank > from.rank
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    const DOCUMENT: &str = "\
# Layers

| Layer | Crates | Keeps out |
|---|---|---|
| house | `roof` | |
| rooms | `hall`, `attic` | `rain`, `snow` |
| ground | `floor` | |
| tools | `ladder`, `rung` | |

Text.
";

    fn member(name: &str, dependencies: &[(&str, Kind, bool)]) -> Member {
        Member {
            name: name.into(),
            folder: format!("crates/{name}").into(),
            dependencies: dependencies
                .iter()
                .map(|&(name, kind, optional)| Dependency { name: name.into(), kind, optional })
                .collect(),
            benches: Vec::new(),
            has_library: true,
        }
    }

    /// The findings for a workspace in which one crate has the given dependency.
    fn importing(from: &str, to: &str, kind: Kind, optional: bool) -> Vec<String> {
        let dependency = [(to, kind, optional)];
        let names = ["roof", "hall", "attic", "floor", "ladder", "rung"];
        let members = names.map(|name| member(name, if name == from { &dependency } else { &[] }));
        findings(&rows(DOCUMENT), &members).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rows_are_read_with_their_lines() {
        let rows = rows(DOCUMENT);
        assert_eq!(rows.len(), 4);
        let rooms = &rows[1];
        assert_eq!((rooms.rank, rooms.line, rooms.name.as_str()), (1, 6, "rooms"));
        assert_eq!(rooms.crates, ["hall", "attic"]);
        assert_eq!(rooms.keeps_out, ["rain", "snow"]);
    }

    #[test]
    fn a_crate_imports_from_any_row_below() {
        assert!(importing("roof", "floor", Kind::Normal, false).is_empty());
        assert!(importing("roof", "hall", Kind::Build, false).is_empty());
    }

    #[test]
    fn neither_a_neighbour_nor_a_row_above_may_be_imported() {
        assert_eq!(
            importing("hall", "attic", Kind::Normal, false),
            ["crates/hall/Cargo.toml:1: the layer `rooms` may not import attic of `rooms` \
              (docs/ARCHITECTURE.md:6)"]
        );
        assert_eq!(importing("floor", "roof", Kind::Normal, true).len(), 1);
        assert!(importing("floor", "roof", Kind::Dev, false).is_empty());
    }

    #[test]
    fn tools_and_product_do_not_import_each_other() {
        assert_eq!(importing("ladder", "floor", Kind::Normal, false).len(), 1);
        assert_eq!(importing("roof", "rung", Kind::Normal, false).len(), 1);
        assert!(importing("ladder", "rung", Kind::Normal, false).is_empty());
    }

    #[test]
    fn what_a_layer_keeps_out_may_only_come_as_an_option() {
        assert_eq!(importing("hall", "rain", Kind::Normal, false).len(), 1);
        assert!(importing("hall", "rain", Kind::Normal, true).is_empty());
        assert!(importing("floor", "rain", Kind::Normal, false).is_empty());
    }

    #[test]
    fn a_crate_without_a_row_and_a_row_without_a_crate_are_both_told() {
        let found = findings(&rows(DOCUMENT), &[member("cellar", &[])]);
        let text: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert!(text[0].contains("lacks the crate cellar"));
        assert_eq!(text.len(), 1 + 6, "{text:?}");
    }

    #[test]
    fn a_document_without_the_table_is_told() {
        assert!(findings(&rows("# Nothing"), &[])[0].to_string().contains("no table"));
    }
}
