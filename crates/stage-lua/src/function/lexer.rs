//! Finds the function expressions of a Lua text, with the lines that the compiler gives them.
//!
//! This reads tokens and counts blocks; whether the text is valid Lua is the compiler's to say.

/// Where a function stands in its text; positions are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The keyword `function`.
    pub(crate) start: usize,
    /// The parenthesis that opens the parameters.
    pub(crate) parameters: usize,
    /// Behind the keyword `end`.
    pub(crate) end: usize,
    /// Line of the keyword, counted from 1.
    pub(crate) first_line: u32,
    /// Line of `end`.
    pub(crate) last_line: u32,
    /// Whether it was written as `name:method`, which adds `self`.
    pub(crate) method: bool,
}

/// All functions of a text, in the order in which they end. O(length).
pub(crate) fn functions(text: &[u8]) -> Vec<Span> {
    let mut lexer = Lexer { text, at: 0, line: 1 };
    let mut open: Vec<Block> = Vec::new();
    let mut found = Vec::new();
    lexer.skip_shebang();
    while let Some(token) = lexer.next() {
        match token.kind {
            Kind::Opens => open.push(Block::Other),
            Kind::Function => open.push(Block::Function(Head::new(&token))),
            Kind::Open | Kind::Colon => {
                if let Some(Block::Function(head)) = open.last_mut() {
                    head.read(&token);
                }
            }
            Kind::Closes => match open.pop() {
                Some(Block::Function(head)) => found.extend(head.close(&token)),
                Some(Block::Other) | None => {}
            },
            Kind::Other => {}
        }
    }
    found
}

/// Whether a text is one function expression and nothing else.
pub(crate) fn is_one_function(text: &[u8]) -> bool {
    let spans = functions(text);
    spans.last().is_some_and(|span| {
        span.start == 0 && span.end == text.len() && !span.method && names_nothing(text, span)
    })
}

/// The line of the first `<close>`, which marks a variable.
///
/// The three tokens in a row mean nothing else: as comparisons they would compare a truth value.
pub(crate) fn close_attribute(text: &[u8]) -> Option<u32> {
    let mut lexer = Lexer { text, at: 0, line: 1 };
    let mut matched = 0;
    lexer.skip_shebang();
    while let Some(token) = lexer.next() {
        let token_text = &text[token.start..token.end];
        matched = match (matched, token_text) {
            (1, b"close") => 2,
            (2, b">") => return Some(token.line),
            (_, b"<") => 1,
            _ => 0,
        };
    }
    None
}

/// Whether only blanks stand between `function` and its parameters.
fn names_nothing(text: &[u8], span: &Span) -> bool {
    text[span.start + "function".len()..span.parameters].iter().copied().all(is_blank)
}

/// What Lua takes for a blank: it has the vertical tab among them.
fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

enum Block {
    Function(Head),
    Other,
}

/// A function whose end has not been read.
struct Head {
    start: usize,
    first_line: u32,
    parameters: Option<usize>,
    method: bool,
}

impl Head {
    fn new(token: &Token) -> Self {
        Self { start: token.start, first_line: token.line, parameters: None, method: false }
    }

    fn read(&mut self, token: &Token) {
        if self.parameters.is_none() {
            match token.kind {
                Kind::Colon => self.method = true,
                _ => self.parameters = Some(token.start),
            }
        }
    }

    fn close(self, token: &Token) -> Option<Span> {
        Some(Span {
            start: self.start,
            parameters: self.parameters?,
            end: token.end,
            first_line: self.first_line,
            last_line: token.line,
            method: self.method,
        })
    }
}

struct Token {
    kind: Kind,
    start: usize,
    end: usize,
    line: u32,
}

enum Kind {
    Function,
    /// `do`, `if`, `repeat`
    Opens,
    /// `end`, `until`
    Closes,
    /// `(`
    Open,
    Colon,
    Other,
}

struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    line: u32,
}

