//! Databases of running nodes.

use std::time::Duration;

use stage_db::{Config, Pool};
use tokio::runtime::Handle;

use crate::harness::{Folder, Node, address, finish, free_port, stderr, stdout};
use crate::servers::Server;

#[test]
fn what_a_script_has_written_to_its_database_is_there_after_a_restart() {
    let folder = Folder::new();
    folder.write(
        "main.lua",
        r#"
        local pool = db.open("main")
        pool:execute("CREATE TABLE IF NOT EXISTS visits (id INTEGER PRIMARY KEY)")
        pool:execute("INSERT INTO visits DEFAULT VALUES")
        print("visits", pool:one("SELECT count(*) AS n FROM visits").n)
        "#,
    );
    let file = folder.write(
        "stage.json",
        r##"{
          "#db": { "main": { "url": "sqlite:visits.db" } },
          "#startup": [{ "stage": "stage", "script": "main.lua" }]
        }"##,
    );
    for visits in ["visits\t1\n", "visits\t2\n"] {
        let output = finish(&["run", "--config", file.to_str().unwrap(), "--for", "1s"]);
        assert_eq!(stdout(&output), visits, "{}", stderr(&output));
    }
    assert!(folder.path().join("visits.db").exists(), "beside the configuration");
}

#[test]
fn a_node_starts_without_its_database_and_says_what_it_lacks() {
    let folder = Folder::new();
    let script =
        "print(pcall(db.open('main').query, db.main, 'SELECT 1 AS one'))\nprint('serving')";
    folder.write("main.lua", script);
    let port = free_port();
    let config = format!(
        r##"{{
          "#db": {{ "main": {{ "url": "postgres://u:secret@127.0.0.1:{port}/x", "wait_ms": 200 }} }},
          "#startup": [{{ "stage": "stage", "script": "main.lua" }}]
        }}"##
    );
    let file = folder.write("stage.json", &config);
    let output = finish(&["run", "--config", file.to_str().unwrap(), "--for", "2s"]);
    let printed = stdout(&output);
    assert!(printed.contains("the database cannot be reached"), "{printed}{}", stderr(&output));
    assert!(printed.ends_with("serving\n"), "{printed}");
    assert!(!printed.contains("secret") && !stderr(&output).contains("secret"));
}

/// A script that answers `go` when that many statements have run at once.
const CROWD: &str = r#"
local done, failed = 0, 0
stage.waitfor("ready", function() return true end)
stage.waitfor("one", function()
    local ok, e = pcall(db.main.query, db.main, "SELECT pg_sleep(0.01) AS v")
    if ok then done = done + 1 else failed = failed + 1 print("FAILED", e) end
    if done + failed == 150 then print("ALL", done) end
end)
stage.waitfor("go", function()
    for _ = 1, 150 do stage.signal("one") end
end)
"#;

/// How many connections the nodes may have together.
const LIMIT: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_at_ten_times_the_load_never_have_more_connections_than_tickets() {
    let server = Server::postgres(&["log_connections=on"]).await;
    let admin = Pool::new(Config { connections: 1, ..server.config() }, None, Handle::current());
    let role = format!("CREATE ROLE app LOGIN CONNECTION LIMIT {LIMIT}");
    admin.query(role, vec![]).await.unwrap();

    let folder = Folder::new();
    folder.write("main.lua", CROWD);
    let mut ports: Vec<_> = (0..3).map(|_| free_port()).collect();
    ports.sort_unstable();
    let peers: Vec<_> = ports.iter().map(|port| format!("\"{}\"", address(*port))).collect();
    let url = server.address().replace("postgres@", "app@");
    let mut nodes = Vec::new();
    for (at, port) in ports.iter().enumerate() {
        let config = format!(
            r##"{{
              "#node": {{ "name": "n{at}", "listen": "{}" }},
              "#cluster": [{}],
              "#ticket": {{ "connections": {LIMIT} }},
              "#db": {{ "main": {{ "url": "{url}", "connections": 8, "wait_ms": 60000, "ticket": "connections" }} }},
              "#startup": [{{ "stage": "s{at}", "script": "main.lua" }}]
            }}"##,
            address(*port),
            peers.join(", "),
        );
        let file = folder.write(&format!("n{at}.json"), &config);
        nodes.push(Node::start(&["run", "--config", file.to_str().unwrap(), "--for", "60s"]));
    }
    for node in &mut nodes {
        (0..2).for_each(|_| drop(node.wait_for_log("linked peer=")));
    }
    for (at, port) in ports.iter().enumerate() {
        let output = finish(&["signal", &format!("s{at}:go"), "--to", &address(*port)]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let (over, mut is_over) = tokio::sync::oneshot::channel::<()>();
    let watch = tokio::spawn(async move {
        let sql = "SELECT count(*) AS n FROM pg_stat_activity WHERE usename = 'app'";
        let mut most = 0;
        while is_over.try_recv().is_err() {
            let rows = admin.query(sql, vec![]).await.unwrap();
            most = most.max(rows.rows[0][0].as_int().unwrap());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        most
    });
    let waiting = nodes
        .into_iter()
        .map(|mut node| tokio::task::spawn_blocking(move || (node.wait_for("ALL"), node)));
    // One of them counts the tickets, so none is stopped before all have finished.
    let mut ended = Vec::new();
    for waiting in waiting.collect::<Vec<_>>() {
        ended.push(waiting.await.unwrap());
    }
    ended.iter().for_each(|(line, _)| assert_eq!(line, "ALL\t150"));
    over.send(()).unwrap();
    assert_eq!(watch.await.unwrap(), LIMIT as i64);
    // The server refuses one more. It may count one that has said good-bye for an instant longer than its ticket, and
    // then the next one is opened at the second attempt; without tickets the three pools would be refused by the hundred.
    let refused = server.log().matches("too many connections for role").count();
    assert!(refused < LIMIT, "{refused} connections were refused");
}

#[test]
fn the_example_logs_everybody_in_while_slow_transactions_run() {
    let folder = Folder::new();
    for (name, text) in [
        ("stage.json", include_str!("../../../../examples/login/stage.json")),
        ("login.lua", include_str!("../../../../examples/login/login.lua")),
        ("clients.lua", include_str!("../../../../examples/login/clients.lua")),
    ] {
        folder
            .write(name, &text.replace("SECONDS, RATE, USERS = 10,", "SECONDS, RATE, USERS = 2,"));
    }
    let config = folder.path().join("stage.json");
    let output = finish(&["run", "--config", config.to_str().unwrap(), "--for", "5s"]);
    let text = stdout(&output);
    for expected in ["in the slow transaction", "\n400 logins, 0 refused", "longer"] {
        assert!(text.contains(expected), "{expected:?} is not in:\n{text}{}", stderr(&output));
    }
    let log = stderr(&output);
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}
