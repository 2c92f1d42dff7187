use std::fmt;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, SourceCode};

use super::problem::Problem;
use super::source::Source;

/// Everything that is wrong with one configuration.
///
/// `Display` gives a line per problem, `file:line:column: what`; [`report`](Self::report) shows the
/// lines themselves. Both have as many problems as fit one screen's patience, 64, and say how many
/// more there are.
pub struct ConfigErrors {
    source: Source,
    problems: Vec<Problem>,
    omitted: usize,
}

/// How a report is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Palette {
    /// ASCII without colours, for files and pipes.
    Plain,
    /// Box-drawing characters and colours, for a terminal.
    Colour,
}

impl ConfigErrors {
    pub(super) fn new(source: Source, problems: Vec<Problem>, omitted: usize) -> Self {
        Self { source, problems, omitted }
    }

    /// The problems in the order of the file.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How many problems there are, those beyond the first 64 included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.problems.len() + self.omitted
    }

    /// Each problem with its line, the wrong part underlined, and what to do about it.
    #[must_use]
    pub fn report(&self, palette: Palette) -> String {
        let theme = match palette {
            Palette::Plain => GraphicalTheme::none(),
            Palette::Colour => GraphicalTheme::unicode(),
        };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(100).with_links(false);
        let mut text = String::new();
        for problem in &self.problems {
            let shown = Shown { problem, source: &self.source };
            if handler.render_report(&mut text, &shown).is_err() {
                text.push_str(&self.line(problem));
            }
            text.push('\n');
        }
        text.push_str(&self.summary());
        text.push('\n');
        text
    }

    fn line(&self, problem: &Problem) -> String {
        let name = self.source.name();
        match &problem.span {
            Some(span) => {
                let (line, column) = self.source.place(span.start);
                format!("{name}:{line}:{column}: {}", problem.kind)
            }
            None => format!("{name}: {}", problem.kind),
        }
    }

    fn summary(&self) -> String {
        let plural = if self.count() == 1 { "" } else { "s" };
        let mut text = format!("{}: {} problem{plural}", self.source.name(), self.count());
        if self.omitted > 0 {
            text.push_str(&format!(", the first {} are shown", self.problems.len()));
        }
        text
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{}", self.line(problem))?;
        }
        f.write_str(&self.summary())
    }
}

impl fmt::Debug for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ConfigErrors {}

/// A problem beside its text, as miette draws it.
#[derive(Debug)]
struct Shown<'a> {
    problem: &'a Problem,
    source: &'a Source,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problem.span {
            Some(_) => fmt::Display::fmt(&self.problem.kind, f),
            None => write!(f, "{}: {}", self.source.name(), self.problem.kind),
        }
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.problem.span.as_ref()?;
        let (start, end) = self.source.first_line(span.start, span.end);
        Some(Box::new(std::iter::once(LabeledSpan::new(None, start, end - start))))
    }
}
