//! The example clients in other languages, against a real node.

use std::path::Path;
use std::process::Command;

use crate::harness::Node;

/// The interpreter that Debian's packages are for.
const PYTHON: &str = "/usr/bin/python3";

const INSTALL: &str = "apt-get install python3-grpcio python3-protobuf protobuf-compiler";

#[test]
fn the_python_client_signals_a_stage_and_is_signalled_in_its_session() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/clients/python");
    let (_node, to, _) = Node::serve(&folder.join("main.lua"));
    let output = Command::new(PYTHON)
        .arg(folder.join("example.py"))
        .arg(&to)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap_or_else(|error| panic!("{PYTHON}: {error}; install it with: {INSTALL}"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\nit needs: {INSTALL}");
    let expected = "['hello kim', 7]\nREASON_NO_HANDLER\n999000\n('joined', ['lee', [1, 2.5]])\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{told}");
}
