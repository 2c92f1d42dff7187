//! Tests of scripts: all VMs on one thread, whose clock the tests may pause.

use stage_value::Id;
use tokio::sync::{oneshot, watch};

use crate::home::Mail;
use crate::instance::Instance;
use crate::run::Run;
use crate::runtime::Runtime;

/// A test that has failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TestFailure {
    /// It raised an error.
    #[error("{0}")]
    Raised(String),
    /// There is no such stage, or it has no such test.
    #[error("no such test")]
    Unknown,
    /// The stage stopped meanwhile.
    #[error("the stage has stopped")]
    Stopped,
}

/// What the runtime asks of a stage whose script has tests.
pub(crate) enum Question {
    Names(oneshot::Sender<Vec<String>>),
    Run(String, oneshot::Sender<Result<(), TestFailure>>),
}

impl Runtime {
    /// The tests that a stage's script has registered by `test(name, fn)`, in their order; see [`Options::testing`].
    ///
    /// # Errors
    /// If there is no such stage.
    ///
    /// [`Options::testing`]: crate::Options::testing
    pub async fn tests(&self, stage: &Id) -> Result<Vec<String>, TestFailure> {
        let (names, answer) = oneshot::channel();
        self.ask_stage(stage, Mail::Test(Question::Names(names)))?;
        answer.await.map_err(|_| TestFailure::Stopped)
    }

    /// Runs one of them to its end, however long it waits.
    ///
    /// # Errors
    /// What it raised, with file, line and traceback.
    pub async fn run_test(&self, stage: &Id, name: &str) -> Result<(), TestFailure> {
        let (outcome, answer) = oneshot::channel();
        self.ask_stage(stage, Mail::Test(Question::Run(name.to_owned(), outcome)))?;
        answer.await.map_err(|_| TestFailure::Stopped)?
    }
}

impl Instance {
    pub(crate) async fn answer(&self, question: Question) {
        match question {
            Question::Names(names) => {
                let tests = self.local.tests.borrow();
                let all = tests.iter().map(|test| test.name.clone()).collect();
                // A runner that has gone away asks no more.
                drop(names.send(all));
            }
            Question::Run(name, outcome) => {
                let result = self.run_test(&name).await;
                drop(outcome.send(result));
            }
        }
    }

    async fn run_test(&self, name: &str) -> Result<(), TestFailure> {
        let test = self.local.tests.borrow().iter().find(|test| test.name == name).cloned();
        let test = test.ok_or(TestFailure::Unknown)?;
        let run = std::rc::Rc::new(Run::new(name.into(), self.home.clone()));
        let ended = run.unlimited(&self.local, test.function).await;
        ended.map_err(|failure| TestFailure::Raised(failure.to_string()))
    }
}

/// That scripts are tested, and how much they wait for outside of the process.
#[derive(Clone, Debug)]
pub struct Testing(watch::Sender<usize>);

impl Default for Testing {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Testing {
    /// How many answers of databases and other services are waited for: as long as there are any, a paused clock must not
    /// go to the next timer at once.
    #[must_use]
    pub fn outside(&self) -> watch::Receiver<usize> {
        self.0.subscribe()
    }

    #[cfg(any(feature = "db", feature = "http"))]
    pub(crate) fn wait(&self) -> Outside {
        self.0.send_modify(|waits| *waits += 1);
        Outside(self.0.clone())
    }
}

/// Something outside of the process is waited for.
#[cfg(any(feature = "db", feature = "http"))]
pub(crate) struct Outside(watch::Sender<usize>);

#[cfg(any(feature = "db", feature = "http"))]
impl Drop for Outside {
    fn drop(&mut self) {
        self.0.send_modify(|waits| *waits -= 1);
    }
}
