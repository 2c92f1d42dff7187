use std::fmt;
use std::io;

use crate::cli::RunRefused;
use crate::config::{ConfigErrors, Palette};

/// How a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The command line or a configuration is wrong.
    #[error("{0}")]
    Usage(Usage),
    /// The command could not do what was asked.
    #[error("{0}")]
    Failed(String),
    /// The output could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

/// What is wrong with a command line or a configuration.
#[derive(Debug)]
#[non_exhaustive]
pub enum Usage {
    /// The configuration.
    Config(ConfigErrors),
    /// Something else, as a message.
    Other(String),
}

impl Failure {
    /// The exit code: 2 for usage and configuration, 1 for everything else. A reader that closed
    /// the pipe has seen enough, which is no failure: 0.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Failed(_) | Self::Output(_) => 1,
        }
    }

    /// What to write to standard error, with the line end; nothing if the exit code is 0.
    #[must_use]
    pub fn report(&self, palette: Palette) -> String {
        match self {
            Self::Usage(Usage::Config(errors)) => errors.report(palette),
            _ if self.exit_code() == 0 => String::new(),
            other => format!("error: {other}\n"),
        }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(errors) => fmt::Display::fmt(errors, f),
            Self::Other(message) => f.write_str(message),
        }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::Usage(Usage::Config(errors))
    }
}

impl From<RunRefused> for Failure {
    fn from(refused: RunRefused) -> Self {
        match refused {
            RunRefused::Config(errors) => errors.into(),
            RunRefused::Flag(refused) => Self::Usage(Usage::Other(refused.to_string())),
        }
    }
}
