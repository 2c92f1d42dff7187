//! What a node does with those who speak badly or not at all: it says so and goes on serving.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "so a test fails")]

#[path = "node/nodes.rs"]
mod nodes;
#[path = "node/peer.rs"]
mod peer;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::pin::Pin;

use futures_util::{Stream, StreamExt as _, stream};
use nodes::{Node, ask, fast, until};
use peer::{Peer, envelope, hello};
use stage_proto::signal::v1 as proto;
use stage_proto::signal::v1::ending::Outcome;
use stage_proto::signal::v1::signal_service_server::{SignalService, SignalServiceServer};
use stage_signal::{Config, Outgoing, Reason};
use stage_value::{Capture, Function, Limits, Prototype, Value, wire};
use tonic::{Request, Response, Status, Streaming};

/// The node still does what it is for.
fn serves(node: &Node) {
    assert!(node.ask(ask("work", "echo", vec![Value::Int(1)])).is_ok());
    let friend = Node::start("friend", fast(&[&node.address]));
    until("a new node is linked", || {
        friend.linked().contains(&node.mesh.identity().name.to_string())
    });
    let results = friend.ask(ask("work", "echo", vec![])).unwrap();
    assert_eq!(results[0].as_str(), Some(&*node.mesh.identity().name));
}

#[test]
fn http1_is_answered_with_what_this_port_speaks() {
    let node = Node::start("a", fast(&[]));
    let mut stream = TcpStream::connect(&node.address).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // The node does not read what it does not understand, so the end may come as a reset.
    drop(stream.read_to_end(&mut answer));
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
    until("it is counted", || node.mesh.stats().strangers == 1);
    serves(&node);
}

#[test]
fn garbage_and_silence_are_cut_off() {
    let node = Node::start("a", fast(&[]));
    let send = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(&node.address).unwrap();
        stream.write_all(bytes).unwrap();
        drop(stream.read_to_end(&mut Vec::new()));
    };
    send(&[0xde; 4096]);
    send(b"PRI * HT");
    send(&[0x16, 3, 1, 0, 0]);
    until("they are counted", || node.mesh.stats().strangers == 3);
    let mut behind_preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    behind_preface.extend([0xff; 100]);
    send(&behind_preface);
    serves(&node);
}

#[test]
fn a_flood_of_connections_finds_a_bound_and_leaves_the_node_serving() {
    let node = Node::start("a", Config { max_connections: 8, ..fast(&[]) });
    let flood: Vec<_> = (0..100).map(|_| TcpStream::connect(&node.address).unwrap()).collect();
    until("the first have been cut off", || node.mesh.stats().strangers >= 8);
    drop(flood);
    serves(&node);
}

#[test]
fn a_link_without_a_hello_is_refused() {
    let node = Node::start("a", fast(&[]));
    let status = node.block_on(async {
        let mut client = connect(&node.address).await;
        client
            .link(stream::once(async { proto::Frame::default() }))
            .await
            .unwrap()
            .into_inner()
            .message()
            .await
            .unwrap()
            .unwrap()
    });
    assert_eq!(status.bye.unwrap().why, "the first frame holds no hello");
    let silent = node.block_on(async {
        connect(&node.address).await.link(stream::pending()).await.unwrap_err()
    });
    assert_eq!(silent.message(), "no link: no hello within 500ms");
    assert_eq!(node.mesh.stats().links_refused, 2);
    serves(&node);
}

#[test]
fn a_hello_of_another_version_is_refused_by_name_and_both_versions() {
    let node = Node::start("a", fast(&[]));
    let answer = node.block_on(Peer::dial(&node.address, hello("z", 9))).1.unwrap();
    let bye = answer.bye.unwrap();
    assert_eq!(bye.why, "this node (a) speaks protocol version 1, node z speaks 9");
    assert_eq!(bye.reason, proto::ByeReason::Version as i32);
    assert_eq!(answer.hello.unwrap().protocol_version, 1);
    serves(&node);
}

#[test]
fn a_dialled_node_of_another_version_is_shown_with_both_versions() {
    let (listener, address) = Node::listener();
    let node = Node::start("a", fast(&[&address]));
    node.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        tokio::spawn(FromTheFuture::serve(listener));
    });
    let why = node.why_not_linked();
    assert_eq!(why, "this node (a) speaks protocol version 1, node future speaks 2");
    serves(&node);
}

