//! What a client's session has under way, over all the streams of its life: a pure state machine.

use std::collections::{BTreeMap, VecDeque};

use stage_proto::signal::v1 as proto;
use stage_proto::signal::v1::session_request::What;
use tokio::time::Instant;

/// A signal as it goes out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Letter {
    pub(super) signal: proto::SignalRequest,
    pub(super) deadline: Instant,
}

/// The signals of a session. `W` is whoever waits for an end.
pub(super) struct Desk<W> {
    /// Those that the stream of now has not seen, oldest first.
    queued: BTreeMap<u64, (Letter, W, Try)>,
    /// Those that it has seen; with the letter if it may be sent once more.
    sent: BTreeMap<u64, (Option<Letter>, W)>,
    cancels: VecDeque<u64>,
    /// How many the node lets be unfinished; 0 while there is no stream.
    room: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Try {
    First,
    Second,
}

impl<W> Desk<W> {
    pub(super) fn new() -> Self {
        Self { queued: BTreeMap::new(), sent: BTreeMap::new(), cancels: VecDeque::new(), room: 0 }
    }

    /// Takes a signal in under an id that no other one has had.
    pub(super) fn start(&mut self, id: u64, letter: Letter, waiter: W) {
        self.queued.insert(id, (letter, waiter, Try::First));
    }

    /// Whoever waits for a signal no longer does.
    pub(super) fn withdraw(&mut self, id: u64) {
        self.queued.remove(&id);
        if self.sent.remove(&id).is_some() {
            self.cancels.push_back(id);
        }
    }

    /// A stream is up, on which so many may be unfinished.
    pub(super) fn welcomed(&mut self, in_flight: usize) {
        self.room = in_flight.max(1);
    }

    /// Whether there is something to write now.
    pub(super) fn is_ready(&self) -> bool {
        !self.cancels.is_empty() || !self.queued.is_empty() && self.sent.len() < self.room
    }

    /// What to write next, if anything. A signal past its deadline is dropped with its waiter.
    pub(super) fn next(&mut self, now: Instant) -> Option<proto::SessionRequest> {
        if let Some(id) = self.cancels.pop_front() {
            return Some(proto::SessionRequest { id, what: Some(What::Cancel(proto::Cancel {})) });
        }
        while self.sent.len() < self.room {
            let (id, (letter, waiter, attempt)) = self.queued.pop_first()?;
            let left = letter.deadline.saturating_duration_since(now).as_nanos();
            if left == 0 {
                continue;
            }
            let timeout_ms = u64::try_from(left.div_ceil(1_000_000)).unwrap_or(u64::MAX);
            let may_be_sent_again = letter.signal.idempotent && attempt == Try::First;
            let again = may_be_sent_again.then(|| letter.clone());
            self.sent.insert(id, (again, waiter));
            let signal = proto::SignalRequest { timeout_ms, ..letter.signal };
            return Some(proto::SessionRequest { id, what: Some(What::Signal(signal)) });
        }
        None
    }

    /// The node reports an end. Returns who waits for it, if somebody does.
    pub(super) fn ended(&mut self, id: u64) -> Option<W> {
        self.sent.remove(&id).map(|(_, waiter)| waiter)
    }

