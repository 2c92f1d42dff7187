use std::collections::BTreeMap;
use std::time::Duration;

use crate::{CategoryName, Limit, LimitError, NameError, Rules, Unlisted};

/// How to start [`Tickets`](crate::Tickets).
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The categories that exist from the start, with their limits as written in a configuration:
    /// `n` lets `n` run at once and the others wait, `-n` refuses the others.
    pub categories: BTreeMap<String, i64>,
    /// Bounds, the length of a grant, and what the first use of an unlisted category does.
    pub rules: Rules,
    /// The epoch of the tokens. It must rise from one start of the program to the next, or
    /// resources that remember tokens refuse the new ones. `None` takes the milliseconds since 1970.
    pub epoch: Option<u64>,
}

impl Config {
    /// Adds a category.
    #[must_use]
    pub fn category(mut self, name: &str, limit: i64) -> Self {
        self.categories.insert(name.to_owned(), limit);
        self
    }

    /// Makes the use of a category that is not listed an error.
    #[must_use]
    pub fn only_listed(mut self) -> Self {
        self.rules.unlisted = Unlisted::Refuse;
        self
    }

    /// Sets how long a grant is for, unless it is extended. The default is one second.
    #[must_use]
    pub fn grant(mut self, length: Duration) -> Self {
        self.rules.grant = length;
        self
    }

    pub(crate) fn validated(&self) -> Result<Vec<(CategoryName, Limit)>, ConfigError> {
        if self.rules.grant.is_zero() || self.rules.max_grant < self.rules.grant {
            return Err(ConfigError::Grant { grant: self.rules.grant, max: self.rules.max_grant });
        }
        if self.categories.len() > self.rules.max_categories {
            return Err(ConfigError::TooManyCategories { max: self.rules.max_categories });
        }
        self.categories.iter().map(|(name, limit)| category(name, *limit)).collect()
    }
}

pub(crate) fn category(name: &str, limit: i64) -> Result<(CategoryName, Limit), ConfigError> {
    let checked = CategoryName::try_new(name)?;
    match Limit::try_new(limit) {
        Ok(limit) => Ok((checked, limit)),
        Err(source) => Err(ConfigError::Limit { category: checked, source }),
    }
}

/// Why tickets cannot start, or a category cannot be set, as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A category's name is no name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A category's limit is no limit.
    #[error("category {category}: {source}")]
    Limit {
        /// The category.
        category: CategoryName,
        /// What is wrong with it.
        source: LimitError,
    },
    /// The length of a grant is zero or above the longest.
    #[error("a grant of {grant:?} does not fit: use more than zero and at most {max:?}")]
    Grant {
        /// The length.
        grant: Duration,
        /// The longest.
        max: Duration,
    },
    /// No room for another category.
    #[error("there are {max} categories and this would be one more: close one that is not used")]
    TooManyCategories {
        /// The bound.
        max: usize,
    },
    /// Another category has the same 64-bit id.
    #[error("category {category} has the id of another one: use another name")]
    SameId {
        /// The category.
        category: CategoryName,
    },
    /// A server's bounds leave it nothing to do.
    #[error(
        "a server needs frames of at least 4096 bytes, a request for each node, and 10 ms of silence"
    )]
    Serving,
    /// Tickets expire by a timer, and need a tokio runtime for it.
    #[error("no tokio runtime: call this within one")]
    NoRuntime,
}
