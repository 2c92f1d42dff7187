use std::fmt;

use crate::CategoryId;

/// Over how many coordinators the categories are spread: 1 to [`Shards::MOST`].
///
/// A category belongs to one shard, which every node computes from the category's id. All who count together must
/// have the same number: a category that two of them seek in different shards would be counted twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shards(u32);

impl Shards {
    /// One coordinator counts everything.
    pub const ONE: Self = Self(1);
    /// The most there may be: each is an election, and a stream of every node.
    pub const MOST: u32 = 64;

    /// Checks a number of shards.
    ///
    /// # Errors
    ///
    /// [`ShardsError`] for none and for more than [`Shards::MOST`].
    pub fn try_new(count: u32) -> Result<Self, ShardsError> {
        match count {
            1..=Self::MOST => Ok(Self(count)),
            _ => Err(ShardsError { count }),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(self) -> u32 {
        self.0
    }

    /// The shard that a category belongs to.
    #[must_use]
    pub fn of(self, category: CategoryId) -> Shard {
        let index = u32::try_from(category.0 % u64::from(self.0)).unwrap_or_default();
        Shard { index, of: self }
    }

    /// All of them.
    pub fn all(self) -> impl Iterator<Item = Shard> {
        (0..self.0).map(move |index| Shard { index, of: self })
    }
}

impl Default for Shards {
    fn default() -> Self {
        Self::ONE
    }
}

/// A number of shards that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{count} shards of the ticket categories: use 1 to {most}", most = Shards::MOST)]
pub struct ShardsError {
    /// What was asked for.
    pub count: u32,
}

/// One part of the categories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shard {
    index: u32,
    of: Shards,
}

impl Shard {
    /// All categories.
    pub(crate) const WHOLE: Self = Self { index: 0, of: Shards::ONE };

    /// Which of them it is, from 0.
    #[must_use]
    pub fn index(self) -> u32 {
        self.index
    }

    /// How many there are.
    #[must_use]
    pub fn of(self) -> Shards {
        self.of
    }

    /// Whether a category belongs to it.
    #[must_use]
    pub fn owns(self, category: CategoryId) -> bool {
        self.of.of(category) == self
    }
}

/// As people count: `2 of 4`.
impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.index + 1, self.of.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_category_belongs_to_exactly_one_shard_and_all_shards_get_some() {
        for count in [1, 2, 3, 7, 64] {
            let shards = Shards::try_new(count).unwrap();
            let mut sizes = vec![0_u32; count as usize];
            for number in 0..6400 {
                let category = CategoryId::of(&format!("category {number}"));
                let owners: Vec<_> = shards.all().filter(|shard| shard.owns(category)).collect();
                assert_eq!(owners, [shards.of(category)]);
                sizes[owners[0].index() as usize] += 1;
            }
            let fair = 6400 / count;
            assert!(sizes.iter().all(|size| (fair / 2..=fair * 2).contains(size)), "{sizes:?}");
        }
    }

    #[test]
    fn no_shards_and_too_many_are_refused() {
        for count in [0, 65, u32::MAX] {
            assert_eq!(Shards::try_new(count), Err(ShardsError { count }));
        }
    }
}
