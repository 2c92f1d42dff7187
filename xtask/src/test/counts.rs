//! How many tests ran, read from the closing lines of the two test runners.

use std::fmt;

/// The sum over all runners that closed so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Counts {
    /// Adds what the line tells if it closes a run; other lines are passed over.
    pub(crate) fn add_line(&mut self, line: &str) {
        let line = line.trim();
        let is_closing = line.starts_with("test result: ")
            || (line.starts_with("Summary [") && line.contains(" run: "));
        if !is_closing {
            return;
        }
        let tail = line.split_once(" run: ").map_or(line, |(_, tail)| tail);
        self.passed += number_before(tail, "passed");
        self.failed += number_before(tail, "failed") + number_before(tail, "timed");
        self.skipped += number_before(tail, "skipped") + number_before(tail, "ignored");
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

/// The number in `NUMBER WORD`, whatever punctuation surrounds the word; 0 if it is not there.
fn number_before(line: &str, word: &str) -> u64 {
    let words: Vec<_> =
        line.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let pairs = words.windows(2).find(|pair| pair[1] == word);
    pairs.and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_lines_of_both_runners_add_up() {
        let mut counts = Counts::default();
        counts.add_line("        PASS [   0.024s] (1/5) stage-value::wire a_list_comes_back\n");
        counts.add_line(
            "     Summary [   0.352s] 5 tests run: 4 passed (1 slow), 1 failed, 2 skipped\n",
        );
        counts.add_line(
            "test result: ok. 7 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n",
        );
        counts.add_line("test result: FAILED. 0 passed; 2 failed; 0 ignored; 0 measured\n");
        assert_eq!(counts, Counts { passed: 11, failed: 3, skipped: 3 });
        assert_eq!(counts.to_string(), "11 passed, 3 failed, 3 skipped");
    }

    #[test]
    fn a_test_that_timed_out_has_failed() {
        let mut counts = Counts::default();
        counts.add_line("Summary [ 60.0s] 3/9 tests run: 2 passed, 1 timed out, 0 skipped");
        assert_eq!(counts.to_string(), "2 passed, 1 failed");
    }

    #[test]
    fn what_a_test_prints_about_passing_does_not_count() {
        let mut counts = Counts::default();
        counts.add_line("3 passed, 4 failed");
        assert_eq!(counts, Counts::default());
    }
}
