//! When holders believed in their tickets, as they wrote it down.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// From the first to the last moment at which each ticket was believed in.
pub(crate) fn read(folder: &Path) -> BTreeMap<String, (u64, u64)> {
    let mut intervals: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for line in text.lines() {
            let Some((token, at)) = line.split_once(' ') else { continue };
            let (at, _) = at.split_once(' ').unwrap();
            let at: u64 = at.parse().unwrap();
            let interval = intervals.entry(token.to_owned()).or_insert((at, at));
            *interval = (interval.0.min(at), interval.1.max(at));
        }
    }
    intervals
}

/// The most tickets that were believed in at one moment.
pub(crate) fn most_at_once(intervals: &BTreeMap<String, (u64, u64)>) -> usize {
    let mut edges: Vec<(u64, bool)> = Vec::new();
    for (from, to) in intervals.values() {
        // A ticket that was looked at once was believed in at that moment.
        edges.extend([(*from, true), (*to + 1, false)]);
    }
    // At equal moments ends come first.
    edges.sort_unstable();
    let (mut now, mut most) = (0_usize, 0);
    for (_, begins) in edges {
        now = if begins { now + 1 } else { now.saturating_sub(1) };
        most = most.max(now);
    }
    most
}

/// Which of a holder's tasks have held a ticket after `moment` that they did not hold before.
pub(crate) fn served_after(log: &Path, moment: u64) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    let mut served = BTreeSet::new();
    let text = std::fs::read_to_string(log).unwrap_or_default();
    // The last line may be half written.
    for line in text.lines().filter(|line| line.split(' ').count() == 3) {
        let (token, rest) = line.split_once(' ').unwrap();
        let (at, task) = rest.split_once(' ').unwrap();
        let is_late = at.parse::<u64>().unwrap() > moment;
        if known.insert(token.to_owned()) && is_late {
            served.insert(task.to_owned());
        }
    }
    served
}

#[test]
fn overlapping_intervals_are_counted() {
    let of = |all: &[(u64, u64)]| {
        let named = all.iter().enumerate().map(|(at, interval)| (at.to_string(), *interval));
        most_at_once(&named.collect())
    };
    assert_eq!(of(&[(0, 4), (5, 5), (6, 9), (10, 12)]), 1);
    assert_eq!(of(&[(0, 5), (5, 5)]), 2);
    assert_eq!(of(&[(0, 5), (4, 9), (4, 12), (11, 20)]), 3);
}

/// The tickets that were believed in when there were more than `limit`, for a failure's report.
pub(crate) fn crowd(intervals: &BTreeMap<String, (u64, u64)>, limit: usize) -> String {
    let crowded = intervals.values().map(|(from, _)| *from).find(|moment| {
        let at = |(from, to): &&(u64, u64)| from <= moment && moment <= to;
        intervals.values().filter(at).count() > limit
    });
    let Some(moment) = crowded else { return String::new() };
    let there = intervals.iter().filter(|(_, (from, to))| *from <= moment && moment <= *to);
    let of = |(token, (from, to)): (&String, &(u64, u64))| format!("{token}: {from} to {to}\n");
    there.map(of).collect()
}
