use std::fmt;
use std::str::FromStr;

/// A place in a distributed trace: which trace, and which step of it (W3C Trace Context, level 1).
///
/// As text it is a `traceparent`: `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Trace {
    id: u128,
    span: u64,
    flags: u8,
}

/// Text that is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a traceparent is 00-TRACE-SPAN-FLAGS with 32, 16 and 2 lower-case hexadecimal digits")]
#[non_exhaustive]
pub struct TraceError;

/// Whether somebody records the trace.
const SAMPLED: u8 = 1;

impl Trace {
    /// A step below this one: same trace, new span.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span: fastrand::u64(1..), ..*self }
    }

    /// The trace, as 32 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{:032x}", self.id)
    }

    /// The step, as 16 hexadecimal digits.
    #[must_use]
    pub fn span(&self) -> String {
        format!("{:016x}", self.span)
    }

    /// Whether somebody records it.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

impl FromStr for Trace {
    type Err = TraceError;

    /// Reads any version but ff, whose first four fields are those of version 00.
    fn from_str(text: &str) -> Result<Self, TraceError> {
        let mut fields = text.splitn(5, '-');
        let version = hex(fields.next(), 2)?;
        let (id, span, flags) =
            (hex(fields.next(), 32)?, hex(fields.next(), 16)?, hex(fields.next(), 2)?);
        let is_readable = version != 0xff && (version != 0 || fields.next().is_none());
        match (u64::try_from(span), u8::try_from(flags)) {
            (Ok(span), Ok(flags)) if is_readable && id != 0 && span != 0 => {
                Ok(Self { id, span, flags })
            }
            _ => Err(TraceError),
        }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.id, self.span, self.flags)
    }
}

fn hex(field: Option<&str>, digits: usize) -> Result<u128, TraceError> {
    let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let field = field.filter(|field| field.len() == digits && field.chars().all(is_digit));
    field.and_then(|field| u128::from_str_radix(field, 16).ok()).ok_or(TraceError)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_and_written() {
        let trace: Trace = TEXT.parse().unwrap();
        assert_eq!(trace.to_string(), TEXT);
        assert_eq!((trace.id(), trace.span()), (TEXT[3..35].into(), TEXT[36..52].into()));
        assert!(trace.is_sampled());
        let later = format!("cc{}-what-comes-later", &TEXT[2..]);
        assert_eq!(later.parse::<Trace>(), Ok(trace));
        let child = trace.child();
        assert!(child.id() == trace.id() && child.span() != trace.span() && child.is_sampled());
    }

    #[test]
    fn what_the_standard_calls_invalid_is_refused() {
        let upper = TEXT.to_uppercase();
        let (zero_id, zero_span) = (
            TEXT.replace(&TEXT[3..35], &"0".repeat(32)),
            format!("{}{}-01", &TEXT[..36], "0".repeat(16)),
        );
        let longer = format!("{TEXT}-x");
        for text in [
            "",
            "00",
            &TEXT[..54],
            &upper,
            &zero_id,
            &zero_span,
            &longer,
            &TEXT.replace("00-4", "ff-4"),
        ] {
            assert_eq!(text.parse::<Trace>(), Err(TraceError), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-f-]{0,60}|.*") {
            if let Ok(trace) = text.parse::<Trace>() {
                prop_assert_eq!(trace.to_string().parse::<Trace>(), Ok(trace));
            }
        }
    }
}
