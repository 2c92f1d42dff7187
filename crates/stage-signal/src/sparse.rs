use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::link::lock;

/// How many complaints are logged per second; strangers must not fill the disk.
const PER_SECOND: u32 = 10;

/// Lets few log lines a second through and counts the rest.
#[derive(Debug, Default)]
pub(crate) struct Sparse(Mutex<Second>);

#[derive(Debug, Default)]
struct Second {
    start: Option<Instant>,
    logged: u32,
    left_out: u64,
}

impl Sparse {
    /// Whether to log now, and if so how many lines were left out before.
    pub(crate) fn admit(&self, now: Instant) -> Option<u64> {
        let mut second = lock(&self.0);
        let is_over = |start: Instant| now.duration_since(start) >= Duration::from_secs(1);
        if second.start.is_none_or(is_over) {
            second.start = Some(now);
            second.logged = 0;
        }
        if second.logged >= PER_SECOND {
            second.left_out += 1;
            return None;
        }
        second.logged += 1;
        Some(std::mem::take(&mut second.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_complaints_is_counted_instead_of_logged() {
        let (sparse, start) = (Sparse::default(), Instant::now());
        let logged = (0..1000).filter(|_| sparse.admit(start).is_some()).count();
        assert_eq!(logged, 10);
        assert_eq!(sparse.admit(start + Duration::from_secs(1)), Some(990));
        assert_eq!(sparse.admit(start + Duration::from_secs(1)), Some(0));
    }
}
