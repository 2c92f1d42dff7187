//! The command line, from text to typed arguments and to exit codes.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::io::{self, Write};
use std::path::Path;
use std::process::Command as Process;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use stage_node::cli::{Cli, Command, RunArgs};
use stage_node::commands::{self, Failure};
use stage_value::Value;

fn parse(args: &[&str]) -> Result<Command, String> {
    let all = std::iter::once("stage-node").chain(args.iter().copied());
    Cli::try_parse_from(all).map(|cli| cli.command).map_err(|error| error.to_string())
}

fn run(args: &[&str]) -> RunArgs {
    match parse(&[&["run"], args].concat()) {
        Ok(Command::Run(args)) => args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definitions_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn help_teaches_with_examples() {
    let mut cli = Cli::command().term_width(100);
    cli.build();
    insta::assert_snapshot!("help", cli.render_long_help().to_string());
    for name in ["run", "signal"] {
        let command = cli.find_subcommand_mut(name).expect(name);
        insta::assert_snapshot!(format!("help_{name}"), command.render_long_help().to_string());
    }
}

#[test]
fn run_takes_a_script_or_a_configuration_and_never_both_or_none() {
    assert_eq!(run(&["main.lua", "--for", "1m 5s"]).duration, Some(Duration::from_secs(65)));
    assert_eq!(run(&["--config", "stage.json"]).config.as_deref(), Some(Path::new("stage.json")));
    assert!(parse(&["run"]).is_err());
    assert!(parse(&["run", "main.lua", "--config", "stage.json"]).is_err());
    for wrong in [["--for", "5"], ["--for", "999y"], ["--name", "a b"], ["--log-format", "xml"]] {
        assert!(parse(&[&["run", "main.lua"], &wrong[..]].concat()).is_err(), "{wrong:?}");
    }
}

#[test]
fn flags_of_run_are_laid_over_the_configuration() {
    let config = run(&["main.lua", "--listen", "127.0.0.1:7701", "--name", "b"]).config();
    let config = config.expect("a configuration");
    assert_eq!(config.node.name.as_str(), "b");
    assert_eq!(config.startup[0].script, Path::new("main.lua"));

    let refused = run(&["main.lua", "--listen", "0.0.0.0:7701"]).config().expect_err("refused");
    assert_eq!(Failure::from(refused).exit_code(), 2);
    for command in [&["--config", "no/such.json"][..], &["no/such.json"], &["no/such.jsonc"]] {
        let missing = run(command).config().expect_err("missing");
        assert!(missing.to_string().contains("the configuration cannot be read"), "{missing}");
    }
    let missing = run(&["--config", "no/such.json"]).config().expect_err("missing");
    assert_eq!(Failure::from(missing).exit_code(), 2);
}

#[test]
fn signal_takes_json_arguments_and_negative_numbers_among_them() {
    let args = ["signal", "lobby:join", "\"kim\"", "-3", "{\"hp\": 1.5}", "--wait", "2s"];
    let Ok(Command::Signal(args)) = parse(&args) else { panic!("{:?}", parse(&args)) };
    assert_eq!(args.address.to_string(), "lobby:join");
    assert_eq!(args.args[..2], [Value::from("kim"), Value::Int(-3)]);
    assert_eq!((args.to.to_string().as_str(), args.wait.as_secs()), ("127.0.0.1:7701", 2));
}

#[test]
fn wrong_arguments_of_signal_are_explained() {
    insta::assert_snapshot!("bare_word", parse(&["signal", "a:b", "kim"]).unwrap_err());
    insta::assert_snapshot!("bad_address", parse(&["signal", "lobby:join:room"]).unwrap_err());
    insta::assert_snapshot!("bad_peer", parse(&["signal", "a:b", "--to", "nowhere"]).unwrap_err());
}

#[test]
fn a_token_is_not_shown_by_debug() {
    let route = parse(&["route", "--token", "0123456789abcdef"]).expect("arguments");
    assert!(!format!("{route:?}").contains("0123"), "{route:?}");
    let status = parse(&["status", "--token", "0123456789abcdef"]).expect("arguments");
    assert!(!format!("{status:?}").contains("0123"), "{status:?}");
}

#[test]
fn check_reports_scripts_that_do_not_compile() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = r##"{ "#startup": [
        { "stage": "a", "script": "a.lua" }, { "stage": "b", "script": "b.lua" } ] }"##;
    let file = folder.path().join("stage.json");
    std::fs::write(&file, config).expect("written");
    let write = |script: &str, text: &str| {
        std::fs::write(folder.path().join(script), text).expect("written");
    };
    let check = |file: &Path| {
        let file = file.to_str().expect("text");
        let Ok(Command::Check(args)) = parse(&["check", file]) else { panic!("{file}") };
        let mut out = Vec::new();
        let result = commands::check(&args, &mut out);
        result.map(|()| String::from_utf8(out).expect("text"))
    };

    write("a.lua", "x = 1");
    write("b.lua", "return 1");
    let good = check(&file).expect("good");
    assert!(good.ends_with("stage.json: good, with the stages a, b\n"), "{good}");
    assert!(check(&folder.path().join("a.lua")).is_ok());

    write("a.lua", "x");
    write("b.lua", "local function");
    let failure = check(&file).expect_err("bad scripts");
    assert_eq!(failure.exit_code(), 1);
    assert_eq!(failure.to_string().lines().count(), 2);
    assert!(failure.to_string().contains("a.lua:1: "), "{failure}");

    std::fs::remove_file(folder.path().join("b.lua")).expect("removed");
    let failure = check(&file).expect_err("a missing script");
    assert_eq!(failure.exit_code(), 2);
    assert_eq!(check(Path::new("a.txt")).expect_err("neither").exit_code(), 2);
}

