//! Asks of a Lua handler in another node's process, 64 at a time, beside calls of an Erlang `gen_server` in another node's.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot go on has failed"
)]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use stage_signal::client::Client;
use stage_value::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(60);

/// A process that ends with its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Two linked nodes on loopback, and a client of the one that asks.
struct Nodes {
    client: Client,
    _processes: [Process; 2],
    _folder: TempDir,
}

impl Nodes {
    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let addresses = [free_address(), free_address()];
        let start = |name: &str, own: &str, other: &str| {
            let script = source(&format!("{name}.lua"));
            let config = serde_json::json!({
                "#node": { "name": name, "listen": own },
                "#cluster": [other],
                "#startup": [{ "stage": name, "script": script }],
                "#log": { "filter": "warn" },
            });
            let file = folder.path().join(format!("{name}.json"));
            std::fs::write(&file, config.to_string()).unwrap();
            let mut command = Command::new(env!("CARGO_BIN_EXE_stage-node"));
            Process(command.arg("run").arg("--config").arg(file).spawn().unwrap())
        };
        let [asks, echo] = &addresses;
        let processes = [start("asks", asks, echo), start("echo", echo, asks)];
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(client) = Client::connect(asks).await
                && let Ok(results) = client.signal("asks:ready", Vec::new(), PATIENCE).await
                && results == [Value::Bool(true)]
            {
                return Self { client, _processes: processes, _folder: folder };
            }
            assert!(Instant::now() < deadline, "the nodes are not linked");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn ask(&self, times: u64, by: &str) -> Duration {
        let args = vec![Value::Int(i64::try_from(times).unwrap()), Value::from(by)];
        let start = Instant::now();
        self.client.signal("asks:all", args, PATIENCE).await.unwrap();
        start.elapsed()
    }
}

/// An Erlang node that serves. Without its name service: the port is known to both.
struct Erlang {
    port: String,
    _server: Process,
}

impl Erlang {
    fn start() -> Self {
        let address = free_address();
        let port = address.rsplit(':').next().unwrap().to_owned();
        let flags = "-name b@127.0.0.1 -start_epmd false";
        let mut server = escript(&port, flags, &["serve"]).spawn().unwrap_or_else(|_| {
            panic!("this benchmark needs Erlang: sudo apt-get install erlang-base")
        });
        let output = server.stdout.take().unwrap();
        let server = Process(server);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { port, _server: server }
    }

    fn call(&self, times: u64) -> Duration {
        let arguments = ["call", "b@127.0.0.1", &times.to_string()];
        let flags = "-name a@127.0.0.1 -dist_listen false";
        let ran = escript(&self.port, flags, &arguments).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
        Duration::from_nanos(String::from_utf8_lossy(&ran.stdout).trim().parse().unwrap())
    }
}

fn escript(port: &str, flags: &str, arguments: &[&str]) -> Command {
    let loopback = "-kernel inet_dist_use_interface {127,0,0,1}";
    let mut command = Command::new("escript");
    command
        .env("ERL_FLAGS", format!("+S 1 {flags} -erl_epmd_port {port} {loopback}"))
        .arg(source("echo.escript"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/across").join(file)
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn across(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let nodes = runtime.block_on(Nodes::start());
    let erlang = Erlang::start();
    let mut group = c.benchmark_group("Lua to Lua in two processes: 64 asks in flight");
    group.throughput(Throughput::Elements(1));
    group.bench_function("stage", |b| {
        b.iter_custom(|times| runtime.block_on(nodes.ask(times, "handler")));
    });
    group.bench_function("stage, a function that travels", |b| {
        b.iter_custom(|times| runtime.block_on(nodes.ask(times, "function")));
    });
    group.bench_function("a gen_server of another Erlang node", |b| {
        b.iter_custom(|times| erlang.call(times));
    });
    group.finish();
}

criterion_group!(benches, across);
criterion_main!(benches);
