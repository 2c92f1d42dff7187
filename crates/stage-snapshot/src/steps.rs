//! How far a reader has to go back. Apart from the generation, whose source other tests include.

use crate::generation::{Entry, Generation, State};

#[test]
fn any_of_many_writes_of_a_key_is_found_in_few_steps() {
    const WRITES: u32 = 30_000;
    let mut generation = Generation::<u8, u32>::for_keys(WRITES as usize / 3, Default::default());
    generation.lay_out(usize::MAX);
    for place in 1..=WRITES {
        let found = generation.slot(&7, generation.hash(&7));
        let after = State { version: u64::from(place), entries: 1 };
        generation.push(place, found, Entry { key: 7, value: Some(place) }, after);
    }
    let steps = |upto| {
        let back = |place: &u32| (*place > upto).then(|| generation.back(*place, upto)).flatten();
        std::iter::successors(Some(WRITES), back).count() - 1
    };
    let most = (1..=WRITES).map(steps).max().unwrap_or_default();
    // For each of the 12 times that 30,000 / 8 halves a jump and the eight writes to the next one,
    // and eight at both ends.
    assert!(most <= 16 + 9 * 12, "{most} steps");
    let seen = |upto| generation.find(&7, upto).and_then(|write| write.value);
    assert!((1..=WRITES).all(|upto| seen(upto) == Some(upto)));
}
