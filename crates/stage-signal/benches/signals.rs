//! Ask and reply between two nodes on loopback, beside plain tonic calls with the same body.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench fails by panicking")]

#[path = "../tests/node/authority.rs"]
mod authority;

use std::sync::Arc;
use std::time::{Duration, Instant};

use authority::Authority;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use stage_proto::signal::v1::signal_service_client::SignalServiceClient;
use stage_proto::signal::v1::signal_service_server::{SignalService, SignalServiceServer};
use stage_proto::signal::v1::{
    Frame, Results, SignalRequest, SignalResponse, Value as Plain, signal_response, value,
};
use stage_signal::{Config, Delivery, Destination, Identity, Inbox, Mesh, OpenGate, Outgoing, Tls};
use stage_value::{Function, Prototype, Value};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tonic::{Request, Response, Status, Streaming};

const BODY: usize = 128;
const IN_FLIGHT: u64 = 64;

struct Echo;

impl Inbox for Echo {
    fn deliver(&self, delivery: Delivery) -> Result<(), Delivery> {
        delivery.responder.reply(delivery.args);
        Ok(())
    }

    fn load(&self) -> usize {
        0
    }
}

fn mesh(name: &str, address: Option<String>, peers: Vec<String>, tls: Option<Arc<Tls>>) -> Mesh {
    let identity = Identity { name: name.into(), group: "host".into(), address, incarnation: 1 };
    Mesh::new(identity, Config { peers, tls, ..Config::default() }, Arc::new(OpenGate)).unwrap()
}

/// A node that carries "echo" and a node that is linked to it, on one runtime.
async fn linked(authority: Option<&Authority>) -> Mesh {
    let tls = |name: &str| authority.map(|authority| authority.tls(name));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let b = mesh("b", Some(address.clone()), Vec::new(), tls("b"));
    b.register("echo".parse().unwrap(), Arc::new(Echo));
    tokio::spawn(b.run(Some(listener), std::future::pending()));
    let a = mesh("a", None, vec![address], tls("a"));
    tokio::spawn(a.clone().run(None, std::future::pending()));
    while a.peers().iter().all(|peer| peer.state != "joined") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    a
}

async fn ask(mesh: &Mesh, destination: Destination, body: Value) {
    let mut outcomes = mesh.send(Outgoing {
        destination,
        message: "echo".parse().unwrap(),
        args: vec![body],
        origin_stage: "bench".into(),
        wants_results: true,
        idempotent: false,
        timeout: Some(Duration::from_secs(10)),
        trace: None,
    });
    assert!(outcomes.next().await.unwrap().is_ok());
}

struct RawEcho;

#[tonic::async_trait]
impl SignalService for RawEcho {
    type LinkStream = Streaming<Frame>;

    async fn link(
        &self,
        r: Request<Streaming<Frame>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        Ok(Response::new(r.into_inner()))
    }

    type SessionStream =
        futures_util::stream::Empty<Result<stage_proto::signal::v1::SessionResponse, Status>>;

    async fn session(
        &self,
        _: Request<Streaming<stage_proto::signal::v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Err(Status::unimplemented("not measured"))
    }

    async fn signal(&self, r: Request<SignalRequest>) -> Result<Response<SignalResponse>, Status> {
        let results = Results { values: r.into_inner().args };
        let outcome = Some(signal_response::Outcome::Results(results));
        Ok(Response::new(SignalResponse { outcome }))
    }
}

type RawClient = SignalServiceClient<tonic::transport::Channel>;

async fn raw() -> RawClient {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    let service = SignalServiceServer::new(RawEcho);
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(incoming));
    SignalServiceClient::connect(format!("http://{address}")).await.unwrap()
}

async fn raw_ask(client: &mut RawClient) {
    let body = Plain { kind: Some(value::Kind::Data(vec![7; BODY].into())) };
    let request =
        SignalRequest { address: "echo:echo".into(), args: vec![body], ..Default::default() };
    client.signal(request).await.unwrap();
}

fn data() -> Value {
    Value::bytes([7; BODY])
}

/// A function of a thousand bytes, which the receiver knows after the first time.
fn function() -> Value {
    let text = format!("function() return 1 end{}", " ".repeat(1000));
    let prototype = Prototype::new(text.into(), "main.lua".into(), 1, Vec::new());
    Value::Function(Function::new(Arc::new(prototype), Vec::new()).unwrap())
}

/// Runs `count` calls with 64 at a time and says how long they took.
fn pipelined<F: Future<Output = ()> + Send + 'static>(
    runtime: &Runtime,
    count: u64,
    call: impl Fn(u64) -> F,
) -> Duration {
    let start = Instant::now();
    runtime.block_on(async {
        let mut workers = JoinSet::new();
        for worker in 0..IN_FLIGHT {
            workers.spawn(call(count / IN_FLIGHT + u64::from(worker < count % IN_FLIGHT)));
        }
        workers.join_all().await;
    });
    start.elapsed()
}

fn benches(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let authority = Authority::new();
    let (mesh, encrypted, client) = runtime
        .block_on(async { (linked(None).await, linked(Some(&authority)).await, raw().await) });
    let here = self::mesh("alone", None, Vec::new(), None);
    here.register("echo".parse().unwrap(), Arc::new(Echo));
    let stage = || Destination::Stage("echo".parse().unwrap());

    let mut group = criterion.benchmark_group("64 asks in flight");
    group.throughput(Throughput::Elements(1));
    let asks = |mesh: Mesh, body: Value| {
        move |count: u64| {
            let (mesh, body) = (mesh.clone(), body.clone());
            async move {
                for _ in 0..count {
                    ask(&mesh, stage(), body.clone()).await;
                }
            }
        }
    };
    group.bench_function("stage", |bencher| {
        bencher.iter_custom(|count| pipelined(&runtime, count, asks(mesh.clone(), data())));
    });
    group.bench_function("stage, over TLS", |bencher| {
        bencher.iter_custom(|count| pipelined(&runtime, count, asks(encrypted.clone(), data())));
    });
    group.bench_function("stage, a function", |bencher| {
        bencher.iter_custom(|count| pipelined(&runtime, count, asks(mesh.clone(), function())));
    });
    group.bench_function("raw tonic unary", |bencher| {
        bencher.iter_custom(|count| {
            pipelined(&runtime, count, |count| {
                let mut client = client.clone();
                async move {
                    for _ in 0..count {
                        raw_ask(&mut client).await;
                    }
                }
            })
        });
    });
    group.bench_function("stage, in one node", |bencher| {
        bencher.iter_custom(|count| pipelined(&runtime, count, asks(here.clone(), data())));
    });
    group.finish();
}

criterion_group!(signals, benches);
criterion_main!(signals);
