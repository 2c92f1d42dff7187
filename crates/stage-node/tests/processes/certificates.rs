//! Encrypted nodes as real processes, with certificates as `stage-node cert` makes them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use crate::harness::{Folder, Node, address, finish, free_port, stderr, stdout};

const SCRIPT: &str = r#"
stage.waitfor("hello", function () return process.node .. " greets " .. _WAITFOR.node end)
stage.waitfor("over", function () return stage.ask("far:hello") end)
stage.waitfor("ship", function ()
    local ok, reason = pcall(stage.ask, "far:run", function () return 1 end)
    return ok, reason
end)
"#;

/// An authority, nodes and clients of it.
struct Mesh {
    folder: Folder,
}

impl Mesh {
    fn new() -> Self {
        let mesh = Self { folder: Folder::new() };
        mesh.folder.write("main.lua", SCRIPT);
        mesh.cert(&["init"]);
        mesh
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn cert(&self, args: &[&str]) -> String {
        let output = finish(&[&["cert"], args, &["--dir", &self.path("certs")]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    }

    fn config(&self, name: &str, listen: &str, stage: &str, rest: &str) -> String {
        let text = format!(
            r##"{{ "#node": {{ "name": "{name}", "listen": "{listen}",
                   "tls": {{ "cert": "certs/{name}.pem", "key": "certs/{name}.key", "ca": "certs/ca.pem" }} }},
                  "#startup": [ {{ "stage": "{stage}", "script": "main.lua" }} ] {rest} }}"##
        );
        self.folder.write(&format!("{name}.json"), &text).to_str().unwrap().to_owned()
    }

    /// Signals as a client with a certificate; what is printed, or the error.
    fn call(&self, who: &str, to: &str, signal: &str) -> Result<String, String> {
        let file = |end: &str| self.path(&format!("certs/{who}.{end}"));
        let (cert, key, ca) = (file("pem"), file("key"), self.path("certs/ca.pem"));
        let tls = ["--cert", &cert, "--key", &key, "--ca", &ca];
        let output = finish(&[&["signal", signal, "--to", to], &tls[..]].concat());
        let is_done = output.status.success();
        if is_done { Ok(stdout(&output)) } else { Err(stderr(&output)) }
    }
}

fn mode(path: &str) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn made_certificates_link_two_nodes_and_let_clients_in() {
    let mesh = Mesh::new();
    assert_eq!(mode(&mesh.path("certs/ca.key")), 0o600);
    for name in ["a", "b", "web", "guest"] {
        mesh.cert(&["node", name]);
        assert_eq!(mode(&mesh.path(&format!("certs/{name}.key"))), 0o600);
    }
    let (at_a, at_b) = (address(free_port()), address(free_port()));
    let allow =
        r##", "#allow": { "a": { "signal": ["far"], "link": true }, "web": { "signal": ["*"] } }"##;
    let b = mesh.config("b", &at_b, "far", allow);
    let cluster = format!(r##", "#cluster": ["{at_b}"]"##);
    let a = mesh.config("a", &at_a, "near", &cluster);
    let checked = finish(&["check", &a]);
    assert!(checked.status.success(), "{}", stderr(&checked));
    let _b = Node::start(&["run", "--config", &b]);
    let mut a = Node::start(&["run", "--config", &a]);
    a.wait_for_log("linked peer=b");

    assert_eq!(mesh.call("web", &at_a, "near:over").unwrap(), "\"b greets a\"\n");
    assert_eq!(mesh.call("web", &at_b, "far:hello").unwrap(), "\"b greets \"\n");
    let refused = mesh.call("web", &at_a, "near:ship").unwrap();
    assert!(refused.contains("node b does not let 'a' ship functions"), "{refused}");
    let refused = mesh.call("guest", &at_b, "far:hello").unwrap_err();
    assert!(refused.contains("#allow has no rule for 'guest'"), "{refused}");
    let output = finish(&["signal", "far:hello", "--to", &at_b]);
    assert_eq!(output.status.code(), Some(1), "a client without a certificate");
}

#[test]
fn a_renewed_certificate_is_taken_up_by_a_running_node_while_it_is_scanned() {
    let mesh = Mesh::new();
    mesh.cert(&["node", "b"]);
    mesh.cert(&["node", "web"]);
    let at_b = address(free_port());
    let config = mesh.config("b", &at_b, "far", "");
    let mut b = Node::start(&["run", "--config", &config]);
    b.wait_for_log("takes signals");
    let noise: Vec<u8> =
        (0..10_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), &noise, &[0x16, 3, 1, 0, 2, 1, 0xff], b""] {
        let mut stream = TcpStream::connect(&at_b).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let _ = stream.write_all(bytes);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    mesh.cert(&["node", "b", "--days", "2"]);
    b.wait_for_log("a new certificate is in use");
    assert!(mesh.call("web", &at_b, "far:hello").is_ok());
}

#[test]
fn a_certificate_of_another_node_or_authority_stops_the_start_with_the_reason() {
    let mesh = Mesh::new();
    mesh.cert(&["node", "b"]);
    mesh.cert(&["node", "other"]);
    let certs = Path::new(&mesh.path("certs")).to_owned();
    let config = mesh.config("b", &address(free_port()), "far", "");
    let refused = || {
        let run = finish(&["run", "--config", &config]);
        let check = finish(&["check", &config]);
        assert_eq!((run.status.code(), check.status.code()), (Some(2), Some(2)));
        (stderr(&run), stderr(&check))
    };
    fs::copy(certs.join("other.pem"), certs.join("b.pem")).unwrap();
    let (run, check) = refused();
    assert!(run.contains("KeyMismatch") || run.contains("keys may not be consistent"), "{run}");
    assert!(check.contains("#node.tls"), "{check}");
    fs::copy(certs.join("other.key"), certs.join("b.key")).unwrap();
    let (run, check) = refused();
    assert!(run.contains("the certificate is for 'other' and the node's name is 'b'"), "{run}");
    assert!(check.contains("the certificate is for 'other', the node's name is 'b'"), "{check}");
    for file in ["ca.pem", "ca.key"] {
        fs::remove_file(certs.join(file)).unwrap();
    }
    mesh.cert(&["init"]);
    let (run, _) = refused();
    assert!(run.contains("UnknownIssuer"), "{run}");
    let again = finish(&["cert", "init", "--dir", certs.to_str().unwrap()]);
    assert!(stderr(&again).contains("is there already"), "{}", stderr(&again));
}
