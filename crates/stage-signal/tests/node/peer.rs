//! A peer made by hand: it speaks the protocol as badly as a test wants.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::time::Duration;

use stage_proto::signal::v1::signal_service_client::SignalServiceClient;
use stage_proto::signal::v1::{Advert, Envelope, Frame, Hello, NodeState};
use tokio::sync::mpsc;
use tonic::Streaming;

/// One side of a link.
pub(crate) struct Peer {
    frames: mpsc::UnboundedSender<Frame>,
    pub(crate) inbound: Streaming<Frame>,
}

pub(crate) fn hello(name: &str, version: u32) -> Frame {
    let hello = Hello {
        protocol_version: version,
        node: name.into(),
        incarnation: 77,
        group: "host".into(),
        frame_bytes: 1 << 20,
        stages: vec!["theirs".into()],
        ..Default::default()
    };
    let state = NodeState::Joined.into();
    let advert = Advert { state, load: 0.0, utilisation: 0.0 };
    Frame { hello: Some(hello), advert: Some(advert), credit: 100, ..Default::default() }
}

pub(crate) fn envelope(id: u64, message: &str, args: &[u8]) -> Envelope {
    Envelope {
        id,
        stage: "work".into(),
        message: message.into(),
        args: args.to_vec().into(),
        wants_results: true,
        ..Default::default()
    }
}

impl Peer {
    /// Dials a node and says something first. Returns the answer too.
    pub(crate) async fn dial(address: &str, first: Frame) -> (Self, Option<Frame>) {
        let (frames, mut queue) = mpsc::unbounded_channel();
        frames.send(first).unwrap();
        let stream = futures_util::stream::poll_fn(move |context| queue.poll_recv(context));
        let mut client = SignalServiceClient::connect(format!("http://{address}")).await.unwrap();
        let mut inbound = client.link(stream).await.unwrap().into_inner();
        let answer = inbound.message().await.unwrap();
        (Self { frames, inbound }, answer)
    }

    pub(crate) fn say(&self, frame: Frame) {
        self.frames.send(frame).unwrap();
    }

    pub(crate) fn envelopes(&self, envelopes: Vec<Envelope>) {
        self.say(Frame { envelopes, ..Default::default() });
    }

    /// The next frame that holds what is looked for; `None` when the link ends.
    pub(crate) async fn hear<T>(&mut self, find: impl Fn(&Frame) -> Option<T>) -> Option<T> {
        let heard = async {
            while let Ok(Some(frame)) = self.inbound.message().await {
                if let Some(found) = find(&frame) {
                    return Some(found);
                }
            }
            None
        };
        tokio::time::timeout(Duration::from_secs(20), heard).await.expect("the node is silent")
    }
}
