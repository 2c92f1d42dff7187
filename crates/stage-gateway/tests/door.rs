//! The gateway as clients see it: over real connections, with what they should not send as well.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by it")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value as Json, json};
use stage_gateway::{Client, Config, Gateway};
use stage_signal::{
    Delivery, Destination, Failure, Identity, Inbox, Mesh, OpenGate, Outgoing, Reason,
};
use stage_value::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Answers by the name of the message.
struct Lobby;

impl Inbox for Lobby {
    fn deliver(&self, delivery: Delivery) -> Result<(), Delivery> {
        let refuse = |reason| Failure::new(reason, "told so");
        match delivery.message.to_string().as_str() {
            "echo" => delivery.responder.reply(delivery.args),
            "origin" => delivery.responder.reply(vec![Value::from(&*delivery.origin.stage)]),
            "refuse" => delivery.responder.fail(refuse(Reason::Refused)),
            "hang" => {
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(3600)).await;
                    delivery.responder.reply(Vec::new());
                });
            }
            _ => delivery.responder.fail(refuse(Reason::NoHandler)),
        }
        Ok(())
    }

    fn load(&self) -> usize {
        0
    }
}

const TOKEN: &str = "web-0123456789abcdef";

struct House {
    mesh: Mesh,
    gateway: Gateway,
    address: String,
}

async fn house(change: impl FnOnce(&mut Config)) -> House {
    let identity =
        Identity { name: "a".into(), group: "host".into(), address: None, incarnation: 1 };
    let mesh = Mesh::new(identity, stage_signal::Config::default(), Arc::new(OpenGate)).unwrap();
    mesh.register("lobby".parse().unwrap(), Arc::new(Lobby));
    mesh.register("vault".parse().unwrap(), Arc::new(Lobby));
    let stages = Some(["lobby".to_owned(), "nowhere".to_owned()].into());
    let clients = vec![Client { name: "web".into(), token: Some(TOKEN.into()), stages }];
    let mut config = Config { clients, rate: 100_000, ..Config::default() };
    change(&mut config);
    let gateway = Gateway::new(mesh.clone(), config);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(gateway.clone().run(listener, std::future::pending()));
    House { mesh, gateway, address }
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn code(&self) -> String {
        let json: Json = serde_json::from_str(&self.body).unwrap();
        json["error"]["code"].as_str().unwrap().to_owned()
    }
}