#[test]
fn a_second_live_node_of_the_same_name_is_refused_and_the_first_one_stays() {
    let b = Node::start("b", fast(&[]));
    let first = Node::start("twin", fast(&[&b.address]));
    until("the first is linked", || b.linked() == ["twin"]);
    let second = Node::start("twin", fast(&[&b.address]));
    let why = second.why_not_linked();
    let expected = format!(
        "two live nodes are called 'twin': one at {}, another at {}; give each its own name",
        first.address, second.address
    );
    assert_eq!(why, expected);
    assert_eq!(b.linked(), ["twin"]);
    let homonym = Node::start("b", fast(&[&b.address]));
    until("a node with the acceptor's own name is refused", || {
        homonym.mesh.peers().iter().any(|peer| peer.state == "refused")
    });
}

#[test]
fn malformed_arguments_end_the_envelope_and_not_the_link() {
    let node = Node::start("a", fast(&[]));
    node.block_on(async {
        let (mut peer, _) = Peer::dial(&node.address, hello("z", 1)).await;
        let bad_stage = proto::Envelope { stage: "nowhere".into(), ..envelope(3, "echo", &[0]) };
        peer.envelopes(vec![
            envelope(1, "echo", &[1, 99]),
            envelope(2, "not a message", &[0]),
            bad_stage,
            envelope(4, "echo", &wire::encode(&[Value::Int(5)])),
        ]);
        let mut endings = Vec::new();
        while endings.len() < 4 {
            endings.extend(peer.hear(|frame| Some(frame.endings.clone())).await.unwrap());
        }
        assert_eq!(endings.iter().map(|ending| ending.id).collect::<Vec<_>>(), [1, 2, 3, 4]);
        let failure = |index: usize| match &endings[index].outcome {
            Some(Outcome::Failure(failure)) => failure.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(failure(0).reason(), proto::Reason::Malformed);
        assert!(
            failure(0).detail.starts_with("the arguments of 'echo': malformed message at byte")
        );
        assert!(failure(1).detail.starts_with("the message id of an envelope: "));
        assert_eq!(failure(2).reason(), proto::Reason::NoStage);
        let Some(Outcome::Results(results)) = &endings[3].outcome else { panic!("{endings:?}") };
        assert_eq!(wire::decode(results, &Limits::DEFAULT).unwrap()[1], Value::Int(5));
    });
    assert_eq!(node.mesh.stats().turned_away, 3);
    serves(&node);
}

#[test]
fn ids_that_repeat_end_the_link_with_a_word() {
    let why = broken_by(|peer| peer.envelopes(vec![envelope(1, "hang", &[0]); 2]));
    assert_eq!(why, "envelope id 1 is not above 1: ids must rise");
}

#[test]
fn endings_and_cancels_of_nothing_and_second_hellos_end_the_link_with_a_word() {
    let ending = proto::Ending { id: 12, outcome: None };
    let endings = proto::Frame { endings: vec![ending], ..Default::default() };
    let why = broken_by(move |peer| peer.say(endings.clone()));
    assert_eq!(why, "ending or cancel of envelope 12, which was never sent");
    let cancels = proto::Frame { cancels: vec![3], ..Default::default() };
    let why = broken_by(move |peer| peer.say(cancels.clone()));
    assert_eq!(why, "ending or cancel of envelope 3, which was never sent");
    assert_eq!(broken_by(|peer| peer.say(hello("z", 1))), "a second hello");
}

#[test]
fn a_peer_that_ignores_its_credit_is_cut_off() {
    let config = Config { max_in_flight: 2, ..fast(&[]) };
    let node = Node::start("a", config);
    let why = node.block_on(async {
        let (mut peer, _) = Peer::dial(&node.address, hello("z", 1)).await;
        peer.envelopes((1..=3).map(|id| envelope(id, "hang", &[0])).collect());
        peer.hear(|frame| frame.bye.clone()).await.unwrap().why
    });
    assert_eq!(why, "envelope id 3 exceeds the credit that was granted");
    until("their handlers hear of it", || node.cancelled() == 2);
    serves(&node);
}

#[test]
fn a_frame_over_the_limit_ends_the_link() {
    let node = Node::start("a", Config { frame_bytes: 64 << 10, ..fast(&[]) });
    node.block_on(async {
        let (mut peer, _) = Peer::dial(&node.address, hello("z", 1)).await;
        peer.envelopes(vec![envelope(1, "echo", &[0; 70_000])]);
        assert!(peer.hear(|frame| frame.endings.first().cloned()).await.is_none());
    });
    until("it is lost", || node.mesh.stats().links_lost == 1);
    serves(&node);
}

#[test]
fn a_small_frame_that_unfolds_to_much_ends_the_link_before_it_does() {
    let node = Node::start("a", fast(&[]));
    node.block_on(async {
        let (mut peer, _) = Peer::dial(&node.address, hello("b", 1)).await;
        peer.say(proto::Frame { cancels: vec![0; (4 << 20) / 8 + 1], ..Default::default() });
        assert_eq!(peer.hear(|frame| frame.bye.clone()).await, None);
    });
    until("the node has lost the link", || node.mesh.stats().links_lost == 1);
    serves(&node);
}

#[test]
fn unknown_states_and_reasons_of_a_newer_peer_do_no_harm() {
    let node = Node::start("a", fast(&[]));
    let failure = node.block_on(async {
        let (mut peer, _) = Peer::dial(&node.address, hello("z", 1)).await;
        let advert = proto::Advert { state: 42, load: f32::NAN, utilisation: 7.0 };
        let mut outcomes = node.send(ask("theirs", "m", vec![]));
        let id = peer.hear(|frame| frame.envelopes.first().map(|e| e.id)).await.unwrap();
        let failure = proto::Failure { reason: 42, detail: "new".into() };
        let ending = proto::Ending { id, outcome: Some(Outcome::Failure(failure)) };
        peer.say(proto::Frame {
            advert: Some(advert),
            endings: vec![ending],
            credit: 1,
            ..Default::default()
        });
        outcomes.next().await.unwrap().unwrap_err()
    });
    assert_eq!(failure.to_string(), "handler: unknown reason 42: new");
    serves(&node);
}

#[test]
fn results_that_make_no_sense_fail_the_signal() {
    let node = Node::start("a", fast(&[]));
    let failure = node.block_on(async {
        let (mut peer, _) = Peer::dial(&node.address, hello("z", 1)).await;
        let mut outcomes = node.send(ask("theirs", "m", vec![]));
        let id = peer.hear(|frame| frame.envelopes.first().map(|e| e.id)).await.unwrap();
        let outcome = Some(Outcome::Results(vec![9, 9].into()));
        let endings = vec![proto::Ending { id, outcome }];
        peer.say(proto::Frame { endings, ..Default::default() });
        outcomes.next().await.unwrap().unwrap_err()
    });
    assert_eq!(failure.reason, Reason::Malformed);
    assert!(failure.detail.starts_with("results of z: malformed message"), "{failure}");
}

#[test]
fn a_peer_that_falls_silent_is_lost_and_its_senders_hear_so() {
    let config = Config {
        heartbeat: std::time::Duration::from_millis(20),
        silence: std::time::Duration::from_secs(1),
        ..fast(&[])
    };
    let node = Node::start("a", config);
    let failure = node.block_on(async {
        let (peer, _) = Peer::dial(&node.address, hello("z", 1)).await;
        let mut outcomes = node.send(ask("theirs", "m", vec![]));
        let failure = outcomes.next().await.unwrap().unwrap_err();
        drop(peer);
        failure
    });
    assert_eq!(failure.to_string(), "link_lost: the link to z broke: nothing was heard for 1s");
}

/// Links to a node as `z`, and never stops saying how it is.
fn flood(address: &str) -> std::thread::JoinHandle<()> {
    let address = format!("http://{address}");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let first = hello("z", 1);
            let again = proto::Frame { advert: first.advert, ..Default::default() };
            let frames = stream::once(std::future::ready(first)).chain(stream::repeat(again));
            let mut client = Client::connect(address).await.unwrap();
            let mut inbound = client.link(frames).await.unwrap().into_inner();
            while let Ok(Some(_)) = inbound.message().await {}
        });
    })
}

