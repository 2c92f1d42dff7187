//! Who leads, over thousands of histories: members with clocks of their own, writes and answers that
//! are late or lost, and members that stand still.
#![cfg(feature = "etcd")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by panicking")]

use std::time::Duration;

use proptest::prelude::*;
use stage_ticket::cluster::{Leadership, Record, Step, Terms, Write};
use stage_ticket::{Drift, Time};

const AUTHORITY: Duration = Duration::from_nanos(100);
const GRANT: Duration = Duration::from_nanos(30);

fn member(at: u64) -> Leadership {
    Leadership::new(Terms {
        address: format!("m{at}:1"),
        incarnation: at + 1,
        authority: AUTHORITY,
        grant: GRANT,
        first_epoch: 1,
        drift: Drift::NTP,
    })
}

fn write(due: Option<Write>) -> Write {
    due.unwrap()
}

#[test]
fn the_first_member_leads_at_once_and_the_second_waits_for_its_silence() {
    let (mut one, mut two) = (member(1), member(2));
    assert_eq!(one.observed(Time(5), None, 0), [Step::Follow { leader: String::new() }]);
    let first = write(one.due(Time(5), false, Duration::ZERO));
    assert_eq!((first.expected, first.record.epoch), (0, 1));
    let steps = one.written(Time(6), Time(9), first.record.clone(), 1);
    let lead = Step::Lead { epoch: 1, over: Time(5), longest: GRANT };
    // The authority counts from when the write was sent, not from its answer.
    assert_eq!(steps, [lead, Step::Issue { until: Time(106) }]);
    let leader = "m1:1".to_owned();
    assert_eq!(two.observed(Time(9), Some(first.record), 1), [Step::Follow { leader }]);
    assert_eq!(two.due(Time(109), false, GRANT), None);
    let at = two.next_timeout().unwrap();
    assert!(at > Time(109) && at < Time(112));
    let second = write(two.due(at, false, GRANT));
    assert_eq!((second.expected, second.record.epoch), (1, 2));
}

#[test]
fn a_leader_renews_after_a_quarter_and_steps_down_when_somebody_else_is_there() {
    let mut one = member(1);
    assert!(!one.observed(Time(0), None, 0).is_empty());
    let first = write(one.due(Time(0), false, GRANT)).record;
    assert_eq!(one.written(Time(0), Time(0), first, 1).len(), 2);
    assert_eq!(one.due(Time(24), false, GRANT), None);
    assert_eq!(one.next_timeout(), Some(Time(25)));
    let longer = write(one.due(Time(3), true, 2 * GRANT));
    assert_eq!((longer.expected, longer.record.longest), (1, 2 * GRANT));
    let other = Record { epoch: 2, incarnation: 9, leader: "m9:1".into(), ..longer.record };
    let steps = one.observed(Time(30), Some(other), 7);
    assert_eq!(steps, [Step::StepDown, Step::Follow { leader: "m9:1".into() }]);
    assert_eq!(one.leads(), None);
}

#[test]
fn a_write_whose_answer_was_lost_is_recognised_when_it_is_seen() {
    let mut one = member(1);
    assert!(!one.observed(Time(0), None, 0).is_empty());
    let first = write(one.due(Time(0), false, GRANT)).record;
    let steps = one.observed(Time(50), Some(first.clone()), 1);
    // It leads, but may not issue before a write of its own has succeeded.
    assert_eq!(steps, [Step::Lead { epoch: 1, over: Time(0), longest: GRANT }]);
    assert_eq!(one.observed(Time(60), Some(first), 2), []);
    assert_eq!(write(one.due(Time(60), false, GRANT)).expected, 2);
}

#[test]
fn after_a_resignation_the_next_member_leads_at_once_and_waits_for_what_lives_only() {
    let (mut one, mut two) = (member(1), member(2));
    assert_eq!(one.resign(GRANT), None, "it does not lead");
    assert!(!one.observed(Time(0), None, 0).is_empty());
    let first = write(one.due(Time(0), false, GRANT)).record;
    assert_eq!(one.written(Time(0), Time(0), first, 1).len(), 2);
    let lives = Duration::from_nanos(12);
    let last = write(one.resign(lives));
    assert_eq!((last.expected, last.record.longest), (1, lives));
    assert_eq!(one.leads(), None);
    assert_eq!(one.resign(lives), None);
    let text = last.record.to_string();
    assert_eq!(text.parse(), Ok(last.record.clone()));

    let nobody = Step::Follow { leader: String::new() };
    assert_eq!(two.observed(Time(20), Some(last.record), 2), [nobody]);
    let second = write(two.due(Time(20), false, GRANT));
    let steps = two.written(Time(20), Time(21), second.record, 3);
    let Step::Lead { epoch: 2, over, longest: GRANT } = steps[0] else { panic!("{steps:?}") };
    assert!(over >= Time(32) && over <= Time(34), "{over:?}");
}

