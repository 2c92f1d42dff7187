#[cfg(feature = "db")]
use std::collections::BTreeMap;
#[cfg(feature = "db")]
use std::sync::Arc;

/// The databases of a node by the names that scripts know them by.
#[derive(Clone, Debug, Default)]
pub struct Databases {
    #[cfg(feature = "db")]
    pools: BTreeMap<Arc<str>, stage_db::Pool>,
}

#[cfg(feature = "db")]
impl Databases {
    /// These and one more, in place of an earlier one of that name.
    #[must_use]
    pub fn with(mut self, name: impl Into<Arc<str>>, pool: stage_db::Pool) -> Self {
        self.pools.insert(name.into(), pool);
        self
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &stage_db::Pool)> {
        self.pools.iter().map(|(name, pool)| (&**name, pool))
    }

    pub(crate) fn pool(&self, name: &str) -> Option<&stage_db::Pool> {
        self.pools.get(name)
    }
}
