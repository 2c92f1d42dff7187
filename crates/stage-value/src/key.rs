use std::cmp::Ordering;

use bytes::Bytes;

/// The key of a map entry: any scalar but nil and NaN.
///
/// A float with an integer value is that integer, as in Lua: `Key::float(2.0)` is `Key::Int(2)`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Key {
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float that is neither an integer nor NaN; [`Key::float`] makes one.
    Float(f64),
    /// Bytes, text among them.
    Bytes(Bytes),
}

impl Key {
    /// Bytes copied from a string or a slice.
    #[must_use]
    pub fn bytes(data: impl AsRef<[u8]>) -> Self {
        Self::Bytes(Bytes::copy_from_slice(data.as_ref()))
    }

    /// A float as a key; `None` for NaN, which equals nothing.
    #[must_use]
    pub fn float(value: f64) -> Option<Self> {
        const INTEGERS: std::ops::Range<f64> =
            -9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0;
        if value.is_nan() {
            None
        } else if value.fract() == 0.0 && INTEGERS.contains(&value) {
            Some(Self::Int(value as i64))
        } else {
            Some(Self::Float(value))
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Bool(_) => 0,
            Self::Int(_) => 1,
            Self::Float(_) => 2,
            Self::Bytes(_) => 3,
        }
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

impl From<&str> for Key {
    fn from(value: &str) -> Self {
        Self::bytes(value)
    }
}

impl From<i64> for Key {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
