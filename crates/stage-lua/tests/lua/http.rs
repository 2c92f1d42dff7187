//! Requests of scripts, to a server of the test's own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stage_lua::Options;
use stage_value::Limits;

use crate::harness::{run, run_with};

/// A server that answers by the path that is asked for; its address.
fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (gone, told) = channel();
    let told = Arc::new(Mutex::new(told));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (gone, told) = (gone.clone(), Arc::clone(&told));
            std::thread::spawn(move || drop(answer(stream, &gone, &told)));
        }
    });
    format!("http://{address}")
}

/// Answers a request. Whoever asked for `/slow` and is gone is told of to whoever asks for `/gone_away`.
fn answer(stream: TcpStream, gone: &Sender<()>, told: &Mutex<Receiver<()>>) -> std::io::Result<()> {
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
    let mut address = head[0].split([' ', '?']).skip(1);
    let (path, query) = (address.next().unwrap_or_default(), address.next().unwrap_or_default());
    match path {
        "/slow" => {
            reader.read_to_end(&mut body)?;
            gone.send(()).unwrap();
        }
        "/gone_away" => {
            if told.lock().unwrap().recv_timeout(Duration::from_secs(20)).is_ok() {
                write!(writer, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")?;
            }
        }
        "/to" => write!(
            writer,
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: {query}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )?,
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
        KEYS = { ["X-Id"] = "8" }
        OPTIONS = { url = server .. "/echo", headers = { ["X-Id"] = "9" } }
        _SANDBOX[""] = { "*KEYS", "*OPTIONS" }
        print(http.get(server .. "/echo", { headers = KEYS }).body:match("x%-id: (%S+)"))
        print(http.request(OPTIONS).body:match("x%-id: (%S+)"))
        "#,
    );
    assert_eq!(
        lines,
        [
            "200\tGET /echo?x=1\t7\ttrue",
            "POST\ttrue",
            "application/json\tkim",
            "404\tgone\ta, b\t4",
            "200\t302",
            "8",
            "9"
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
        try { url = server, headers = { ["Content-Length"] = "3" }, body = "secret" }
        print(pcall(http.get, server, { timeout = -1 }))
        print(pcall(http.request, server))
        print(pcall(http.request, {}))
        print(pcall(http.get))
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
        "request",
    ];
    let expected: Vec<_> = kinds.iter().map(|kind| format!("false\t{kind}\ttrue")).collect();
    assert_eq!(lines[..kinds.len()], expected);
    assert!(lines[kinds.len()].contains("a number of seconds above 0"), "{lines:?}");
    assert!(lines[kinds.len() + 1].contains("bad argument #1 to 'request' (table expected"));
    for line in &lines[kinds.len() + 2..] {
        assert!(line.contains("http.request needs a url, a string"), "{lines:?}");
    }
}

#[test]
fn failures_say_what_to_do() {
    let lines = lines(
        r#"
        local function try(options)
            print(select(2, pcall(http.request, options)).message)
        end
        try { url = server .. "/slow", timeout = 0.2 }
        try { url = server, headers = { ["content-length"] = "3" }, body = "four" }
        try { url = server, headers = { ["Transfer-Encoding"] = "chunked" } }
        try { url = server .. "/loop" }
        "#,
    );
    assert_eq!(
        lines,
        [
            "no answer within 200 ms; give more seconds as timeout, if the service may take longer",
            "the header 'content-length' is not for scripts to set: it follows from the body",
            "the header 'transfer-encoding' is not for scripts to set: it follows from the body",
            "a redirect is not followed: there are more than 5",
        ]
    );
}

#[test]
fn an_answer_may_not_be_larger_than_arguments_whatever_the_script_says() {
    let values = Limits { bytes: 2000, ..Limits::DEFAULT };
    let script = format!(
        r#"
        stage.waitfor("main", function()
            print(select(2, pcall(http.get, "{0}/endless", {{ max_bytes = 100000 }})).message)
            print(#http.get("{0}/echo", {{ max_bytes = 100000 }}).body < 2000)
        end)
        stage.signal("main")
        "#,
        server()
    );
    let lines = run_with(&Options { values, ..Options::default() }, &script).unwrap();
    assert!(lines[0].starts_with("the answer has more than 2000 bytes"), "{lines:?}");
    assert_eq!(lines[1], "true");
}

#[test]
fn a_redirect_takes_nothing_of_a_request_to_another_origin() {
    let lines = lines(&format!(
        r#"
        local other = "{}"
        local bare = http.get(server .. "/to?" .. other .. "/echo")
        print(bare.status, bare.body:find("\nreferer:", 1, true))
        local key = {{ ["X-Api-Key"] = "secret" }}
        local within = http.get(server .. "/to?/echo", {{ headers = key }})
        print(within.status, within.body:match("\nx%-api%-key: (%S+)"))
        local function refused(...)
            local ok, e = pcall(...)
            print(ok, e.kind, e.message:find("leads to " .. other .. ", and headers", 1, true) ~= nil)
        end
        refused(http.get, server .. "/to?" .. other .. "/echo", {{ headers = key }})
        refused(http.post, server .. "/to?" .. other .. "/echo", "secret")
        print(http.get(server .. "/to?" .. other .. "/echo", {{ headers = key, follow = false }}).status)
        "#,
        server()
    ));
    assert_eq!(
        lines,
        ["200\tnil", "200\tsecret", "false\tredirect\ttrue", "false\tredirect\ttrue", "307"]
    );
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
    let options = Options { handler_time: Duration::from_secs(1), ..Options::default() };
    let script = format!(
        r#"
        stage.waitfor("waits", function() http.get("{0}/slow", {{ timeout = 60 }}) end)
        stage.waitfor("failed", function(reason) print(reason, http.get("{0}/gone_away").status) end)
        stage.signal("waits!failed")
        "#,
        server()
    );
    assert_eq!(run_with(&options, &script).unwrap(), ["handler\t204"]);
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
