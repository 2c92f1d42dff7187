//! What editors are told of the API is what a script finds.

use std::collections::BTreeSet;

use crate::harness::run;

const ANNOTATIONS: &str = include_str!("../../../../docs/lua/stage.d.lua");

/// Prints the names of all functions that are not Lua's own.
const FOUND: &str = r#"
    local own = {}
    for name in ("assert error ipairs next pairs pcall print rawequal rawget rawlen rawset select tonumber tostring type "
      .. "xpcall getmetatable setmetatable load warn coroutine math os string table utf8 _G _VERSION"):gmatch("%S+") do
      own[name] = true
    end
    local function show(name, value)
      if type(value) == "function" then return print(name) end
      if type(value) == "table" then
        for key, inner in pairs(value) do
          if type(key) == "string" and not (name == "db" and type(inner) == "table") then show(name .. "." .. key, inner) end
        end
      end
    end
    for name, value in pairs(_G) do
      if not own[name] then show(name, value) end
    end
    for name, value in pairs(db.main) do show("pool." .. name, value) end
    local job = thread.new(function() end)
    show("handle", job)
    local task = stage.addtask(1, function() end)
    print(task.cancel and "task.cancel")
"#;

/// The functions that the annotations declare.
fn declared() -> BTreeSet<String> {
    let functions = ANNOTATIONS.lines().filter_map(|line| line.strip_prefix("function "));
    let names = functions.filter_map(|line| line.split_once('(')).map(|(name, _)| name);
    let of_value = names.map(|name| {
        let name = name.replace(':', ".");
        match name.split_once('.') {
            Some(("statements" | "database", method)) => format!("pool.{method}"),
            Some(("snapshot", function)) => format!("stage.snapshot.{function}"),
            _ => name,
        }
    });
    // A field, since it is called with a dot.
    let fields = ["handle.waitfor".to_owned()];
    of_value.chain(fields).filter(|name| !name.starts_with("test.")).collect()
}

#[test]
fn the_names_for_selene_are_those_of_the_annotations() {
    let globals = include_str!("../../../../docs/lua/stage.yml").lines();
    let names = globals.filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':'));
    let named: BTreeSet<&str> = names.filter(|name| !name.starts_with(' ')).collect();
    let of_values = |name: &&String| {
        !name.starts_with("pool.") && !name.starts_with("task.") && !name.starts_with("handle.")
    };
    let declared = declared();
    let missing: Vec<_> =
        declared.iter().filter(of_values).filter(|name| !named.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let variables = ["_WAITFOR", "_TICKET", "_SANDBOX", "process", "thread.id", "db.*", "test"];
    let gone: Vec<_> = named
        .iter()
        .filter(|name| {
            !declared.contains(**name) && !variables.iter().any(|known| name.starts_with(known))
        })
        .collect();
    assert!(gone.is_empty(), "{gone:?}");
}

#[test]
fn the_annotations_for_editors_name_every_function_and_no_other() {
    let found: BTreeSet<String> = run(FOUND).into_iter().collect();
    let declared = declared();
    let missing: Vec<_> = found.difference(&declared).collect();
    let gone: Vec<_> = declared.difference(&found).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "not declared: {missing:?}; not there: {gone:?}"
    );
    assert!(found.contains("stage.waitfor"), "{found:?}");
}
