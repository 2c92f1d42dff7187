use std::time::Duration;

use stage_proto::ticket::v1 as proto;

use crate::wire;
use crate::{CategoryName, Time, Token};

/// What is to be sent: whatever gathers while a frame is being written goes into the next one.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    frame: proto::ClientFrame,
    entries: usize,
}

/// The most entries of a frame. At 300 bytes for the largest of them a frame is within any bound
/// that a server may have, but for a report, which is bounded by the requests a node may have.
const MAX_ENTRIES: usize = 8192;

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    pub(super) fn used(&mut self, name: &CategoryName) {
        self.frame.uses.push(name.as_str().to_owned());
        self.entries += 1;
    }

    pub(super) fn request(&mut self, request: proto::Request) {
        self.frame.requests.push(request);
        self.entries += 1;
    }

    pub(super) fn cancel(&mut self, count: u64) {
        self.frame.cancels.push(count);
        self.entries += 1;
    }

    pub(super) fn release(&mut self, token: proto::Token) {
        self.frame.releases.push(token);
        self.entries += 1;
    }

    pub(super) fn extend(&mut self, token: Token, by: Duration, count: u64) {
        let token = Some(wire::token_message(token));
        self.frame.extensions.push(proto::Extend { token, by_ns: wire::nanos(by), count });
        self.entries += 1;
    }

    pub(super) fn beat(&mut self, now: Time) {
        self.frame.heartbeat = Some(proto::Heartbeat { sent_ns: now.0 });
        self.entries += 1;
    }

    pub(super) fn leave(&mut self) {
        self.frame.goodbye = true;
        self.entries += 1;
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn take(&mut self) -> Option<proto::ClientFrame> {
        match self.entries {
            0 => None,
            1..=MAX_ENTRIES => {
                self.entries = 0;
                Some(std::mem::take(&mut self.frame))
            }
            _ => Some(self.first_part()),
        }
    }

    /// The oldest of each kind. A request and its cancel keep their order: a cancel goes only when
    /// no request is left behind.
    fn first_part(&mut self) -> proto::ClientFrame {
        let frame = &mut self.frame;
        let mut room = MAX_ENTRIES;
        let part = proto::ClientFrame {
            hello: None,
            report: None,
            heartbeat: frame.heartbeat.take(),
            uses: first(&mut frame.uses, &mut room),
            extensions: first(&mut frame.extensions, &mut room),
            releases: first(&mut frame.releases, &mut room),
            requests: first(&mut frame.requests, &mut room),
            cancels: first(&mut frame.cancels, &mut room),
            goodbye: false,
        };
        let lists = [frame.uses.len(), frame.extensions.len(), frame.releases.len()];
        let left = lists.iter().sum::<usize>() + frame.requests.len() + frame.cancels.len();
        self.entries = left + usize::from(frame.goodbye);
        part
    }
}

fn first<T>(all: &mut Vec<T>, room: &mut usize) -> Vec<T> {
    let taken = all.len().min(*room);
    *room -= taken;
    let rest = all.split_off(taken);
    std::mem::replace(all, rest)
}
