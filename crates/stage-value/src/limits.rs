use crate::{Capture, Key, Problem, Value};

/// How large a tree of values from outside may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Containers within containers, the outermost counted as 1.
    pub depth: usize,
    /// Values, keys and captures in all.
    pub nodes: usize,
    /// Bytes of strings and function texts in all.
    pub bytes: usize,
}

impl Limits {
    /// Depth 64, a million nodes, 16 MiB.
    pub const DEFAULT: Self = Self { depth: 64, nodes: 1_000_000, bytes: 16 << 20 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What is left of [`Limits`] while a tree is converted.
#[derive(Clone, Debug)]
pub struct Budget {
    limits: Limits,
    nodes: usize,
    bytes: usize,
}

impl Budget {
    /// A whole budget.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, nodes: limits.nodes, bytes: limits.bytes }
    }

    /// Pays for `count` nodes.
    ///
    /// # Errors
    /// [`Problem::TooManyNodes`] if fewer are left.
    pub fn nodes(&mut self, count: usize) -> Result<(), Problem> {
        self.nodes = self
            .nodes
            .checked_sub(count)
            .ok_or(Problem::TooManyNodes { limit: self.limits.nodes })?;
        Ok(())
    }

    /// Pays for a string or text of `count` bytes.
    ///
    /// # Errors
    /// [`Problem::TooManyBytes`] if fewer are left.
    pub fn bytes(&mut self, count: usize) -> Result<(), Problem> {
        self.bytes = self
            .bytes
            .checked_sub(count)
            .ok_or(Problem::TooManyBytes { limit: self.limits.bytes })?;
        Ok(())
    }

    /// Pays for a whole value that stands below `depth` containers. O(its nodes).
    ///
    /// # Errors
    /// The first limit that it exceeds.
    pub fn value(&mut self, value: &Value, depth: usize) -> Result<(), Problem> {
        let mut open = vec![(value, depth)];
        while let Some((value, depth)) = open.pop() {
            self.nodes(1)?;
            match value {
                Value::Bytes(bytes) => self.bytes(bytes.len())?,
                Value::List(items) => {
                    self.depth(depth + 1)?;
                    open.extend(items.iter().map(|item| (item, depth + 1)));
                }
                Value::Map(map) => {
                    self.depth(depth + 1)?;
                    self.nodes(map.len())?;
                    for (key, value) in map {
                        if let Key::Bytes(bytes) = key {
                            self.bytes(bytes.len())?;
                        }
                        open.push((value, depth + 1));
                    }
                }
                Value::Function(function) => {
                    self.depth(depth + 1)?;
                    self.bytes(function.prototype().text().len())?;
                    open.extend(function.captures().iter().filter_map(|capture| match capture {
                        Capture::Value(value) => Some((value, depth + 1)),
                        _ => None,
                    }));
                }
                Value::Nil | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {}
            }
        }
        Ok(())
    }

    /// Checks that a container may stand at `depth`, the outermost being at 1.
    ///
    /// # Errors
    /// [`Problem::TooDeep`] if it may not.
    pub fn depth(&self, depth: usize) -> Result<(), Problem> {
        if depth > self.limits.depth {
            return Err(Problem::TooDeep { limit: self.limits.depth });
        }
        Ok(())
    }
}
