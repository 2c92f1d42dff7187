//! Requests of scripts to a real server that shows a certificate.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use crate::harness::{Folder, Node, finish, stderr};
use crate::operator::get;

/// Serves one line over TLS, and at any path but `/` a redirect away from TLS; says which port it has.
const SERVER: &str = r#"
import http.server, ssl, sys
class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path != "/":
            self.send_response(302)
            self.send_header("location", "http://" + self.headers["host"])
            self.send_header("content-length", "0")
            return self.end_headers()
        self.send_response(200)
        self.send_header("content-length", "5")
        self.end_headers()
        self.wfile.write(b"hello")
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// A server with a certificate of `certs`, killed when dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(certs: &str, name: &str) -> Self {
        let files = [format!("{certs}/{name}.pem"), format!("{certs}/{name}.key")];
        let child = Command::new("/usr/bin/python3")
            .args(["-c", SERVER])
            .args(files)
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            panic!("this test needs python3: sudo apt-get install python3")
        };
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { child, port: port.trim().parse().unwrap() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_trusted_certificate_of_the_right_name_is_taken_and_any_other_is_refused() {
    let folder = Folder::new();
    let made = |authority: &str, args: &[&str]| {
        let dir = folder.path().join(authority).to_str().unwrap().to_owned();
        let output = finish(&[&["cert"], args, &["--dir", &dir]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        dir
    };
    let trusted = made("trusted", &["init"]);
    made("trusted", &["node", "here", "--host", "localhost"]);
    made("trusted", &["node", "elsewhere", "--host", "example.com"]);
    let foreign = made("foreign", &["init"]);
    made("foreign", &["node", "here", "--host", "localhost"]);
    let here = Server::start(&trusted, "here");
    let elsewhere = Server::start(&trusted, "elsewhere");
    let stranger = Server::start(&foreign, "here");
    let script = format!(
        r#"
        local function get(port, path)
            local ok, answer = pcall(http.get, "https://localhost:" .. port .. (path or "/"))
            if ok then return answer.status .. " " .. answer.body end
            if path then return answer.kind, answer.message end
            return answer.kind
        end
        print("TRUSTED", get({0}))
        print("AWAY FROM TLS", get({0}, "/away"))
        print("WRONG NAME", get({1}))
        print("WRONG AUTHORITY", get({2}))
        "#,
        here.port, elsewhere.port, stranger.port,
    );
    let script = folder.write("main.lua", &script);
    let authority = format!("{trusted}/ca.pem");
    let mut node = Node::start_with(
        &["run", script.to_str().unwrap(), "--for", "20s"],
        &[("SSL_CERT_FILE", &authority)],
    );
    assert_eq!(node.wait_for("TRUSTED"), "TRUSTED\t200 hello");
    assert_eq!(
        node.wait_for("AWAY FROM TLS"),
        "AWAY FROM TLS\tredirect\ta redirect is not followed: it leads from https to http"
    );
    assert_eq!(node.wait_for("WRONG NAME"), "WRONG NAME\ttls");
    assert_eq!(node.wait_for("WRONG AUTHORITY"), "WRONG AUTHORITY\ttls");
}

#[test]
fn a_machine_without_authorities_is_told_of_where_a_server_is_not_trusted() {
    let folder = Folder::new();
    let dir = folder.path().to_str().unwrap();
    assert!(finish(&["cert", "init", "--dir", dir]).status.success());
    assert!(
        finish(&["cert", "node", "here", "--host", "localhost", "--dir", dir]).status.success()
    );
    let server = Server::start(dir, "here");
    let script = format!(
        r#"
        local ok, e = pcall(http.get, "https://localhost:{}/")
        print("TOLD", ok, e.kind, e.message)
        "#,
        server.port
    );
    let script = folder.write("main.lua", &script);
    std::fs::create_dir(folder.path().join("none")).unwrap();
    let empty = folder.write("none/empty.pem", "");
    let mut node = Node::start_with(
        &["run", script.to_str().unwrap(), "--for", "20s"],
        &[
            ("SSL_CERT_FILE", empty.to_str().unwrap()),
            ("SSL_CERT_DIR", empty.parent().unwrap().to_str().unwrap()),
        ],
    );
    let told = node.wait_for("TOLD");
    assert!(
        told.starts_with("TOLD\tfalse\ttls\tthe server's certificate is not trusted"),
        "{told}"
    );
    assert!(told.contains("no certificate authorities were found on this machine"), "{told}");
    assert!(told.contains("ca-certificates"), "{told}");
}

#[test]
fn the_state_and_the_metrics_tell_what_becomes_of_requests() {
    // Connections are taken for it, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let script = format!(
        r#"
        stage.waitfor("main", function()
            pcall(http.get, "ftp://example.com")
            pcall(http.get, "http://127.0.0.1:1/")
            for _ = 1, 2 do pcall(http.get, "http://{address}/", {{ timeout = 0.05 }}) end
            http.get("http://{address}/", {{ timeout = 60 }})
        end)
        stage.signal("main")
        "#
    );
    let folder = Folder::new();
    let (_node, _, admin) = Node::serve(&folder.write("main.lua", &script));
    let http = loop {
        let (_, body) = get(&admin, "/api/state", "");
        let state: serde_json::Value = serde_json::from_str(&body).unwrap();
        if state["http"]["under_way"] == 1 && state["http"]["ended"] == 3 {
            break state["http"].clone();
        }
    };
    assert_eq!(http["limit"], 1024);
    let failed = &http["failed"];
    let kinds = ["url", "connect", "timeout", "busy"].map(|kind| failed[kind].as_u64().unwrap());
    assert_eq!(kinds, [1, 1, 2, 0], "{http}");
    let (_, metrics) = get(&admin, "/metrics", "");
    for line in [
        "stage_http_under_way 1.0",
        "stage_http_limit 1024.0",
        "stage_http_ended_total 3",
        "stage_http_failed_total{kind=\"timeout\"} 2",
        "stage_http_failed_total{kind=\"busy\"} 0",
        "stage_http_failed_total{kind=\"too_large\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "no {line} in {metrics}");
    }
}
