use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use super::bed::Passed;

/// How the tests ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many passed.
    pub passed: usize,
    /// How many failed; a file that cannot be run counts as one.
    pub failed: usize,
    /// How many files there were.
    pub files: usize,
    /// How long it took.
    pub took: Duration,
    /// How long the tests waited by their own clocks.
    pub waited: Duration,
}

/// From here on a test's virtual time is worth a word.
const WORTH_TELLING: Duration = Duration::from_millis(100);

pub(super) fn file(out: &mut dyn Write, file: &Path) -> io::Result<()> {
    writeln!(out, "{}", file.display())
}

impl Summary {
    pub(super) fn passes(
        &mut self,
        out: &mut dyn Write,
        name: &str,
        passed: Passed,
    ) -> io::Result<()> {
        self.passed += 1;
        self.waited += passed.waited;
        if passed.waited < WORTH_TELLING {
            return writeln!(out, "  ok    {name}");
        }
        writeln!(out, "  ok    {name}  ({:.1} s of its own time)", passed.waited.as_secs_f64())
    }

    pub(super) fn fails(
        &mut self,
        out: &mut dyn Write,
        name: &str,
        reason: &str,
        printed: &str,
    ) -> io::Result<()> {
        self.failed += 1;
        writeln!(out, "  FAIL  {name}")?;
        indented(out, reason)?;
        if !printed.is_empty() {
            writeln!(out, "        printed and logged:")?;
            indented(out, printed)?;
        }
        Ok(())
    }

    /// Writes the last line.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { passed, failed, files, took, waited } = self;
        let files = format!("{files} file{}", if *files == 1 { "" } else { "s" });
        let (took, waited) = (took.as_secs_f64(), waited.as_secs_f64());
        writeln!(
            out,
            "{passed} passed, {failed} failed, in {files} ({took:.2} s for {waited:.1} s of the tests' own time)"
        )
    }
}

fn indented(out: &mut dyn Write, text: &str) -> io::Result<()> {
    text.lines().try_for_each(|line| writeln!(out, "        {line}"))
}
