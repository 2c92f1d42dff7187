//! `/v1/session`: a WebSocket with many signals under way and signals of stages to the client.
//!
//! What is written goes out before the next thing is taken up, so nothing is kept for a client that
//! does not read: its results stay with the mesh, which has room for a bounded number, and after
//! [`Config::write_timeout`](crate::Config::write_timeout) the session ends.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};
use stage_signal::{Session, SessionEvent, SessionLimits};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite;

use crate::clients::Known;
use crate::gateway::{Place, Shared, permit};
use crate::refusal::Refusal;
use crate::request::{Asked, Frame, frame_of};
use crate::signal::results_of;
use crate::stats::count;

/// The close codes of this protocol.
const MALFORMED: u16 = 4000;
const ID_IN_USE: u16 = 4001;
const SLOW: u16 = 4002;
const SILENT: u16 = 4003;
/// Those of RFC 6455.
const GOING_AWAY: u16 = 1001;
const PROTOCOL: u16 = 1002;
const BINARY: u16 = 1003;
const TOO_BIG: u16 = 1009;

/// Why a session ends; `None` if the client has gone.
type Close = Option<(u16, String)>;

pub(crate) async fn upgrade(
    State(shared): State<Arc<Shared>>,
    Extension(place): Extension<Place>,
    headers: HeaderMap,
    socket: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    let opened = shared.authorise(&headers).and_then(|client| {
        let limit = shared.config.session_in_flight;
        let limits = SessionLimits { in_flight: limit, pushes: limit };
        Ok((client, shared.mesh.open_session(limits)?))
    });
    let (client, session) = match opened {
        Ok(opened) => opened,
        Err(refusal) => return refusal.into_response(),
    };
    let socket = match socket {
        Ok(socket) => socket,
        Err(error) => return Refusal::malformed(error.to_string()).into_response(),
    };
    let most = shared.config.body_bytes;
    socket.protocols(["stage.v1"]).max_message_size(most).max_frame_size(most).on_upgrade(
        async move |socket| {
            let (open, waiting) = (0, None);
            Door { shared, client, session, socket, open, waiting, _place: place }.run().await;
        },
    )
}

/// One session and its socket.
struct Door {
    shared: Arc<Shared>,
    client: Arc<Known>,
    session: Session,
    socket: WebSocket,
    /// Signals whose end has not been written.
    open: usize,
    /// The first signal past those that may be unfinished; nothing behind it is read until there is room for it.
    waiting: Option<(u64, Result<Asked, Refusal>)>,
    _place: Place,
}

enum Turn {
    Event(SessionEvent),
    Message(Option<Result<Message, axum::Error>>),
    Ping,
    Stop,
}

