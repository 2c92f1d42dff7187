//! The functions that one end of a link has told the other: a table that both ends keep alike.
//!
//! Arguments name functions by hash; a function's text goes with the first envelope that needs it,
//! and again only when it has left the table. The sender's table and the receiver's see the same
//! insertions in the same order and drop the same entries (as header tables do in HPACK, RFC
//! 7541), so the receiver always knows what the sender believes it knows: nothing needs to be
//! asked for, and nothing that was named can be missing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use stage_value::{FunctionHash, Limits, Prototype, Value, wire};

/// The most functions of a table. Part of the protocol.
const ENTRIES: usize = 256;

/// The most bytes of a table. Part of the protocol.
const BYTES: usize = 1 << 20;

/// What an entry counts beside its texts. Part of the protocol.
const ENTRY_BYTES: usize = 64;

/// The functions of one direction of a link, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Functions {
    order: VecDeque<FunctionHash>,
    known: HashMap<FunctionHash, Arc<Prototype>>,
    bytes: usize,
}

impl Functions {
    pub(crate) fn find(&self, hash: &FunctionHash) -> Option<Arc<Prototype>> {
        self.known.get(hash).cloned()
    }

    /// Puts a function behind all others and drops the oldest past the bounds. One that is there
    /// already stays where it is; one that is larger than the table is not taken.
    pub(crate) fn insert(&mut self, function: &Arc<Prototype>) {
        let (hash, size) = (function.hash(), size(function));
        if size > BYTES || self.known.contains_key(&hash) {
            return;
        }
        while self.order.len() >= ENTRIES || self.bytes + size > BYTES {
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= self.known.remove(&oldest).map_or(0, |function| self::size(&function));
        }
        self.bytes += size;
        self.order.push_back(hash);
        self.known.insert(hash, Arc::clone(function));
    }

    /// Which of the functions that an envelope needs must travel with it, so that afterwards each
    /// is in the table or with the envelope. O(needed) if all are known.
    pub(crate) fn missing(&self, needed: &[Arc<Prototype>]) -> Vec<Arc<Prototype>> {
        let mut sent: Vec<Arc<Prototype>> = Vec::new();
        let mut after = None;
        loop {
            let table = after.as_ref().unwrap_or(self);
            let is_missing = |function: &&Arc<Prototype>| {
                !table.known.contains_key(&function.hash())
                    && !sent.iter().any(|other| other.hash() == function.hash())
            };
            let more: Vec<_> = needed.iter().filter(is_missing).cloned().collect();
            if more.is_empty() {
                return sent;
            }
            // What goes along may push out what is needed as well.
            let mut table = table.clone();
            more.iter().for_each(|function| table.insert(function));
            sent.extend(more);
            after = Some(table);
        }
    }
}

/// What an entry counts.
pub(crate) fn size(function: &Prototype) -> usize {
    let names: usize = function.names().iter().map(|name| name.len() + 8).sum();
    function.text().len() + function.chunk().len() + names + ENTRY_BYTES
}

/// Functions as they go with an envelope: a list for each, of text, chunk, line and names.
pub(crate) fn encode(functions: &[Arc<Prototype>]) -> Bytes {
    if functions.is_empty() {
        return Bytes::new();
    }
    let function = |function: &Arc<Prototype>| {
        let names = function.names().iter().map(|name| Value::from(&**name));
        let head = [
            Value::Bytes(function.text().clone()),
            Value::from(&**function.chunk()),
            Value::Int(function.line().into()),
        ];
        Value::list(head.into_iter().chain(names))
    };
    wire::encode(&functions.iter().map(function).collect::<Vec<_>>())
}

/// Reads what [`encode`] wrote; `None` if it is something else.
pub(crate) fn decode(bytes: &Bytes, limits: &Limits) -> Option<Vec<Arc<Prototype>>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let values = wire::decode_data(bytes, limits).ok()?;
    values.iter().map(|value| prototype(value).map(Arc::new)).collect()
}

fn prototype(value: &Value) -> Option<Prototype> {
    let Value::List(parts) = value else { return None };
    let [Value::Bytes(text), chunk, Value::Int(line), names @ ..] = &parts[..] else { return None };
    let names = names.iter().map(|name| name.as_str().map(Arc::from)).collect::<Option<_>>()?;
    Some(Prototype::new(text.clone(), chunk.as_str()?.into(), u32::try_from(*line).ok()?, names))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn function(number: usize, size: usize) -> Arc<Prototype> {
        let text = format!("function() return {number} end{}", " ".repeat(size));
        Arc::new(Prototype::new(text.into(), "main.lua".into(), 1, vec!["x".into()]))
    }

    #[test]
    fn functions_survive_the_way() {
        let functions = [function(1, 0), function(2, 100)];
        let back = decode(&encode(&functions), &Limits::DEFAULT).unwrap();
        let hashes = |all: &[Arc<Prototype>]| all.iter().map(|one| one.hash()).collect::<Vec<_>>();
        assert_eq!(hashes(&back), hashes(&functions));
        assert!(
            encode(&[]).is_empty() && decode(&Bytes::new(), &Limits::DEFAULT).unwrap().is_empty()
        );
        for wrong in [wire::encode(&[Value::Nil]), wire::encode(&[Value::list(vec![Value::Nil])])] {
            assert!(decode(&wrong, &Limits::DEFAULT).is_none());
        }
    }

    #[test]
    fn a_function_larger_than_the_table_travels_every_time_and_pushes_nothing_out() {
        let mut table = Functions::default();
        let (small, huge) = (function(1, 0), function(2, BYTES));
        table.insert(&small);
        table.insert(&huge);
        assert_eq!(table.missing(&[small, Arc::clone(&huge)]), [huge]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_is_sent_the_receiver_knows_what_is_named_and_both_stay_bounded(
            envelopes in prop::collection::vec(prop::collection::vec(0..400usize, 0..12), 0..200),
        ) {
            // Every seventh function is so large that a few of them fill the table.
            let all: Vec<_> =
                (0..400).map(|n| function(n, if n % 7 == 0 { BYTES / 5 } else { 10 })).collect();
            let (mut near, mut far) = (Functions::default(), Functions::default());
            for needed in envelopes {
                let needed: Vec<_> = needed.iter().map(|n| Arc::clone(&all[*n])).collect();
                let sent = near.missing(&needed);
                sent.iter().for_each(|function| near.insert(function));
                sent.iter().for_each(|function| far.insert(function));
                for function in &needed {
                    let is_sent = sent.iter().any(|other| other.hash() == function.hash());
                    prop_assert!(is_sent || far.find(&function.hash()).is_some());
                }
                prop_assert_eq!(&near.order, &far.order);
                prop_assert!(far.order.len() <= ENTRIES && far.bytes <= BYTES);
                prop_assert_eq!(far.bytes, far.known.values().map(|one| size(one)).sum::<usize>());
            }
        }
    }
}
