//! The steps of a trace as spans, over two nodes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "so a test fails")]

#[path = "node/nodes.rs"]
mod nodes;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use nodes::{Node, ask, until};
use stage_signal::{Destination, Outgoing, Trace};
use stage_value::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// All spans of the process, by the ids that their subscriber gave them.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<BTreeMap<u64, Seen>>>);

#[derive(Clone, Debug, Default)]
struct Seen {
    name: &'static str,
    fields: BTreeMap<&'static str, String>,
    is_closed: bool,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl<S: tracing::Subscriber> Layer<S> for Collector {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        let mut seen = Seen { name: attributes.metadata().name(), ..Seen::default() };
        attributes.record(&mut seen);
        self.0.lock().unwrap().insert(id.into_u64(), seen);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        if let Some(seen) = self.0.lock().unwrap().get_mut(&id.into_u64()) {
            values.record(seen);
        }
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.0.lock().unwrap().get_mut(&id.into_u64()).unwrap().is_closed = true;
    }
}

impl Collector {
    /// The ended steps of signals of a message.
    fn ended(&self, message: &str) -> Vec<Seen> {
        let spans = self.0.lock().unwrap();
        let is_ended = |seen: &&Seen| seen.is_closed && seen["message"] == *message;
        spans
            .values()
            .filter(|seen| seen.name.starts_with("signal."))
            .filter(is_ended)
            .cloned()
            .collect()
    }
}

impl std::ops::Index<&str> for Seen {
    type Output = str;

    fn index(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", String::as_str)
    }
}

fn traced(message: &str, text: &str) -> Outgoing {
    Outgoing { trace: Some(text.parse().unwrap()), ..ask("work", message, vec![]) }
}

/// One test, because a process has one subscriber.
#[test]
fn sending_waiting_and_handling_are_spans_of_one_trace_on_both_nodes() {
    let collector = Collector::default();
    let subscriber = tracing_subscriber::registry().with(collector.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let (a, _b) = Node::pair();
    let root: Trace = SAMPLED.parse().unwrap();

    // The handler replies with the step that it belongs to.
    let results = a.ask(traced("trace", SAMPLED)).unwrap();
    let inner: Trace = results[0].as_str().unwrap().parse().unwrap();
    until("all spans are closed", || collector.ended("trace").len() == 3);
    let spans = collector.ended("trace");
    let step = |name: &str| spans.iter().find(|seen| seen.name == name).unwrap();
    let (send, queue, handle) = (step("signal.send"), step("signal.queue"), step("signal.handle"));
    assert!(spans.iter().all(|seen| seen["trace"] == *root.id() && seen["stage"] == *"work"));
    assert_eq!(send["parent"], *root.span());
    assert_eq!((&queue["parent"], &handle["parent"]), (&send["span"], &send["span"]));
    assert_eq!((&handle["span"], inner.id()), (&*inner.span(), root.id()));
    assert_eq!(send["node"], *"a");
    assert_eq!((&queue["node"], &handle["node"]), ("b", "b"));
    assert_eq!((&send["end"], &handle["end"]), ("ok", "ok"));

    // How it fails is told on both sides, and one node alone has no queue between.
    assert!(a.ask(traced("dance", SAMPLED)).is_err());
    until("they are closed", || collector.ended("dance").len() == 3);
    let ends = collector.ended("dance").iter().filter(|seen| seen["end"] == *"no_handler").count();
    assert_eq!(ends, 2);
    let destination = Destination::Local("work".parse().unwrap());
    a.ask(Outgoing { destination, ..traced("slow", SAMPLED) }).unwrap();
    until("they are closed", || collector.ended("slow").len() == 2);

    // What nobody samples is told to nobody, and travels as it is.
    let unsampled = SAMPLED.replace("-01", "-00");
    assert_eq!(a.ask(traced("trace", &unsampled)).unwrap(), [Value::from(unsampled.as_str())]);
    a.ask(ask("work", "echo", vec![])).unwrap();
    assert_eq!((collector.ended("trace").len(), collector.ended("echo").len()), (3, 0));
}
