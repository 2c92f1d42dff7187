//! The committed code is what the definitions say, and a difference is told by file and line.

#![allow(clippy::unwrap_used, reason = "a test helper that fails should stop its test")]
use std::fs;
use std::path::Path;

use xtask_codegen::{Difference, check, write};

const PROTO: &str = r#"syntax = "proto3";
package garden.v1;

service Garden {
  rpc Water(WaterRequest) returns (WaterResponse);
}

message WaterRequest {
  bytes bed = 1;
}

message WaterResponse {}
"#;

#[test]
fn the_committed_code_is_what_the_definitions_say() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let differences = check(&workspace).unwrap();
    let lines: Vec<_> = differences.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "run `cargo xtask codegen`:\n{}", lines.join("\n"));
}

#[test]
fn writing_makes_a_file_per_package_and_one_of_all_and_then_nothing_differs() {
    let workspace = workspace_with(PROTO);
    let generated = generated(workspace.path(), "garden.v1.rs");

    let missing =
        ["descriptors.bin", "garden.v1.rs"].map(|name| Difference::Missing(relative(name)));
    assert_eq!(check(workspace.path()).unwrap(), missing);
    write(workspace.path()).unwrap();

    let text = fs::read_to_string(generated).unwrap();
    assert!(text.contains("pub mod garden_client"));
    assert!(text.contains("pub mod garden_server"));
    assert!(text.contains("pub bed: ::prost::bytes::Bytes"));
    assert_eq!(check(workspace.path()).unwrap(), []);
    assert_eq!(write(workspace.path()).unwrap(), []);
}

#[test]
fn an_edited_file_is_named_with_its_first_differing_line() {
    let workspace = workspace_with(PROTO);
    write(workspace.path()).unwrap();
    let generated = generated(workspace.path(), "garden.v1.rs");
    let text = fs::read_to_string(&generated).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines[2] = "// edited by hand";
    fs::write(&generated, lines.join("\n")).unwrap();

    let expected = Difference::Changed(relative("garden.v1.rs"), 3);
    assert_eq!(check(workspace.path()).unwrap(), [expected]);
    write(workspace.path()).unwrap();
    assert_eq!(fs::read_to_string(generated).unwrap(), text);
}

#[test]
fn a_file_that_no_definition_asks_for_is_named_and_removed() {
    let workspace = workspace_with(PROTO);
    write(workspace.path()).unwrap();
    let left = generated(workspace.path(), "shed.v1.rs");
    fs::write(&left, "").unwrap();

    assert_eq!(check(workspace.path()).unwrap(), [Difference::Left(relative("shed.v1.rs"))]);
    write(workspace.path()).unwrap();
    assert!(!left.exists());
}

#[test]
fn a_definition_that_does_not_compile_is_shown() {
    let workspace = workspace_with("syntax = \"proto3\";\nmessage Bed { Flower f = 1; }\n");
    let error = check(workspace.path()).unwrap_err().to_string();
    assert!(error.contains("Flower"), "{error}");
    assert!(error.contains("garden.proto"), "{error}");
}

fn workspace_with(proto: &str) -> tempfile::TempDir {
    let workspace = tempfile::tempdir().unwrap();
    let folder = workspace.path().join("proto/garden/v1");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("garden.proto"), proto).unwrap();
    workspace
}

fn relative(name: &str) -> std::path::PathBuf {
    Path::new("crates/stage-proto/src/generated").join(name)
}

fn generated(workspace: &Path, name: &str) -> std::path::PathBuf {
    workspace.join(relative(name))
}
