use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

/// The most bytes of a line shown before and after the place of a problem.
const WINDOW: usize = 80;

/// The text of a configuration, as it is shown in errors.
///
/// It has the byte offsets of the parsed text, but no control characters: an error must not let a
/// file steer the terminal. Lines are found by bisection and cut to a window around the problem, so
/// that the report of a minified file is as short as that of any other.
#[derive(Debug)]
pub(super) struct Source {
    name: String,
    shown: String,
    line_starts: Vec<usize>,
}

impl Source {
    pub(super) fn new(name: String, text: &str) -> Self {
        let mut shown = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '\r' => shown.push(' '),
                c if c.is_control() && c != '\n' && c != '\t' => {
                    shown.extend(std::iter::repeat_n('?', c.len_utf8()));
                }
                c => shown.push(c),
            }
        }
        let line_ends = shown.match_indices('\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(line_ends).collect();
        Self { name, shown, line_starts }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Line and column of a byte, in lines and characters from 1.
    pub(super) fn place(&self, at: usize) -> (usize, usize) {
        let at = self.boundary(at);
        let line = self.line_of(at);
        let column = self.shown[self.line_starts[line]..at].chars().count();
        (line + 1, column + 1)
    }

    /// The part of a span that lies in its first line.
    ///
    /// An empty span, as at the end of the text, covers the last character before it, so that there
    /// is something to underline.
    pub(super) fn first_line(&self, start: usize, end: usize) -> (usize, usize) {
        let mut start = self.boundary(start);
        let line_end = self.line_end(self.line_of(start));
        let end = self.boundary(end.min(line_end));
        if end > start {
            return (start, end);
        }
        if start == line_end && start > self.line_starts[self.line_of(start)] {
            start = self.boundary(start - 1);
        }
        let length = self.shown[start..].chars().next().map_or(0, char::len_utf8);
        (start, start + length)
    }

    /// The start of the character that byte `at` belongs to.
    fn boundary(&self, at: usize) -> usize {
        let at = at.min(self.shown.len());
        (0..=at).rev().find(|&at| self.shown.is_char_boundary(at)).unwrap_or(0)
    }

    fn line_of(&self, at: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= at).saturating_sub(1)
    }

    fn line_end(&self, line: usize) -> usize {
        let next = self.line_starts.get(line + 1);
        let end = next.map_or(self.shown.len(), |next| next - 1);
        self.line_starts[line] + self.shown[self.line_starts[line]..end].trim_end().len()
    }
}

impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        context_lines_before: usize,
        _context_lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let (start, end) = (span.offset(), span.offset() + span.len());
        if end > self.shown.len() {
            return Err(MietteError::OutOfBounds);
        }
        let line = self.line_of(start);
        let (from, to) = if context_lines_before == 0 {
            (start, end)
        } else {
            let from = self.line_starts[line].max(start.saturating_sub(WINDOW));
            let to = self.line_end(line).max(end).min(end.saturating_add(WINDOW));
            (self.boundary(from), self.boundary(to))
        };
        let column = self.shown[self.line_starts[line]..from].chars().count();
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            &self.shown.as_bytes()[from..to],
            (from, to - from).into(),
            line,
            column,
            1,
        )))
    }
}
