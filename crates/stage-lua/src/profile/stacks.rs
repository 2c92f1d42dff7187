use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Profile;

/// The most stacks that are told apart.
const MOST: usize = 10_000;

/// A call on a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The chunk's name as Lua has it, `@` for a file.
    pub(crate) source: String,
    /// The line that is being executed; less than 1 for what has none.
    pub(crate) line: i32,
    /// What the caller calls it.
    pub(crate) name: Option<String>,
}

/// Stacks that were seen, from many threads.
#[derive(Debug, Default)]
pub(crate) struct Stacks {
    seen: Mutex<Profile>,
}

impl Stacks {
    /// Counts a stack, given with the innermost call first, as seen so many times.
    pub(crate) fn add(&self, thread: &str, frames: &[Frame], times: u64) {
        let stack = folded(thread, frames);
        let mut seen = self.seen();
        if let Some(count) = seen.stacks.get_mut(&stack) {
            *count += times;
        } else if seen.stacks.len() < MOST {
            seen.stacks.insert(stack, times);
        } else {
            seen.lost += times;
        }
    }

    /// What was seen, which is forgotten here.
    pub(crate) fn take(&self) -> Profile {
        std::mem::take(&mut *self.seen())
    }

    fn seen(&self) -> MutexGuard<'_, Profile> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread and its calls, the outermost first. Calls of the runtime's own Lua are left out.
fn folded(thread: &str, frames: &[Frame]) -> String {
    let mut stack = plain(thread);
    for frame in frames.iter().rev().filter(|frame| !frame.source.starts_with("=(")) {
        stack.push(';');
        stack.push_str(&shown(frame));
    }
    stack
}

fn shown(frame: &Frame) -> String {
    let Frame { source, line, name } = frame;
    let name = name.as_deref().map(plain);
    let file = source.strip_prefix(['@', '=']).unwrap_or(source);
    // The text of a chunk that has no name is its name.
    let file = plain(file.lines().next().unwrap_or_default());
    let place = if *line < 1 { file } else { format!("{file}:{line}") };
    match name {
        Some(name) => format!("{place} {name}"),
        None => place,
    }
}

/// Text that cannot be taken for the end of a frame or of a stack.
fn plain(text: &str) -> String {
    let plain = |c: char| if c == ';' || c.is_control() { '_' } else { c };
    text.chars().take(200).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(source: &str, line: i32, name: Option<&str>) -> Frame {
        Frame { source: source.into(), line, name: name.map(Into::into) }
    }

    #[test]
    fn a_stack_is_folded_from_the_outermost_call_and_without_the_runtimes_own() {
        let frames = [
            frame("@lib/hit.lua", 7, Some("hit")),
            frame("=[C]", -1, Some("pcall")),
            frame("=(stage)", 3, None),
            frame("@lobby.lua", 12, None),
        ];
        assert_eq!(folded("lobby", &frames), "lobby;lobby.lua:12;[C] pcall;lib/hit.lua:7 hit");
    }

    #[test]
    fn no_name_breaks_the_format() {
        let frames = [frame("a;b\nreturn 1", 1, Some("x;\ny"))];
        assert_eq!(folded("s;1", &frames), "s_1;a_b:1 x__y");
        let long = frame(&"a".repeat(10_000), 1, None);
        assert!(folded("s", &[long]).len() < 300);
    }

    #[test]
    fn beyond_the_most_stacks_samples_are_counted_as_lost() {
        let stacks = Stacks::default();
        for line in 1..=i32::try_from(MOST).unwrap() + 2 {
            stacks.add("s", &[frame("@a.lua", line, None)], 2);
        }
        stacks.add("s", &[frame("@a.lua", 1, None)], 5);
        let profile = stacks.take();
        assert_eq!((profile.stacks.len(), profile.lost), (MOST, 4));
        assert_eq!(profile.stacks["s;a.lua:1"], 7);
        assert_eq!(stacks.take(), Profile::default());
    }
}
