use crate::Time;

/// A binary min-heap of deadlines whose entries know where they are, so that any of them can be
/// moved or taken out in O(log n) without leaving a dead entry behind.
///
/// The heap tells the positions through `moved(slot, position)`; its owner keeps them. Adding a
/// deadline later than all others, the usual case for grants of one length, is O(1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Due {
    entries: Vec<(Time, u32)>,
}

impl Due {
    pub(super) fn first(&self) -> Option<(Time, u32)> {
        self.entries.first().copied()
    }

    pub(super) fn push(&mut self, at: Time, slot: u32, moved: impl FnMut(u32, u32)) {
        self.entries.push((at, slot));
        self.rise(self.entries.len() - 1, moved);
    }

    pub(super) fn remove(&mut self, position: u32, moved: impl FnMut(u32, u32)) {
        let position = position as usize;
        self.entries.swap_remove(position);
        if position < self.entries.len() {
            self.settle(position, moved);
        }
    }

    pub(super) fn change(&mut self, position: u32, at: Time, moved: impl FnMut(u32, u32)) {
        self.entries[position as usize].0 = at;
        self.settle(position as usize, moved);
    }

    fn settle(&mut self, position: usize, mut moved: impl FnMut(u32, u32)) {
        let position = self.rise(position, &mut moved);
        self.sink(position, moved);
    }

    fn rise(&mut self, mut position: usize, mut moved: impl FnMut(u32, u32)) -> usize {
        while position > 0 {
            let parent = (position - 1) / 2;
            if self.entries[parent] <= self.entries[position] {
                break;
            }
            self.entries.swap(parent, position);
            moved(self.entries[position].1, position as u32);
            position = parent;
        }
        moved(self.entries[position].1, position as u32);
        position
    }

    fn sink(&mut self, mut position: usize, mut moved: impl FnMut(u32, u32)) {
        let len = self.entries.len();
        loop {
            let left = 2 * position + 1;
            let right = left + 1;
            let mut least = position;
            if left < len && self.entries[left] < self.entries[least] {
                least = left;
            }
            if right < len && self.entries[right] < self.entries[least] {
                least = right;
            }
            if least == position {
                break;
            }
            self.entries.swap(least, position);
            moved(self.entries[position].1, position as u32);
            position = least;
        }
        moved(self.entries[position].1, position as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_heap_agrees_with_a_sorted_list(
            steps in prop::collection::vec((0_u8..3, 0_u32..12, 0_u64..50), 1..120),
        ) {
            let mut due = Due::default();
            let mut positions = [None; 12];
            let mut naive: Vec<(Time, u32)> = Vec::new();
            for (step, slot, at) in steps {
                let at = Time(at);
                let known = naive.iter().position(|entry| entry.1 == slot);
                let position = positions[slot as usize];
                let moved = |slot: u32, position| positions[slot as usize] = Some(position);
                match (step, known, position) {
                    (0, None, _) => {
                        naive.push((at, slot));
                        due.push(at, slot, moved);
                    }
                    (1, Some(known), Some(position)) => {
                        naive.remove(known);
                        due.remove(position, moved);
                    }
                    (2, Some(known), Some(position)) => {
                        naive[known].0 = at;
                        due.change(position, at, moved);
                    }
                    _ => {}
                }
                prop_assert_eq!(due.first(), naive.iter().min().copied());
            }
        }
    }
}
