//! Encrypted links: who is let in, who is not, and certificates that change under a running node.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "so a test fails")]

#[path = "node/authority.rs"]
mod authority;
#[path = "node/nodes.rs"]
mod nodes;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use authority::Authority;
use nodes::{Node, ask, fast, until};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use stage_signal::client::{Client, ClientError};
use stage_signal::{
    Config, ConfigError, Identity, Mesh, OpenGate, Policy, Reason, Rule, Tls, TlsFiles,
};
use stage_value::{Function, Prototype, Value};

const SOON: Duration = Duration::from_secs(5);

fn config(tls: &Arc<Tls>, peers: &[&str]) -> Config {
    let certificate_check = Duration::from_millis(20);
    Config { tls: Some(Arc::clone(tls)), certificate_check, ..fast(peers) }
}

/// A node with a certificate of the authority.
fn node(name: &str, authority: &Authority, peers: &[&str]) -> Node {
    Node::start(name, config(&authority.tls(name), peers))
}

fn rule(stages: &[&str], functions: bool, link: bool) -> Rule {
    Rule { stages: Some(stages.iter().map(|stage| Arc::from(*stage)).collect()), functions, link }
}

fn strangers(node: &Node, count: u64) {
    until("they are counted", || node.mesh.stats().strangers >= count);
}

fn call(tls: &Arc<Tls>, address: &str, signal: &str) -> Result<Vec<Value>, ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::connect_tls(address, tls).await?;
        client.signal(signal, vec![Value::Int(7)], SOON).await
    })
}

#[test]
fn nodes_of_one_authority_link_and_signal_each_other() {
    let authority = Authority::new();
    let b = node("b", &authority, &[]);
    let a = node("a", &authority, &[&b.address]);
    until("they are linked", || a.linked() == ["b"] && b.linked() == ["a"]);
    let results = a.ask(ask("work", "echo", vec![Value::Int(1)])).unwrap();
    assert_eq!(results, [Value::from("b"), Value::Int(1)]);
    let results = call(&authority.tls("web"), &a.address, "work:echo").unwrap();
    assert_eq!(results, [Value::from("a"), Value::Int(7)]);
}

#[test]
fn a_node_of_another_authority_is_turned_away_by_either_side() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let b = node("b", &ours, &[]);
    let a = node("a", &theirs, &[&b.address]);
    let why = a.why_not_linked();
    assert!(why.contains("invalid peer certificate: UnknownIssuer"), "{why}");
    strangers(&b, 1);
    // One who believes everybody is still not believed.
    let mut files = theirs.files("c");
    files.ca = ours.files("c2").ca;
    let error = Tls::load(files).unwrap_err().to_string();
    assert!(error.contains("UnknownIssuer"), "{error}");
    assert_eq!(b.linked(), Vec::<String>::new());
}

#[test]
fn an_expired_certificate_is_refused_where_it_would_be_used() {
    let authority = Authority::new();
    let error = Tls::load(authority.expired("a")).unwrap_err().to_string();
    assert!(error.contains("a.pem cannot be used") && error.contains("xpired"), "{error}");
    let b = node("b", &authority, &[]);
    let error = shake(&authority.expired("late"), &b.address).to_string();
    assert_eq!(error, "received fatal alert: CertificateExpired");
    strangers(&b, 1);
}

#[test]
fn a_node_must_have_the_name_of_its_certificate() {
    let authority = Authority::new();
    let identity = Identity { name: "b".into(), group: "".into(), address: None, incarnation: 1 };
    let error = Mesh::new(identity, config(&authority.tls("a"), &[]), Arc::new(OpenGate));
    let expected = ConfigError::Certificate { certificate: "a".into(), node: "b".into() };
    assert_eq!(error.err(), Some(expected));
}

#[test]
fn a_node_without_tls_and_one_with_it_do_not_link_and_say_why() {
    let authority = Authority::new();
    let b = node("b", &authority, &[]);
    let plain = Node::start("plain", fast(&[&b.address]));
    strangers(&b, 1);
    let a = node("a", &authority, &[&plain.address]);
    strangers(&plain, 1);
    assert!(a.linked().is_empty() && b.linked().is_empty());
}

#[test]
fn scans_http1_and_garbage_leave_a_tls_port_serving() {
    let authority = Authority::new();
    let b = node("b", &authority, &[]);
    let send = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(&b.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        String::from_utf8_lossy(&answer).into_owned()
    };
    drop(TcpStream::connect(&b.address).unwrap());
    let answer = send(b"GET / HTTP/1.1\r\nhost: b\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 505 ") && answer.contains("within TLS"), "{answer}");
    send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    send(&[0xde; 4096]);
    send(&[0x16, 3, 1, 0xff, 0xff, 1, 2, 3]);
    send(&[&[0x16, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff][..], &[0; 64]].concat());
    let _silent: Vec<_> = (0..20).map(|_| TcpStream::connect(&b.address).unwrap()).collect();
    strangers(&b, 6);
    let a = node("a", &authority, &[&b.address]);
    until("they are linked", || a.linked() == ["b"]);
}