impl Lexer<'_> {
    /// The first line of a file may be a comment that starts with `#`.
    fn skip_shebang(&mut self) {
        if self.peek() == Some(b'#') {
            self.skip_line();
        }
    }

    fn next(&mut self) -> Option<Token> {
        self.skip_blanks_and_comments();
        let (start, line) = (self.at, self.line);
        let kind = match self.peek()? {
            quote @ (b'"' | b'\'') => self.string(quote),
            b'[' if self.long_bracket().is_some() => self.long_string(),
            b'(' => self.single(Kind::Open),
            b':' => self.colon(),
            b'<' => self.less(),
            byte if byte.is_ascii_digit() => self.number(),
            byte if byte.is_ascii_alphabetic() || byte == b'_' => self.word(),
            _ => self.single(Kind::Other),
        };
        Some(Token { kind, start, end: self.at, line })
    }

    fn skip_blanks_and_comments(&mut self) {
        while let Some(byte) = self.peek() {
            if is_blank(byte) {
                self.bump();
            } else if self.text[self.at..].starts_with(b"--") {
                self.at += 2;
                match self.long_bracket() {
                    Some(_) => drop(self.long_string()),
                    None => self.skip_line(),
                }
            } else {
                return;
            }
        }
    }

    fn skip_line(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n' && byte != b'\r') {
            self.at += 1;
        }
    }

    fn word(&mut self) -> Kind {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            self.at += 1;
        }
        match &self.text[start..self.at] {
            b"function" => Kind::Function,
            b"do" | b"if" | b"repeat" => Kind::Opens,
            b"end" | b"until" => Kind::Closes,
            _ => Kind::Other,
        }
    }

    /// Digits, letters and dots, and a sign behind an exponent; enough to find its end.
    fn number(&mut self) -> Kind {
        let hexadecimal = matches!(self.text.get(self.at + 1), Some(b'x' | b'X'));
        let exponents: &[u8] = if hexadecimal { b"pP" } else { b"eE" };
        while let Some(byte) = self.peek() {
            let sign = self.text.get(self.at + 1);
            if exponents.contains(&byte) && matches!(sign, Some(b'+' | b'-')) {
                self.at += 2;
            } else if byte.is_ascii_alphanumeric() || byte == b'.' {
                self.at += 1;
            } else {
                break;
            }
        }
        Kind::Other
    }

    fn string(&mut self, quote: u8) -> Kind {
        self.at += 1;
        while let Some(byte) = self.peek() {
            match byte {
                b'\\' => self.escape(),
                b'\n' | b'\r' => break,
                _ => self.at += 1,
            }
            if byte == quote {
                break;
            }
        }
        Kind::Other
    }

    /// A backslash and what it escapes; `\z` skips the blanks that follow, lines included.
    fn escape(&mut self) {
        self.at += 1;
        if self.peek() == Some(b'z') {
            self.at += 1;
            while self.peek().is_some_and(is_blank) {
                self.bump();
            }
        } else {
            self.bump();
        }
    }

    fn long_string(&mut self) -> Kind {
        let level = self.long_bracket().unwrap_or(0);
        self.at += level + 2;
        while self.at < self.text.len() {
            if self.peek() == Some(b']') && self.closes_long_bracket(level) {
                self.at += level + 2;
                break;
            }
            self.bump();
        }
        Kind::Other
    }

    /// The level of the long bracket that opens here: 0 for `[[`, 1 for `[=[`.
    fn long_bracket(&self) -> Option<usize> {
        let rest = self.text[self.at..].strip_prefix(b"[")?;
        let level = rest.iter().take_while(|byte| **byte == b'=').count();
        (rest.get(level) == Some(&b'[')).then_some(level)
    }

    fn closes_long_bracket(&self, level: usize) -> bool {
        let rest = &self.text[self.at + 1..];
        rest.len() > level && rest[..level].iter().all(|byte| *byte == b'=') && rest[level] == b']'
    }

    /// `::` of a label is no colon of a method.
    fn colon(&mut self) -> Kind {
        self.at += 1;
        if self.peek() == Some(b':') { self.single(Kind::Other) } else { Kind::Colon }
    }

    /// `<<` is one token, whose second half begins no attribute.
    fn less(&mut self) -> Kind {
        self.at += 1;
        if self.peek() == Some(b'<') { self.single(Kind::Other) } else { Kind::Other }
    }

    fn single(&mut self, kind: Kind) -> Kind {
        self.at += 1;
        kind
    }

    /// One byte onward; a line break of two bytes counts as one.
    fn bump(&mut self) {
        let Some(byte) = self.peek() else { return };
        self.at += 1;
        if byte == b'\n' || byte == b'\r' {
            let pair =
                self.peek().is_some_and(|next| next != byte && matches!(next, b'\n' | b'\r'));
            self.at += usize::from(pair);
            self.line += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<(&str, u32, u32)> {
        functions(source.as_bytes())
            .into_iter()
            .map(|span| (&source[span.start..span.end], span.first_line, span.last_line))
            .collect()
    }

    #[test]
    fn functions_on_one_line_are_told_apart() {
        let source = "f(function() return 1 end, function(a) return a end)";
        assert_eq!(
            texts(source),
            [("function() return 1 end", 1, 1), ("function(a) return a end", 1, 1)]
        );
    }

    #[test]
    fn blocks_within_a_function_do_not_end_it() {
        let body = "function(n)\n while n > 0 do if n == 1 then return end repeat n = n - 1 until n\n end\nend";
        assert_eq!(texts(body), [(body, 1, 4)]);
    }

    #[test]
    fn words_in_strings_and_comments_are_no_blocks() {
        let body = "function() -- end\n --[==[ end ]] ]==] local s = 'end\\'' .. \"if\" .. [[\nend]] return s end";
        assert_eq!(texts(body), [(body, 1, 3)]);
    }

    #[test]
    fn a_string_goes_on_behind_all_blanks_that_lua_skips() {
        for blank in ["\x0b", "\x0c", "\r", "\r\n", "\n\r", " \t\x0b\n"] {
            let text = format!("function() return '\\z{blank}' end");
            assert!(is_one_function(text.as_bytes()), "{blank:?}");
            // Lua reads a string, a call and the beginning of another string.
            let text = format!("function() return '\\z{blank}\n' end, print() --' end");
            assert!(!is_one_function(text.as_bytes()), "{blank:?}");
        }
        assert_eq!(close_attribute(b"local s = '\\z\x0b\n' local x <close> = nil --'"), Some(2));
    }

    #[test]
    fn a_shift_by_a_variable_is_no_attribute() {
        assert_eq!(close_attribute(b"return a << close > b, a<<close>b"), None);
        assert_eq!(close_attribute(b"local a <close>, b"), Some(1));
    }

    #[test]
    fn a_method_is_known_by_its_colon_and_a_label_is_none() {
        let spans = functions(b"function a.b:c() ::again:: end function d() end");
        assert!(spans[0].method && !spans[1].method);
    }

    #[test]
    fn only_a_lone_function_is_one_function() {
        assert!(is_one_function(b"function(a) return function() end end"));
        for text in [
            "function() end, print()",
            "function() end ",
            "x",
            "",
            "function f() end",
            "function() end\nfunction() end",
        ] {
            assert!(!is_one_function(text.as_bytes()), "{text}");
        }
    }
}
