use std::rc::Rc;

use super::parse::{Item, Pattern, Times};

/// A search for the first match, which goes on where it has stopped.
#[derive(Debug)]
pub(crate) struct Search {
    pattern: Rc<Pattern>,
    /// Where the match begins that is tried.
    start: usize,
    /// An end at which no match counts: that of the match before, for an empty one would be found there again.
    barred: Option<usize>,
    item: usize,
    at: usize,
    choices: Vec<Choice>,
    captures: Vec<Captured>,
}

/// How far a search is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There is more to try.
    Going,
    /// It matches from here up to there, which is not part of it.
    Found(usize, usize),
    Nowhere,
}

/// What a capture of a match is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capture {
    Text(usize, usize),
    Position(usize),
}

#[derive(Clone, Copy, Debug)]
struct Captured {
    from: usize,
    to: To,
}

#[derive(Clone, Copy, Debug)]
enum To {
    Unfinished,
    Position,
    End(usize),
}

/// What to do if the rest does not match.
#[derive(Clone, Copy, Debug)]
enum Choice {
    /// Go on behind an item without it.
    Skip { item: usize, at: usize },
    /// Give back one of so many repetitions.
    Fewer { item: usize, from: usize, times: usize, least: usize },
    /// Take one more repetition.
    More { item: usize, at: usize },
    /// Forget the last capture.
    Unopen,
    /// Open a capture again.
    Unclose(usize),
}

impl Search {
    /// Searches from a place of the text on.
    pub(crate) fn new(pattern: Rc<Pattern>, start: usize, barred: Option<usize>) -> Self {
        let (choices, captures) = (Vec::new(), Vec::new());
        Self { pattern, start, barred, item: 0, at: start, choices, captures }
    }

    /// Goes on for about so many steps. The text is the same at each call.
    pub(crate) fn go_on(&mut self, text: &[u8], steps: usize) -> Progress {
        let pattern = Rc::clone(&self.pattern);
        let mut left = steps;
        while left > 0 {
            left -= 1;
            let Some(item) = pattern.items.get(self.item) else {
                if self.barred != Some(self.at) {
                    return Progress::Found(self.start, self.at);
                }
                self.choices.clear();
                if !self.next_start(text) {
                    return Progress::Nowhere;
                }
                continue;
            };
            let (matches, cost) = self.step(item, text);
            left = left.saturating_sub(cost);
            if !matches && !self.go_back(&pattern, text) && !self.next_start(text) {
                return Progress::Nowhere;
            }
        }
        Progress::Going
    }

    /// The captures of the match that was found.
    pub(crate) fn captures(&self) -> impl ExactSizeIterator<Item = Capture> {
        self.captures.iter().map(|captured| match captured.to {
            To::End(end) => Capture::Text(captured.from, end),
            To::Unfinished | To::Position => Capture::Position(captured.from),
        })
    }

    /// Matches one item; whether it does, and what that cost beside the step.
    fn step(&mut self, item: &Item, text: &[u8]) -> (bool, usize) {
        let rest = text.get(self.at..).unwrap_or_default();
        let mut cost = 0;
        let length = match *item {
            Item::One(set, times) => {
                let is_there = rest.first().is_some_and(|byte| set.has(*byte));
                match times {
                    Times::Once => is_there.then_some(1),
                    Times::Maybe => {
                        if is_there {
                            self.choices.push(Choice::Skip { item: self.item, at: self.at });
                        }
                        Some(usize::from(is_there))
                    }
                    Times::Least => {
                        self.choices.push(Choice::More { item: self.item, at: self.at });
                        Some(0)
                    }
                    Times::Most(least) => {
                        let end = rest.iter().position(|byte| !set.has(*byte));
                        let times = end.unwrap_or(rest.len());
                        cost = times / 8;
                        self.repeat(times, least)
                    }
                }
            }
            Item::Open => self.open(To::Unfinished),
            Item::Position => self.open(To::Position),
            Item::Close(number) => {
                self.captures[number].to = To::End(self.at);
                self.choices.push(Choice::Unclose(number));
                Some(0)
            }
            Item::Balance(first, last) => {
                let length = balanced(rest, first, last);
                cost = length.unwrap_or(rest.len()) / 2;
                length
            }
            Item::Frontier(set) => {
                let before = self.at.checked_sub(1).and_then(|at| text.get(at)).copied();
                let next = rest.first().copied().unwrap_or(0);
                (!set.has(before.unwrap_or(0)) && set.has(next)).then_some(0)
            }
            Item::Back(number) => {
                let known = self.captured(number, text);
                cost = known.map_or(0, |known| known.len() / 32);
                known.filter(|known| rest.starts_with(known)).map(<[u8]>::len)
            }
            Item::End => rest.is_empty().then_some(0),
        };
        if let Some(length) = length {
            self.at += length;
            self.item += 1;
        }
        (length.is_some(), cost)
    }

    fn repeat(&mut self, times: usize, least: usize) -> Option<usize> {
        if times > least {
            let (item, from) = (self.item, self.at);
            self.choices.push(Choice::Fewer { item, from, times, least });
        }
        (times >= least).then_some(times)
    }

    fn open(&mut self, to: To) -> Option<usize> {
        self.captures.push(Captured { from: self.at, to });
        self.choices.push(Choice::Unopen);
        Some(0)
    }

    fn captured<'a>(&self, number: usize, text: &'a [u8]) -> Option<&'a [u8]> {
        let Captured { from, to: To::End(end) } = *self.captures.get(number)? else { return None };
        text.get(from..end)
    }

    /// Takes back the last choice that leaves another one; false if none does.
    fn go_back(&mut self, pattern: &Pattern, text: &[u8]) -> bool {
        while let Some(choice) = self.choices.pop() {
            match choice {
                Choice::Skip { item, at } => {
                    (self.item, self.at) = (item + 1, at);
                    return true;
                }
                Choice::Fewer { item, from, times, least } => {
                    let times = times - 1;
                    if times > least {
                        self.choices.push(Choice::Fewer { item, from, times, least });
                    }
                    (self.item, self.at) = (item + 1, from + times);
                    return true;
                }
                Choice::More { item, at } => {
                    let Some(Item::One(set, _)) = pattern.items.get(item) else { continue };
                    if text.get(at).is_some_and(|byte| set.has(*byte)) {
                        self.choices.push(Choice::More { item, at: at + 1 });
                        (self.item, self.at) = (item + 1, at + 1);
                        return true;
                    }
                }
                Choice::Unopen => {
                    self.captures.pop();
                }
                Choice::Unclose(number) => self.captures[number].to = To::Unfinished,
            }
        }
        false
    }

    /// Begins a match one place further; false if there is none.
    fn next_start(&mut self, text: &[u8]) -> bool {
        if self.pattern.is_anchored || self.start >= text.len() {
            return false;
        }
        self.start += 1;
        self.captures.clear();
        (self.item, self.at) = (0, self.start);
        true
    }
}

/// How long the balanced text is that begins here.
fn balanced(text: &[u8], first: u8, last: u8) -> Option<usize> {
    if text.first() != Some(&first) {
        return None;
    }
    let mut open = 1_usize;
    for (at, byte) in text.iter().enumerate().skip(1) {
        if *byte == last {
            open -= 1;
            if open == 0 {
                return Some(at + 1);
            }
        } else if *byte == first {
            open += 1;
        }
    }
    None
}