impl Door {
    async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        count(&shared.counters.sessions);
        if let Err(Some((code, reason))) = self.serve().await {
            if code == SLOW {
                count(&shared.counters.slow);
            }
            tracing::debug!(client = self.client.client.name, code, reason, "a session ends");
            let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
            // A client that reads learns why; it need not.
            drop(timeout(Duration::from_secs(1), self.socket.send(close)).await);
        }
        shared.counters.sessions.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }

    async fn serve(&mut self) -> Result<(), Close> {
        let name = self.session.name().as_str().to_owned();
        self.write(&json!({ "session": name })).await?;
        let mut heard = Instant::now();
        let mut ping = interval(self.shared.config.ping);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shared = Arc::clone(&self.shared);
        let mut stopped = std::pin::pin!(shared.stopped());
        let most = shared.config.session_in_flight;
        loop {
            if let Some((id, asked)) = self.waiting.take_if(|_| self.open < most) {
                self.start(id, asked).await?;
            }
            let is_reading = self.waiting.is_none();
            let turn = tokio::select! {
                () = &mut stopped => Turn::Stop,
                event = self.session.next() => Turn::Event(event),
                message = self.socket.recv(), if is_reading => Turn::Message(message),
                _ = ping.tick() => Turn::Ping,
            };
            match turn {
                Turn::Event(event) => self.tell(event).await?,
                Turn::Message(message) => {
                    heard = Instant::now();
                    self.take(message).await?;
                }
                // Who is not read from is silent for that reason.
                Turn::Ping if is_reading && heard.elapsed() > self.shared.config.silence => {
                    let silence = self.shared.config.silence;
                    return Err(Some((SILENT, format!("nothing was heard for {silence:?}"))));
                }
                Turn::Ping => self.send(Message::Ping(Vec::new().into())).await?,
                Turn::Stop => return Err(Some((GOING_AWAY, "the node is stopping".into()))),
            }
        }
    }

    async fn tell(&mut self, event: SessionEvent) -> Result<(), Close> {
        let json = match event {
            SessionEvent::Ended { id, outcome } => {
                self.open = self.open.saturating_sub(1);
                let results = outcome.map_err(Refusal::from).and_then(|it| results_of(&it));
                match results {
                    Ok(results) => json!({ "id": id, "results": results }),
                    Err(refusal) => json!({ "id": id, "error": refusal.to_json() }),
                }
            }
            SessionEvent::Pushed { message, args } => match results_of(&args) {
                Ok(args) => json!({ "push": message.to_string(), "args": args }),
                Err(refusal) => {
                    json!({ "push": message.to_string(), "error": refusal.to_json() })
                }
            },
            _ => return Ok(()),
        };
        self.write(&json).await
    }

    async fn take(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), Close> {
        let text = match message {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Binary(_))) => {
                return Err(Some((BINARY, "send frames of text with JSON".into())));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Ok(()),
            Some(Ok(Message::Close(_))) | None => return Err(None),
            Some(Err(error)) => return Err(Some(why(error, self.shared.config.body_bytes))),
        };
        match frame_of(&text).map_err(|error| Some((MALFORMED, shortened(error))))? {
            Frame::Signal(id, asked) if self.open >= self.shared.config.session_in_flight => {
                self.waiting = Some((id, asked));
                Ok(())
            }
            Frame::Signal(id, asked) => self.start(id, asked).await,
            Frame::Cancel(id) => {
                self.session.cancel(id);
                Ok(())
            }
        }
    }

    async fn start(&mut self, id: u64, asked: Result<Asked, Refusal>) -> Result<(), Close> {
        let taken = self.shared.take(&self.client).and(asked).and_then(|asked| {
            permit(&self.client, &asked.stage)?;
            Ok(self.shared.outside(asked))
        });
        match taken {
            Ok(signal) => {
                let in_use = |error: stage_signal::IdInUse| Some((ID_IN_USE, error.to_string()));
                self.session.start(id, signal).map_err(in_use)?;
                self.open += 1;
                Ok(())
            }
            Err(refusal) => {
                count(&self.shared.counters.refused);
                self.write(&json!({ "id": id, "error": refusal.to_json() })).await
            }
        }
    }

    async fn write(&mut self, json: &Json) -> Result<(), Close> {
        self.send(Message::Text(json.to_string().into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Close> {
        match timeout(self.shared.config.write_timeout, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(None),
            Err(_) => Err(Some((SLOW, "the client reads too slowly; connect again".into()))),
        }
    }
}

fn why(error: axum::Error, most: usize) -> (u16, String) {
    match error.into_inner().downcast::<tungstenite::Error>() {
        Ok(error) if matches!(*error, tungstenite::Error::Capacity(_)) => {
            (TOO_BIG, format!("a frame has more than {most} bytes"))
        }
        Ok(error) => (PROTOCOL, shortened(error.to_string())),
        Err(error) => (PROTOCOL, shortened(error.to_string())),
    }
}

/// A close frame has room for 123 bytes.
fn shortened(mut reason: String) -> String {
    let end = (0..=120.min(reason.len())).rev().find(|at| reason.is_char_boundary(*at));
    reason.truncate(end.unwrap_or(0));
    reason
}
