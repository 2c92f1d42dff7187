use mlua::{LuaOptions, StdLib};
use proptest::prelude::*;

use super::*;

fn compare(text: &str, pattern: &str, new: &str, init: i64) -> mlua::Result<()> {
    let lua = Lua::new_with(StdLib::STRING | StdLib::TABLE | StdLib::MATH, LuaOptions::default())?;
    let chunk = include_str!("../bounded.lua");
    lua.load(include_str!("compare.lua")).call((patterns(&lua)?, chunk, text, pattern, new, init))
}

fn piece() -> impl Strategy<Value = String> {
    let class = prop_oneof![
        Just("a"),
        Just("b"),
        Just("."),
        Just("%a"),
        Just("%s"),
        Just("[ab]"),
        Just("[^a]"),
        Just("[%w_]"),
        Just("[b-d]"),
        Just("%."),
        Just("[]a]"),
        Just("[^]]"),
        Just("-"),
        Just("[a-]"),
        Just("%W"),
        Just("x"),
    ];
    let times = prop_oneof![Just(""), Just("*"), Just("+"), Just("-"), Just("?")];
    prop_oneof![
        8 => (class, times).prop_map(|(class, times)| format!("{class}{times}")),
        1 => prop_oneof![Just("("), Just(")"), Just("()"), Just("%1"), Just("%2"), Just("$"), Just("^")].prop_map(str::to_owned),
        1 => prop_oneof![Just("%bab"), Just("%b()"), Just("%f[ab]"), Just("%f[%z]"), Just("%f[^ ]")].prop_map(str::to_owned),
    ]
}

fn pattern() -> impl Strategy<Value = String> {
    (any::<bool>(), prop::collection::vec(piece(), 0..6), any::<bool>()).prop_map(
        |(anchored, pieces, captured)| {
            let inner = pieces.concat();
            let body = if captured { format!("({inner})") } else { inner };
            if anchored { format!("^{body}") } else { body }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn a_text_is_matched_in_portions_as_lua_matches_it(
        text in "[abc .()x_-]{0,12}", pattern in pattern(), new in "[a<]?(%[0-2%])?[>b]?", init in -4i64..14,
    ) {
        let compared = compare(&text, &pattern, &new, init);
        prop_assert!(compared.is_ok(), "{text:?} {pattern:?} {new:?} {init}: {}", compared.unwrap_err());
    }
}

#[test]
fn well_known_patterns_are_matched_as_lua_matches_them() {
    for (text, pattern) in [
        ("  trim me  ", "^%s*(.-)%s*$"),
        ("key = value", "^(%w+)%s*=%s*(%w+)$"),
        ("THE (quick) fox", "%((%a+)%)"),
        ("hello world", "%f[%w]%w+"),
        ("f(a(b)c)d", "%b()"),
        ("\"quoted\"", "([\"'])(.-)%1"),
        ("", ""),
        ("abc", ""),
        ("abc", "()"),
        ("a,b,,c", "([^,]*)"),
        ("aXb", "%u"),
        ("2026-11-24", "(%d+)-(%d+)-(%d+)"),
        ("x^y", "x^"),
        ("a$", "a$$"),
        ("abc", "a()b()c()"),
        ("aaa", "a-"),
        ("aaab", "a-b"),
        ("one;two", ";*"),
        ("nul\0x", "%z"),
        ("nul\0x", "[%z]x"),
    ] {
        for new in ["<%0>", "%1", "x", "%%"] {
            compare(text, pattern, new, 1).unwrap();
        }
    }
}

#[test]
fn the_errors_of_patterns_are_those_of_lua() {
    for pattern in ["%", "[a", "[^", "%b", "%bx", "%f", "%fa", ")", "(", "(()", "%1", "(%1)", "[%"]
    {
        let lua = Lua::new();
        let find: Function = lua.load("return string.find").eval().unwrap();
        let of_lua = find.call::<LuaValue>(("(((", pattern)).map(drop);
        let own = Pattern::parse(pattern.as_bytes(), true).map(drop);
        // Where C never gets to the error, the host is stricter.
        let Err(own) = own else { panic!("{pattern} is no pattern") };
        if let Err(of_lua) = of_lua {
            let (of_lua, own) = (of_lua.to_string(), own.to_string());
            assert!(of_lua.contains(&own), "{pattern}: {own} is not in {of_lua}");
        }
    }
}

#[test]
fn a_pattern_that_multiplies_is_harmless_for_short_texts_alone() {
    let length =
        |pattern: &str| Pattern::parse(pattern.as_bytes(), true).unwrap().harmless_length();
    assert!(length("^%s*(.-)%s*$") >= 64);
    assert!(length("a*") >= 1000);
    assert!(length("%d%d") > 1_000_000);
    assert_eq!(length("^%d%d"), usize::MAX);
    assert!(length(&format!("{}b", "a-".repeat(20))) <= 2);
    assert!(length(&"a-".repeat(20)) > 1000, "nothing in it can fail");
    assert!(length(&"a?".repeat(40)) == 0);
}