#[test]
fn a_peer_that_never_stops_talking_keeps_no_deadline_from_passing() {
    let node = Node::start("a", fast(&[]));
    let talks = flood(&node.address);
    until("it is linked", || node.linked().contains(&"z".to_owned()));
    let timeout = Some(std::time::Duration::from_millis(200));
    for _ in 0..5 {
        let failure = node.ask(Outgoing { timeout, ..ask("theirs", "m", vec![]) }).unwrap_err();
        assert_eq!(failure.reason, Reason::Deadline);
    }
    drop(node);
    talks.join().unwrap();
}

#[test]
fn a_reason_to_go_is_kept_only_as_far_as_anybody_reads_it() {
    let node = Node::start("a", fast(&[]));
    let bye = proto::Bye { why: "é".repeat(100_000), reason: proto::ByeReason::Denied.into() };
    let first = proto::Frame { bye: Some(bye), ..hello("z", 1) };
    let answer = node.block_on(Peer::dial(&node.address, first)).1.unwrap();
    let why = answer.bye.unwrap().why;
    assert!(why.starts_with("éé") && why.len() <= 1 << 10, "{} bytes", why.len());
    serves(&node);
}

/// Links a peer to a node, lets it misbehave, and returns what the node says to it at the end.
fn broken_by(misbehave: impl Fn(&Peer)) -> String {
    let node = Node::start("a", fast(&[]));
    let why = node.block_on(async {
        let (mut peer, _) = Peer::dial(&node.address, hello("z", 1)).await;
        misbehave(&peer);
        peer.hear(|frame| frame.bye.clone()).await.expect("a word").why
    });
    until("it is lost", || node.mesh.stats().links_lost == 1);
    serves(&node);
    why
}

