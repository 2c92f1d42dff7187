//! What a handler costs beside plain Lua in the same process: computing under watch, and a call.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot go on has failed"
)]

use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mlua::{Function, Lua};
use stage_lua::{Options, Output, Parts, Runtime, Script};
use stage_signal::{Destination, Identity, Mesh, OpenGate, Outgoing};
use stage_value::Value;

/// The one of the node.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SCRIPT: &str = r#"
local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end
local function add(a) return a + 1 end
stage.waitfor("fib", fib)
stage.waitfor("add", add)

_SANDBOX[""] = { "*TABLE" }
local own = {}
for i = 1, 10000 do own[i] = i end
__("TABLE", function() return own end)
local function sum(t, n)
    local sum = 0
    for i = 1, n do sum = sum + t[i % 10000 + 1] end
    return sum
end
stage.waitfor("shared", function(n) return sum(TABLE, n) end)
stage.waitfor("own", function(n) return sum(own, n) end)

local left, reply
stage.waitfor("result", function()
    left = left - 1
    if left == 0 then stage.signal(reply) end
end)
stage.waitfor("ship", function(n)
    left, reply = n, _WAITFOR.reply
    for i = 1, n do stage.signal("stage:nobody=result", add, i) end
end)
"#;

const FIB: &str = "local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end return fib";

struct Stage {
    tokio: tokio::runtime::Runtime,
    mesh: Mesh,
    _runtime: Runtime,
}

impl Stage {
    fn start() -> Self {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let identity =
            Identity { name: "a".into(), group: "a".into(), address: None, incarnation: 1 };
        let config = stage_signal::Config::default();
        let mesh = Mesh::new(identity, config, Arc::new(OpenGate)).unwrap();
        let runtime = tokio.block_on(async {
            let parts = Parts {
                node: "a".into(),
                mesh: mesh.clone(),
                submitter: stage_submit::Submitter::new(stage_submit::Limits::default()),
                tickets: stage_lua::TicketDesk::new(
                    stage_ticket::Tickets::new(stage_ticket::Config::default()).unwrap(),
                ),
                databases: stage_lua::Databases::default(),
                shared: Arc::default(),
                route: stage_route::Route::new("a", stage_route::Config::never()),
                output: Output::new(std::io::sink()),
            };
            let options = Options { busy_time: Duration::from_secs(60), ..Options::default() };
            let runtime = Runtime::new(options, parts).unwrap();
            let script = Script::of_text("bench.lua", SCRIPT);
            runtime.start_stage(&"stage".parse().unwrap(), &script, 1).await.unwrap();
            runtime
        });
        Self { tokio, mesh, _runtime: runtime }
    }

    /// So many asks, all under way at once.
    fn ask(&self, message: &str, arg: i64, times: usize) {
        let outgoing = || Outgoing {
            destination: Destination::Stage("stage".parse().unwrap()),
            message: message.parse().unwrap(),
            args: vec![Value::Int(arg)],
            origin_stage: "bench".into(),
            wants_results: true,
            idempotent: false,
            timeout: None,
            trace: None,
        };
        self.tokio.block_on(async {
            let asked: Vec<_> = (0..times).map(|_| self.mesh.send(outgoing())).collect();
            for mut outcomes in asked {
                black_box(outcomes.next().await.unwrap().unwrap());
            }
        });
    }
}

/// Long enough to overrun its quantum several times.
fn computing(c: &mut Criterion) {
    let mut group = c.benchmark_group("fib(30)");
    group.sample_size(10);
    let lua = Lua::new();
    let fib: Function = lua.load(FIB).eval().unwrap();
    group.bench_function("plain Lua", |b| b.iter(|| fib.call::<i64>(30).unwrap()));
    let stage = Stage::start();
    group.bench_function("stage", |b| b.iter(|| stage.ask("fib", 30, 1)));
    group.finish();
}

/// A handler that does not wait, with its message's way there and back.
fn calling(c: &mut Criterion) {
    const AT_ONCE: usize = 1000;
    let mut group = c.benchmark_group("add(1)");
    group.throughput(Throughput::Elements(AT_ONCE as u64));
    let lua = Lua::new();
    let add: Function = lua.load("return function(a) return a + 1 end").eval().unwrap();
    group.bench_function("plain call", |b| {
        b.iter(|| (0..AT_ONCE).for_each(|_| drop(black_box(add.call::<i64>(1)))));
    });
    group.bench_function("call_async in a task", |b| {
        let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
        b.iter(|| {
            tokio.block_on(async {
                for _ in 0..AT_ONCE {
                    black_box(add.call_async::<i64>(1).await.unwrap());
                }
            });
        });
    });
    let stage = Stage::start();
    group.bench_function("stage", |b| b.iter(|| stage.ask("add", 1, AT_ONCE)));
    group.finish();
}

/// A table that all VMs share, read entry by entry, beside one of the VM's own.
fn reading(c: &mut Criterion) {
    const READS: usize = 100_000;
    let mut group = c.benchmark_group("reads of a shared table of 10k");
    group.throughput(Throughput::Elements(READS as u64));
    let stage = Stage::start();
    for (name, message) in [("stage", "shared"), ("a table of the VM's own", "own")] {
        group.bench_function(name, |b| b.iter(|| stage.ask(message, READS as i64, 1)));
    }
    group.finish();
}

/// A function that the worker knows already, sent with an argument, and its result back: from one VM to another.
fn shipping(c: &mut Criterion) {
    const AT_ONCE: usize = 1000;
    let mut group = c.benchmark_group("a + 1 on a worker, and its reply");
    group.throughput(Throughput::Elements(AT_ONCE as u64));
    let stage = Stage::start();
    group.bench_function("stage", |b| b.iter(|| stage.ask("ship", AT_ONCE as i64, 1)));
    group.bench_function("tokio channels, without Lua", |b| {
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let (asks, mut asked) = tokio::sync::mpsc::unbounded_channel::<i64>();
        let (replies, mut replied) = tokio::sync::mpsc::unbounded_channel();
        tokio.spawn(async move {
            while let Some(a) = asked.recv().await {
                replies.send(a + 1).unwrap();
            }
        });
        b.iter(|| {
            tokio.block_on(async {
                (0..AT_ONCE as i64).for_each(|a| asks.send(black_box(a)).unwrap());
                for _ in 0..AT_ONCE {
                    black_box(replied.recv().await.unwrap());
                }
            });
        });
    });
    group.bench_function("gen_server:call of 64 Erlang processes", |b| {
        b.iter_custom(|times| erlang(times * AT_ONCE as u64));
    });
    group.finish();
}

/// How long so many calls of a `gen_server` take.
fn erlang(calls: u64) -> Duration {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/handlers/calls.escript");
    let ran = Command::new("escript").args([script, &calls.to_string()]).output();
    let Ok(ran) = ran else {
        panic!("this benchmark needs Erlang: sudo apt-get install erlang-base")
    };
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    Duration::from_nanos(String::from_utf8_lossy(&ran.stdout).trim().parse().unwrap())
}

criterion_group!(benches, computing, calling, reading, shipping);
criterion_main!(benches);
