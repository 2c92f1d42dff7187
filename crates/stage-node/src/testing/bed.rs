use std::io::{self, Write};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stage_lua::{Output, Runtime, Script, Testing};
use stage_value::Id;
use tokio::sync::{oneshot, watch};
use tokio::task::LocalSet;
use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::Config;
use crate::node::{start_stages, test_node};

/// What the tests of one file run in.
pub(super) struct Bed<'a> {
    pub(super) script: Script,
    pub(super) config: Option<&'a Config>,
    pub(super) limit: Duration,
}

/// A test that has passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed {
    /// How long it waited by its own clock.
    pub(super) waited: Duration,
}

/// A test that has failed.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) reason: String,
    pub(super) printed: String,
}

impl Bed<'_> {
    /// The tests that the file registers.
    pub(super) fn names(&self) -> Result<Vec<String>, Failed> {
        self.within(async |runtime, stage| {
            runtime.tests(&stage).await.map_err(|failure| failure.to_string())
        })
    }

    /// Runs one of them in a node of its own.
    pub(super) fn run(&self, name: &str) -> Result<Passed, Failed> {
        self.within(async |runtime, stage| {
            let begun = Instant::now();
            let ended = runtime.run_test(&stage, name).await;
            let passed = Passed { waited: begun.elapsed() };
            ended.map(|()| passed).map_err(|failure| failure.to_string())
        })
    }

    /// Does something with a node that has started the script, in virtual time.
    fn within<R>(
        &self,
        action: impl AsyncFnOnce(Rc<Runtime>, Id) -> Result<R, String>,
    ) -> Result<R, Failed> {
        let printed = Printed::default();
        let log = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false)
            .with_target(false)
            .without_time()
            .with_writer(printed.clone())
            .finish();
        let result = tracing::subscriber::with_default(log, || {
            let clock = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .map_err(|error| format!("no runtime for the test: {error}"))?;
            let all = LocalSet::new();
            let result = all.block_on(&clock, self.limited(printed.clone(), action));
            clock.shutdown_background();
            result
        });
        result.map_err(|reason| Failed { reason, printed: printed.text() })
    }

    async fn limited<R>(
        &self,
        printed: Printed,
        action: impl AsyncFnOnce(Rc<Runtime>, Id) -> Result<R, String>,
    ) -> Result<R, String> {
        let limit = self.limit;
        let (over, is_over) = oneshot::channel();
        // The clock of the test is paused; that of a thread is not.
        std::thread::spawn(move || {
            std::thread::sleep(limit);
            over.send(())
        });
        let limit = humantime::format_duration(limit);
        tokio::select! {
            result = self.started(printed, action) => result,
            _ = is_over => Err(format!("it has not ended within {limit} (--limit)")),
        }
    }

    async fn started<R>(
        &self,
        printed: Printed,
        action: impl AsyncFnOnce(Rc<Runtime>, Id) -> Result<R, String>,
    ) -> Result<R, String> {
        let config = Config::for_tests(self.config);
        let (output, testing) = (Output::new(printed), Testing::default());
        tokio::task::spawn_local(keep_pace(testing.outside()));
        let runtime = test_node(&config, output, testing).map_err(|error| error.to_string())?;
        let runtime = Rc::new(runtime);
        start_stages(&runtime, &config).await.map_err(|error| error.to_string())?;
        let stage = Config::test_stage();
        runtime.start_stage(&stage, &self.script, 1).await.map_err(|error| error.to_string())?;
        action(runtime, stage).await
    }
}

/// Has the clock go as fast as a real one while something outside of the process is waited for.
async fn keep_pace(mut outside: watch::Receiver<usize>) {
    const STEP: Duration = Duration::from_millis(1);
    while outside.wait_for(|waits| *waits > 0).await.is_ok() {
        let begun = std::time::Instant::now();
        // While a blocking task is there, the clock does not move by itself.
        if tokio::task::spawn_blocking(|| std::thread::sleep(STEP)).await.is_err() {
            return;
        }
        tokio::time::advance(begun.elapsed()).await;
    }
}

/// What a test prints and logs, as long as it is not too much.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

/// The most bytes that are kept of it.
const PRINTED: usize = 1 << 16;

impl Printed {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = PRINTED.saturating_sub(kept.len());
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Printed {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
