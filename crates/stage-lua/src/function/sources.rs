use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;

use super::lexer::{self, Span};

/// The most chunks of one name and the most names that are kept.
const CHUNKS: usize = 4096;

/// The texts of all chunks that a VM has compiled, by chunk name.
///
/// Several chunks may have one name, as those that a script makes by `load`.
#[derive(Default)]
pub(crate) struct Sources {
    chunks: RefCell<HashMap<String, Vec<Rc<Source>>>>,
}

/// The text of one chunk, with the functions in it found when first asked for.
pub(crate) struct Source {
    text: Bytes,
    functions: OnceCell<Vec<Span>>,
}

impl Sources {
    /// Keeps the text of a chunk. The oldest text of a name gives way past the limit.
    pub(crate) fn keep(&self, name: &str, text: Bytes) {
        let mut chunks = self.chunks.borrow_mut();
        if chunks.len() >= CHUNKS && !chunks.contains_key(name) {
            return;
        }
        let texts = chunks.entry(name.to_owned()).or_default();
        if texts.iter().any(|known| known.text == text) {
            return;
        }
        if texts.len() >= CHUNKS {
            texts.remove(0);
        }
        texts.push(Rc::new(Source { text, functions: OnceCell::new() }));
    }

    /// The texts of a name, newest first.
    pub(crate) fn of(&self, name: &str) -> Vec<Rc<Source>> {
        let chunks = self.chunks.borrow();
        chunks.get(name).map(|texts| texts.iter().rev().cloned().collect()).unwrap_or_default()
    }
}

impl Source {
    /// The functions that start and end on the given lines, as expressions.
    pub(crate) fn candidates(&self, first: u32, last: u32) -> impl Iterator<Item = (u32, Bytes)> {
        let spans = self.functions.get_or_init(|| lexer::functions(&self.text));
        spans
            .iter()
            .filter(move |span| span.first_line == first && span.last_line == last)
            .map(|span| (span.first_line, self.expression(span)))
    }

    /// The text of a function without its name; line breaks within the name stay.
    fn expression(&self, span: &Span) -> Bytes {
        let keyword = span.start + "function".len();
        let name = &self.text[keyword..span.parameters];
        if name.iter().all(u8::is_ascii_whitespace) && !span.method {
            return self.text.slice(span.start..span.end);
        }
        let mut text = Vec::with_capacity(span.end - span.start + 6);
        text.extend_from_slice(b"function ");
        text.extend(name.iter().filter(|byte| **byte == b'\n'));
        let mut rest = &self.text[span.parameters..span.end];
        if span.method {
            rest = &rest[1..];
            let alone = rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b')');
            text.extend_from_slice(if alone { b"(self" } else { b"(self, " });
        }
        text.extend_from_slice(rest);
        text.into()
    }
}
