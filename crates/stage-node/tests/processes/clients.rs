//! Clients in Rust and in other languages, against a real node.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use stage_signal::client::{Client, ClientEvent, ClientEvents, ClientSession};
use stage_value::{Key, Map, Value};

use crate::harness::{Node, address, free_port};

/// The interpreter that Debian's packages are for.
const PYTHON: &str = "/usr/bin/python3";

const INSTALL: &str = "apt-get install python3-grpcio python3-protobuf protobuf-compiler";

#[test]
fn the_python_client_signals_a_stage_and_is_signalled_in_its_session() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/clients/python");
    let (_node, to, _) = Node::serve(&folder.join("main.lua"));
    let output = Command::new(PYTHON)
        .arg(folder.join("example.py"))
        .arg(&to)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap_or_else(|error| panic!("{PYTHON}: {error}; install it with: {INSTALL}"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\nit needs: {INSTALL}");
    let expected = "['hello kim', 7]\nREASON_NO_HANDLER\n999000\n('joined', ['lee', [1, 2.5]])\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{told}");
}

#[test]
fn the_rust_client_signals_a_stage_and_its_session_outlives_the_node() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/clients/python");
    let (to, script) = (address(free_port()), folder.join("main.lua"));
    let at = to.clone();
    let serve = move || {
        let mut node = Node::start(&["run", script.to_str().unwrap(), "--listen", &at]);
        node.wait_for_log("takes signals");
        node
    };
    let (node, wait) = (serve(), Duration::from_secs(20));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = Client::connect(&to).await.unwrap();
        let card = Map::from_iter([(Key::from("level"), Value::Int(7))]);
        let hello = client.signal("stage:hello", vec!["kim".into(), card.into()], wait).await;
        assert_eq!(hello.unwrap(), [Value::from("hello kim"), Value::Int(7)]);

        let (session, mut events) = client.session();
        subscribe(&session, &mut events).await;
        node.kill();
        while !matches!(events.next().await, Some(ClientEvent::Lost { .. })) {}
        // It goes out when the node is there again.
        let waiting = session.signal("stage:double", vec![Value::Int(21)], wait);
        let (doubled, again) = tokio::join!(waiting, tokio::task::spawn_blocking(serve));
        assert_eq!(doubled.unwrap(), [Value::Int(42)]);
        subscribe(&session, &mut events).await;
        drop(again.unwrap());
    });
}

/// Is signalled by the stage under the name that the session has now.
async fn subscribe(session: &ClientSession, events: &mut ClientEvents) {
    session.signal("stage:subscribe", vec![], Duration::from_secs(20)).await.unwrap();
    loop {
        if let ClientEvent::Pushed { message, args } = events.next().await.unwrap() {
            assert_eq!((message.as_str(), &args[0]), ("joined", &Value::from("lee")));
            return;
        }
    }
}
