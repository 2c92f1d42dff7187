//! A wire to a node that can go dead: connections stay open and nothing passes any more.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

pub(crate) struct Wire {
    pub(crate) address: String,
    is_frozen: Arc<AtomicBool>,
}

impl Wire {
    pub(crate) fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let is_frozen = Arc::new(AtomicBool::new(false));
        let (target, frozen) = (target.to_owned(), Arc::clone(&is_frozen));
        thread::spawn(move || {
            for near in listener.incoming() {
                let (near, far) = (near.unwrap(), TcpStream::connect(&target).unwrap());
                carry(near.try_clone().unwrap(), far.try_clone().unwrap(), &frozen);
                carry(far, near, &frozen);
            }
        });
        Self { address, is_frozen }
    }

    pub(crate) fn freeze(&self) {
        self.is_frozen.store(true, Ordering::Relaxed);
    }
}

/// Carries bytes one way; what comes over a frozen wire vanishes.
fn carry(mut from: TcpStream, mut to: TcpStream, is_frozen: &Arc<AtomicBool>) {
    let is_frozen = Arc::clone(is_frozen);
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count) = from.read(&mut bytes)
            && count > 0
        {
            if !is_frozen.load(Ordering::Relaxed) && to.write_all(&bytes[..count]).is_err() {
                return;
            }
        }
        // A frozen wire does not pass on that an end has closed.
        while is_frozen.load(Ordering::Relaxed) {
            thread::park();
        }
    });
}
