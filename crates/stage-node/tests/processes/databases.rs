//! Databases of running nodes.

use std::path::PathBuf;
use std::time::Duration;

use stage_db::{Config, Pool};
use tokio::runtime::Handle;

use crate::harness::{Folder, Node, address, finish, free_port, stderr};
use crate::operator::get;
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
    for visits in ["visits\t1", "visits\t2"] {
        let mut node = Node::start(&["run", "--config", file.to_str().unwrap()]);
        assert_eq!(node.next_line(), visits);
        node.wait_for_log("takes no signals");
        node.signal("TERM");
        assert_eq!(node.end(), (Some(0), vec![]));
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
    let mut node = Node::start(&["run", "--config", file.to_str().unwrap()]);
    let told = node.next_line();
    assert!(told.contains("the database cannot be reached"), "{told}");
    assert_eq!(node.next_line(), "serving");
    node.wait_for_log("takes no signals");
    assert!(!told.contains("secret") && !node.unread().contains("secret"));
    node.signal("TERM");
    assert_eq!(node.end(), (Some(0), vec![]));
}

#[test]
fn metrics_tell_of_transactions_and_of_those_rolled_back() {
    let folder = Folder::new();
    folder.write(
        "main.lua",
        r#"
        for n = 1, 3 do
            pcall(db.main.transaction, db.main, function(tx)
                tx:query("SELECT 1 AS one")
                if n == 3 then error("no") end
            end)
        end
        "#,
    );
    let admin = address(free_port());
    let config = format!(
        r##"{{
          "#admin": {{ "listen": "{admin}" }},
          "#db": {{ "main": {{ "url": "sqlite::memory:", "connections": 1 }} }},
          "#startup": [{{ "stage": "stage", "script": "main.lua" }}]
        }}"##
    );
    let file = folder.write("stage.json", &config);
    let mut node = Node::start(&["run", "--config", file.to_str().unwrap()]);
    node.wait_for_log("operator's surface");
    let rolled_back = "stage_database_rolled_back_total{database=\"main\"} ";
    let metrics = loop {
        let (_, metrics) = get(&admin, "/metrics", "");
        if metrics.contains(&format!("{rolled_back}1\n")) || !metrics.contains(rolled_back) {
            break metrics;
        }
    };
    for line in [
        "stage_database_transactions_total{database=\"main\"} 3",
        "stage_database_rolled_back_total{database=\"main\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "no {line} in {metrics}");
    }
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
const LIMIT: i64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_at_ten_times_the_load_never_have_more_connections_than_tickets() {
    let server = Server::postgres(&[]).await;
    let admin = Pool::new(Config { connections: 1, ..server.config() }, None, Handle::current());
    admin.query("CREATE ROLE app LOGIN", vec![]).await.unwrap();

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
    let (over, mut is_over) = tokio::sync::oneshot::channel::<()>();
    let watch = tokio::spawn(async move {
        let sql = "SELECT count(*) AS n, count(*) FILTER (WHERE state = 'active') AS busy
                   FROM pg_stat_activity WHERE usename = 'app'";
        let (mut most, mut most_busy) = (0, 0);
        while is_over.try_recv().is_err() {
            let rows = admin.query(sql, vec![]).await.unwrap();
            most = most.max(rows.rows[0][0].as_int().unwrap());
            most_busy = most_busy.max(rows.rows[0][1].as_int().unwrap());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        (most, most_busy)
    });
    for (at, port) in ports.iter().enumerate() {
        let output = finish(&["signal", &format!("s{at}:go"), "--to", &address(*port)]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
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
    let (most, most_busy) = watch.await.unwrap();
    assert_eq!(most_busy, LIMIT, "what runs at once");
    // Without tickets the three pools would have 24.
    assert!(most <= LIMIT, "{most}");
}

#[test]
fn the_example_logs_everybody_in_while_slow_transactions_run() {
    let (_folder, config) = login(2, |config| config.to_owned());
    let mut node = Node::start(&["run", "--config", config.to_str().unwrap(), "--for", "60s"]);
    for expected in ["in the slow transaction", "400 logins, 0 refused", "longer"] {
        node.wait_for(expected);
    }
    let said = node.unread();
    // On a machine that has other things to do, whatever computes may take longer than its share of the processor, and a
    // queue get long.
    let is_load =
        |line: &str| line.contains("it computes for longer") || line.contains("route from=");
    let is_trouble =
        |line: &&str| line.contains("ERROR") || line.contains("WARN") && !is_load(line);
    assert_eq!(said.lines().find(is_trouble), None, "{said}");
}

/// What another node that starts at the same time may be doing, and what the database was like before.
const STARTS: [[&str; 2]; 2] = [
    [
        "SELECT 1 AS nothing_yet",
        "CREATE TABLE accounts (id BIGINT PRIMARY KEY, name TEXT NOT NULL, coins BIGINT NOT NULL)",
    ],
    ["TRUNCATE accounts", "INSERT INTO accounts VALUES (1, 'user1', 1000)"],
];

#[tokio::test(flavor = "multi_thread")]
async fn the_example_starts_on_postgresql_beside_another_node_that_makes_the_accounts() {
    let server = Server::postgres(&[]).await;
    let pool = server.pool();
    let count = async |sql: &str| {
        let rows = pool.query(sql, vec![]).await.unwrap();
        rows.rows[0][0].as_int().unwrap()
    };
    for [before, meanwhile] in STARTS {
        pool.query(before, vec![]).await.unwrap();
        let another = pool.begin().await.unwrap();
        another.query(meanwhile, vec![]).await.unwrap();
        let (_folder, config) = login(1, |config| on_postgresql(config, &server.address()));
        let mut node = Node::start(&["run", "--config", config.to_str().unwrap(), "--for", "60s"]);
        let waits = async {
            while count("SELECT count(*) AS n FROM pg_locks WHERE NOT granted").await == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waits).await.unwrap();
        another.commit().await.unwrap();
        let told = tokio::task::spawn_blocking(move || node.wait_for("200 logins, "));
        assert!(told.await.unwrap().contains("200 logins, 0 refused"));
        assert_eq!(count("SELECT count(*) AS n FROM accounts").await, 1000);
    }
}

/// The example as it lies there, but for its configuration; its clients come for so many seconds.
fn login(seconds: u32, configured: impl FnOnce(&str) -> String) -> (Folder, PathBuf) {
    let folder = Folder::new();
    folder.write("login.lua", include_str!("../../../../examples/login/login.lua"));
    folder.write("clients.lua", include_str!("../../../../examples/login/clients.lua"));
    let config = configured(include_str!("../../../../examples/login/stage.json"));
    let planned = config.replace(r#""seconds": 10"#, &format!(r#""seconds": {seconds}"#));
    let config = folder.write("stage.json", &planned);
    (folder, config)
}

/// The configuration with the database that its first comment has.
fn on_postgresql(config: &str, address: &str) -> String {
    let mut found = config.match_indices("\"accounts\": {").map(|(at, _)| {
        let length = config[at..].find('}').unwrap() + 1;
        &config[at..at + length]
    });
    let (postgresql, sqlite) = (found.next().unwrap(), found.next().unwrap());
    assert!(postgresql.contains("env:DATABASE_URL") && sqlite.contains("sqlite:"), "{config}");
    config.replace(sqlite, &postgresql.replace("env:DATABASE_URL", address))
}