    /// The stream broke. Returns who waits for signals that may have run and must not run twice; the others go
    /// out on the next stream, in the order in which they were started.
    pub(super) fn lost(&mut self) -> Vec<W> {
        self.room = 0;
        self.cancels.clear();
        let mut lost = Vec::new();
        for (id, (again, waiter)) in std::mem::take(&mut self.sent) {
            match again {
                Some(letter) => drop(self.queued.insert(id, (letter, waiter, Try::Second))),
                None => lost.push(waiter),
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn letter(name: u64, idempotent: bool, deadline: Instant) -> Letter {
        let address = name.to_string();
        Letter {
            signal: proto::SignalRequest { address, idempotent, ..Default::default() },
            deadline,
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Start(bool),
        Write,
        End(usize),
        Withdraw(usize),
        Lose,
        Welcome(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => any::<bool>().prop_map(Step::Start),
            6 => Just(Step::Write),
            2 => (0..8usize).prop_map(Step::End),
            1 => (0..8usize).prop_map(Step::Withdraw),
            1 => Just(Step::Lose),
            2 => (1..4usize).prop_map(Step::Welcome),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn every_signal_ends_once_and_only_marked_ones_are_written_twice(
            steps in prop::collection::vec(step(), 0..80),
        ) {
            let now = Instant::now();
            let later = now + Duration::from_secs(1);
            let (mut desk, mut marked, mut open) = (Desk::new(), BTreeSet::new(), BTreeSet::new());
            let (mut ended, mut writes, mut at_node) = (Vec::new(), Vec::new(), Vec::new());
            let (mut room, mut next) = (0, 1);
            for step in steps {
                match step {
                    Step::Start(idempotent) => {
                        let name = next;
                        next += 1;
                        desk.start(name, letter(name, idempotent, later), name);
                        open.insert(name);
                        marked.extend(idempotent.then_some(name));
                    }
                    Step::Write => {
                        let is_ready = desk.is_ready();
                        let request = desk.next(now);
                        prop_assert_eq!(is_ready, request.is_some());
                        if let Some(request) = request {
                        prop_assert!(room > 0, "there is no stream");
                        if let Some(What::Signal(signal)) = request.what {
                            prop_assert_eq!(&signal.address, &request.id.to_string());
                            prop_assert_eq!(signal.timeout_ms, 1000);
                            writes.push(request.id);
                            at_node.push(request.id);
                            prop_assert!(desk.sent.len() <= room);
                        } else {
                            prop_assert!(!open.contains(&request.id));
                        }
                    }},
                    Step::End(pick) if !at_node.is_empty() => {
                        let id = at_node.swap_remove(pick % at_node.len());
                        ended.extend(desk.ended(id));
                    }
                    Step::Withdraw(pick) if !open.is_empty() => {
                        let id = *open.iter().nth(pick % open.len()).unwrap();
                        desk.withdraw(id);
                        if !ended.contains(&id) {
                            ended.push(id);
                        }
                    }
                    Step::Lose => {
                        ended.extend(desk.lost());
                        at_node.clear();
                        room = 0;
                    }
                    Step::Welcome(in_flight) if room == 0 => {
                        desk.welcomed(in_flight);
                        room = in_flight;
                    }
                    _ => {}
                }
                open.retain(|id| !ended.contains(id));
            }
            for id in 1..next {
                let count = writes.iter().filter(|other| **other == id).count();
                prop_assert!(count <= 1 + usize::from(marked.contains(&id)), "{id}: {count}");
            }
            // On a stream that stays, whatever is left is written and ends.
            ended.extend(desk.lost());
            desk.welcomed(1);
            while let Some(request) = desk.next(now) {
                ended.extend(desk.ended(request.id));
            }
            ended.sort_unstable();
            prop_assert_eq!(ended, (1..next).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_past_its_deadline_is_not_written() {
        let (now, mut desk) = (Instant::now(), Desk::new());
        desk.start(1, letter(1, false, now), "late");
        desk.start(2, letter(2, false, now + Duration::from_micros(1)), "in time");
        desk.welcomed(8);
        let written = desk.next(now).unwrap();
        let Some(What::Signal(signal)) = written.what else { panic!("{written:?}") };
        assert_eq!((written.id, signal.timeout_ms), (2, 1));
        assert_eq!(desk.next(now), None);
    }

    #[test]
    fn what_is_withdrawn_after_it_was_written_is_cancelled_on_that_stream_only() {
        let (now, mut desk) = (Instant::now(), Desk::new());
        let later = now + Duration::from_secs(1);
        let ids = [1, 2];
        ids.iter().for_each(|id| desk.start(*id, letter(*id, false, later), *id));
        desk.welcomed(1);
        assert_eq!(desk.next(now).map(|request| request.id), Some(ids[0]));
        ids.iter().for_each(|id| desk.withdraw(*id));
        let cancel = Some(What::Cancel(proto::Cancel {}));
        assert_eq!(desk.next(now), Some(proto::SessionRequest { id: ids[0], what: cancel }));
        desk.start(3, letter(3, false, later), 3);
        assert!(desk.next(now).is_some());
        desk.withdraw(3);
        assert_eq!((desk.lost(), desk.next(now)), (vec![], None));
    }
}
