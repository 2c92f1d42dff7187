use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::link::heard::Heard;

/// One end, what it has sent and heard, and what has reached it.
struct End {
    machine: Machine<u64, u64>,
    sent: Vec<u64>,
    settled: Vec<u64>,
    withdrawn: Vec<u64>,
    received: Vec<u64>,
    open: Vec<(u64, u64)>,
}

const SIZES: Sizes = Sizes { queue: 20, queue_bytes: 4096, window: 3, peer_frame: 1 << 20 };

fn letter(mark: u64, deadline: Option<Instant>) -> Arc<Letter> {
    Arc::new(plain(mark, deadline))
}

fn plain(mark: u64, deadline: Option<Instant>) -> Letter {
    Letter {
        stage: "work".into(),
        message: "m".parse().unwrap(),
        args: Bytes::from(mark.to_string()),
        functions: Vec::new(),
        origin_stage: "test".into(),
        wants_results: true,
        idempotent: false,
        is_kept: false,
        deadline,
        trace: None,
        queued: None,
    }
}

/// A frame as protobuf has it.
fn heard(frame: &Frame) -> proto::Frame {
    Heard::read(frame.to_bytes()).unwrap().to_proto()
}

impl End {
    fn new() -> Self {
        let machine = Machine::new(SIZES, SIZES.window);
        let (sent, settled, withdrawn) = (Vec::new(), Vec::new(), Vec::new());
        Self { machine, sent, settled, withdrawn, received: Vec::new(), open: Vec::new() }
    }

    /// Sends a letter whose mark says which it is; ids are the machine's own affair.
    fn submit(&mut self, mark: u64) {
        if self.machine.submit(letter(mark, None), mark).is_ok() {
            self.sent.push(mark);
        }
    }

    fn withdraw(&mut self, pick: usize) {
        let ids: Vec<u64> = self.machine.waiting.keys().copied().collect();
        if !ids.is_empty() {
            self.withdrawn.extend(self.machine.withdraw(ids[pick % ids.len()]));
        }
    }

    fn finish(&mut self, pick: usize) {
        if !self.open.is_empty() {
            let (id, _) = self.open.remove(pick % self.open.len());
            self.machine.finish(id, Ok(Bytes::new()));
        }
    }

    /// Writes a frame to the other end. False if there was none.
    fn write_to(&mut self, other: &mut End) -> bool {
        let Some(frame) = self.machine.compose(Instant::now()) else { return false };
        let frame = Heard::read(frame.to_bytes()).unwrap();
        other.machine.granted(frame.small.credit).unwrap();
        for ending in frame.endings() {
            let sent = other.machine.ended(ending.unwrap().id).unwrap();
            other.settled.extend(sent.map(|sent| sent.waiter));
        }
        for id in &frame.small.cancels {
            other.machine.cancelled(*id).unwrap();
        }
        for envelope in frame.envelopes() {
            let envelope = envelope.unwrap();
            let mark = std::str::from_utf8(envelope.args).unwrap().parse().unwrap();
            other.machine.received(envelope.id, mark).unwrap();
            other.received.push(mark);
            other.open.push((envelope.id, mark));
        }
        assert!(other.machine.unfinished() <= SIZES.window as usize, "past the window");
        if frame.small.bye.is_some() {
            other.machine.bye_heard();
            other.machine.retire(proto::ByeReason::Duplicate, "too");
        }
        true
    }
}

/// Lets both ends write and finish until nothing moves.
fn settle(a: &mut End, b: &mut End) {
    loop {
        let wrote = a.write_to(b) | b.write_to(a);
        let is_idle = a.open.is_empty() && b.open.is_empty();
        a.finish(0);
        b.finish(0);
        if !wrote && is_idle {
            return;
        }
    }
}

