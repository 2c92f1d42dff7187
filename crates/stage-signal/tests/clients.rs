//! Outside clients: one call, one answer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "so a test fails")]

#[path = "node/nodes.rs"]
mod nodes;

use std::sync::atomic::Ordering;
use std::time::Duration;

use nodes::{Node, fast, until};
use stage_proto::signal::v1 as proto;
use stage_signal::client::{Client, ClientError};
use stage_signal::{Failure, Reason};
use stage_value::{Key, Map, Value};

const WAIT: Duration = Duration::from_secs(20);

fn call(node: &Node, address: &str, args: Vec<Value>) -> Result<Vec<Value>, ClientError> {
    node.block_on(async {
        Client::connect(&node.address).await.unwrap().signal(address, args, WAIT).await
    })
}

fn failure(node: &Node, address: &str) -> Failure {
    match call(node, address, Vec::new()) {
        Err(ClientError::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_signals_a_stage_and_gets_its_results() {
    let (a, b) = Node::pair();
    let map = Value::Map(Map::from_entries(vec![(Key::Int(1), Value::bytes([0xff, 0]))]));
    let args = vec![Value::Nil, Value::Float(0.5), Value::list([map])];
    let mut expected = vec![Value::from("a")];
    expected.extend(args.clone());
    assert_eq!(call(&a, "work:echo", args).unwrap(), expected, "the node it came to serves it");
    assert_eq!(call(&a, "echo", vec![]).unwrap(), [Value::from("a")], "it carries one stage only");
    b.carry("only-b");
    until("a knows the new stage", || a.mesh.peers()[0].stages.len() == 2);
    assert_eq!(call(&a, "only-b:echo", vec![]).unwrap(), [Value::from("b")]);
}

#[test]
fn a_scope_gives_a_list_for_each_stage() {
    let (a, _b) = Node::pair();
    let mut lists = call(&a, "*work:echo", vec![]).unwrap();
    lists.sort_by_key(|list| format!("{list:?}"));
    let list = |name: &str| Value::list([Value::from(name)]);
    assert_eq!(lists, [list("a"), list("b")]);
    assert_eq!(call(&a, "+work:echo", vec![]).unwrap(), [list("b")]);
}

#[test]
fn addresses_that_mean_nothing_to_a_client_are_explained() {
    let node = Node::start("a", fast(&[]));
    node.carry("more");
    let detail = |address: &str| {
        let failure = failure(&node, address);
        assert_eq!(failure.reason, Reason::Malformed, "{failure}");
        failure.detail
    };
    assert!(detail("work:echo=reply").contains("a client has no handlers"));
    assert!(detail("work:echo!failed").contains("a client has no handlers"));
    assert!(detail("ticket:login=cb").contains("is a ticket"));
    assert!(detail(":echo").contains("name a stage"));
    assert!(detail("work:").contains("address, column 6: a name is expected here"));
    assert_eq!(detail("echo"), "'echo' names no stage and this node carries several: more, work");
}

#[test]
fn failures_reach_the_client_as_they_are() {
    let node = Node::start("a", fast(&[]));
    assert_eq!(failure(&node, "nowhere:echo").reason, Reason::NoStage);
    assert_eq!(failure(&node, "work:dance").to_string(), "no_handler: no handler 'dance'");
    node.refuse.store(true, Ordering::Relaxed);
    assert_eq!(failure(&node, "work:echo").to_string(), "refused: a is isolated");
}

#[test]
fn a_client_that_leaves_or_runs_out_of_time_cancels_the_handler() {
    let node = Node::start("a", fast(&[]));
    let late = node.block_on(async {
        let client = Client::connect(&node.address).await.unwrap();
        client.signal("work:hang", vec![], Duration::from_millis(50)).await
    });
    assert!(matches!(late, Err(ClientError::Failed(f)) if f.reason == Reason::Deadline));
    until("the handler has heard of it", || node.cancelled() == 1);
    node.block_on(async {
        let client = Client::connect(&node.address).await.unwrap();
        let call = client.signal("work:hang", vec![], WAIT);
        let started = async {
            while node.calls() < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            end = call => panic!("{end:?}"),
            () = started => {}
        }
    });
    until("the second handler has heard of it", || node.cancelled() == 2);
}

#[test]
fn a_value_without_a_kind_is_refused_with_its_path() {
    let node = Node::start("a", fast(&[]));
    let response = node.block_on(async {
        let url = format!("http://{}", node.address);
        let mut client =
            proto::signal_service_client::SignalServiceClient::connect(url).await.unwrap();
        let args = vec![proto::Value::default()];
        let request =
            proto::SignalRequest { address: "work:echo".into(), args, ..Default::default() };
        client.signal(request).await.unwrap().into_inner()
    });
    let Some(proto::signal_response::Outcome::Failure(failure)) = response.outcome else {
        panic!("{response:?}");
    };
    assert!(failure.detail.starts_with("args[1]: a value of no known kind"), "{failure:?}");
}

#[test]
fn nobody_at_the_address_is_an_error_that_says_so() {
    let (listener, address) = Node::listener();
    drop(listener);
    let node = Node::start("a", fast(&[]));
    let error = node.block_on(Client::connect(&address)).unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }));
    assert!(error.to_string().starts_with(&format!("no node can be reached at {address}: ")));
}

#[test]
fn a_trace_travels_with_a_signal_to_another_node() {
    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let (a, b) = Node::pair();
    b.carry("only-b");
    until("a knows the new stage", || a.mesh.peers()[0].stages.len() == 2);
    let ask = async |client: Client| client.signal("only-b:trace", vec![], WAIT).await.unwrap();
    a.block_on(async {
        let client = Client::connect(&a.address).await.unwrap();
        assert_eq!(ask(client.clone()).await, []);
        assert_eq!(ask(client.traced(TEXT.parse().unwrap())).await, [Value::from(TEXT)]);
    });
}
