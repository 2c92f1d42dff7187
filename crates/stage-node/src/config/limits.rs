use std::ops::RangeInclusive;
use std::time::Duration;

use schemars::JsonSchema;

use super::reader::{Field, Reader, Section};

/// What a node does not exceed. Durations are milliseconds in the file.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub struct Limits {
    /// Messages that may wait for one stage instance; more are refused as overload.
    #[schemars(extend("minimum" = MAILBOX.start(), "maximum" = MAILBOX.end()))]
    pub mailbox: usize,
    /// Bytes of the strings and function texts of one message.
    #[schemars(extend("minimum" = ARGS_BYTES.start(), "maximum" = ARGS_BYTES.end()))]
    pub args_bytes: usize,
    /// Tables within tables of one message.
    #[schemars(extend("minimum" = ARGS_DEPTH.start(), "maximum" = ARGS_DEPTH.end()))]
    pub args_depth: usize,
    /// Values and keys of one message.
    #[schemars(extend("minimum" = ARGS_NODES.start(), "maximum" = ARGS_NODES.end()))]
    pub args_nodes: usize,
    /// How long stage.ask waits for a reply, in milliseconds.
    #[schemars(rename = "ask_timeout_ms", with = "u64", extend("minimum" = ASK_TIMEOUT.start(), "maximum" = ASK_TIMEOUT.end(), "default" = Limits::default().ask_timeout.as_millis() as u64))]
    pub ask_timeout: Duration,
    /// How long a node that stops finishes what it accepted, in milliseconds.
    #[schemars(rename = "drain_ms", with = "u64", extend("minimum" = DRAIN.start(), "maximum" = DRAIN.end(), "default" = Limits::default().drain.as_millis() as u64))]
    pub drain: Duration,
    /// How long one handler may take, waiting included, in milliseconds.
    #[schemars(rename = "handler_ms", with = "u64", extend("minimum" = HANDLER.start(), "maximum" = HANDLER.end(), "default" = Limits::default().handler.as_millis() as u64))]
    pub handler: Duration,
    /// How long a handler has its VM to itself, in milliseconds; past that, others may run in between.
    #[schemars(rename = "quantum_ms", with = "u64", extend("minimum" = QUANTUM.start(), "maximum" = QUANTUM.end(), "default" = Limits::default().quantum.as_millis() as u64))]
    pub quantum: Duration,
    /// How long a handler may compute without waiting for anything, in milliseconds.
    #[schemars(rename = "busy_ms", with = "u64", extend("minimum" = BUSY.start(), "maximum" = BUSY.end(), "default" = Limits::default().busy.as_millis() as u64))]
    pub busy: Duration,
    /// Bytes of memory of one VM.
    #[schemars(extend("minimum" = VM_MEMORY_BYTES.start(), "maximum" = VM_MEMORY_BYTES.end()))]
    pub vm_memory_bytes: usize,
    /// Bytes by which one handler may make its VM grow.
    #[schemars(extend("minimum" = HANDLER_MEMORY_BYTES.start(), "maximum" = HANDLER_MEMORY_BYTES.end()))]
    pub handler_memory_bytes: usize,
    /// Jobs that may wait for one key of stage.submit.
    #[schemars(extend("minimum" = SUBMIT_PER_KEY.start(), "maximum" = SUBMIT_PER_KEY.end()))]
    pub submit_per_key: usize,
    /// Jobs of stage.submit that may wait in all.
    #[schemars(extend("minimum" = SUBMIT_TOTAL.start(), "maximum" = SUBMIT_TOTAL.end()))]
    pub submit_total: usize,
}

pub(super) const KEYS: &[&str] = &[
    "mailbox",
    "args_bytes",
    "args_depth",
    "args_nodes",
    "ask_timeout_ms",
    "drain_ms",
    "handler_ms",
    "quantum_ms",
    "busy_ms",
    "vm_memory_bytes",
    "handler_memory_bytes",
    "submit_per_key",
    "submit_total",
];

const MAILBOX: RangeInclusive<i64> = 1..=16_777_216;
const ARGS_BYTES: RangeInclusive<i64> = 1024..=268_435_456;
const ARGS_DEPTH: RangeInclusive<i64> = 1..=512;
const ARGS_NODES: RangeInclusive<i64> = 1..=16_777_216;
const ASK_TIMEOUT: RangeInclusive<i64> = 1..=86_400_000;
const DRAIN: RangeInclusive<i64> = 0..=600_000;
const HANDLER: RangeInclusive<i64> = 1..=86_400_000;
const QUANTUM: RangeInclusive<i64> = 1..=60_000;
const BUSY: RangeInclusive<i64> = 1..=86_400_000;
const VM_MEMORY_BYTES: RangeInclusive<i64> = 16_777_216..=1_099_511_627_776;
const HANDLER_MEMORY_BYTES: RangeInclusive<i64> = 1_048_576..=1_099_511_627_776;
const SUBMIT_PER_KEY: RangeInclusive<i64> = 1..=16_777_216;
const SUBMIT_TOTAL: RangeInclusive<i64> = 1..=16_777_216;

impl Default for Limits {
    fn default() -> Self {
        let args = stage_value::Limits::DEFAULT;
        Self {
            mailbox: 65_536,
            args_bytes: args.bytes,
            args_depth: args.depth,
            args_nodes: args.nodes,
            ask_timeout: Duration::from_secs(5),
            drain: Duration::from_secs(5),
            handler: Duration::from_secs(30),
            quantum: Duration::from_millis(10),
            busy: Duration::from_secs(1),
            vm_memory_bytes: 1 << 30,
            handler_memory_bytes: 256 << 20,
            submit_per_key: 4096,
            submit_total: 65_536,
        }
    }
}

impl Limits {
    /// The part that says how large the arguments of one message may be.
    #[must_use]
    pub fn args(&self) -> stage_value::Limits {
        stage_value::Limits {
            depth: self.args_depth,
            nodes: self.args_nodes,
            bytes: self.args_bytes,
        }
    }

    pub(super) fn read(field: &Field<'_>, reader: &mut Reader<'_>) -> Self {
        let mut limits = Self::default();
        let Some(section) = Section::open(field, KEYS, reader) else { return limits };
        let mut count = |key, target: &mut usize, range| {
            let value = section.field(key).and_then(|field| field.count(range, reader));
            *target = value.unwrap_or(*target);
        };
        count("mailbox", &mut limits.mailbox, MAILBOX);
        count("args_bytes", &mut limits.args_bytes, ARGS_BYTES);
        count("args_depth", &mut limits.args_depth, ARGS_DEPTH);
        count("args_nodes", &mut limits.args_nodes, ARGS_NODES);
        count("vm_memory_bytes", &mut limits.vm_memory_bytes, VM_MEMORY_BYTES);
        let handler = &mut limits.handler_memory_bytes;
        count("handler_memory_bytes", handler, HANDLER_MEMORY_BYTES);
        count("submit_per_key", &mut limits.submit_per_key, SUBMIT_PER_KEY);
        count("submit_total", &mut limits.submit_total, SUBMIT_TOTAL);
        let mut millis = |key, target: &mut Duration, range| {
            let value = section.field(key).and_then(|field| field.millis(range, reader));
            *target = value.unwrap_or(*target);
        };
        millis("ask_timeout_ms", &mut limits.ask_timeout, ASK_TIMEOUT);
        millis("drain_ms", &mut limits.drain, DRAIN);
        millis("handler_ms", &mut limits.handler, HANDLER);
        millis("quantum_ms", &mut limits.quantum, QUANTUM);
        millis("busy_ms", &mut limits.busy, BUSY);
        limits
    }
}
