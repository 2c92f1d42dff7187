//! A function that was shipped computes what the original computes: functions made at random, many to a
//! script, run where they are written and on a worker.

use std::fmt::Write as _;

use proptest::prelude::*;

use crate::harness::run;

/// What a generated function may read.
const NAMES: [&str; 6] = ["a", "b", "n", "s", "t.x", "t[1]"];

fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(&NAMES[..]).prop_map(str::to_owned),
        (-9i64..99).prop_map(|number| format!("({number})")),
        Just("0x1p4".to_owned()),
        Just("'end -- ]]'".to_owned()),
        Just("[==[function]] end]==]".to_owned()),
        Just("\"\\\" end\"".to_owned()),
        Just("select('#', ...)".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            pair.clone().prop_map(|(x, y)| format!("plus({x}, {y})")),
            pair.clone().prop_map(|(x, y)| format!("({x} == {y})")),
            pair.clone().prop_map(|(x, y)| format!("({x} and {y})")),
            pair.clone().prop_map(|(x, y)| format!("({x} or not {y})")),
            pair.clone().prop_map(|(x, y)| format!("(tostring({x}) .. tostring({y}))")),
            inner.clone().prop_map(|x| format!("(function(...) return {x} end)(1, 2)")),
            inner.prop_map(|x| format!("#tostring({x}) --[[ end ]]\n")),
            pair.prop_map(|(x, y)| format!("({{ {x}, k = {y} }}).k")),
        ]
    })
}

fn body() -> impl Strategy<Value = String> {
    let statement = prop_oneof![
        expression().prop_map(|x| format!("a = {x}")),
        expression().prop_map(|x| format!("local b = {x}")),
        expression().prop_map(|x| format!("n = {x}; t.x = n")),
        (expression(), expression())
            .prop_map(|(x, y)| format!("if {x} then a = {y} else b = {y} end")),
        expression().prop_map(|x| format!("for i = 1, 3 do a = plus(a, {x}) end")),
        expression().prop_map(|x| format!("while a do a = nil; b = {x} end")),
        expression().prop_map(|x| format!("repeat local u = {x}; b = u until true")),
        expression().prop_map(|x| format!("do goto on; a = {x} ::on:: end -- end\n")),
        expression().prop_map(|x| format!("local function g(...) return {x} end; b = g(a, b)")),
        expression()
            .prop_map(|x| format!("local o = {{}} function o:m(...) return {x} end a = o:m()")),
    ];
    (prop::collection::vec(statement, 0..4), expression(), expression()).prop_map(
        |(statements, x, y)| format!("{} return {x}, {y}, a, b, n, t.x", statements.join("\n")),
    )
}

/// A script that prints, per body, whether its function came to the same here and on a worker.
fn script(bodies: &[String]) -> String {
    let mut script = String::from(
        "local function plus(x, y) return tostring(x):sub(1, 40) .. '+' .. tostring(y):sub(1, 40) end\n\
         local function same(...) return select('#', ...) .. stage.dump({...}) end\n",
    );
    let mut calls = String::new();
    for (index, body) in bodies.iter().enumerate() {
        // Two functions on a line, so that the right one has to be found.
        writeln!(
            script,
            "local f{index} do local n, s, t = {index}, 's', {{ 10, x = 'x' }} \
             local _, f = function(a, b, ...) return n, s, t end, function(a, b, ...) {body} end \
             f{index} = f end"
        )
        .unwrap();
        // The copy is sent before the original runs and changes what it captured.
        writeln!(
            calls,
            "do local job = thread.new(f{index}, {index}, 'b', nil, 4) \
             local here = same(f{index}({index}, 'b', nil, 4)) \
             job.waitfor(function(...) print({index}, same(...) == here or here) end) end"
        )
        .unwrap();
    }
    script + &calls
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn a_shipped_function_computes_what_the_original_computes(
        bodies in prop::collection::vec(body(), 12)
    ) {
        let mut lines = run(&script(&bodies));
        lines.sort_by_key(|line| line.split('\t').next().and_then(|index| index.parse::<usize>().ok()));
        let expected: Vec<_> = (0..bodies.len()).map(|index| format!("{index}\ttrue")).collect();
        prop_assert_eq!(lines, expected);
    }
}