#[test]
fn a_successor_waits_for_what_the_record_promises_and_keeps_the_promise() {
    let mut two = member(2);
    let longest = Duration::from_nanos(1000);
    let old =
        Record { epoch: 5, leader: "m1:1".into(), incarnation: 1, authority: AUTHORITY, longest };
    assert!(!two.observed(Time(10), Some(old), 3).is_empty());
    let write = write(two.due(Time(120), false, GRANT));
    assert_eq!(write.record.longest, longest);
    let steps = two.written(Time(120), Time(121), write.record, 4);
    let Step::Lead { epoch: 6, over, .. } = steps[0] else { panic!("{steps:?}") };
    assert!(over >= Time(10).after(AUTHORITY + longest), "{over:?}");
}

/// The store, the members with their clocks, and what each leader was allowed.
struct World {
    now: u64,
    record: Option<Record>,
    revision: i64,
    members: Vec<Member>,
    terms: Vec<Term>,
}

struct Member {
    leadership: Leadership,
    /// Its clock runs ahead of the world's by this, and faster by parts per million.
    ahead: u64,
    ppm: u64,
    /// A write that is under way, and when it was sent by the member's clock.
    sent: Option<(Time, Write)>,
    answer: Option<(Time, Record, i64)>,
}

/// A term, in the world's time.
struct Term {
    epoch: u64,
    may_issue_until: u64,
    old_grants_over: u64,
}

impl Member {
    fn local(&self, world: u64) -> Time {
        Time(self.ahead + world + world * self.ppm / 1_000_000)
    }

    fn world(&self, local: Time) -> u64 {
        (local.0.saturating_sub(self.ahead) * 1_000_000).div_ceil(1_000_000 + self.ppm)
    }
}

impl World {
    fn act(&mut self, at: usize, action: u8) {
        let now = self.now;
        let member = &mut self.members[at];
        let local = member.local(now);
        match action {
            0 => {
                let steps = member.leadership.observed(local, self.record.clone(), self.revision);
                self.note(at, steps);
            }
            1 | 2 if member.sent.is_none() => {
                let due = member.leadership.due(local, action == 2, GRANT);
                member.sent = due.map(|write| (local, write));
            }
            // The write arrives at the store; 4: its answer is lost.
            3 | 4 => {
                let Some((sent, write)) = member.sent.take() else { return };
                if write.expected == self.revision {
                    self.revision += 1;
                    self.record = Some(write.record.clone());
                    member.answer = (action == 3).then_some((sent, write.record, self.revision));
                }
            }
            5 => {
                let Some((sent, record, revision)) = member.answer.take() else { return };
                let steps = member.leadership.written(sent, local, record, revision);
                self.note(at, steps);
            }
            6 => {
                let Some((epoch, _)) = member.leadership.leads() else { return };
                let Some(write) = member.leadership.resign(GRANT) else { return };
                member.sent = Some((local, write));
                let term = self.terms.iter_mut().find(|term| term.epoch == epoch).unwrap();
                term.may_issue_until = term.may_issue_until.min(now);
            }
            _ => {}
        }
    }

    fn note(&mut self, at: usize, steps: Vec<Step>) {
        for step in steps {
            let member = &self.members[at];
            match step {
                Step::Lead { epoch, over, .. } => {
                    let old_grants_over = member.world(over);
                    self.terms.push(Term { epoch, may_issue_until: 0, old_grants_over });
                }
                Step::Issue { until } => {
                    let until = member.world(until);
                    let (epoch, _) = member.leadership.leads().unwrap();
                    let term = self.terms.iter_mut().find(|term| term.epoch == epoch).unwrap();
                    term.may_issue_until = term.may_issue_until.max(until);
                }
                Step::StepDown | Step::Follow { .. } => {}
            }
        }
    }

    fn check(&self) {
        for old in &self.terms {
            let last_grant = old.may_issue_until + GRANT.as_nanos() as u64;
            for new in self.terms.iter().filter(|new| new.epoch > old.epoch) {
                let over = new.old_grants_over;
                assert!(
                    old.may_issue_until == 0 || last_grant <= over,
                    "epoch {} issues so that grants live until {last_grant}, but epoch {} counts \
                     on their end at {over}",
                    old.epoch,
                    new.epoch
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn no_leaders_grants_outlive_what_its_successor_counts_on(
        clocks in prop::collection::vec((0_u64..1000, 0_u64..500), 3),
        actions in prop::collection::vec((0_u64..40, 0_usize..3, 0_u8..7), 1..400),
    ) {
        let members = (0..).zip(clocks).map(|(at, (ahead, ppm))| {
            Member { leadership: member(at), ahead, ppm, sent: None, answer: None }
        });
        let members = members.collect();
        let mut world = World { now: 0, record: None, revision: 0, members, terms: Vec::new() };
        for (pause, at, action) in actions {
            world.now += pause;
            world.act(at, action);
            world.check();
        }
        let mut epochs: Vec<_> = world.terms.iter().map(|term| term.epoch).collect();
        epochs.dedup();
        prop_assert_eq!(epochs.len(), world.terms.len());
    }
}
