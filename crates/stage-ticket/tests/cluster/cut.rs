//! A way to another process that a test can cut.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Passes on what comes to its address, until it is cut. Then connections stay open, and nothing passes: that is how
/// a network that is cut looks from its ends.
pub(crate) struct Way {
    pub(crate) address: String,
    /// Odd while it is cut. Connections of an earlier number are over once it is whole again.
    cuts: Arc<AtomicU64>,
}

const LOOK: Duration = Duration::from_millis(10);

impl Way {
    pub(crate) fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().to_string();
        let cuts = Arc::new(AtomicU64::new(0));
        let (target, known) = (target.to_owned(), Arc::clone(&cuts));
        // It serves until the test's process ends.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (target, cuts) = (target.clone(), Arc::clone(&known));
                thread::spawn(move || carry(&stream, &target, &cuts));
            }
        });
        Self { address: own, cuts }
    }

    pub(crate) fn cut(&self) {
        assert!(self.cuts.fetch_add(1, Ordering::SeqCst).is_multiple_of(2), "it is cut already");
    }

    pub(crate) fn mend(&self) {
        assert!(!self.cuts.fetch_add(1, Ordering::SeqCst).is_multiple_of(2), "it is whole");
    }
}

fn carry(from: &TcpStream, target: &str, cuts: &Arc<AtomicU64>) {
    let started = cuts.load(Ordering::SeqCst);
    let is_whole = started.is_multiple_of(2);
    // While it is cut, even what connects gets nowhere.
    let to = is_whole.then(|| TcpStream::connect(target).ok()).flatten();
    let Some(to) = to else {
        while !is_whole && cuts.load(Ordering::SeqCst) == started {
            thread::sleep(LOOK);
        }
        return;
    };
    let _ = (from.set_nodelay(true), to.set_nodelay(true));
    thread::scope(|scope| {
        scope.spawn(|| pump(from, &to, cuts, started));
        pump(&to, from, cuts, started);
    });
}

fn pump(mut from: &TcpStream, mut to: &TcpStream, cuts: &AtomicU64, started: u64) {
    let mut buffer = [0; 16 * 1024];
    from.set_read_timeout(Some(LOOK)).unwrap();
    loop {
        let now = cuts.load(Ordering::SeqCst);
        if now == started + 1 {
            thread::sleep(LOOK);
            continue;
        }
        let read = if now == started { from.read(&mut buffer) } else { Ok(0) };
        let passed = match read {
            Ok(0) => false,
            Ok(count) => to.write_all(&buffer[..count]).is_ok(),
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        if !passed {
            // The other direction ends with this one; either may have ended already.
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            return;
        }
    }
}
