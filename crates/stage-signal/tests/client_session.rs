//! The session of an outside client in Rust, over streams that come and go.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "so a test fails")]

#[path = "node/nodes.rs"]
mod nodes;

use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use nodes::{Node, ask, fast, until};
use stage_signal::Reason;
use stage_signal::client::{Client, ClientError, ClientEvent, ClientEvents, ClientSession};
use stage_value::Value;
use tokio::runtime::Runtime;

const WAIT: Duration = Duration::from_secs(20);

/// A client outside of all nodes, on a runtime of its own.
struct Outside {
    runtime: Runtime,
    session: ClientSession,
    events: ClientEvents,
}

impl Outside {
    fn of(node: &Node) -> Self {
        let runtime = Runtime::new().unwrap();
        let (session, events) = runtime.block_on(async {
            let client = Client::connect(&node.address).await.unwrap();
            client.session()
        });
        Self { runtime, session, events }
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    fn event(&mut self) -> ClientEvent {
        let next = self.events.next();
        self.runtime.block_on(async { tokio::time::timeout(WAIT, next).await.unwrap().unwrap() })
    }

    /// The client's name once its next stream is up.
    fn opened(&mut self) -> String {
        loop {
            if let ClientEvent::Opened { name } = self.event() {
                return name;
            }
        }
    }

    fn begin(
        &self,
        session: &ClientSession,
        address: &'static str,
    ) -> tokio::task::JoinHandle<Result<Vec<Value>, ClientError>> {
        let session = session.clone();
        self.runtime.spawn(async move { session.signal(address, vec![], WAIT).await })
    }
}

fn reason(end: Result<Vec<Value>, ClientError>) -> Reason {
    let Err(ClientError::Failed(failure)) = end else { panic!("{end:?}") };
    failure.reason
}

#[test]
fn more_signals_than_the_node_takes_at_once_all_end_as_their_own() {
    let node = Node::start("a", fast(&[]));
    let outside = Outside::of(&node);
    let ends =
        outside
            .block_on(join_all((0..600).map(|number| {
                outside.session.signal("work:echo", vec![Value::Int(number)], WAIT)
            })));
    for (number, end) in (0..).zip(ends) {
        assert_eq!(end.unwrap(), [Value::from("a"), Value::Int(number)]);
    }
    let end = outside.block_on(outside.session.signal("work:dance", vec![], WAIT));
    assert_eq!(reason(end), Reason::NoHandler);
}

#[test]
fn a_stage_signals_the_client_by_its_name() {
    let node = Node::start("a", fast(&[]));
    let mut outside = Outside::of(&node);
    let name = outside.opened();
    assert_eq!(node.ask(ask(&name, "news.today", vec!["sun".into()])), Ok(vec![]));
    let (message, args) = ("news.today".parse().unwrap(), vec!["sun".into()]);
    assert_eq!(outside.event(), ClientEvent::Pushed { message, args });
}

#[test]
fn a_session_comes_back_with_its_node_and_sends_again_only_what_it_may() {
    let node = Node::start("a", fast(&[]));
    let mut outside = Outside::of(&node);
    let first = outside.opened();
    let marked = outside.session.clone().idempotent();
    let plain = outside.begin(&outside.session, "work:hang");
    let again = outside.begin(&marked, "work:hang");
    until("both have started", || node.calls() == 2);
    let address = node.address.clone();
    node.kill();
    assert_eq!(reason(outside.block_on(plain).unwrap()), Reason::LinkLost);
    assert!(matches!(outside.event(), ClientEvent::Lost { .. }));
    let meanwhile = outside.begin(&outside.session, "work:echo");
    let node = Node::start_at("a", &address, fast(&[]));
    assert_ne!(outside.opened(), first);
    assert_eq!(outside.block_on(meanwhile).unwrap().unwrap(), [Value::from("a")]);
    until("the marked one has started anew", || node.calls() == 2);
    node.kill();
    assert_eq!(reason(outside.block_on(again).unwrap()), Reason::LinkLost, "twice is enough");
}

#[test]
fn a_signal_that_is_never_written_ends_at_its_deadline() {
    let node = Node::start("a", fast(&[]));
    let mut outside = Outside::of(&node);
    outside.opened();
    node.kill();
    assert!(matches!(outside.event(), ClientEvent::Lost { .. }));
    let soon = Duration::from_millis(50);
    let end = outside.block_on(outside.session.signal("work:echo", vec![], soon));
    assert_eq!(reason(end), Reason::Deadline);
}

#[test]
fn a_signal_whose_future_is_dropped_is_withdrawn_and_a_session_without_handles_ends() {
    let node = Node::start("a", fast(&[]));
    let mut outside = Outside::of(&node);
    let name = outside.opened();
    let waiting = outside.begin(&outside.session, "work:hang");
    until("it has started", || node.calls() == 1);
    waiting.abort();
    until("its handler has heard of it", || node.cancelled() == 1);
    let Outside { runtime, session, mut events } = outside;
    drop(session);
    assert_eq!(runtime.block_on(events.next()), None);
    until("its name has ended", || {
        node.ask(ask(&name, "news", vec![])).is_err_and(|failure| failure.reason == Reason::NoStage)
    });
}