fn function(captured: i64) -> Value {
    let text = "function() return x end";
    let prototype = Prototype::new(text.into(), "main.lua".into(), 1, vec!["x".into()]);
    let captures = vec![Capture::Value(Value::Int(captured))];
    Value::Function(Function::new(prototype.into(), captures).unwrap())
}

#[test]
fn the_text_of_a_function_travels_once_over_a_link() {
    let node = Node::start("a", fast(&[]));
    node.block_on(async {
        let (mut peer, _) = Peer::dial(&node.address, hello("z", 1)).await;
        let mut heard = Vec::new();
        for captured in [1, 2, 3] {
            let _outcomes = node.send(ask("theirs", "m", vec![function(captured)]));
            heard.extend(peer.hear(|frame| frame.envelopes.first().cloned()).await);
        }
        let along: Vec<bool> = heard.iter().map(|e| !e.functions.is_empty()).collect();
        assert_eq!(along, [true, false, false]);
        assert!(heard[2].args.len() < 50, "a hash and a capture: {}", heard[2].args.len());
    });
}

#[test]
fn a_function_that_was_never_sent_ends_its_envelope_and_nonsense_beside_it_the_link() {
    let node = Node::start("a", fast(&[]));
    let (args, functions) = wire::encode_by_hash(&[function(7)]);
    let reasons = node.block_on(async {
        let (mut peer, _) = Peer::dial(&node.address, hello("z", 1)).await;
        let texts = functions.iter().map(|function| {
            let head = [Value::Bytes(function.text().clone()), "main.lua".into(), Value::Int(1)];
            Value::list(head.into_iter().chain([Value::from("x")]))
        });
        let functions = wire::encode(&texts.collect::<Vec<_>>());
        let known = proto::Envelope { functions, ..envelope(2, "echo", &args) };
        peer.envelopes(vec![envelope(1, "echo", &args), known, envelope(3, "echo", &args)]);
        let mut endings = Vec::new();
        while endings.len() < 3 {
            endings.extend(peer.hear(|frame| Some(frame.endings.clone())).await.unwrap());
        }
        let failed = |ending: &proto::Ending| matches!(ending.outcome, Some(Outcome::Failure(_)));
        endings.iter().map(failed).collect::<Vec<_>>()
    });
    assert_eq!(reasons, [true, false, false]);
    let functions = wire::encode(&[Value::Int(1)]);
    let nonsense = proto::Envelope { functions, ..envelope(1, "echo", &[0]) };
    let why = broken_by(move |peer| peer.envelopes(vec![nonsense.clone()]));
    assert_eq!(why, "envelope 1 brings functions that make no sense");
}

type Client = proto::signal_service_client::SignalServiceClient<tonic::transport::Channel>;

async fn connect(address: &str) -> Client {
    Client::connect(format!("http://{address}")).await.unwrap()
}

/// A node of a later version of the protocol.
struct FromTheFuture;

impl FromTheFuture {
    async fn serve(listener: tokio::net::TcpListener) {
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let service = SignalServiceServer::new(Self);
        let server = tonic::transport::Server::builder().add_service(service);
        server.serve_with_incoming(incoming).await.unwrap();
    }
}

#[tonic::async_trait]
impl SignalService for FromTheFuture {
    type LinkStream = Pin<Box<dyn Stream<Item = Result<proto::Frame, Status>> + Send>>;

    async fn link(
        &self,
        _: Request<Streaming<proto::Frame>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        Ok(Response::new(stream::once(async { Ok(hello("future", 2)) }).boxed()))
    }

    type SessionStream = Pin<Box<dyn Stream<Item = Result<proto::SessionResponse, Status>> + Send>>;

    async fn session(
        &self,
        _: Request<Streaming<proto::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn signal(
        &self,
        _: Request<proto::SignalRequest>,
    ) -> Result<Response<proto::SignalResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}