/// A pipe whose reader has gone.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_pipe_is_neither_a_panic_nor_a_failure() {
    let Ok(Command::Completions(completions)) = parse(&["completions", "bash"]) else { panic!() };
    let Ok(Command::Man(man)) = parse(&["man", "run"]) else { panic!() };
    let failures = [
        commands::schema(&mut Closed),
        commands::completions(&completions, &mut Closed),
        commands::man(&man, &mut Closed),
    ];
    for failure in failures {
        let failure = failure.expect_err("an error");
        assert_eq!((failure.exit_code(), failure.to_string().is_empty()), (0, false));
        let palette = stage_node::config::Palette::Plain;
        assert_eq!(failure.report(palette), "");
    }
}

#[test]
fn the_manual_has_a_page_for_each_command_and_no_other() {
    for name in Cli::command().get_subcommands().map(clap::Command::get_name) {
        let Ok(Command::Man(args)) = parse(&["man", name]) else { panic!("{name}") };
        let mut page = Vec::new();
        commands::man(&args, &mut page).expect("a page");
        let page = String::from_utf8(page).expect("text");
        assert!(page.contains(&format!("stage\\-node\\-{name}")), "{page}");
    }
    assert!(parse(&["man", "nothing"]).is_err());
}

#[test]
fn the_binary_exits_with_2_on_wrong_usage_and_wrong_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("stage.json");
    std::fs::write(&file, "{ \"#startup\": [], \"#threds\": 1 }").expect("written");
    let stage_node = |args: &[&str]| {
        Process::new(env!("CARGO_BIN_EXE_stage-node")).args(args).output().expect("a process")
    };

    let schema = stage_node(&["schema"]);
    assert_eq!(schema.status.code(), Some(0));
    assert!(serde_json::from_slice::<serde_json::Value>(&schema.stdout).is_ok());

    assert_eq!(stage_node(&["nonsense"]).status.code(), Some(2));
    let wrong = stage_node(&["check", file.to_str().expect("text")]);
    assert_eq!((wrong.status.code(), wrong.stdout.len()), (Some(2), 0));
    let report = String::from_utf8(wrong.stderr).expect("text");
    assert!(report.contains("stage.json:1:19") && report.contains("`#threads`"), "{report}");
    assert!(!report.contains('\u{1b}'), "no colours in a pipe: {report:?}");
}
