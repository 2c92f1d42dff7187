use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;

use super::lexer::{self, Span};

/// The most texts that are kept beside those of scripts.
const TEXTS: usize = 16_384;

/// The most bytes that they take, names included. They lie outside of the VM's memory, so nothing else bounds them.
const BYTES: usize = 64 << 20;

/// What a text takes beside its bytes and those of its name.
const OVERHEAD: usize = 256;

/// The texts of the chunks that a VM has compiled, by chunk name.
///
/// Several chunks may have one name, as those that a script makes by `load`. Past a bound the oldest of them give
/// way; the text of a script stays.
#[derive(Default)]
pub(crate) struct Sources {
    chunks: RefCell<Chunks>,
}

#[derive(Default)]
struct Chunks {
    scripts: HashMap<Rc<str>, Rc<Source>>,
    /// The other texts of each name, oldest first.
    others: HashMap<Rc<str>, VecDeque<Rc<Source>>>,
    /// The names of those, in the order in which the texts came.
    order: VecDeque<Rc<str>>,
    bytes: usize,
}

/// The text of one chunk, with the functions in it found when first asked for.
pub(crate) struct Source {
    text: Bytes,
    functions: OnceCell<Vec<Span>>,
}

impl Sources {
    /// Keeps the text of a stage's script, or of a module, until there is a newer one; the older ones are kept
    /// as other chunks are, for the functions of theirs that still run.
    pub(crate) fn keep_script(&self, name: &str, text: Bytes) {
        let newest = Source::new(text);
        let before = self.chunks.borrow_mut().scripts.insert(name.into(), Rc::clone(&newest));
        if let Some(before) = before.filter(|before| before.text != newest.text) {
            self.keep(name, before.text.clone());
        }
    }

    /// Keeps the text of another chunk for as long as there is room for it.
    pub(crate) fn keep(&self, name: &str, text: Bytes) {
        let mut chunks = self.chunks.borrow_mut();
        if cost(name, &text) <= BYTES && !chunks.knows(name, &text) {
            chunks.add(name.into(), text);
        }
    }

    /// The texts of a name, newest first.
    pub(crate) fn of(&self, name: &str) -> Vec<Rc<Source>> {
        let chunks = self.chunks.borrow();
        let others = chunks.others.get(name).into_iter().flat_map(|texts| texts.iter().rev());
        others.chain(chunks.scripts.get(name)).cloned().collect()
    }
}

impl Chunks {
    fn knows(&self, name: &str, text: &Bytes) -> bool {
        let others = self.others.get(name).into_iter().flatten();
        others.chain(self.scripts.get(name)).any(|known| known.text == *text)
    }

    fn add(&mut self, name: Rc<str>, text: Bytes) {
        self.bytes += cost(&name, &text);
        while self.bytes > BYTES || self.order.len() >= TEXTS {
            self.drop_oldest();
        }
        self.order.push_back(Rc::clone(&name));
        self.others.entry(name).or_default().push_back(Source::new(text));
    }

    fn drop_oldest(&mut self) {
        let Some(name) = self.order.pop_front() else { return };
        let Some(texts) = self.others.get_mut(&name) else { return };
        if let Some(oldest) = texts.pop_front() {
            self.bytes -= cost(&name, &oldest.text);
        }
        if texts.is_empty() {
            self.others.remove(&name);
        }
    }
}

/// Bytes that keeping a text takes.
fn cost(name: &str, text: &Bytes) -> usize {
    OVERHEAD + name.len() + text.len()
}

impl Source {
    fn new(text: Bytes) -> Rc<Self> {
        Rc::new(Self { text, functions: OnceCell::new() })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn text(number: usize, bytes: usize) -> Bytes {
        let mut text = format!("return {number} --").into_bytes();
        text.resize(bytes, b'x');
        text.into()
    }

    fn kept(sources: &Sources) -> usize {
        let chunks = sources.chunks.borrow();
        let texts = chunks
            .others
            .iter()
            .flat_map(|(name, texts)| texts.iter().map(move |source| cost(name, &source.text)));
        let bytes = texts.sum();
        assert_eq!(bytes, chunks.bytes, "the count is what is there");
        bytes
    }

    #[test]
    fn texts_that_come_without_end_take_so_many_bytes_and_the_oldest_give_way() {
        let sources = Sources::default();
        sources.keep_script("main.lua", text(0, 1000));
        for number in 1..=200 {
            sources.keep("made", text(number, 1 << 20));
            sources.keep(&format!("made{number}"), text(number, 1 << 20));
        }
        let bytes = kept(&sources);
        assert!(bytes <= BYTES && bytes > BYTES - (2 << 20), "{bytes}");
        assert_eq!(sources.of("main.lua").len(), 1, "a script stays");
        assert!(sources.of("made1").is_empty());
        assert_eq!(sources.of("made200")[0].text, text(200, 1 << 20));
        assert_eq!(sources.of("made")[0].text, text(200, 1 << 20), "the newest first");
    }

    #[test]
    fn small_texts_are_bounded_by_their_number_and_long_names_count() {
        let sources = Sources::default();
        for number in 0..TEXTS + 1000 {
            sources.keep("made", text(number, 32));
        }
        assert_eq!(sources.of("made").len(), TEXTS);
        let name = "n".repeat(BYTES / 2);
        sources.keep(&name, text(1, 10));
        sources.keep(&name, text(2, 10));
        assert!(kept(&sources) <= BYTES);
    }

    #[test]
    fn a_text_is_kept_once_and_one_that_is_too_large_not_at_all() {
        let sources = Sources::default();
        sources.keep_script("main.lua", text(0, 100));
        sources.keep("main.lua", text(0, 100));
        sources.keep("made", text(1, 100));
        sources.keep("made", text(1, 100));
        sources.keep("large", text(1, BYTES + 1));
        let of = |name| sources.of(name).len();
        assert_eq!((of("main.lua"), of("made"), of("large")), (1, 1, 0));
    }
}
