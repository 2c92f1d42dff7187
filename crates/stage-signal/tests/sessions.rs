//! Clients that stay, and what tools find on a node's port.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "so a test fails")]

#[path = "node/nodes.rs"]
mod nodes;

use std::time::Duration;

use nodes::{Node, ask, fast, until};
use stage_proto::signal::v1 as proto;
use stage_proto::signal::v1::session_request::What as Asked;
use stage_proto::signal::v1::session_response::What;
use stage_proto::signal::v1::signal_service_client::SignalServiceClient;
use stage_signal::{Failure, OutsideSignal, Reason, SessionEvent, SessionLimits};
use stage_value::Value;
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::transport::Channel;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client's end of a session over the wire.
struct Visitor {
    ask: mpsc::UnboundedSender<proto::SessionRequest>,
    heard: Streaming<proto::SessionResponse>,
    name: String,
}

impl Visitor {
    async fn come(node: &Node) -> Self {
        let (ask, mut asked) = mpsc::unbounded_channel();
        let asked = futures_util::stream::poll_fn(move |context| asked.poll_recv(context));
        let mut client = SignalServiceClient::new(channel(node).await);
        let mut heard = client.session(asked).await.unwrap().into_inner();
        let Some(What::Welcome(welcome)) = heard.message().await.unwrap().unwrap().what else {
            panic!("the first message is the welcome");
        };
        assert_eq!(welcome.in_flight, 256);
        Self { ask, heard, name: welcome.name }
    }

    fn say(&self, id: u64, what: Asked) {
        self.ask.send(proto::SessionRequest { id, what: Some(what) }).unwrap();
    }

    fn signal(&self, id: u64, address: &str) {
        let address = address.to_owned();
        self.say(id, Asked::Signal(proto::SignalRequest { address, ..Default::default() }));
    }

    async fn hear(&mut self) -> What {
        let heard = tokio::time::timeout(PATIENCE, self.heard.message()).await;
        let heard = heard.expect("something comes").unwrap();
        heard.expect("the session goes on").what.unwrap()
    }

