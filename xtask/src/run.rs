//! Running other programs: shown before they start, and their failure told with the command.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

/// A cargo command that runs in the workspace's root.
///
/// It is the cargo that started this program, so that both use the same toolchain.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(root).args(arguments);
    command
}

/// Runs the command with this program's input and output; whether it succeeded.
pub(crate) fn passes(command: &mut Command) -> Result<bool> {
    announce(command);
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    Ok(status.success())
}

/// Runs the command and returns what it wrote to stdout; stderr passes through.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", shown(command), output.status);
    }
    Ok(output.stdout)
}

/// Runs the command, passes its output on line by line, and shows each line to `inspect`.
///
/// The lines that `inspect` sees have no colours.
pub(crate) fn passes_watched(
    command: &mut Command,
    inspect: &(dyn Fn(&str) + Sync),
) -> Result<bool> {
    announce(command);
    // A pipe is no terminal: without this the tests of a terminal's user would lose their colours.
    if std::io::stderr().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| -> Result<()> {
        let errors = scope.spawn(|| pass_on(stderr, std::io::stderr(), inspect));
        pass_on(stdout, std::io::stdout(), inspect)?;
        errors.join().unwrap_or(Ok(()))
    })?;
    Ok(child.wait()?.success())
}

fn pass_on(
    from: Option<impl Read>,
    mut to: impl Write,
    inspect: &(dyn Fn(&str) + Sync),
) -> Result<()> {
    let Some(from) = from else { return Ok(()) };
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        to.flush()?;
        inspect(&without_colours(&String::from_utf8_lossy(&line)));
        line.clear();
    }
    Ok(())
}

/// Takes out the escape sequences `ESC [ ... letter` that colour text.
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            characters.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(character);
        }
    }
    plain
}

fn announce(command: &Command) {
    eprintln!("$ {}", shown(command));
}

/// The command as somebody would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let mut words = vec![program.to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn colours_are_taken_out_and_nothing_else() {
        assert_eq!(
            without_colours("\u{1b}[32;1m  Summary\u{1b}[0m [1.2s] \u{1b}[1m3\u{1b}[m 가"),
            "  Summary [1.2s] 3 가"
        );
    }

    #[test]
    fn a_watched_command_shows_the_lines_of_both_its_outputs() {
        let seen = Mutex::new(Vec::new());
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);

        let passed =
            passes_watched(&mut command, &|line| seen.lock().unwrap().push(line.to_owned()));

        assert!(!passed.unwrap());
        let mut seen = seen.into_inner().unwrap();
        seen.sort();
        assert_eq!(seen, ["one\n", "two\n"]);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = passes(&mut Command::new("no-such-program-here")).unwrap_err();
        assert!(error.to_string().contains("no-such-program-here"));
    }
}
