//! SQL in the pieces that SQLite's own tokenizer sees: what is a string to one of them and code to the other would be a way around
//! every rule about statements.

/// A piece of SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'s> {
    /// A keyword or a name.
    Word(&'s str),
    /// What stands between quotes of any kind, quotes in it still doubled.
    Quoted(&'s str),
    /// The end of a statement.
    Semicolon,
    /// A number, a place for a parameter, or what this byte begins.
    Other(u8),
}

impl Token<'_> {
    /// Whether it is a keyword.
    pub(crate) fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    /// Whether it may be a name, which quotes do not change.
    pub(crate) fn names(&self, name: &str) -> bool {
        matches!(self, Self::Word(it) | Self::Quoted(it) if it.eq_ignore_ascii_case(name))
    }
}

/// The tokens of a text, without spaces and comments. Ends early where SQLite finds an error.
#[derive(Clone, Debug)]
pub(crate) struct Tokens<'s> {
    rest: &'s str,
}

impl<'s> Tokens<'s> {
    /// Of a text as the driver hands it on.
    pub(crate) fn of(sql: &'s str) -> Self {
        Self { rest: sql.trim() }
    }

    /// Takes so many bytes, which end between two characters.
    fn take(&mut self, bytes: usize) -> &'s str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    /// Takes what stands between quotes; none if they are not closed.
    fn take_quoted(&mut self, close: char) -> Option<Token<'s>> {
        let text = self.rest;
        // A closing quote that is doubled stands for itself; a bracket has no such form.
        let mut from = 1;
        let end = loop {
            let at = from + text[from..].find(close)?;
            if close == ']' || !text[at + 1..].starts_with(close) {
                break at;
            }
            from = at + 2;
        };
        self.take(end + 1);
        Some(Token::Quoted(&text[1..end]))
    }

    /// Takes a place with a name: `$name`, `$space::name` or `$name(anything but spaces)`.
    fn take_place(&mut self, sign: u8) -> Option<Token<'s>> {
        let bytes = self.rest.as_bytes();
        let (mut at, mut named) = (1, false);
        while let Some(byte) = bytes.get(at) {
            match byte {
                byte if is_of_word(*byte) => named = true,
                b'(' if named => {
                    let is_end = |byte: &u8| *byte == b')' || is_space(*byte);
                    at += 1 + bytes[at + 1..].iter().position(is_end)?;
                    if bytes[at] != b')' {
                        return None;
                    }
                    at += 1;
                    break;
                }
                b':' if bytes.get(at + 1) == Some(&b':') => at += 1,
                _ => break,
            }
            at += 1;
        }
        self.take(at);
        Some(Token::Other(sign))
    }
}

impl<'s> Iterator for Tokens<'s> {
    type Item = Token<'s>;

    fn next(&mut self) -> Option<Token<'s>> {
        loop {
            let text = self.rest;
            let first = *text.as_bytes().first()?;
            let found = match first {
                byte if is_space(byte) => {
                    self.take(1);
                    continue;
                }
                b'-' if text.starts_with("--") => {
                    self.take(text.find('\n').unwrap_or(text.len()));
                    continue;
                }
                b'/' if text.starts_with("/*") => {
                    // They do not nest.
                    self.take(text[2..].find("*/").map_or(text.len(), |at| at + 4));
                    continue;
                }
                _ if text.starts_with('\u{feff}') => {
                    self.take('\u{feff}'.len_utf8());
                    continue;
                }
                b';' => {
                    self.take(1);
                    Some(Token::Semicolon)
                }
                quote @ (b'\'' | b'"' | b'`') => self.take_quoted(char::from(quote)),
                b'[' => self.take_quoted(']'),
                sign @ (b'$' | b'@' | b':' | b'#') => self.take_place(sign),
                byte if is_of_word(byte) => {
                    let end = text.bytes().position(|byte| !is_of_word(byte));
                    let word = self.take(end.unwrap_or(text.len()));
                    Some(match byte.is_ascii_digit() {
                        true => Token::Other(byte),
                        false => Token::Word(word),
                    })
                }
                byte => {
                    self.take(1);
                    Some(Token::Other(byte))
                }
            };
            if found.is_none() {
                self.rest = "";
            }
            return found;
        }
    }
}

/// What a word goes on with. All that is not ASCII is, so a word ends between two characters.
fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || !byte.is_ascii()
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_is_cut_as_sqlite_cuts_it() {
        use Token::{Other, Quoted, Semicolon, Word};
        let of = |sql| Tokens::of(sql).collect::<Vec<_>>();
        assert_eq!(
            of("a$1 'x''y'[z]]\"q\""),
            [Word("a$1"), Quoted("x''y"), Quoted("z"), Other(b']'), Quoted("q")]
        );
        assert_eq!(
            of("/**/한국;1e5--;\n?1"),
            [Word("한국"), Semicolon, Other(b'1'), Other(b'?'), Other(b'1')]
        );
        assert_eq!(of("$a::b(;'):c /*/ ;"), [Other(b'$'), Other(b':')]);
        assert_eq!(of("a 'open; b"), [Word("a")]);
        assert_eq!(of("a $b(open ; b"), [Word("a")]);
    }

    proptest! {
        #[test]
        fn any_text_has_an_end(sql in "[-/*;:$@#'\"`\\[\\](){}a한\u{feff} \\n]{0,40}") {
            prop_assert!(Tokens::of(&sql).count() <= sql.len());
        }
    }
}
