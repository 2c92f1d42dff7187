//! What clients ask for, out of paths, queries and frames.

use std::time::Duration;

use serde_json::Value as Json;
use stage_value::{Address, Target, Value};

use crate::json::from_json;
use crate::refusal::Refusal;

/// A signal as a client asks for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) address: String,
    /// The stage of the address.
    pub(crate) stage: String,
    pub(crate) args: Vec<Value>,
    pub(crate) timeout: Option<Duration>,
    /// Whether running it twice does no harm.
    pub(crate) idempotent: bool,
}

/// A frame of a session.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    /// A signal, or why it cannot be one.
    Signal(u64, Result<Asked, Refusal>),
    /// The client no longer waits for the signal of this id.
    Cancel(u64),
}

/// The largest id: what JavaScript counts exactly.
const LAST_ID: u64 = 1 << 53;

/// The stage that an address names.
///
/// # Errors
/// A [`Refusal`] that says what is wrong with it.
pub(crate) fn stage_of(address: &str) -> Result<String, Refusal> {
    let parsed: Address =
        address.parse().map_err(|error| Refusal::malformed(format!("the address: {error}")))?;
    match parsed {
        Address::Signal(signal) => match signal.target {
            Target::Stage(stage) => Ok(stage.as_str().to_owned()),
            _ => Err(Refusal::malformed(format!("'{address}' names no stage"))),
        },
        _ => Err(Refusal::malformed(format!("'{address}' is a ticket; only scripts take tickets"))),
    }
}

/// The arguments in a body; an empty one stands for none.
///
/// # Errors
/// A [`Refusal`] that says what is wrong with it.
pub(crate) fn args_of(body: &[u8]) -> Result<Vec<Value>, Refusal> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let json = serde_json::from_slice(body)
        .map_err(|error| Refusal::malformed(format!("the body: {error}")))?;
    values(json)
}

/// What a query says, such as `timeout_ms=500&idempotent=true`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// How long the client waits.
    pub(crate) timeout: Option<Duration>,
    /// Whether running it twice does no harm.
    pub(crate) idempotent: bool,
}

/// The terms of a query; of equal keys the last one counts.
///
/// # Errors
/// A [`Refusal`] for other keys and for values that make no sense.
pub(crate) fn terms_of(query: Option<&str>) -> Result<Terms, Refusal> {
    let malformed = || {
        let detail = "the query holds more than timeout_ms=MILLISECONDS and idempotent=true";
        Refusal::malformed(detail)
    };
    let mut terms = Terms::default();
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').ok_or_else(malformed)? {
            ("timeout_ms", millis) => {
                let millis = millis.parse().map_err(|_| malformed())?;
                terms.timeout = Some(Duration::from_millis(millis));
            }
            ("idempotent", answer) => terms.idempotent = answer.parse().map_err(|_| malformed())?,
            _ => return Err(malformed()),
        }
    }
    Ok(terms)
}

/// A frame of a session: `{"id", "signal", "args", "timeout_ms", "idempotent"}` or `{"cancel": ID}`.
///
/// # Errors
/// What is wrong with a frame that has no id by which that could be told.
pub(crate) fn frame_of(text: &str) -> Result<Frame, String> {
    let json: Json = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let Json::Object(mut frame) = json else { return Err("a frame is an object".into()) };
    if let Some(id) = frame.remove("cancel") {
        return id_of(&id).map(Frame::Cancel);
    }
    let id = id_of(&frame.remove("id").unwrap_or_default())?;
    Ok(Frame::Signal(id, asked(frame)))
}

fn id_of(id: &Json) -> Result<u64, String> {
    let id = id.as_u64().filter(|id| *id <= LAST_ID);
    id.ok_or_else(|| "\"id\" and \"cancel\" are integers from 0 to 2^53".into())
}

