//! The far process: one of each kind of server. It ends with the process that started it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use futures_util::StreamExt as _;
use stage_signal::{Config, Delivery, Identity, Inbox, Mesh, OpenGate, Tls, TlsFiles};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::raw;

/// Set for the far process: where the NATS server is, and the folder with the certificates.
const NATS: &str = "STAGE_BENCH_NATS";
const FOLDER: &str = "STAGE_BENCH_FOLDER";

/// Where its servers are, a line each.
pub(crate) struct Far {
    child: Child,
    pub(crate) stage: String,
    pub(crate) encrypted: String,
    pub(crate) raw: String,
    pub(crate) tcp: String,
}

impl Far {
    pub(crate) fn start(nats: &str, folder: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(NATS, nats)
            .env(FOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let [stage, encrypted, raw, tcp] = [(); 4].map(|()| lines.next().unwrap().unwrap());
        Self { child, stage, encrypted, raw, tcp }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

pub(crate) fn is_meant() -> bool {
    std::env::var_os(NATS).is_some()
}

/// The names of the files of a certificate.
pub(crate) fn files(folder: &Path, name: &str) -> TlsFiles {
    let path = |what: &str| folder.join(format!("{name}.{what}"));
    TlsFiles { cert: path("pem"), key: path("key"), ca: path("ca") }
}

/// Serves until the near process is gone.
pub(crate) fn serve() {
    let nats = std::env::var(NATS).unwrap();
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let tls = Arc::new(Tls::load(files(&folder, "far")).unwrap());
        let addresses =
            [stage(None).await, stage(Some(tls)).await, raw::serve().await, tcp_echo().await];
        let client = async_nats::connect(nats).await.unwrap();
        let mut asked = client.subscribe("echo").await.unwrap();
        client.flush().await.unwrap();
        tokio::spawn(async move {
            while let Some(message) = asked.next().await {
                if let Some(reply) = message.reply {
                    client.publish(reply, message.payload).await.unwrap();
                }
            }
        });
        std::io::stdout().write_all((addresses.join("\n") + "\n").as_bytes()).unwrap();
    });
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

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

async fn stage(tls: Option<Arc<Tls>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mesh = node("far", Some(address.clone()), Vec::new(), tls);
    mesh.register("echo".parse().unwrap(), Arc::new(Echo));
    tokio::spawn(mesh.run(Some(listener), std::future::pending()));
    address
}

pub(crate) fn node(
    name: &str,
    address: Option<String>,
    peers: Vec<String>,
    tls: Option<Arc<Tls>>,
) -> Mesh {
    let incarnation = std::process::id().into();
    let identity = Identity { name: name.into(), group: "host".into(), address, incarnation };
    Mesh::new(identity, Config { peers, tls, ..Config::default() }, Arc::new(OpenGate)).unwrap()
}

async fn tcp_echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    stream.write_all(&buffer[..count]).await.unwrap();
                }
            });
        }
    });
    address
}