#[test]
fn a_new_certificate_is_taken_up_without_a_restart_and_a_bad_one_is_not() {
    let authority = Authority::new();
    let tls = authority.tls("b");
    let b = Node::start("b", config(&tls, &[]));
    let a = node("a", &authority, &[&b.address]);
    until("they are linked", || a.linked() == ["b"]);

    // All moves to another authority: b stops believing a, and a new a is let in.
    let other = Authority::new();
    let (new, old) = (other.files("b"), authority.files("b"));
    fs::write(&old.key, "no key").unwrap();
    assert!(tls.reload().unwrap_err().to_string().contains("holds no private key in PEM"));
    for (from, to) in [(&new.cert, &old.cert), (&new.key, &old.key), (&new.ca, &old.ca)] {
        fs::copy(from, to).unwrap();
    }
    until("the link of the former authority has ended", || b.mesh.stats().links_lost >= 1);
    let late = node("late", &other, &[&b.address]);
    until("a node of the new authority is linked", || late.linked() == ["b"]);
    assert_eq!(b.linked(), ["late"]);
}

#[test]
fn a_policy_says_who_may_signal_which_stage_and_ship_functions() {
    let authority = Authority::new();
    let policy = Policy::default()
        .allow("a", rule(&["work"], false, true))
        .allow("web", rule(&["work"], false, false));
    let allow = Some(policy);
    let b = Node::start("b", Config { allow, ..config(&authority.tls("b"), &[]) });
    b.carry("vault");
    let a = node("a", &authority, &[&b.address]);
    until("they are linked", || a.linked() == ["b"]);

    assert!(a.ask(ask("work", "echo", vec![])).is_ok());
    let failure = a.ask(ask("vault", "echo", vec![])).unwrap_err();
    assert_eq!(failure.reason, Reason::Denied);
    assert_eq!(failure.detail, "node b does not let 'a' signal stage 'vault'");
    let failure = a.ask(ask("work", "echo", vec![function()])).unwrap_err();
    assert_eq!(failure.to_string(), "denied: node b does not let 'a' ship functions");
    assert_eq!((b.calls(), b.mesh.stats().turned_away), (1, 2));

    let web = authority.tls("web");
    assert!(call(&web, &b.address, "work:echo").is_ok());
    let error = call(&web, &b.address, "vault:echo").unwrap_err();
    assert_eq!(error.to_string(), "denied: node b does not let 'web' signal stage 'vault'");
    let error = call(&authority.tls("guest"), &b.address, "work:echo").unwrap_err();
    assert!(error.to_string().contains("#allow has no rule for 'guest'"), "{error}");
}

#[test]
fn who_may_not_link_hears_so_and_a_node_that_lies_about_its_name_too() {
    let authority = Authority::new();
    let policy = Policy::default().allow("*", rule(&["work"], true, false));
    let allow = Some(policy);
    let b = Node::start("b", Config { allow, ..config(&authority.tls("b"), &[]) });
    let web = node("web", &authority, &[&b.address]);
    assert_eq!(web.why_not_linked(), "this node's #allow does not let 'web' link");
    assert_eq!(b.linked(), Vec::<String>::new());
    // The rule holds for those whom the node dials as well.
    let policy = Policy::default().allow("friend", Rule::everything());
    let allow = Some(policy);
    let c = Node::start("c", Config { allow, ..config(&authority.tls("c"), &[&web.address]) });
    assert_eq!(c.why_not_linked(), "node c does not let 'web' link: its #allow has no such rule");
}

fn function() -> Value {
    let prototype = Prototype::new("function() end".into(), "main.lua".into(), 1, Vec::new());
    Value::Function(Function::new(Arc::new(prototype), Vec::new()).unwrap())
}

/// Shakes hands with a certificate, whatever it is worth, and reads what the node says then.
fn shake(files: &TlsFiles, address: &str) -> std::io::Error {
    let certificates = |path: &std::path::Path| {
        CertificateDer::pem_file_iter(path).unwrap().collect::<Result<Vec<_>, _>>().unwrap()
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(&files.ca));
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&files.cert), key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = "localhost".try_into().unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(session, TcpStream::connect(address).unwrap());
    let sent = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    sent.and_then(|()| stream.read_exact(&mut [0; 1024])).unwrap_err()
}
