//! The near process: one caller of each kind.

use std::collections::VecDeque;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stage_proto::signal::v1::signal_service_client::SignalServiceClient;
use stage_signal::{Destination, Mesh, Outcomes, Outgoing, Tls};
use stage_value::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::sleep;
use tonic::transport::Channel;

use crate::authority::Authority;
use crate::far::{self, Far};
use crate::raw::{self, RawStream};
use crate::{BODY, MEGABYTE};

/// Messages without results that wait for their ends at once.
const POURED: usize = 4096;

/// All callers, and the processes that they call.
pub(crate) struct Callers {
    pub(crate) stage: Arc<Caller>,
    pub(crate) encrypted: Arc<Caller>,
    pub(crate) stream: Arc<Caller>,
    pub(crate) unary: Arc<Caller>,
    pub(crate) nats: Arc<Caller>,
    pub(crate) tcp: Arc<Caller>,
    far: Far,
    _nats: Nats,
    _folder: TempDir,
}

/// One way to the far process, and the bodies that it sends.
pub(crate) struct Caller {
    way: Way,
    small: Bytes,
    large: Bytes,
}

enum Way {
    /// With a signal without arguments, whose names are parsed once, as scripts' are.
    Stage(Mesh, Outgoing),
    Stream(RawStream),
    Unary(SignalServiceClient<Channel>),
    Nats(async_nats::Client),
    Tcp(Mutex<TcpStream>),
}

/// The NATS server, which ends with the bench.
struct Nats(Child);

impl Drop for Nats {
    fn drop(&mut self) {
        drop((self.0.kill(), self.0.wait()));
    }
}

impl Callers {
    pub(crate) async fn connect() -> Self {
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        for name in ["near", "far"] {
            let (from, to) = (authority.files(name), far::files(folder.path(), name));
            for (from, to) in [(from.cert, to.cert), (from.key, to.key), (from.ca, to.ca)] {
                std::fs::copy(from, to).unwrap();
            }
        }
        let (server, at) = nats().await;
        let far = Far::start(&at, folder.path());
        let tls = Arc::new(Tls::load(far::files(folder.path(), "near")).unwrap());
        let tcp = TcpStream::connect(&far.tcp).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        Self {
            stage: caller(Way::Stage(linked(&far.stage, None).await, plain())),
            encrypted: caller(Way::Stage(linked(&far.encrypted, Some(tls)).await, plain())),
            stream: caller(Way::Stream(RawStream::open(raw::connect(&far.raw).await).await)),
            unary: caller(Way::Unary(raw::connect(&far.raw).await)),
            nats: caller(Way::Nats(async_nats::connect(&at).await.unwrap())),
            tcp: caller(Way::Tcp(Mutex::new(tcp))),
            far,
            _nats: server,
            _folder: folder,
        }
    }

    /// What both processes have used of the processors so far.
    pub(crate) fn processor_time(&self) -> Duration {
        used_by(std::process::id()) + used_by(self.far.id())
    }
}

fn caller(way: Way) -> Arc<Caller> {
    let (small, large) = (vec![7; BODY].into(), vec![7; MEGABYTE].into());
    Arc::new(Caller { way, small, large })
}

impl Caller {
    /// Sends a body there and waits until it is back.
    pub(crate) async fn ask(&self, size: usize) {
        let body = if size == BODY { &self.small } else { &self.large }.clone();
        match &self.way {
            Way::Stage(mesh, plain) => {
                assert!(mesh.send(signal(plain, body, true)).next().await.unwrap().is_ok());
            }
            Way::Stream(stream) => stream.ask(body).await,
            Way::Unary(client) => raw::unary(client.clone(), body).await,
            Way::Nats(client) => drop(client.request("echo", body).await.unwrap()),
            Way::Tcp(stream) => {
                let mut stream = stream.lock().await;
                stream.write_all(&body).await.unwrap();
                stream.read_exact(&mut vec![0; size]).await.unwrap();
            }
        }
    }

    /// Sends so many bodies without waiting for each, and waits until all have arrived.
    pub(crate) async fn pour(&self, count: u64) {
        match &self.way {
            Way::Stage(mesh, plain) => {
                let mut open: VecDeque<Outcomes> = VecDeque::with_capacity(POURED);
                for _ in 0..count {
                    if open.len() == POURED {
                        assert!(open.pop_front().unwrap().next().await.unwrap().is_ok());
                    }
                    open.push_back(mesh.send(signal(plain, self.small.clone(), false)));
                }
                for mut outcomes in open {
                    assert!(outcomes.next().await.unwrap().is_ok());
                }
            }
            Way::Stream(stream) => stream.pour(count, &self.small).await,
            _ => unreachable!("not measured"),
        }
    }
}

fn signal(plain: &Outgoing, body: Bytes, wants_results: bool) -> Outgoing {
    Outgoing { args: vec![Value::Bytes(body)], wants_results, ..plain.clone() }
}

fn plain() -> Outgoing {
    Outgoing {
        destination: Destination::Stage("echo".parse().unwrap()),
        message: "echo".parse().unwrap(),
        args: Vec::new(),
        origin_stage: "bench".into(),
        wants_results: true,
        idempotent: false,
        timeout: Some(Duration::from_secs(10)),
        trace: None,
    }
}

async fn linked(address: &str, tls: Option<Arc<Tls>>) -> Mesh {
    let mesh = far::node("near", None, vec![address.to_owned()], tls);
    tokio::spawn(mesh.clone().run(None, std::future::pending()));
    while mesh.peers().iter().all(|peer| peer.state != "joined") {
        sleep(Duration::from_millis(5)).await;
    }
    mesh
}

async fn nats() -> (Nats, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new("nats-server")
        .args(["-a", "127.0.0.1", "-p", &port.to_string()])
        .stderr(Stdio::null())
        .spawn()
        .expect("the bench needs the NATS server: apt-get install nats-server");
    let at = format!("127.0.0.1:{port}");
    while TcpStream::connect(&at).await.is_err() {
        sleep(Duration::from_millis(20)).await;
    }
    (Nats(child), at)
}

/// The processor time of all threads of a process.
fn used_by(process: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let nanoseconds = threads.map(|thread| {
        let stat = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
        stat.split(' ').next().unwrap().parse::<u64>().unwrap()
    });
    Duration::from_nanos(nanoseconds.sum())
}
