//! Texts that come with every envelope. Most are the same as a moment ago: such a one is not made again.

/// How many texts are kept, each at a place that its bytes decide.
const PLACES: usize = 16;

/// A longer text is not kept.
const BYTES: usize = 128;

/// What was made of the texts that came last.
#[derive(Debug)]
pub(crate) struct Names<T> {
    kept: Vec<Option<T>>,
    text: fn(&T) -> &str,
}

impl<T: Clone> Names<T> {
    pub(crate) fn new(text: fn(&T) -> &str) -> Self {
        Self { kept: Vec::new(), text }
    }

    /// What `make` makes of a text, or has made of it before. `None` if the bytes are no text. O(bytes).
    pub(crate) fn find<E>(
        &mut self,
        bytes: &[u8],
        make: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Result<T, E>> {
        let place = place(bytes);
        if let Some(Some(kept)) = self.kept.get(place)
            && (self.text)(kept).as_bytes() == bytes
        {
            return Some(Ok(kept.clone()));
        }
        let made = make(std::str::from_utf8(bytes).ok()?);
        if let Ok(made) = &made
            && bytes.len() <= BYTES
        {
            self.kept.resize(PLACES, None);
            self.kept[place] = Some(made.clone());
        }
        Some(made)
    }
}

fn place(bytes: &[u8]) -> usize {
    let ends = [bytes.first(), bytes.last()].map(|byte| usize::from(*byte.unwrap_or(&0)));
    (bytes.len() + ends[0] * 3 + ends[1] * 5) % PLACES
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_text_that_comes_again_is_made_once_and_others_are_not_confused_with_it() {
        let mut names: Names<Arc<str>> = Names::new(|name| name);
        let mut made = 0;
        for round in 0..3 {
            for text in ["work", "wirk", "lobby", "a.b.c", "a.c.c"] {
                let found = names.find(text.as_bytes(), |text| {
                    made += 1;
                    Ok::<_, Infallible>(Arc::from(text))
                });
                assert_eq!(found.unwrap().unwrap().as_ref(), text, "round {round}");
            }
        }
        // Two pairs share a place each and push each other out.
        assert_eq!(made, 3 * 4 + 1);
    }

    #[test]
    fn what_is_no_text_or_cannot_be_made_is_not_kept() {
        let mut names: Names<Arc<str>> = Names::new(|name| name);
        assert!(names.find(&[0xff], |text| Ok::<_, ()>(text.into())).is_none());
        assert_eq!(names.find(b"x", |_| Err("no")), Some(Err("no")));
        assert_eq!(names.find(b"x", |text| Ok::<_, ()>(text.into())), Some(Ok("x".into())));
        let long = "x".repeat(BYTES + 1);
        assert!(names.find(long.as_bytes(), |text| Ok::<_, ()>(text.into())).is_some());
        assert_eq!(names.find(long.as_bytes(), |_| Err("made anew")), Some(Err("made anew")));
    }
}
