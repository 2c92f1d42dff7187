use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use tokio::net::TcpSocket;

/// Long enough for a busy machine; nothing here is slow by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// The binary with some arguments.
pub(crate) fn stage_node(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stage-node"));
    command.args(args).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub(crate) fn finish(args: &[&str]) -> Output {
    stage_node(args).output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Folders with scripts and configurations, removed at the end.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// A port that nobody else is given until this process ends, and at which a node may listen.
///
/// It is bound and not listened at: so who connects before a node listens there is refused.
pub(crate) fn free_port() -> u16 {
    static TAKEN: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());
    let place = TcpSocket::new_v4().unwrap();
    place.set_reuseaddr(true).unwrap();
    place.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = place.local_addr().unwrap().port();
    TAKEN.lock().unwrap().push(place);
    port
}

/// A member of etcd, killed when dropped.
pub(crate) struct Etcd {
    child: Child,
    pub(crate) endpoint: String,
    _folder: tempfile::TempDir,
}

impl Etcd {
    pub(crate) fn start() -> Self {
        let (endpoint, peer) = (address(free_port()), address(free_port()));
        let (client, peer) = (format!("http://{endpoint}"), format!("http://{peer}"));
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new("etcd")
            .args(["--name", "m", "--log-level", "fatal", "--data-dir"])
            .arg(folder.path())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("m={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            panic!("these tests need etcd: sudo apt-get install etcd-server");
        };
        Self { child, endpoint, _folder: folder }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running node, killed when dropped.
pub(crate) struct Node {
    child: Child,
    lines: Receiver<String>,
    log: Receiver<String>,
    seen: Vec<String>,
}

impl Node {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    /// The same with variables of its environment.
    pub(crate) fn start_with(args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = stage_node(args);
        command.envs(environment.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = follow(child.stdout.take().unwrap());
        let log = follow(child.stderr.take().unwrap());
        Self { child, lines, log, seen: Vec::new() }
    }

    /// A node of a script with a listener and an operator's surface, ready to serve.
    pub(crate) fn serve(script: &Path) -> (Self, String, String) {
        let (to, admin) = (address(free_port()), address(free_port()));
        let script = script.to_str().unwrap();
        let mut node = Self::start(&["run", script, "--listen", &to, "--admin", &admin]);
        node.wait_for_log("operator's surface");
        (node, to, admin)
    }

    /// Waits for a printed line that contains a text.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        wait(&self.lines, &mut self.seen, text)
    }

    /// Waits for the next line that it prints.
    pub(crate) fn next_line(&mut self) -> String {
        self.wait_for("")
    }

    /// Waits for a line of the log that contains a text.
    pub(crate) fn wait_for_log(&mut self, text: &str) -> String {
        wait(&self.log, &mut self.seen, text)
    }

    /// What it has printed and logged and nobody waited for.
    pub(crate) fn unread(&self) -> String {
        let lines: Vec<_> = self.seen.iter().cloned().chain(self.lines.try_iter()).collect();
        let log: Vec<_> = self.log.try_iter().collect();
        [lines, log].concat().join("\n")
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal of the operating system, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// Kills the process without warning.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the end; the exit code and what was printed and not waited for.
    pub(crate) fn end(mut self) -> (Option<i32>, Vec<String>) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the node does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        (status.code(), self.lines.iter().collect())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A node that has ended already is what the test wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn follow(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn wait(lines: &Receiver<String>, seen: &mut Vec<String>, text: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) if line.contains(text) => return line,
            Ok(line) => seen.push(line),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                panic!("{text:?} never came; before it:\n{}", seen.join("\n"))
            }
        }
    }
}
