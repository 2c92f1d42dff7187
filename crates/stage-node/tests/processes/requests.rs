//! Requests of scripts to a real server that shows a certificate.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::harness::{Folder, Node, finish, stderr};

/// Serves one line over TLS, and says which port it has.
const SERVER: &str = r#"
import http.server, ssl, sys
class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
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
        local function get(port)
            local ok, answer = pcall(http.get, "https://localhost:" .. port .. "/")
            if ok then return answer.status .. " " .. answer.body end
            return answer.kind
        end
        print("TRUSTED", get({}))
        print("WRONG NAME", get({}))
        print("WRONG AUTHORITY", get({}))
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
    assert_eq!(node.wait_for("WRONG NAME"), "WRONG NAME\ttls");
    assert_eq!(node.wait_for("WRONG AUTHORITY"), "WRONG AUTHORITY\ttls");
}
