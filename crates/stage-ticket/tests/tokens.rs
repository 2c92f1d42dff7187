//! Tokens, fences and clocks.
#![allow(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

use std::time::Duration;

use proptest::prelude::*;
use stage_ticket::{
    CategoryId, CategoryName, ClockMap, Drift, Fence, FenceError, NameError, Stamp, Time, Token,
};

fn token(slot: u32, epoch: u64, sequence: u64) -> Token {
    Token { category: CategoryId::of("db"), slot, stamp: Stamp { epoch, sequence } }
}

#[test]
fn a_fence_compares_within_a_slot_only() {
    let mut fence = Fence::new(8);
    fence.admit(token(1, 1, 9)).unwrap();
    fence.admit(token(0, 1, 3)).unwrap();
    fence.admit(token(0, 2, 1)).unwrap();
    fence.admit(token(0, 2, 1)).unwrap();
    let newest = Stamp { epoch: 2, sequence: 1 };
    assert_eq!(fence.admit(token(0, 1, 99)), Err(FenceError::Stale { newest }));
    fence.admit(token(1, 1, 9)).unwrap();
}

#[test]
fn forged_slots_cannot_grow_a_fence_past_its_bound() {
    let mut fence = Fence::new(2);
    for slot in 0..2 {
        fence.admit(token(slot, 1, 1)).unwrap();
    }
    assert_eq!(fence.admit(token(7, 1, 1)), Err(FenceError::TooManySlots { max: 2 }));
    fence.admit(token(1, 1, 2)).unwrap();
}

#[test]
fn a_category_id_is_the_same_everywhere_and_forever() {
    assert_eq!(CategoryId::of("db").to_string(), "97ab93ee5cb57f0f");
    assert_eq!(CategoryName::try_new("db").unwrap().id(), CategoryId::of("db"));
    assert_eq!(CategoryName::try_new("a\nb"), Err(NameError::ControlCharacter { at: 1 }));
    assert_eq!(CategoryName::try_new(""), Err(NameError::Empty));
}

#[test]
fn texts_that_are_no_tokens_are_refused() {
    for text in ["", "1", "1.2.3", "x.1.1.1", "1.-1.1.1", "1.1.1.1.1", "1.4294967296.1.1"] {
        assert!(text.parse::<Token>().is_err(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_token_survives_its_text_form(slot: u32, epoch: u64, sequence: u64) {
        let token = token(slot, epoch, sequence);
        prop_assert_eq!(token.to_string().parse::<Token>(), Ok(token));
    }

    /// True time runs from 0; the coordinator's clock starts elsewhere and both drift.
    #[test]
    fn a_mapped_deadline_never_comes_after_the_coordinators(
        origin in 0..1_000_000_000_u64,
        drifts in (-400..=400_i64, -400..=400_i64),
        heartbeats in prop::collection::vec((0..60_000_000_000_u64, 0..5_000_000_000_u64, 0..5_000_000_000_u64), 1..5),
        grant in (0..5_000_000_000_u64, 1..10_000_000_000_u64),
    ) {
        let run = |at: u64, ppm: i64| (i128::from(at) * i128::from(1_000_000 + ppm) / 1_000_000) as u64;
        let local = |at: u64| Time(run(at, drifts.0));
        let remote = |at: u64| Time(origin + run(at, drifts.1));
        let mut clock = ClockMap::new(Drift::NTP);
        let mut heard = 0;
        for (gap, out, back) in heartbeats {
            let sent = heard + gap;
            heard = sent + out + back;
            clock.observe(local(sent), remote(sent + out));
        }
        let (after, length) = grant;
        let deadline = remote(heard + after).after(Duration::from_nanos(length));
        let mapped = clock.local(deadline).unwrap();
        // The true time at which the coordinator's clock reads the deadline, rounded down.
        let ends = i128::from(deadline.0 - origin) * 1_000_000 / i128::from(1_000_000 + drifts.1);
        prop_assert!(mapped <= Time(run(ends as u64, drifts.0).saturating_add(2)));
    }
}