    async fn end(&mut self) -> (u64, Result<usize, i32>) {
        match self.hear().await {
            What::End(proto::End { id, outcome: Some(proto::end::Outcome::Results(it)) }) => {
                (id, Ok(it.values.len()))
            }
            What::End(proto::End { id, outcome: Some(proto::end::Outcome::Failure(it)) }) => {
                (id, Err(it.reason))
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn channel(node: &Node) -> Channel {
    Channel::from_shared(format!("http://{}", node.address)).unwrap().connect().await.unwrap()
}

#[test]
fn signals_of_a_session_end_as_they_end_and_not_in_order() {
    let node = Node::start("a", fast(&[]));
    node.block_on(async {
        let mut visitor = Visitor::come(&node).await;
        visitor.signal(1, "work:hang");
        visitor.signal(2, "work:dance");
        visitor.signal(3, "work:echo");
        let mut ends = [visitor.end().await, visitor.end().await];
        ends.sort_unstable();
        assert_eq!(ends, [(2, Err(proto::Reason::NoHandler.into())), (3, Ok(1))]);
        visitor.say(1, Asked::Cancel(proto::Cancel {}));
        assert_eq!(visitor.end().await, (1, Err(proto::Reason::Cancelled.into())));
    });
    until("the handler has heard of it", || node.cancelled() == 1);
}

#[test]
fn a_client_that_asks_no_more_gets_every_end_and_then_the_end_of_the_session() {
    let node = Node::start("a", fast(&[]));
    node.block_on(async {
        let mut visitor = Visitor::come(&node).await;
        (0..100).for_each(|id| visitor.signal(id, "work:slow"));
        // Nobody listens at the other end of this one: the client's side of the stream has ended.
        visitor.ask = mpsc::unbounded_channel().0;
        let mut ids = Vec::new();
        for _ in 0..100 {
            ids.push(visitor.end().await.0);
        }
        ids.sort_unstable();
        assert_eq!(ids, (0..100).collect::<Vec<_>>());
        assert_eq!(visitor.heard.message().await.unwrap(), None);
    });
}

#[test]
fn a_client_with_as_many_signals_as_it_may_have_can_still_cancel_one() {
    let node = Node::start("a", fast(&[]));
    node.block_on(async {
        let mut visitor = Visitor::come(&node).await;
        (0..256).for_each(|id| visitor.signal(id, "work:hang"));
        visitor.say(7, Asked::Cancel(proto::Cancel {}));
        assert_eq!(visitor.end().await, (7, Err(proto::Reason::Cancelled.into())));
    });
}

#[test]
fn an_id_that_is_in_use_ends_the_session_with_the_reason() {
    let node = Node::start("a", fast(&[]));
    node.block_on(async {
        let mut visitor = Visitor::come(&node).await;
        visitor.signal(7, "work:hang");
        visitor.signal(7, "work:echo");
        let status = visitor.heard.message().await.unwrap_err();
        assert!(status.message().contains("the id 7 stands for a signal"), "{status}");
    });
    until("what was under way is withdrawn", || node.cancelled() == 1);
}

#[test]
fn a_stage_of_any_linked_node_signals_the_client_until_it_leaves() {
    let (a, b) = Node::pair();
    let name = a.block_on(async {
        let mut visitor = Visitor::come(&a).await;
        let name = visitor.name.clone();
        assert!(name.starts_with("a$client-"), "{name}");
        assert!(!a.mesh.stages().iter().any(|stage| **stage == *name), "it is in no list");
        for node in [&a, &b] {
            let mut outcomes = node.send(ask(&name, "news", vec![Value::Int(5)]));
            let What::Push(push) = visitor.hear().await else { panic!("a push") };
            assert_eq!((push.message.as_str(), push.args.len()), ("news", 1));
            assert_eq!(outcomes.next().await.unwrap(), Ok(Vec::new()));
        }
        name
    });
    until("its name has ended", || {
        b.ask(ask(&name, "news", vec![])).is_err_and(|failure| failure.reason == Reason::NoStage)
    });
}

#[test]
fn what_is_past_the_limits_of_a_session_is_overload() {
    let node = Node::start("a", fast(&[]));
    let mut session = node.mesh.open_session(SessionLimits { in_flight: 1, pushes: 2 }).unwrap();
    let signal = |address: &str| OutsideSignal {
        address: address.into(),
        args: Vec::new(),
        timeout: None,
        idempotent: false,
        trace: None,
    };
    session.start(1, signal("work:hang")).unwrap();
    assert!(session.is_full());
    session.start(2, signal("work:echo")).unwrap();
    let event = node.block_on(session.next());
    let SessionEvent::Ended { id: 2, outcome: Err(failure) } = event else { panic!("{event:?}") };
    assert_eq!(failure.reason, Reason::Overloaded);
    let name = session.name().to_string();
    let waiting = [1, 2].map(|_| node.send(ask(&name, "news", vec![])));
    let full = |end: Result<_, Failure>| end.unwrap_err().reason;
    assert_eq!(full(node.ask(ask(&name, "news", vec![]))), Reason::Overloaded);
    drop(waiting);
}

#[test]
fn tools_learn_whether_the_node_serves_and_what() {
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let node = Node::start("a", fast(&[]));
    node.block_on(async {
        let channel = channel(&node).await;
        let request = HealthCheckRequest { service: "stage.signal.v1.SignalService".into() };
        let health = HealthClient::new(channel.clone()).check(request).await.unwrap();
        assert_eq!(health.into_inner().status(), ServingStatus::Serving);

        let what = MessageRequest::FileContainingSymbol("stage.signal.v1.SignalService".into());
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(what) };
        let asked = futures_util::stream::iter([request]);
        let mut answers = ServerReflectionClient::new(channel)
            .server_reflection_info(asked)
            .await
            .unwrap()
            .into_inner();
        let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
        let MessageResponse::FileDescriptorResponse(files) = answer else { panic!("{answer:?}") };
        assert!(!files.file_descriptor_proto.is_empty());
    });
}

#[test]
fn a_node_that_takes_nothing_from_outside_opens_no_session() {
    let node = Node::start("a", fast(&[]));
    node.refuse.store(true, std::sync::atomic::Ordering::Relaxed);
    let refused = node.mesh.open_session(SessionLimits::default());
    assert_eq!(refused.err().map(|failure| failure.reason), Some(Reason::Refused));
}
