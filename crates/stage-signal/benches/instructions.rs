//! How many instructions a signal costs within a node, and a frame of them between nodes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::exit,
    missing_docs,
    reason = "a bench says what is wrong by panicking, and gungraun's main function exits"
)]

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use gungraun::{library_benchmark, library_benchmark_group, main};
use prost::Message;
use stage_proto::signal::v1::{Envelope, Frame};
use stage_signal::{Config, Delivery, Destination, Identity, Inbox, Mesh, OpenGate, Outgoing};
use stage_value::{Value, wire};
use tokio::runtime::Runtime;

const ASKS: usize = 1000;

struct Echo;

impl Inbox for Echo {
    fn deliver(&self, delivery: Delivery) -> Result<(), Delivery> {
        delivery.responder.reply(delivery.args);
        Ok(())
    }

    fn load(&self) -> usize {
        0
    }
}

/// A node that carries "echo".
fn node() -> (Runtime, Mesh) {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let identity = Identity { name: "a".into(), group: "a".into(), address: None, incarnation: 1 };
    let mesh = Mesh::new(identity, Config::default(), Arc::new(OpenGate)).unwrap();
    mesh.register("echo".parse().unwrap(), Arc::new(Echo));
    (tokio, mesh)
}

/// Apart from what is counted: within that, whatever carries its name switches the counting off.
async fn ask(mesh: Mesh) {
    for _ in 0..ASKS {
        let mut outcomes = mesh.send(Outgoing {
            destination: Destination::Local("echo".parse().unwrap()),
            message: "echo".parse().unwrap(),
            args: vec![Value::from("hello")],
            origin_stage: "bench".into(),
            wants_results: true,
            idempotent: false,
            timeout: None,
            trace: None,
        });
        assert!(outcomes.next().await.unwrap().is_ok());
    }
}

#[library_benchmark]
#[bench::thousand(node())]
fn ask_a_stage_of_the_node((tokio, mesh): (Runtime, Mesh)) {
    tokio.block_on(ask(mesh));
}

/// As many signals as are often on their way together.
fn frame() -> Frame {
    let args = wire::encode(&[Value::from("hello"), Value::from(4711_i64)]);
    let signal = |id| Envelope {
        id,
        stage: "echo".into(),
        message: "hit".into(),
        args: args.clone(),
        ..Envelope::default()
    };
    Frame { envelopes: (1..=64).map(signal).collect(), ..Frame::default() }
}

#[library_benchmark]
#[bench::of_64_signals(frame())]
fn encode_a_frame(frame: Frame) -> Vec<u8> {
    black_box(&frame).encode_to_vec()
}

#[library_benchmark]
#[bench::of_64_signals(Bytes::from(frame().encode_to_vec()))]
fn decode_a_frame(bytes: Bytes) -> Frame {
    Frame::decode(black_box(bytes)).unwrap()
}

library_benchmark_group!(
    name = signal,
    benchmarks = [ask_a_stage_of_the_node, encode_a_frame, decode_a_frame]
);
main!(library_benchmark_groups = signal);
