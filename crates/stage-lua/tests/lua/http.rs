//! Requests of scripts, to a server of the test's own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use stage_lua::Options;

use crate::harness::{run, run_with};

/// A server that answers by the path that is asked for; its address.
fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || drop(answer(stream)));
        }
    });
    format!("http://{address}")
}

fn answer(stream: TcpStream) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body)?;
    let path = head[0].split([' ', '?']).nth(1).unwrap_or_default();
    match path {
        "/slow" => std::thread::sleep(Duration::from_secs(60)),
        "/loop" => write!(
            writer,
            "HTTP/1.1 302 Found\r\nLocation: /loop\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )?,
        "/away" => write!(
            writer,
            "HTTP/1.1 302 Found\r\nLocation: /echo\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )?,
        "/promise" => write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")?,
        "/endless" => {
            write!(writer, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            while writer.write_all(&[b'x'; 4096]).is_ok() {}
        }
        "/broken" => write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")?,
        "/nonsense" => write!(writer, "hello\r\n\r\n")?,
        "/gone" => write!(
            writer,
            "HTTP/1.1 404 Not Found\r\nX-Two: a\r\nX-Two: b\r\nContent-Length: 4\r\nConnection: close\r\n\r\ngone"
        )?,
        _ => {
            let text = [head.join("\n").as_bytes(), b"\n\n", &body].concat();
            write!(
                writer,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                text.len()
            )?;
            writer.write_all(&text)?;
        }
    }
    Ok(())
}

fn lines(script: &str) -> Vec<String> {
    // A handler is waited for.
    let main = format!("stage.waitfor('main', function() {script} end) stage.signal('main')");
    run(&format!("local server = '{}'\n{main}", server()))
}

#[test]
fn a_request_goes_as_it_was_asked_for_and_its_answer_comes_whole() {
    let lines = lines(
        r#"
        local a = http.get(server .. "/echo?x=1", { headers = { ["X-Id"] = "7" } })
        print(a.status, a.body:match("^%S+ %S+"), a.body:match("x%-id: (%S+)"), a.body:match("user%-agent: stage/") ~= nil)
        local b = http.post(server .. "/echo", "raw \0 bytes")
        print(b.body:match("^POST"), b.body:sub(-11) == "raw \0 bytes")
        local c = http.post(server .. "/echo", { name = "kim", n = 1 })
        print(c.body:match("content%-type: (%S+)"), json.decode(c.body:match("\n\n(.*)")).name)
        local d = http.request { method = "delete", url = server .. "/gone" }
        print(d.status, d.body, d.headers["x-two"], d.headers["content-length"])
        print(http.get(server .. "/away").status, http.get(server .. "/away", { follow = false }).status)
        "#,
    );
    assert_eq!(
        lines,
        [
            "200\tGET /echo?x=1\t7\ttrue",
            "POST\ttrue",
            "application/json\tkim",
            "404\tgone\ta, b\t4",
            "200\t302"
        ]
    );
}

#[test]
fn what_goes_wrong_has_a_kind_and_shows_no_secret_of_the_address() {
    let lines = lines(
        r#"
        local function try(options)
            local ok, e = pcall(http.request, options)
            print(ok, type(e) == "table" and e.kind or e, tostring(e):find("secret") == nil)
        end
        try { url = server .. "/slow?secret", timeout = 0.2 }
        try { url = server .. "/loop" }
        try { url = server .. "/promise" }
        try { url = server .. "/endless", max_bytes = 100000 }
        try { url = server .. "/broken" }
        try { url = server .. "/nonsense" }
        try { url = "http://user:secret@127.0.0.1:1/" }
        try { url = "file:///etc/passwd" }
        try { url = "secret" == "" or "no address" }
        try { url = server, method = "GET /" }
        try { url = server, headers = { x = "a\r\nb: c" } }
        print(pcall(http.get, server, { timeout = -1 }))
        print(pcall(http.request, server))
        "#,
    );
    let kinds = [
        "timeout",
        "redirect",
        "too_large",
        "too_large",
        "protocol",
        "protocol",
        "connect",
        "url",
        "url",
        "request",
        "request",
    ];
    let expected: Vec<_> = kinds.iter().map(|kind| format!("false\t{kind}\ttrue")).collect();
    assert_eq!(lines[..kinds.len()], expected);
    assert!(lines[kinds.len()].contains("a number of seconds above 0"), "{lines:?}");
    assert!(lines[kinds.len() + 1].contains("bad argument #1 to 'request' (table expected"));
}

#[test]
fn a_streamed_answer_comes_in_pieces_and_ends_with_its_handler() {
    let lines = lines(
        r#"
        local text = {}
        local a = http.get(server .. "/echo", { stream = true })
        for piece in a.chunks do text[#text + 1] = piece end
        print(a.status, a.body, table.concat(text):match("^GET /echo"))
        stage.waitfor("some", function()
            local bytes = 0
            for piece in http.get(server .. "/endless", { stream = true }).chunks do
                bytes = bytes + #piece
                if bytes > 1000000 then return "enough" end
            end
        end)
        print(stage.ask("some"))
        "#,
    );
    assert_eq!(lines, ["200\tnil\tGET /echo", "enough"]);
}

#[test]
fn the_pieces_of_an_answer_are_not_for_another_handler() {
    let lines = lines(
        r#"
        stage.waitfor("keeps", function()
            CHUNKS = http.get(server .. "/echo", { stream = true }).chunks
            return #CHUNKS() > 0
        end)
        print(stage.ask("keeps"))
        local own = http.get(server .. "/echo", { stream = true }).chunks
        print(pcall(CHUNKS))
        print(#own() > 0)
        "#,
    );
    assert!(
        lines[1].ends_with("is for the handler alone that opened it, and ends with it"),
        "{lines:?}"
    );
    assert_eq!((&*lines[0], &*lines[2]), ("true", "true"));
}

#[test]
fn a_handler_that_is_stopped_takes_its_request_along() {
    let options = Options { handler_time: Duration::from_millis(200), ..Options::default() };
    let script = format!(
        r#"
        stage.waitfor("waits", function() http.get("{}/slow", {{ timeout = 60 }}) end)
        stage.waitfor("failed", function(reason) print(reason) end)
        stage.signal("waits!failed")
        "#,
        server()
    );
    assert_eq!(run_with(&options, &script).unwrap(), ["handler"]);
}

/// A server with a certificate that nobody has signed but itself.
fn server_with_its_own_certificate() -> String {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.unwrap())
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            while session.is_handshaking() && session.complete_io(&mut stream).is_ok() {}
        }
    });
    format!("https://localhost:{port}/")
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let lines = lines(&format!(
        "local ok, e = pcall(http.get, '{}') print(ok, e.kind, e.message)",
        server_with_its_own_certificate()
    ));
    assert!(
        lines[0].starts_with("false\ttls\tthe server's certificate is not trusted"),
        "{lines:?}"
    );
}
