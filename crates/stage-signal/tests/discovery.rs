//! Nodes that find each other by a name or through etcd instead of a list.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "so a test fails")]

#[path = "node/authority.rs"]
mod authority;
#[path = "node/nodes.rs"]
mod nodes;

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use authority::Authority;
use etcd_client::{Client, GetOptions};
use nodes::{Node, ask, fast, until};
use stage_signal::{Config, Etcd};
use tokio::net::TcpSocket;

/// One member of etcd, with data that outlives it.
struct Store {
    member: Child,
    endpoint: String,
    peer: String,
    data: tempfile::TempDir,
    _places: [TcpSocket; 2],
}

/// An address of this test's own: bound and not listened at, so that a server may listen there and nobody else is given
/// it.
fn reserved() -> (TcpSocket, String) {
    let place = TcpSocket::new_v4().unwrap();
    place.set_reuseaddr(true).unwrap();
    place.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = place.local_addr().unwrap().to_string();
    (place, address)
}

impl Store {
    fn start() -> Self {
        let ((here, endpoint), (there, peer)) = (reserved(), reserved());
        let data = tempfile::tempdir().unwrap();
        let member = Self::launch(&endpoint, &peer, &data);
        let mut store = Self { member, endpoint, peer, data, _places: [here, there] };
        assert!(store.is_up(), "etcd ends at once");
        store
    }

    /// Waits until it takes connections; false if it ends instead.
    fn is_up(&mut self) -> bool {
        while self.member.try_wait().unwrap().is_none() {
            if TcpStream::connect(&self.endpoint).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    fn launch(endpoint: &str, peer: &str, data: &tempfile::TempDir) -> Child {
        let (client, peer) = (format!("http://{endpoint}"), format!("http://{peer}"));
        let member = Command::new("etcd")
            .args(["--name", "m", "--log-level", "fatal", "--data-dir"])
            .arg(data.path())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("m={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(member) = member else {
            panic!("these tests need etcd: sudo apt-get install etcd-server");
        };
        member
    }

    fn stop(&mut self) {
        self.member.kill().unwrap();
        self.member.wait().unwrap();
    }

    /// Starts it again where it was; a connection of somebody else may have the port for a moment.
    fn go_on(&mut self) {
        for _ in 0..50 {
            self.member = Self::launch(&self.endpoint, &self.peer, &self.data);
            if self.is_up() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("etcd does not come up on its old port");
    }

    /// Asks etcd something, again and again until it is up.
    fn ask<T>(&self, work: &impl AsyncFn(&mut Client) -> Result<T, etcd_client::Error>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for _ in 0..200 {
                if let Ok(mut client) = Client::connect([&self.endpoint], None).await
                    && let Ok(done) = work(&mut client).await
                {
                    return done;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            panic!("etcd does not come up");
        })
    }

    /// The records that are there now, as text.
    fn records(&self) -> Vec<String> {
        self.ask(&async |client| {
            let options = Some(GetOptions::new().with_prefix());
            let read = client.get("/mesh/nodes/", options).await?;
            Ok(read.kvs().iter().map(|kv| kv.value_str().unwrap().to_owned()).collect())
        })
    }

    fn node(&self, name: &str) -> Node {
        let etcd = Etcd {
            endpoints: vec!["127.0.0.1:1".into(), self.endpoint.clone()],
            prefix: "/mesh".into(),
            lease: Duration::from_secs(3),
        };
        Node::start(name, Config { etcd: Some(etcd), ..fast(&[]) })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // A member that has been stopped already is what the test wanted.
        let _ = self.member.kill();
        let _ = self.member.wait();
    }
}

fn linked(node: &Node, names: &[&str]) {
    until(&format!("{names:?} are linked"), || node.linked() == names);
}

#[test]
fn nodes_find_each_other_through_etcd_and_a_restart_elsewhere_is_found_too() {
    let store = Store::start();
    let (a, b) = (store.node("a"), store.node("b"));
    linked(&a, &["b"]);
    linked(&b, &["a"]);
    let records = store.records();
    let expected = format!(r#""address":"{}","stages":["work"]"#, a.address);
    assert!(records.len() == 2 && records[0].contains(&expected), "{records:?}");
    b.carry("more");
    until("etcd hears of a new stage", || {
        store.records().get(1).is_some_and(|record| record.contains(r#"["more","work"]"#))
    });

    let old = b.address.clone();
    b.kill();
    linked(&a, &[]);
    let b = store.node("b");
    assert_ne!(b.address, old, "another port");
    linked(&a, &["b"]);
    let results = a.ask(ask("work", "echo", vec![]));
    assert!(results.is_ok(), "{results:?}");
    b.begin_stop();
    until("a node that stops is listed no more", || store.records().len() == 1);
}

#[test]
fn a_node_whose_lease_is_lost_lists_itself_again() {
    let store = Store::start();
    let a = store.node("a");
    until("it is listed", || store.records().len() == 1);
    let revoked = store.ask(&async |client| {
        let leases = client.leases().await?;
        for lease in leases.leases() {
            // One that has run out meanwhile is no more to be revoked.
            drop(client.lease_revoke(lease.id()).await);
        }
        Ok(leases.leases().len())
    });
    // On a slow machine it may have given one up and taken another before.
    assert!(revoked > 0);
    until("it is listed again", || store.records().len() == 1);
    let b = store.node("b");
    linked(&b, &["a"]);
    linked(&a, &["b"]);
}

#[test]
fn links_outlive_etcd_and_what_changed_meanwhile_is_seen_after_a_compaction() {
    let mut store = Store::start();
    let (a, b) = (store.node("a"), store.node("b"));
    linked(&a, &["b"]);
    store.stop();
    assert!(a.ask(ask("work", "echo", vec![])).is_ok());
    store.go_on();
    store.ask(&async |client| {
        let revision = client.put("elsewhere", "x", None).await?.header().unwrap().revision();
        client.compact(revision, None).await.map(drop)
    });
    let c = store.node("c");
    linked(&c, &["a", "b"]);
    linked(&a, &["b", "c"]);
    assert_eq!((a.mesh.stats().links_lost, b.mesh.stats().links_lost), (0, 0));
}

#[test]
fn a_name_is_resolved_and_is_what_a_certificate_must_name() {
    let authority = Authority::new();
    let tls = |name: &str| Some(authority.tls(name));
    let b = Node::start("b", Config { tls: tls("b"), ..fast(&[]) });
    let port = b.address.rsplit_once(':').unwrap().1;
    let names = vec![format!("localhost:{port}"), "no-such-name.invalid:1".into()];
    let resolve = Duration::from_millis(50);
    let a = Node::start("a", Config { tls: tls("a"), names, resolve, ..fast(&[]) });
    linked(&a, &["b"]);
    // An address that the certificate does not name is not believed by its number alone.
    let only_name =
        Arc::new(stage_signal::Tls::load(authority.files_for("c", &["c.host"])).unwrap());
    let c = Node::start("c", Config { tls: Some(only_name), ..fast(&[]) });
    let d = Node::start("d", Config { tls: tls("d"), ..fast(&[&c.address]) });
    let why = d.why_not_linked();
    assert!(why.contains("NotValidForName") || why.contains("not valid for name"), "{why}");
}
