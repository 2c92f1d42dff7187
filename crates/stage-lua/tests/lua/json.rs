//! JSON text to values and back.

use crate::harness::run;

#[test]
fn what_is_encoded_is_decoded_to_the_same() {
    let lines = run(r#"
        local text = json.encode({ list = { 1, 2.5, true }, name = "kim \"lee\"", none = {} })
        local value = json.decode(text)
        print(value.name, #value.list, value.list[1], value.list[2], value.list[3], #value.none)
        print(json.encode({ 1, 2 }), json.encode({}), json.encode("x"), json.encode(nil))
        print(json.decode(' { "a" : null, "b" : [ ] } ').a, math.type(json.decode("7")))
        stage.submit(0, function() print("sandbox", json.decode("[3]")[1]) end)
    "#);
    assert_eq!(
        lines,
        ["kim \"lee\"\t3\t1\t2.5\ttrue\t0", "[1,2]\t[]\t\"x\"\tnull", "nil\tinteger", "sandbox\t3",]
    );
}

#[test]
fn what_json_has_not_is_refused_with_the_reason() {
    let lines = run(r#"
        local function try(f, ...) print((select(2, pcall(f, ...)):gsub("\n.*", ""))) end
        try(json.encode, function() end)
        try(json.encode, 1 / 0)
        try(json.encode, "\xff")
        local t = {} t.t = t
        try(json.encode, t)
        try(json.decode, "{ a: 1 }")
        try(json.decode, "")
        try(json.decode, string.rep("[", 100) .. string.rep("]", 100))
        try(json.decode, string.rep("[", 100000))
        try(json.decode)
    "#);
    let expected = [
        "functions",
        "not finite",
        "UTF-8",
        "value",
        "line 1 column 3",
        "EOF",
        "deeper",
        "recursion",
        "string",
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains(expected), "{expected}: {lines:#?}");
    }
}
