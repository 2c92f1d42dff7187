/// A set of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Set([u64; 4]);

impl Set {
    pub(super) const ALL: Self = Self([u64::MAX; 4]);
    pub(super) const EMPTY: Self = Self([0; 4]);

    pub(super) fn of(byte: u8) -> Self {
        let mut set = Self::EMPTY;
        set.add(byte);
        set
    }

    pub(super) fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] & (1 << (byte & 63)) != 0
    }

    pub(super) fn add(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    pub(super) fn join(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(own, other)| *own |= other);
    }

    pub(super) fn complement(self) -> Self {
        Self(self.0.map(|bits| !bits))
    }

    /// What `%` and a character stand for: `%a` letters, `%A` all but letters, `%.` the character itself.
    pub(super) fn of_class(class: u8) -> Self {
        let holds: fn(&u8) -> bool = match class.to_ascii_lowercase() {
            b'a' => u8::is_ascii_alphabetic,
            b'c' => u8::is_ascii_control,
            b'd' => u8::is_ascii_digit,
            b'g' => u8::is_ascii_graphic,
            b'l' => u8::is_ascii_lowercase,
            b'p' => u8::is_ascii_punctuation,
            // The vertical tab is white space for C, and for Rust it is not.
            b's' => |byte| byte.is_ascii_whitespace() || *byte == 0x0b,
            b'u' => u8::is_ascii_uppercase,
            b'w' => u8::is_ascii_alphanumeric,
            b'x' => u8::is_ascii_hexdigit,
            b'z' => |byte| *byte == 0,
            _ => return Self::of(class),
        };
        let mut set = Self::EMPTY;
        (0..=u8::MAX).filter(holds).for_each(|byte| set.add(byte));
        if class.is_ascii_uppercase() { set.complement() } else { set }
    }

    /// The set that stands in brackets, which are not part of `content`.
    pub(super) fn of_brackets(content: &[u8]) -> Self {
        let (negated, content) = match content {
            [b'^', rest @ ..] => (true, rest),
            all => (false, all),
        };
        let mut set = Self::EMPTY;
        let mut rest = content;
        loop {
            rest = match rest {
                [] => break,
                [b'%', class, rest @ ..] => {
                    set.join(Self::of_class(*class));
                    rest
                }
                [first, b'-', last, rest @ ..] => {
                    (*first..=*last).for_each(|byte| set.add(byte));
                    rest
                }
                [byte, rest @ ..] => {
                    set.add(*byte);
                    rest
                }
            };
        }
        if negated { set.complement() } else { set }
    }
}
