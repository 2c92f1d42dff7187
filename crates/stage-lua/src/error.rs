use std::fmt;

/// A script that cannot be started.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The script is not Lua, or raised an error before its first wait.
    #[error("{message}")]
    Script {
        /// File, line and reason, with a traceback if it ran.
        message: String,
    },
    /// The operating system gave no thread.
    #[error("no thread for stage '{stage}': {reason}")]
    Thread {
        /// Which stage.
        stage: String,
        /// What the operating system said.
        reason: String,
    },
}

/// How a handler or a sandboxed function failed, for logs and for whoever waits for its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScriptFailure {
    /// File, line and reason.
    pub(crate) message: String,
    /// Where it was called from; may be empty.
    pub(crate) traceback: String,
}

impl ScriptFailure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), traceback: String::new() }
    }
}

impl From<&mlua::Error> for ScriptFailure {
    fn from(error: &mlua::Error) -> Self {
        let text = innermost(error);
        let (message, traceback) = match text.split_once("\nstack traceback:\n") {
            Some((message, traceback)) => (message.to_owned(), traceback),
            None => (text, outer_traceback(error)),
        };
        Self { message, traceback: own_frames(traceback) }
    }
}

impl fmt::Display for ScriptFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.traceback.is_empty() {
            write!(f, "\nstack traceback:\n{}", self.traceback)?;
        }
        Ok(())
    }
}

/// The reason of an error without its traceback, as Lua's own `load` would give it.
pub(crate) fn first_line(error: &mlua::Error) -> String {
    ScriptFailure::from(error).message
}

/// The text of the cause; errors of host functions come wrapped once per call between.
fn innermost(error: &mlua::Error) -> String {
    match error {
        mlua::Error::CallbackError { cause, traceback } => {
            let text = innermost(cause);
            match place(traceback) {
                Some(place) if !starts_with_place(&text) => format!("{place} {text}"),
                _ => text,
            }
        }
        mlua::Error::RuntimeError(message) | mlua::Error::SyntaxError { message, .. } => {
            message.clone()
        }
        mlua::Error::WithContext { context, cause } => format!("{context}: {}", innermost(cause)),
        other => other.to_string(),
    }
}

fn outer_traceback(error: &mlua::Error) -> &str {
    match error {
        mlua::Error::CallbackError { traceback, .. } => traceback,
        _ => "",
    }
}

/// File and line of the first frame of a traceback that is Lua code: `main.lua:7:`.
fn place(traceback: &str) -> Option<&str> {
    let frame = traceback.lines().map(str::trim_start).find(|line| is_lua_frame(line))?;
    frame.find(": ").map(|end| &frame[..=end])
}

/// How places in the host's own Lua start.
const PRELUDE: &str = "(stage):";

/// The text of an error without a place in the host's own Lua, which no author knows.
pub(crate) fn without_host_place(text: &str) -> &str {
    let Some(rest) = text.strip_prefix(PRELUDE) else { return text };
    match rest.split_once(": ") {
        Some((line, message)) if line.bytes().all(|byte| byte.is_ascii_digit()) => message,
        _ => text,
    }
}

/// How frames start that are no script's: C functions, and Lua of the host and of mlua.
const HOST_FRAMES: [&str; 3] = ["[C]", PRELUDE, "__mlua_async_poll"];

fn is_lua_frame(line: &str) -> bool {
    line.contains(": in ") && !HOST_FRAMES.iter().any(|start| line.starts_with(start))
}

/// Whether a message names a file and line already.
fn starts_with_place(message: &str) -> bool {
    message.split(' ').next().is_some_and(|first| {
        first.strip_suffix(':').and_then(|place| place.rsplit_once(':')).is_some_and(|(_, line)| {
            !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit())
        })
    })
}

/// The frames of a traceback that are Lua code.
fn own_frames(traceback: &str) -> String {
    let frames: Vec<_> = traceback.lines().filter(|line| is_lua_frame(line.trim_start())).collect();
    frames.join("\n")
}
