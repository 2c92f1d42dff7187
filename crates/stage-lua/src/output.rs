use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// Where `print` writes: a line at a time, whole, from any VM.
#[derive(Clone)]
pub struct Output(Arc<Mutex<dyn Write + Send>>);

impl Output {
    /// Output to a writer, which is flushed behind each line.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(writer)))
    }

    /// Writes a line. A reader that has gone away is no error of the script.
    pub(crate) fn line(&self, mut line: Vec<u8>) {
        line.push(b'\n');
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = writer.write_all(&line).and_then(|()| writer.flush()) {
            tracing::debug!(%error, "printed text was not written");
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Output")
    }
}
