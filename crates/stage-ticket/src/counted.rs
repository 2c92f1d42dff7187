use std::collections::{BTreeMap, VecDeque};

/// A map whose keys are counts that are mostly added in rising order and mostly leave soon.
///
/// The recent ones stand in a ring, by their distance from its first: adding, finding and removing
/// is O(1) and touches one place in memory. Old ones that stay on are moved to a tree, so that a
/// key that never leaves does not make the ring grow with all that came after it: the ring has at
/// most four times as many places as entries, or [`SMALL`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Counted<T> {
    first: u64,
    recent: VecDeque<Option<T>>,
    recent_len: usize,
    old: BTreeMap<u64, T>,
}

const SMALL: usize = 64;

impl<T> Counted<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.recent_len == 0 && self.old.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.recent_len + self.old.len()
    }

    pub(crate) fn get(&self, count: u64) -> Option<&T> {
        match self.place(count) {
            Some(place) => self.recent.get(place)?.as_ref(),
            None => self.old.get(&count),
        }
    }

    #[cfg(feature = "grpc")]
    pub(crate) fn get_mut(&mut self, count: u64) -> Option<&mut T> {
        match self.place(count) {
            Some(place) => self.recent.get_mut(place)?.as_mut(),
            None => self.old.get_mut(&count),
        }
    }

    pub(crate) fn insert(&mut self, count: u64, value: T) {
        // Every key in the tree is below the ring's first.
        if self.recent.is_empty() && self.old.last_key_value().is_none_or(|(last, _)| *last < count)
        {
            self.first = count;
        }
        let Some(place) = self.place(count) else {
            self.old.insert(count, value);
            return;
        };
        if place > self.recent.len() + SMALL {
            self.retire(0);
            self.first = count;
            self.recent.push_back(Some(value));
            self.recent_len = 1;
            return;
        }
        if place >= self.recent.len() {
            self.recent.resize_with(place + 1, || None);
        }
        if self.recent[place].replace(value).is_none() {
            self.recent_len += 1;
        }
        self.retire_stayers();
    }

    pub(crate) fn remove(&mut self, count: u64) -> Option<T> {
        let Some(place) = self.place(count) else { return self.old.remove(&count) };
        let removed = self.recent.get_mut(place)?.take()?;
        self.recent_len -= 1;
        while let Some(None) = self.recent.front() {
            self.recent.pop_front();
            self.first += 1;
        }
        self.retire_stayers();
        if self.recent.is_empty() && self.recent.capacity() > 1024 {
            self.recent = VecDeque::new();
        }
        Some(removed)
    }

    /// The entries by rising count.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let recent = (self.first..).zip(&self.recent);
        let recent = recent.filter_map(|(count, value)| Some((count, value.as_ref()?)));
        self.old.iter().map(|(count, value)| (*count, value)).chain(recent)
    }

    fn place(&self, count: u64) -> Option<usize> {
        usize::try_from(count.checked_sub(self.first)?).ok()
    }

    fn retire_stayers(&mut self) {
        while self.recent.len() > SMALL.max(4 * self.recent_len) {
            self.retire(self.recent.len() - 1);
        }
    }

    /// Moves the oldest to the tree until the ring has at most `places`.
    fn retire(&mut self, places: usize) {
        while self.recent.len() > places {
            let Some(value) = self.recent.pop_front() else { return };
            if let Some(value) = value {
                self.old.insert(self.first, value);
                self.recent_len -= 1;
            }
            self.first += 1;
        }
    }
}

impl<T> Default for Counted<T> {
    fn default() -> Self {
        Self { first: 0, recent: VecDeque::new(), recent_len: 0, old: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_agrees_with_a_tree_and_its_ring_stays_small(
            steps in prop::collection::vec((0_u8..5, 0_u64..300, any::<usize>()), 1..400),
        ) {
            let mut counted = Counted::default();
            let mut tree = BTreeMap::new();
            let mut next = 0;
            for (step, jump, pick) in steps {
                match step {
                    0..2 => {
                        next += if step == 0 { 1 } else { jump };
                        counted.insert(next, jump);
                        tree.insert(next, jump);
                    }
                    2 => {
                        counted.insert(jump, next);
                        tree.insert(jump, next);
                    }
                    _ if !tree.is_empty() => {
                        let count = *tree.keys().nth(pick % tree.len()).unwrap();
                        prop_assert_eq!(counted.remove(count), tree.remove(&count));
                        prop_assert_eq!(counted.remove(count), None);
                    }
                    _ => {}
                }
                prop_assert!(counted.iter().map(|(count, value)| (count, *value)).eq(
                    tree.iter().map(|(count, value)| (*count, *value))));
                prop_assert_eq!(counted.is_empty(), tree.is_empty());
                prop_assert_eq!(counted.len(), tree.len());
                prop_assert_eq!(counted.get(jump), tree.get(&jump));
                prop_assert!(counted.recent.len() <= SMALL.max(4 * counted.recent_len));
            }
        }
    }
}
