use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// Lines per second that one VM writes of failures of the same kind.
const LINES: u32 = 20;

/// Keeps a flood of failures from becoming a flood of lines.
#[derive(Default)]
pub(crate) struct Complaints {
    second: Cell<Option<Instant>>,
    written: Cell<u32>,
    left_out: Cell<u64>,
}

impl Complaints {
    /// Whether one more line may be written; how many were left out before it.
    pub(crate) fn admit(&self) -> Option<u64> {
        let now = Instant::now();
        let is_same = self.second.get().is_some_and(|start| now - start < Duration::from_secs(1));
        if !is_same {
            self.second.set(Some(now));
            self.written.set(0);
        }
        if self.written.get() >= LINES {
            self.left_out.set(self.left_out.get() + 1);
            return None;
        }
        self.written.set(self.written.get() + 1);
        Some(self.left_out.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_cut_and_counted() {
        let complaints = Complaints::default();
        let admitted = (0..100).filter(|_| complaints.admit().is_some()).count();
        assert_eq!(admitted, LINES as usize);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(complaints.admit(), Some(80));
        assert_eq!(complaints.admit(), Some(0));
    }
}