impl House {
    async fn raw(&self, bytes: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut text = Vec::new();
        // A server that refuses a body may reset the rest of it.
        drop(stream.read_to_end(&mut text).await);
        let text = String::from_utf8(text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.get(9..12).and_then(|it| it.parse().ok()).unwrap_or(0);
        Reply { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    async fn post_as(&self, token: &str, address: &str, body: &str) -> Reply {
        let length = body.len();
        let request = format!(
            "POST /v1/signal/{address} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.raw(request.as_bytes()).await
    }

    async fn post(&self, address: &str, body: &str) -> Reply {
        self.post_as(TOKEN, address, body).await
    }

    async fn session(&self) -> Browser {
        let mut request =
            format!("ws://{}/v1/session", self.address).into_client_request().unwrap();
        let protocols = format!("stage.v1, bearer.{TOKEN}").parse().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", protocols);
        let (mut socket, response) = connect_async(request).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "stage.v1");
        let hello = socket.next().await.unwrap().unwrap();
        let hello: Json = serde_json::from_str(hello.to_text().unwrap()).unwrap();
        Browser { socket, name: hello["session"].as_str().unwrap().to_owned() }
    }
}

struct Browser {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    name: String,
}

impl Browser {
    async fn say(&mut self, json: Json) {
        self.socket.send(Message::text(json.to_string())).await.unwrap();
    }

    async fn hear(&mut self) -> Json {
        loop {
            let message = self.socket.next().await.unwrap().unwrap();
            if let Message::Text(text) = message {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    async fn closed_with(&mut self) -> u16 {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                Some(Ok(_)) => {}
                other => panic!("no close frame: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_signal_answers_with_the_results_of_its_handler() {
    let house = house(|_| {}).await;
    let reply = house.post("lobby:echo", r#"["kim", 9007199254740993, {"a": [null, 1.5]}]"#).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.body, r#"["kim",{"$int":"9007199254740993"},{"a":[null,1.5]}]"#);
    assert_eq!(house.post("*lobby:echo", "[1]").await.body, "[[1]]");
}

#[tokio::test]
async fn every_refusal_has_its_status_and_says_what_to_do() {
    let house = house(|config| config.body_bytes = 1000).await;
    let large = format!("[{}1]", "1,".repeat(1000));
    let deep = "[".repeat(200);
    for (address, body, status, code) in [
        ("lobby:echo", "{}", 400, "malformed"),
        ("lobby:echo", "[1", 400, "malformed"),
        ("lobby:echo", deep.as_str(), 400, "malformed"),
        ("lobby:echo", r#"[{"$fn": "return 1"}]"#, 400, "malformed"),
        ("echo", "[]", 400, "malformed"),
        ("lobby:echo?timeout=1", "[]", 400, "malformed"),
        ("vault:echo", "[]", 403, "denied"),
        ("nowhere:echo", "[]", 404, "no_stage"),
        ("lobby:missing", "[]", 404, "no_handler"),
        ("lobby:echo", large.as_str(), 413, "too_large"),
        ("lobby:refuse", "[]", 503, "refused"),
        ("lobby:hang?timeout_ms=20", "[]", 504, "deadline"),
    ] {
        let reply = house.post(address, body).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{address} {body}");
        assert!(reply.body.contains("\"help\":\""), "{}", reply.body);
    }
    assert_eq!(house.gateway.stats().refused, 12);
    for (line, status) in [("POST /v1/nothing", 404), ("GET /v1/signal/lobby:echo", 405)] {
        let request = format!("{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let reply = house.raw(request.as_bytes()).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, "unknown"), "{line}");
    }
}

#[tokio::test]
async fn nobody_comes_in_without_the_token() {
    let house = house(|_| {}).await;
    for token in ["", "web-0123456789abcde", "web-0123456789abcdeff"] {
        let reply = house.post_as(token, "lobby:echo", "[]").await;
        assert_eq!((reply.status, reply.code().as_str()), (401, "unauthorised"), "{token}");
        assert!(reply.head.contains("www-authenticate: bearer"), "{}", reply.head);
    }
    let url = format!("ws://{}/v1/session", house.address);
    let Err(Error::Http(response)) = connect_async(url).await else { panic!("was let in") };
    assert_eq!(response.status(), 401);
    assert_eq!(house.gateway.stats().unauthorised, 4);
}

#[tokio::test]
async fn without_tokens_all_come_in_but_pages() {
    let anyone = Client { name: "anyone".into(), token: None, stages: None };
    let house = house(|config| config.clients = vec![anyone]).await;
    let request = |headers: &str| {
        format!(
            "POST /v1/signal/lobby:echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\
             Content-Length: 2\r\n\r\n[]"
        )
    };
    assert_eq!(house.raw(request("").as_bytes()).await.status, 200);
    assert_eq!(house.raw(request("Origin: http://evil\r\n").as_bytes()).await.status, 401);
    assert_eq!(house.raw(request("Authorization: Bearer x\r\n").as_bytes()).await.status, 401);
}

#[tokio::test]
async fn a_client_past_its_rate_is_told_when_to_come_again() {
    let house = house(|config| config.rate = 1).await;
    // However slow this machine is, one request takes less than a second.
    let reply = loop {
        let reply = house.post("lobby:echo", "[]").await;
        if reply.status != 200 {
            break reply;
        }
    };
    assert_eq!((reply.status, reply.code().as_str()), (429, "rate"));
    assert!(reply.head.contains("retry-after: 1"), "{}", reply.head);
    assert_eq!(house.gateway.stats().limited, 1);
}

#[tokio::test]
async fn more_requests_than_may_be_under_way_are_refused_and_their_place_comes_back() {
    let house = house(|config| config.in_flight = 1).await;
    let mut first = TcpStream::connect(&house.address).await.unwrap();
    let request = format!(
        "POST /v1/signal/lobby:hang HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Length: 0\r\n\r\n"
    );
    first.write_all(request.as_bytes()).await.unwrap();
    while house.gateway.stats().signals == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(house.post("lobby:echo", "[]").await.code(), "overloaded");
    drop(first);
    while house.post("lobby:echo", "[]").await.status != 200 {}
}

#[tokio::test]
async fn a_client_that_never_ends_its_head_or_its_body_is_sent_away() {
    let house = house(|config| config.read_timeout = Duration::from_millis(300)).await;
    let head = format!(
        "POST /v1/signal/lobby:echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
         Authorization: Bearer {TOKEN}\r\n"
    );
    assert_ne!(house.raw(head.as_bytes()).await.status, 200);
    let reply = house.raw(format!("{head}Content-Length: 10\r\n\r\n[1").as_bytes()).await;
    assert_eq!((reply.status, reply.code().as_str()), (408, "slow"));
    while house.post("lobby:echo", "[]").await.status != 200 {}
}

#[tokio::test]
async fn connections_past_the_limit_are_closed_and_counted() {
    let house = house(|config| config.connections = 1).await;
    let held = TcpStream::connect(&house.address).await.unwrap();
    while house.raw(b"GET / HTTP/1.1\r\n\r\n").await.status != 0 {}
    assert!(house.gateway.stats().turned_away > 0);
    drop(held);
    while house.post("lobby:echo", "[]").await.status != 200 {}
}

#[tokio::test]
async fn a_session_has_many_signals_under_way_and_each_ends_by_its_id() {
    let house = house(|config| config.session_in_flight = 8).await;
    let mut browser = house.session().await;
    browser.say(json!({ "id": 1000, "signal": "lobby:hang" })).await;
    for id in 0..100 {
        browser.say(json!({ "id": id, "signal": "lobby:echo", "args": [id] })).await;
    }
    let mut ids: Vec<_> = Vec::new();
    for _ in 0..100 {
        let end = browser.hear().await;
        assert_eq!(end["results"], json!([end["id"]]));
        ids.push(end["id"].as_u64().unwrap());
    }
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..100));
    browser.say(json!({ "cancel": 1000 })).await;
    let end = browser.hear().await;
    assert_eq!((&end["id"], &end["error"]["code"]), (&json!(1000), &json!("cancelled")));
}

#[tokio::test]
async fn a_session_with_as_many_signals_as_it_may_have_can_still_cancel_one() {
    let house = house(|config| config.session_in_flight = 2).await;
    let mut browser = house.session().await;
    for id in [1, 2] {
        browser.say(json!({ "id": id, "signal": "lobby:hang" })).await;
    }
    browser.say(json!({ "cancel": 2 })).await;
    let end = browser.hear().await;
    assert_eq!((&end["id"], &end["error"]["code"]), (&json!(2), &json!("cancelled")));
}

#[tokio::test]
async fn a_session_hears_what_stages_signal_to_it() {
    let house = house(|_| {}).await;
    let mut browser = house.session().await;
    browser.say(json!({ "id": 1, "signal": "lobby:origin" })).await;
    assert_eq!(browser.hear().await["results"], json!([browser.name]));
    let mut outcomes = house.mesh.send(Outgoing {
        destination: Destination::Stage(browser.name.parse().unwrap()),
        message: "joined".parse().unwrap(),
        args: vec![Value::from("kim")],
        origin_stage: "lobby".into(),
        wants_results: true,
        idempotent: false,
        timeout: None,
        trace: None,
    });
    assert_eq!(browser.hear().await, json!({ "push": "joined", "args": ["kim"] }));
    assert_eq!(outcomes.next().await, Some(Ok(Vec::new())));
}

#[tokio::test]
async fn a_session_refuses_by_id_what_a_request_refuses_by_status() {
    let house = house(|_| {}).await;
    let mut browser = house.session().await;
    let mut codes = Vec::new();
    for (id, signal) in ["vault:echo", "echo", "lobby:refuse"].iter().enumerate() {
        browser.say(json!({ "id": id, "signal": signal })).await;
        let end = browser.hear().await;
        assert_eq!(end["id"], json!(id));
        codes.push(end["error"]["code"].as_str().unwrap().to_owned());
    }
    assert_eq!(codes, ["denied", "malformed", "refused"]);
}

#[tokio::test]
async fn a_session_has_the_rate_of_its_client() {
    let house = house(|config| config.rate = 1).await;
    let mut browser = house.session().await;
    for id in 0..30 {
        browser.say(json!({ "id": id, "signal": "lobby:echo" })).await;
    }
    let mut limited = 0;
    for _ in 0..30 {
        limited += u64::from(browser.hear().await["error"]["code"] == "rate");
    }
    assert!(limited > 0);
    assert_eq!(house.gateway.stats().limited, limited);
}

#[tokio::test]
async fn a_session_that_breaks_the_protocol_is_closed_with_a_code_that_says_how() {
    let house = house(|config| config.body_bytes = 1000).await;
    let twice = r#"{"id": 1, "signal": "lobby:hang"}"#;
    for (frames, code) in [
        (vec![Message::binary(vec![1, 2, 3])], 1003),
        (vec![Message::text("[".repeat(500))], 4000),
        (vec![Message::text("{}")], 4000),
        (vec![Message::text(twice), Message::text(twice)], 4001),
        (vec![Message::text("x".repeat(2000))], 1009),
    ] {
        let mut browser = house.session().await;
        for frame in frames {
            browser.socket.send(frame).await.unwrap();
        }
        assert_eq!(browser.closed_with().await, code);
    }
    while house.gateway.stats().sessions > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_session_that_does_not_read_is_ended_and_counted() {
    let house = house(|config| config.write_timeout = Duration::from_millis(50)).await;
    let browser = house.session().await;
    let (mut say, _unread) = browser.socket.split();
    let large = "x".repeat(500_000);
    let writing = async {
        let mut id = 0;
        loop {
            id += 1;
            let frame = json!({ "id": id, "signal": "lobby:echo", "args": [large] }).to_string();
            if say.send(Message::text(frame)).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let ended = async {
        while house.gateway.stats().slow == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! { () = writing => {} () = ended => {} }
    assert_eq!(house.gateway.stats().slow, 1);
}

#[tokio::test]
async fn sessions_are_told_that_the_node_stops() {
    let house = house(|_| {}).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(house.gateway.clone().run(listener, async { drop(stopped.await) }));
    let other = House { address, ..house };
    let mut browser = other.session().await;
    stop.send(()).unwrap();
    assert_eq!(browser.closed_with().await, u16::from(CloseCode::Away));
    running.await.unwrap();
}

#[tokio::test]
async fn pages_come_in_from_listed_origins_only_and_their_browsers_are_told() {
    let house = house(|config| config.origins = ["https://game.example".to_owned()].into()).await;
    let ask = async |method: &str, rest: &str| {
        let head =
            format!("{method} /v1/signal/lobby:echo HTTP/1.1\r\nHost: a\r\nConnection: close");
        house.raw(format!("{head}\r\n{rest}\r\n\r\n").as_bytes()).await
    };
    let bearer = format!("Authorization: Bearer {TOKEN}\r\nContent-Length: 0");
    let question = "Origin: https://game.example\r\nAccess-Control-Request-Method: POST";
    let reply = ask("OPTIONS", question).await;
    assert_eq!(reply.status, 204);
    for line in [
        "access-control-allow-origin: https://game.example",
        "access-control-allow-methods: post",
        "access-control-allow-headers: authorization, content-type",
        "access-control-max-age: 600",
        "vary: origin",
    ] {
        assert!(reply.head.contains(line), "{line} in {}", reply.head);
    }
    let reply = ask("POST", &format!("Origin: https://game.example\r\n{bearer}")).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert!(reply.head.contains("access-control-allow-origin: https://game.example"));
    // A refusal can be read as well.
    let reply = ask("POST", "Origin: https://game.example\r\nContent-Length: 0").await;
    assert_eq!(reply.status, 401);
    assert!(reply.head.contains("access-control-allow-origin: https://game.example"));
    for origin in ["https://game.example.evil", "null", "http://game.example"] {
        let reply = ask("POST", &format!("Origin: {origin}\r\n{bearer}")).await;
        assert_eq!((reply.status, reply.code().as_str()), (403, "origin"), "{origin}");
        let question = format!("Origin: {origin}\r\nAccess-Control-Request-Method: POST");
        let told = [reply.head, ask("OPTIONS", &question).await.head];
        assert!(told.iter().all(|head| !head.contains("access-control")), "{told:?}");
    }
    assert_eq!(ask("POST", &bearer).await.status, 200, "curl is no page");
}

#[tokio::test]
async fn without_origins_no_browser_is_told_that_a_page_may_read() {
    let house = house(|_| {}).await;
    let request = "OPTIONS /v1/signal/lobby:echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
        Origin: https://game.example\r\nAccess-Control-Request-Method: POST\r\n\r\n";
    let reply = house.raw(request.as_bytes()).await;
    assert_eq!(reply.status, 405);
    assert!(!reply.head.contains("access-control"), "{}", reply.head);
}

#[tokio::test]
async fn a_session_whose_client_is_no_longer_there_is_ended_and_says_so() {
    let house = house(|config| {
        (config.ping, config.silence) = (Duration::from_millis(5), Duration::from_millis(500));
    })
    .await;
    // Its network is gone: what is written to it arrives nowhere it is answered.
    let MaybeTlsStream::Plain(mut wire) = house.session().await.socket.into_inner() else {
        panic!("no TLS was asked for");
    };
    let mut written = Vec::new();
    wire.read_to_end(&mut written).await.unwrap();
    let close = written.windows(4).position(|bytes| bytes[0] == 0x88 && bytes[2..] == [0x0f, 0xa3]);
    assert!(close.is_some(), "no close with 4003 at the end of {written:?}");
    assert!(written.starts_with(&[0x89, 0]), "it was pinged first: {written:?}");
    assert_eq!(house.gateway.stats().sessions, 0);
}
