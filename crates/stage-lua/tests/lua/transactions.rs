//! Transactions of scripts on real servers: all of one takes effect or nothing, however its handler ends.

use std::time::Duration;

use stage_db::{Config, Pool};
use stage_lua::{Databases, Options};

use crate::harness::run_on;
use crate::servers::Server;

/// Each handler changes a row in a transaction that is not brought to its end. Whoever changes the row next would wait in
/// vain for one that is left open.
const SCRIPT: &str = r#"
local others, pool, patient = db.others, db.pool, db.patient
local function change(on, rest)
    return on:transaction(function(tx)
        tx:execute("UPDATE t SET v = v + 10 WHERE id = 1")
        return rest(tx)
    end)
end
local function endless(tx) tx:query("SELECT 1 AS one FROM ENDLESS") end
local function failed(...)
    local ok, e = pcall(...)
    return tostring(ok) .. " " .. (type(e) == "table" and e.kind or tostring(e))
end

stage.waitfor("raises", function() change(pool, function() error("changed my mind", 0) end) end)
stage.waitfor("catches", function()
    return failed(change, pool, function() error("changed my mind", 0) end)
end)
stage.waitfor("takes_too_long", function() return failed(change, pool, endless) end)
stage.waitfor("overlooks_that", function()
    return failed(change, pool, function(tx) pcall(endless, tx) end)
end)
stage.waitfor("returns_without_end", function()
    -- Nobody resumes it any more, and it keeps its transaction.
    KEPT = coroutine.wrap(function() change(patient, coroutine.yield) end)
    KEPT()
    return "returned"
end)
stage.waitfor("sleeps", function() change(patient, function() sleep(60) end) end)
stage.waitfor("waits", function() change(patient, endless) end)
stage.waitfor("computes", function() change(patient, function() while true do end end) end)
stage.waitfor("brings_to_its_end", function() change(pool, function() end) return "done" end)

local steps = {
    "raises", "catches", "takes_too_long", "overlooks_that", "returns_without_end", "sleeps", "waits",
    "computes", "brings_to_its_end",
}
local step = "created"
stage.waitfor("ended", function(how)
    others:execute("UPDATE t SET v = v + 1 WHERE id = 1")
    print(step, how, others:one("SELECT v FROM t").v)
    step = table.remove(steps, 1)
    if step then stage.signal(step .. "=ended!ended") end
end)
stage.waitfor("begin", function()
    others:execute("CREATE TABLE t (id INT PRIMARY KEY, v INT) ENGINE")
    others:execute("INSERT INTO t VALUES (1, 0)")
    stage.signal("ended", "")
end)
stage.signal("begin")
"#;

/// What the script prints with a server, given what `FROM` of that waits for in vain.
fn lines(start: impl Future<Output = Server>, engine: &str, endless: &str) -> Vec<String> {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let server = tokio.block_on(start);
    let pool = |seconds: f64| {
        let timeout = Duration::from_secs_f64(seconds);
        Pool::new(Config { timeout, ..server.config() }, None, tokio.handle().clone())
    };
    let databases = Databases::default()
        .with("pool", pool(0.3))
        .with("patient", pool(60.0))
        .with("others", pool(5.0));
    let options = Options {
        handler_time: Duration::from_secs(3),
        busy_time: Duration::from_millis(200),
        ..Options::default()
    };
    let script = SCRIPT.replace("ENDLESS", endless).replace("ENGINE", engine);
    run_on(databases, &options, &script).unwrap()
}

const WANTED: [&str; 10] = [
    "created\t\t1",
    "raises\thandler\t2",
    "catches\tfalse changed my mind\t3",
    "takes_too_long\tfalse timeout\t4",
    "overlooks_that\tfalse timeout\t5",
    "returns_without_end\treturned\t6",
    "sleeps\thandler\t7",
    "waits\thandler\t8",
    "computes\thandler\t9",
    "brings_to_its_end\tdone\t20",
];

#[test]
fn postgres_takes_back_what_a_handler_does_not_bring_to_its_end() {
    assert_eq!(lines(Server::postgres(&[]), "", "pg_sleep(60)"), WANTED);
}

#[test]
fn mariadb_takes_back_what_a_handler_does_not_bring_to_its_end() {
    let numbers =
        "(SELECT count(*) FROM seq_1_to_1000000 a, seq_1_to_1000000 b WHERE a.seq * b.seq = 7) e";
    assert_eq!(lines(Server::mariadb(), "ENGINE=InnoDB", numbers), WANTED);
}