fn check(sender: &End, receiver: &End) {
    let mut ended = [sender.settled.clone(), sender.withdrawn.clone()].concat();
    ended.sort_unstable();
    assert_eq!(ended, sender.sent, "every letter ends once");
    let mut sorted = receiver.received.clone();
    sorted.sort_unstable();
    assert_eq!(receiver.received, sorted, "letters arrive in order");
    let is_sent = |mark: &u64| sender.sent.contains(mark);
    assert!(receiver.received.iter().all(is_sent), "nothing arrives that was not sent");
    assert!(sender.settled.iter().all(|mark| receiver.received.contains(mark)));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Submit(bool),
    Write(bool),
    Finish(bool, usize),
    Withdraw(bool, usize),
    Retire(bool),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(Step::Submit),
        4 => any::<bool>().prop_map(Step::Write),
        2 => (any::<bool>(), any::<usize>()).prop_map(|(end, pick)| Step::Finish(end, pick)),
        1 => (any::<bool>(), any::<usize>()).prop_map(|(end, pick)| Step::Withdraw(end, pick)),
    ]
}

fn any_run() -> impl Strategy<Value = Vec<Step>> {
    let retire = prop::option::of((any::<bool>(), 0..60usize));
    (prop::collection::vec(any_step(), 0..120), retire).prop_map(|(mut steps, retire)| {
        if let Some((end, at)) = retire {
            steps.insert(at.min(steps.len()), Step::Retire(end));
        }
        steps
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_letter_ends_once_in_any_run(steps in any_run()) {
        let (mut a, mut b) = (End::new(), End::new());
        for (mark, step) in (1..).zip(&steps) {
            let end = match step {
                Step::Submit(end) | Step::Write(end) | Step::Retire(end) => *end,
                Step::Finish(end, _) | Step::Withdraw(end, _) => *end,
            };
            let (this, other) = if end { (&mut a, &mut b) } else { (&mut b, &mut a) };
            match step {
                Step::Submit(_) => this.submit(mark),
                Step::Write(_) => drop(this.write_to(other)),
                Step::Finish(_, pick) => this.finish(*pick),
                Step::Withdraw(_, pick) => this.withdraw(*pick),
                Step::Retire(_) => this.machine.retire(proto::ByeReason::Duplicate, "test"),
            }
        }
        settle(&mut a, &mut b);
        check(&a, &b);
        check(&b, &a);
        let is_retired = steps.iter().any(|step| matches!(step, Step::Retire(_)));
        prop_assert_eq!(a.machine.is_finished(), is_retired);
        prop_assert_eq!(b.machine.is_finished(), is_retired);
        prop_assert_eq!((a.machine.queued_bytes, b.machine.queued_bytes), (0, 0));
        prop_assert_eq!((a.machine.kept_bytes, a.machine.ending_bytes), (0, 0));
        prop_assert_eq!((b.machine.kept_bytes, b.machine.ending_bytes), (0, 0));
    }
}

#[test]
fn a_lost_link_tells_whose_letters_were_written_in_the_order_in_which_they_were_sent() {
    let (mut a, mut b) = (End::new(), End::new());
    (1..=5).for_each(|mark| a.submit(mark));
    assert!(a.write_to(&mut b));
    let lose = |end: &mut End| {
        let lost = end.machine.lose();
        let waiters = |sent: Vec<Sent<u64>>| sent.into_iter().map(|sent| sent.waiter).collect();
        (waiters(lost.written), waiters(lost.unwritten), lost.handlers)
    };
    assert_eq!(lose(&mut a), (vec![1, 2, 3], vec![4, 5], vec![]));
    assert_eq!(lose(&mut b), (vec![], vec![], vec![1, 2, 3]));
    assert!(a.machine.submit(letter(6, None), 6).is_err());
    assert!(a.machine.compose(Instant::now()).is_none());
}

#[test]
fn a_letter_past_its_deadline_is_not_written_and_costs_no_credit() {
    let mut a = End::new();
    let now = Instant::now();
    let soon = now + Duration::from_micros(1500);
    a.machine.submit(letter(1, Some(now)), 1).unwrap();
    a.machine.submit(letter(2, Some(soon)), 2).unwrap();
    let frame = a.machine.compose(now).unwrap();
    assert_eq!(a.machine.take_expired(), [1]);
    let frame = heard(&frame);
    let remaining: Vec<_> = frame.envelopes.iter().map(|e| (e.id, e.remaining_ms)).collect();
    assert_eq!(remaining, [(2, 2)], "what is left is rounded up, never to zero");
    assert_eq!(a.machine.credit, SIZES.window - 1);
    assert_eq!(a.machine.withdraw(1), None, "a cancel of what was never written is no cancel");
    assert!(a.machine.compose(now).is_none());
}

#[test]
fn a_peer_that_breaks_the_rules_is_found_out() {
    let mut machine = Machine::<u64, u64>::new(SIZES, 0);
    assert_eq!(machine.received(0, 0), Err(Violation::Repeated { id: 0, last: 0 }));
    machine.received(5, 0).unwrap();
    assert_eq!(machine.received(5, 0), Err(Violation::Repeated { id: 5, last: 5 }));
    machine.received(6, 0).unwrap();
    machine.received(7, 0).unwrap();
    assert_eq!(machine.received(8, 0), Err(Violation::NoCredit { id: 8 }));
    assert_eq!(machine.cancelled(9), Err(Violation::NeverSent { id: 9 }));
    assert_eq!(machine.ended(1).unwrap_err(), Violation::NeverSent { id: 1 });
    machine.submit(letter(1, None), 1).unwrap();
    let early = machine.ended(1).unwrap_err();
    assert_eq!(early, Violation::NeverSent { id: 1 }, "it is still in the queue");
    machine.granted(1).unwrap();
    assert_eq!(machine.granted(u32::MAX), Err(Violation::Credit));
    machine.bye_heard();
    assert_eq!(machine.received(10, 0), Err(Violation::AfterBye));
}

#[test]
fn a_frame_is_bounded_and_a_large_letter_travels_alone() {
    let sizes = Sizes { queue: 5000, queue_bytes: 1 << 30, window: 5000, peer_frame: 1 << 20 };
    let mut machine = Machine::<u64, u64>::new(sizes, 5000);
    for mark in 0..2000 {
        machine.submit(letter(mark, None), mark).unwrap();
    }
    let large = Letter { args: Bytes::from(vec![0; 500_000]), ..plain(0, None) };
    machine.submit(Arc::new(large), 2000).unwrap();
    machine.submit(letter(1, None), 2001).unwrap();
    let now = Instant::now();
    let frames: Vec<_> = std::iter::from_fn(|| machine.compose(now)).collect();
    let counts: Vec<_> = frames.iter().map(|frame| frame.envelopes.len()).collect();
    assert_eq!(counts.iter().sum::<usize>(), 2002);
    assert_eq!(counts[counts.len() - 2..], [1, 1], "{counts:?}");
    assert!(counts.iter().all(|count| *count <= FRAME_PARTS));
    let is_large = |frame: &&Frame| frame.encoded_len() > FRAME_BYTES;
    assert!(frames.iter().filter(is_large).count() == 1);
}

#[test]
fn bytes_that_wait_are_bounded_too() {
    let mut machine = Machine::<u64, u64>::new(SIZES, 0);
    let large = Arc::new(Letter { args: Bytes::from(vec![0; 3000]), ..plain(0, None) });
    machine.submit(large.clone(), 1).unwrap();
    let failure = machine.submit(large, 2).unwrap_err().failure;
    assert_eq!(failure.reason, Reason::Overloaded);
    assert!(failure.detail.ends_with("bytes wait for the node already"), "{failure}");
}

#[test]
fn results_that_the_sender_cannot_read_become_a_failure() {
    let sizes = Sizes { peer_frame: 64 << 10, ..SIZES };
    let mut machine = Machine::<u64, u64>::new(sizes, 0);
    machine.received(1, 0).unwrap();
    machine.finish(1, Ok(Bytes::from(vec![0; 70_000])));
    let frame = heard(&machine.compose(Instant::now()).unwrap());
    let Some(proto::ending::Outcome::Failure(failure)) = &frame.endings[0].outcome else {
        panic!("{frame:?}");
    };
    assert_eq!(failure.reason(), proto::Reason::Handler);
    assert_eq!(frame.credit, 1);
}

#[test]
fn the_text_of_a_function_is_written_once_and_counts_in_the_size_of_a_frame() {
    let text = format!("function() end{}", " ".repeat(40_000));
    let function = Arc::new(Prototype::new(text.into(), "main.lua".into(), 1, Vec::new()));
    let sizes = Sizes { queue_bytes: 1 << 20, ..SIZES };
    let mut machine: Machine<u64, u64> = Machine::new(sizes, 10);
    for mark in 0..3 {
        let functions = vec![Arc::clone(&function)];
        machine.submit(Arc::new(Letter { functions, ..plain(mark, None) }), mark).unwrap();
    }
    let frame = heard(&machine.compose(Instant::now()).unwrap());
    let along: Vec<usize> = frame.envelopes.iter().map(|e| e.functions.len()).collect();
    assert!(along.len() == 3 && along[0] > 40_000 && along[1..] == [0, 0], "{along:?}");

    let other = Arc::new(Prototype::new(function.text().clone(), "b".into(), 1, Vec::new()));
    for (mark, functions) in [(3, vec![other]), (4, vec![]), (5, vec![Arc::new(large(1))])] {
        machine.submit(Arc::new(Letter { functions, ..plain(mark, None) }), mark).unwrap();
    }
    assert_eq!(machine.compose(Instant::now()).unwrap().envelopes.len(), 2, "60 KB are a frame");
    let functions = (0..30).map(|n| Arc::new(large(n))).collect();
    let refused = machine.submit(Arc::new(Letter { functions, ..plain(6, None) }), 6).unwrap_err();
    let failure = refused.failure;
    assert_eq!(failure.reason, Reason::Malformed);
}

fn large(number: u32) -> Prototype {
    Prototype::new(" ".repeat(40_000).into(), "large".into(), number, Vec::new())
}

#[test]
fn a_link_that_bridges_takes_letters_until_this_end_says_bye() {
    let (mut ours, mut theirs) =
        (Machine::<u64, u64>::new(SIZES, 3), Machine::<u64, u64>::new(SIZES, 3));
    theirs.retire(proto::ByeReason::Duplicate, "the pair has another link");
    ours.bridge();
    assert!(ours.is_open() && !theirs.is_open());
    let id = ours.submit(letter(1, None), 1).unwrap();
    assert!(ours.compose(Instant::now()).is_some());
    theirs.received(id, 0).unwrap();
    assert_eq!(ours.received(1, 0), Err(Violation::AfterBye));
    ours.retire(proto::ByeReason::Duplicate, "goodbye");
    assert!(!ours.is_open());
    theirs.bye_heard();
    assert_eq!(theirs.received(id + 1, 0), Err(Violation::AfterBye));
}

#[test]
fn an_end_that_has_said_goodbye_says_no_second_one() {
    let mut machine = Machine::<u64, u64>::new(SIZES, 0);
    machine.retire(proto::ByeReason::Stopping, "the node is stopping");
    assert!(heard(&machine.compose(Instant::now()).unwrap()).bye.is_some());
    machine.condemn("a second hello");
    assert!(machine.take_last_word().is_none());
}

#[test]
fn letters_are_kept_for_another_try_only_up_to_a_bound() {
    let sizes = Sizes { queue_bytes: 10_000, ..SIZES };
    let mut machine = Machine::<u64, u64>::new(sizes, 100);
    let kept = |mark| {
        let args = Bytes::from(vec![0; 3000]);
        Arc::new(Letter { is_kept: true, args, ..plain(mark, None) })
    };
    let mut ids = vec![];
    for mark in 0..20 {
        ids.push(machine.submit(kept(mark), mark).unwrap());
        machine.compose(Instant::now()).unwrap();
    }
    let mut ended = |id| machine.ended(id).unwrap().unwrap().letter.is_some();
    let kept_ones: Vec<_> = ids[..10].iter().map(|id| ended(*id)).collect();
    assert_eq!(kept_ones[..4], [true, true, true, false]);
    // Ends give the room back, whichever way they come.
    let before = machine.waiting();
    machine.submit(kept(20), 20).unwrap();
    machine.compose(Instant::now()).unwrap();
    assert_eq!(machine.waiting(), before + 1);
    assert!(machine.kept_bytes > 3000 && machine.kept_bytes <= 10_000, "{}", machine.kept_bytes);
    ids[10..].iter().for_each(|id| _ = machine.withdraw(*id));
    let last = machine.waiting.keys().copied().next().unwrap();
    assert!(machine.ended(last).unwrap().unwrap().letter.is_some());
    assert_eq!(machine.kept_bytes, 0);
}

#[test]
fn results_that_a_sender_does_not_read_are_kept_only_up_to_a_bound() {
    let sizes = Sizes { queue_bytes: 10_000, window: 100, ..SIZES };
    let mut machine = Machine::<u64, u64>::new(sizes, 0);
    for id in 1..=20 {
        machine.received(id, id).unwrap();
        machine.finish(id, Ok(Bytes::from(vec![0; 3000])));
    }
    assert!(machine.ending_bytes < 12_000, "{}", machine.ending_bytes);
    let frames = std::iter::from_fn(|| machine.compose(Instant::now()));
    let endings: Vec<_> = frames.flat_map(|frame| heard(&frame).endings).collect();
    let is_whole = |ending: &&proto::Ending| {
        matches!(ending.outcome, Some(proto::ending::Outcome::Results(_)))
    };
    assert_eq!((endings.len(), endings.iter().filter(is_whole).count()), (20, 3));
    let Some(proto::ending::Outcome::Failure(failure)) = &endings[3].outcome else {
        panic!("{endings:?}");
    };
    assert_eq!(failure.reason(), proto::Reason::Handler, "nobody is to try it once more");
    assert_eq!(machine.ending_bytes, 0);
}

#[test]
fn small_parts_leave_the_largest_letter_its_room() {
    let sizes = Sizes { queue: 3000, queue_bytes: 10 << 20, window: 3000, ..SIZES };
    let mut machine = Machine::<u64, u64>::new(sizes, u32::MAX);
    let withdrawn: Vec<_> =
        (0..2000).map(|mark| machine.submit(letter(mark, None), mark).unwrap()).collect();
    while machine.compose(Instant::now()).is_some() {}
    withdrawn.into_iter().for_each(|id| _ = machine.withdraw(id));
    machine.tell_stages((0..1000).map(|n| format!("stage{n}")).collect());
    let room = sizes.peer_frame - FRAME_OVERHEAD - plain(0, None).weight();
    let largest = Letter { args: Bytes::from(vec![0; room]), ..plain(0, None) };
    machine.submit(Arc::new(largest), 1).unwrap();
    let frames: Vec<_> = std::iter::from_fn(|| machine.compose(Instant::now())).collect();
    let sizes_of: Vec<_> = frames.iter().map(Frame::encoded_len).collect();
    assert!(sizes_of.iter().all(|size| *size <= sizes.peer_frame), "{sizes_of:?}");
    let frames: Vec<_> = frames.iter().map(heard).collect();
    assert_eq!(frames.iter().map(|frame| frame.cancels.len()).sum::<usize>(), 2000);
    assert_eq!(frames.iter().map(|frame| frame.envelopes.len()).sum::<usize>(), 1);
}
