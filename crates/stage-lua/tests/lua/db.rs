//! Databases, as a script sees them.

use std::time::Duration;

use stage_lua::Options;

use crate::harness::{run, run_with};

/// A table of users in front of a script.
fn with_users(script: &str) -> String {
    in_handler(&format!(
        r#"
        local pool = db.open("main")
        pool:execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT UNIQUE, age REAL)")
        for i, name in ipairs {{ "kim", "lee", "park" }} do
            pool:execute("INSERT INTO users (name, age) VALUES ($1, $2)", name, i * 10)
        end
        {script}"#
    ))
}

/// A handler is waited for, a script is not.
fn in_handler(script: &str) -> String {
    format!("stage.waitfor('main', function() {script} end) stage.signal('main')")
}

#[test]
fn rows_are_tables_by_column_and_changes_are_counted() {
    let lines = run(&with_users(
        r#"
        local rows = pool:query("SELECT id, name, age FROM users ORDER BY id")
        print(#rows, rows[1].id, rows[2].name, rows[3].age, math.type(rows[1].id))
        print(pool:one("SELECT name FROM users WHERE id = $1", 2).name)
        print(pool:one("SELECT name FROM users WHERE id = $1", 9))
        print(pool:execute("UPDATE users SET age = age + 1 WHERE age < $1", 25))
        print(pool:execute("INSERT INTO users (name) VALUES ($1)", "choi"))
        print(pool:one("SELECT age FROM users WHERE name = 'choi'").age)
        print(db.open { "main" } == pool, db.main == pool)
        "#,
    ));
    assert_eq!(
        lines,
        ["3\t1\tlee\t30.0\tinteger", "lee", "nil", "2\tnil", "1\t4", "nil", "true\ttrue"]
    );
}

#[test]
fn every_value_of_lua_goes_in_and_comes_out() {
    let lines = run(&in_handler(
        r#"
        local pool = db.open("main")
        pool:execute("CREATE TABLE t (v)")
        local function echo(v)
            pool:execute("DELETE FROM t")
            pool:execute("INSERT INTO t VALUES ($1)", v)
            local row = pool:one("SELECT v, typeof(v) AS kind FROM t")
            print(row.kind, row.v == "\xff" and "ff" or row.v)
        end
        echo(nil) echo(true) echo(7) echo(0.5) echo("a'b\0c") echo("\xff") echo(db.blob("text"))
        echo { a = { 1, 2 } }
        print(pcall(echo, print))
    "#,
    ));
    assert_eq!(
        lines[..8],
        [
            "null\tnil",
            "integer\t1",
            "integer\t7",
            "real\t0.5",
            "text\ta'b\0c",
            "blob\tff",
            "blob\ttext",
            "text\t{\"a\":[1,2]}"
        ]
    );
    assert!(
        lines[8].contains("parameter 1: value: a function of the library cannot be sent"),
        "{}",
        lines[8]
    );
}

#[test]
fn a_failure_is_a_table_that_says_what_kind_it_is() {
    let lines = run(&with_users(
        r#"
        local function try(...)
            local ok, e = pcall(pool.query, pool, ...)
            print(ok, type(e), e.kind, e.sqlstate, e.message == tostring(e))
        end
        try("INSERT INTO users (name) VALUES ('kim')")
        try("SELEC 1")
        try("SELECT $1 AS v")
        try("COMMIT")
        try("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n")
        print(pcall(db.open, "other"))
        print(pcall(pool.query, "SELECT 1"))
        print(pcall(pool.query, pool, 5))
        "#,
    ));
    assert_eq!(
        lines[..5],
        [
            "false\ttable\tunique\t23505\ttrue",
            "false\ttable\tdatabase\tnil\ttrue",
            "false\ttable\tparameter\tnil\ttrue",
            "false\ttable\ttransaction\tnil\ttrue",
            "false\ttable\ttoo_large\tnil\ttrue"
        ]
    );
    assert!(lines[5].contains("no database 'other' in #db of stage.json, which has: main"));
    assert!(lines[6].contains("call 'query' with a colon"), "{}", lines[6]);
    assert!(
        lines[7].contains("the SQL of a statement has to be a string, not integer"),
        "{}",
        lines[7]
    );
}

#[test]
fn a_transaction_takes_effect_when_its_function_returns_and_not_if_it_raises() {
    let lines = run(&with_users(
        r#"
        print(pool:transaction(function(tx, name)
            tx:execute("UPDATE users SET age = 1 WHERE name = $1", name)
            sleep(0.001)
            return tx:one("SELECT age FROM users WHERE name = $1", name).age, nil, "end"
        end, "kim"))
        print(pcall(pool.transaction, pool, function(tx)
            tx:execute("DELETE FROM users")
            error("changed my mind", 0)
        end))
        -- A failed statement cannot be overlooked.
        print(pcall(pool.transaction, pool, function(tx)
            tx:execute("DELETE FROM users WHERE name = 'lee'")
            pcall(tx.execute, tx, "INSERT INTO users (name) VALUES ('kim')")
            return "done"
        end))
        local leaked
        pool:transaction(function(tx) leaked = tx end)
        print(pcall(leaked.query, leaked, "SELECT 1 AS one"))
        print(pool:one("SELECT count(*) AS n, sum(age) AS s FROM users").n)
        "#,
    ));
    assert_eq!(lines[0], "1.0\tnil\tend");
    assert_eq!(lines[1], "false\tchanged my mind");
    assert!(lines[2].starts_with("false\tUNIQUE constraint failed"), "{}", lines[2]);
    assert_eq!(lines[3], "false\tthe transaction is over");
    assert_eq!(lines[4], "3");
}

#[test]
fn what_a_handler_does_not_bring_to_its_end_is_rolled_back_with_it() {
    let options = Options {
        handler_time: Duration::from_millis(400),
        busy_time: Duration::from_millis(100),
        ..Options::default()
    };
    let script = with_users(
        r#"
        stage.waitfor("late", function()
            pool:transaction(function(tx)
                tx:execute("DELETE FROM users WHERE name = 'kim'")
                sleep(60)
            end)
        end)
        stage.waitfor("lost", function()
            -- Nobody resumes it any more, and it keeps its transaction.
            KEPT = coroutine.wrap(function()
                pool:transaction(function(tx)
                    tx:execute("DELETE FROM users WHERE name = 'lee'")
                    coroutine.yield()
                end)
            end)
            KEPT()
            return "returned"
        end)
        stage.waitfor("hog", function()
            pool:transaction(function(tx)
                tx:execute("DELETE FROM users WHERE name = 'park'")
                while true do end
            end)
        end)
        stage.waitfor("busy", function()
            pool:transaction(function(tx)
                tx:execute("DELETE FROM users WHERE name = 'kim'")
                tx:query("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) AS m FROM n")
            end)
        end)
        stage.waitfor("within", function()
            -- The statement is waited for in a coroutine of the handler's own.
            coroutine.wrap(function() stage.call("busy") end)()
        end)
        local steps = { "late", "lost", "busy", "within", "hog" }
        stage.waitfor("ended", function(how)
            print(how, pool:one("SELECT count(*) AS n FROM users").n)
            local step = table.remove(steps, 1)
            if step then stage.signal(step .. "=ended!ended") end
        end)
        stage.signal("ended", "begun")
        "#,
    );
    let lines = run_with(&options, &script).unwrap();
    assert_eq!(
        lines,
        ["begun\t3", "handler\t3", "returned\t3", "handler\t3", "handler\t3", "handler\t3"]
    );
}

#[test]
fn a_result_of_any_size_is_walked_row_by_row() {
    let lines = run(&with_users(
        r#"
        local numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i FROM n"
        local sum = 0
        for row in pool:rows(numbers) do sum = sum + row.i end
        print(sum)
        stage.waitfor("leaves", function()
            for row in pool:rows(numbers) do if row.i == 3 then break end end
            return "left"
        end)
        print(stage.ask("leaves"))
        print(#pool:query("SELECT name FROM users WHERE $1", true))
        "#,
    ));
    assert_eq!(lines, ["12502500", "left", "3"]);
}

#[test]
fn a_transaction_or_result_is_of_no_use_to_another_handler() {
    let lines = run(&with_users(
        r#"
        -- Both handlers begin a transaction before anything else.
        stage.waitfor("keeps", function()
            pool:transaction(function(tx) TX = tx end)
            ROWS = pool:rows("SELECT name FROM users ORDER BY id")
            return ROWS().name
        end)
        stage.waitfor("uses", function()
            pool:transaction(function(tx)
                print(pcall(TX.execute, TX, "DELETE FROM users"))
                print(tx:one("SELECT count(*) AS n FROM users").n)
            end)
            print(pcall(ROWS))
        end)
        print(stage.ask("keeps"))
        stage.ask("uses")
        "#,
    ));
    let refused = "a transaction, result or response is for the handler alone that opened it, and ends with it";
    let [kept, transaction, count, rows] = &*lines else { panic!("{lines:?}") };
    assert_eq!((&**kept, &**count), ("kim", "3"));
    assert!(transaction.starts_with("false") && transaction.ends_with(refused), "{transaction}");
    assert!(rows.starts_with("false") && rows.ends_with(refused), "{rows}");
}

#[test]
fn a_transaction_that_another_handler_goes_on_with_fails_for_its_own_reason() {
    let lines = run(&with_users(
        r#"
        stage.waitfor("begins", function()
            GO_ON = coroutine.wrap(function()
                pool:transaction(function(tx)
                    coroutine.yield()
                    error("no longer wanted", 0)
                end)
            end)
            GO_ON()
        end)
        stage.ask("begins")
        print(pcall(GO_ON))
        print(pool:one("SELECT count(*) AS n FROM users").n)
        "#,
    ));
    assert_eq!(lines, ["false\tno longer wanted", "3"]);
}

#[test]
fn functions_that_travel_take_a_database_along_by_its_name() {
    let lines = run(&with_users(
        r#"
        stage.waitfor("result", print)
        stage.signal("stage:count=result", function(name)
            local rows = pool:query("SELECT id FROM users WHERE name = $1", name)
            return #rows, db.main:one("SELECT count(*) AS n FROM users").n
        end, "lee")
        stage.submit("kim", function() return pool:one("SELECT age FROM users WHERE id = 1").age end)
        "#,
    ));
    assert_eq!(lines, ["1\t3"]);
}

#[test]
fn a_script_cannot_change_what_others_find_in_db() {
    let lines = run(&with_users(
        r#"
        stage.waitfor("result", print)
        stage.signal("stage:try=result", function()
            local ok, e = pcall(function() db.main.query = function() return "forged" end end)
            local got, why = pcall(function() db.main = nil end)
            return ok, got, #db.main:query("SELECT id FROM users")
        end)
        "#,
    ));
    assert_eq!(lines, ["false\tfalse\t3"]);
}

#[test]
fn nothing_that_a_script_passes_is_read_as_sql() {
    let lines = run(&with_users(
        r#"
        pool:execute("CREATE TABLE notes (v)")
        local attacks = {
            "'; DROP TABLE users; --", "' OR '1'='1", "\" OR \"\"=\"", "\\'; DELETE FROM users; --",
            "x\0'; DROP TABLE users; --", "\xbf'; DROP TABLE users; --", "$1", "?", "/*",
        }
        local function checked(on, attack, passed, read)
            on:execute("DELETE FROM notes")
            on:execute("INSERT INTO notes VALUES ($1)", passed)
            local row = on:one("SELECT v FROM notes WHERE v = $1", passed)
            local rows = on:query("SELECT v FROM notes WHERE v = $1", passed)
            if read(row.v) ~= attack or #rows ~= 1 or read(rows[1].v) ~= attack then
                print("changed", attack)
            end
        end
        local function same(v) return v end
        for _, attack in ipairs(attacks) do
            local function all(on)
                checked(on, attack, attack, same)
                checked(on, attack, db.blob(attack), same)
                if utf8.len(attack) then
                    checked(on, attack, { attack }, function(v) return json.decode(v)[1] end)
                    local function key(v) return (next(json.decode(v))) end
                    checked(on, attack, { [attack] = { attack } }, key)
                end
            end
            all(pool)
            pool:transaction(all)
            for _, passed in ipairs { attack, db.blob(attack) } do
                local found = 0
                for row in pool:rows("SELECT name FROM users WHERE name <> $1", passed) do
                    found = found + 1
                end
                if found ~= 3 then print("found", found, attack) end
            end
        end
        print(pool:one("SELECT count(*) AS n FROM users").n)
        "#,
    ));
    assert_eq!(lines, ["3"]);
}

#[test]
fn no_name_opens_what_is_not_in_db() {
    let lines = run(&with_users(
        r#"
        local names = {
            "main'; DROP TABLE users; --", "MAIN", "main\0", " main", "", "open", "blob", "__index",
            "sqlite::memory:", "sqlite:/tmp/x.db", "postgres://postgres@127.0.0.1/postgres", "../main",
            1, true, {}, { "main'" }, { { "main" } }, { name = { "main" } }, print,
            setmetatable({}, { __tostring = function() return "main" end }),
        }
        for at, name in ipairs(names) do
            local ok, e = pcall(db.open, name)
            if ok or not tostring(e):find("no database '", 1, true) then print(at, ok, e) end
        end
        -- Tables that say they are pools or transactions.
        local forged = {
            {}, { name = "main'" }, { name = { "main" } }, { name = print }, { handle = "main\0" },
            { handle = 1 }, { handle = {} }, { handle = db.blob("main") }, { name = db.blob("main") },
        }
        for at, it in ipairs(forged) do
            for _, method in ipairs { "query", "one", "execute", "rows", "transaction" } do
                local what = method == "transaction" and print or "SELECT 1 AS one"
                local ok = pcall(pool[method], it, what)
                if ok then print(at, method) end
            end
        end
        print(#names, #forged, pool:one("SELECT count(*) AS n FROM users").n)
        "#,
    ));
    assert_eq!(lines, ["20\t9\t3"]);
}