fn asked(mut frame: serde_json::Map<String, Json>) -> Result<Asked, Refusal> {
    let Some(Json::String(address)) = frame.remove("signal") else {
        return Err(Refusal::malformed("\"signal\" is missing, or is no text"));
    };
    let stage = stage_of(&address)?;
    let args = frame.remove("args").map_or(Ok(Vec::new()), values)?;
    let timeout = match frame.remove("timeout_ms") {
        None => None,
        Some(millis) => Some(Duration::from_millis(
            millis.as_u64().ok_or_else(|| Refusal::malformed("\"timeout_ms\" is no count"))?,
        )),
    };
    let idempotent = match frame.remove("idempotent") {
        None => false,
        Some(Json::Bool(idempotent)) => idempotent,
        Some(_) => return Err(Refusal::malformed("\"idempotent\" is neither true nor false")),
    };
    match frame.keys().next() {
        Some(key) => Err(Refusal::malformed(format!("a frame has no key {key:?}"))),
        None => Ok(Asked { address, stage, args, timeout, idempotent }),
    }
}

fn values(json: Json) -> Result<Vec<Value>, Refusal> {
    let Json::Array(items) = json else {
        return Err(Refusal::malformed("the arguments are not a JSON array"));
    };
    items
        .into_iter()
        .enumerate()
        .map(|(index, item)| {
            let place = |error| Refusal::malformed(format!("argument {}: {error}", index + 1));
            from_json(item).map_err(place)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_names_the_signal_and_what_it_brings() {
        let text = r#"{"id": 7, "signal": "lobby:join", "args": ["kim", 1], "timeout_ms": 50,
            "idempotent": true}"#;
        let asked = Asked {
            address: "lobby:join".into(),
            stage: "lobby".into(),
            args: vec![Value::from("kim"), Value::Int(1)],
            timeout: Some(Duration::from_millis(50)),
            idempotent: true,
        };
        assert_eq!(frame_of(text), Ok(Frame::Signal(7, Ok(asked))));
        assert_eq!(frame_of(r#"{"cancel": 7}"#), Ok(Frame::Cancel(7)));
    }

    #[test]
    fn what_is_wrong_with_a_signal_is_told_by_its_id() {
        for rest in
            [r#""signal": "join""#, r#""signal": "a:b", "args": {}"#, r#""signal": "a:b", "x": 1"#]
        {
            let frame = frame_of(&format!("{{\"id\": 1, {rest}}}"));
            assert!(matches!(frame, Ok(Frame::Signal(1, Err(_)))), "{rest}: {frame:?}");
        }
        for text in ["", "[]", "{}", r#"{"id": -1}"#, r#"{"id": 9007199254740993}"#] {
            assert!(frame_of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_without_a_stage_and_a_ticket_are_refused() {
        assert_eq!(stage_of("*lobby:join").unwrap(), "lobby");
        for address in ["join", ":join", "ticket:login=f", "", "a b:c"] {
            assert!(stage_of(address).is_err(), "{address}");
        }
    }

    #[test]
    fn a_query_has_a_timeout_and_a_mark_and_nothing_else() {
        let timeout = Some(Duration::from_millis(5));
        let terms = |query: &str| terms_of(Some(query));
        assert_eq!(terms("timeout_ms=5"), Ok(Terms { timeout, idempotent: false }));
        let both = terms("idempotent=true&timeout_ms=5");
        assert_eq!(both, Ok(Terms { timeout, idempotent: true }));
        assert_eq!((terms_of(None), terms("")), (Ok(Terms::default()), Ok(Terms::default())));
        for query in [
            "timeout_ms=",
            "timeout_ms=-1",
            "timeout=5",
            "timeout_ms=5&x=1",
            "idempotent",
            "idempotent=1",
        ] {
            assert!(terms(query).is_err(), "{query}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parsers(text in "[\\[\\]{}\":,a-z$0-9 ]{0,40}") {
            let _ = (frame_of(&text), args_of(text.as_bytes()), stage_of(&text));
        }
    }
}
