use std::fmt;

/// How many grants a category may have at once, and whether further requests wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limit {
    permits: u32,
    queues: bool,
}

impl Limit {
    /// The largest number of permits. It bounds what one category can cost in memory.
    pub const MAX: u32 = 1 << 20;

    /// The limit of one: each grant is exclusive, further requests wait.
    pub const ONE: Self = Self { permits: 1, queues: true };

    /// Reads a limit as it is written in a configuration: `n` lets `n` run at once and the others
    /// wait, `-n` lets `n` run at once and refuses the others.
    ///
    /// # Errors
    ///
    /// [`LimitError`] for 0 and for more than [`Limit::MAX`] permits.
    pub fn try_new(written: i64) -> Result<Self, LimitError> {
        if written == 0 {
            return Err(LimitError::Zero);
        }
        match u32::try_from(written.unsigned_abs()) {
            Ok(permits) if permits <= Self::MAX => Ok(Self { permits, queues: written > 0 }),
            _ => Err(LimitError::TooLarge { written }),
        }
    }

    /// The number of grants at once.
    #[must_use]
    pub fn permits(self) -> u32 {
        self.permits
    }

    /// Whether requests past the limit wait; otherwise they are refused.
    #[must_use]
    pub fn queues(self) -> bool {
        self.queues
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.queues { "" } else { "-" }, self.permits)
    }
}

/// Why a number is no limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// Zero would let nobody in, ever.
    #[error("a limit of 0 lets nobody in: use n to let n run at once, -n to refuse the next")]
    Zero,
    /// More permits than [`Limit::MAX`].
    #[error("a limit of {written} is too large, use at most {}", Limit::MAX)]
    TooLarge {
        /// The number as written.
        written: i64,
    },
}
