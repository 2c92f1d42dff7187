//! Three members of etcd on loopback, or at a place of a network.

use std::process::Stdio;
use std::time::Duration;

use etcd_client::Client;

use super::network::Place;
use super::{Running, free_port, program};

pub(crate) struct Etcd {
    pub(crate) members: Vec<Running>,
    pub(crate) endpoints: Vec<String>,
    ports: Vec<(u16, u16)>,
    place: Option<Place>,
    data: tempfile::TempDir,
}

impl Etcd {
    pub(crate) async fn start() -> Self {
        Self::start_at(None).await
    }

    pub(crate) async fn start_at(place: Option<Place>) -> Self {
        let data = tempfile::tempdir().unwrap();
        let ports: Vec<(u16, u16)> = (0..3).map(|_| (free_port(), free_port())).collect();
        let host = place.as_ref().map_or("127.0.0.1", |place| &place.address);
        let endpoints = ports.iter().map(|(port, _)| format!("{host}:{port}")).collect();
        let mut etcd = Self { members: Vec::new(), endpoints, ports, place, data };
        etcd.members = (0..3).map(|at| etcd.run(at)).collect();
        etcd.leader().await;
        etcd
    }

    /// Starts a member again that was killed, with what it had on its disk.
    pub(crate) fn restart(&mut self, at: usize) {
        self.members[at] = self.run(at);
    }

    fn run(&self, at: usize) -> Running {
        let peer = |at: usize| format!("http://127.0.0.1:{}", self.ports[at].1);
        let cluster: Vec<String> = (0..3).map(|at| format!("m{at}={}", peer(at))).collect();
        let client = format!("http://{}", self.endpoints[at]);
        let member = program(self.place.as_ref(), "etcd")
            .args(["--name", &format!("m{at}"), "--log-level", "fatal"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer(at)])
            .args(["--initial-advertise-peer-urls", &peer(at)])
            .args(["--initial-cluster", &cluster.join(",")])
            .args(["--heartbeat-interval", "30", "--election-timeout", "300"])
            .arg("--data-dir")
            .arg(self.data.path().join(at.to_string()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(member) = member else {
            panic!("these tests need etcd: sudo apt-get install etcd-server");
        };
        Running(member)
    }

    /// Which member leads, once one does.
    pub(crate) async fn leader(&self) -> usize {
        for _ in 0..200 {
            for (at, endpoint) in self.endpoints.iter().enumerate() {
                let status = async { Client::connect([endpoint], None).await?.status().await };
                let status = tokio::time::timeout(Duration::from_millis(300), status).await;
                let Ok(Ok(status)) = status else { continue };
                let me = status.header().map(etcd_client::ResponseHeader::member_id);
                if status.leader() != 0 && Some(status.leader()) == me {
                    return at;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("etcd has no leader");
    }

    /// The revision of the store: how many writes there were.
    pub(crate) async fn revision(&self) -> i64 {
        for _ in 0..200 {
            let read = async {
                Client::connect(&self.endpoints[..1], None).await?.get("nothing", None).await
            };
            if let Ok(found) = read.await {
                return found.header().unwrap().revision();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("etcd does not answer");
    }

    /// The address in the leadership record.
    pub(crate) async fn coordinator(&self) -> Option<String> {
        for endpoint in &self.endpoints {
            let read = async {
                Client::connect([endpoint], None).await?.get("/stage/ticket/leaders/0", None).await
            };
            let read = tokio::time::timeout(Duration::from_millis(500), read).await;
            let Ok(Ok(found)) = read else { continue };
            let text = found.kvs().first()?.value_str().ok()?.to_owned();
            let record: stage_ticket::cluster::Record = text.parse().unwrap();
            return Some(record.leader);
        }
        None
    }
}
