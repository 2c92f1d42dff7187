//! The stream of an outside client: its signals and their ends, and signals of stages to it.

use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream;
use stage_proto::signal::v1 as proto;
use stage_proto::signal::v1::session_request::What as Asked;
use stage_proto::signal::v1::session_response::What;
use tonic::{Status, Streaming};

use super::Caller;
use super::unary::{admitted, plain};
use crate::mesh::Shared;
use crate::plain::to_plain;
use crate::{Failure, OutsideSignal, Session, SessionEvent, SessionLimits};

/// One client's stream. It is driven by being read: a client that does not read is not read either.
pub(super) struct Visit {
    shared: Arc<Shared>,
    session: Session,
    asked: Streaming<proto::SessionRequest>,
    is_welcomed: bool,
    /// Whether the client may still ask; when it no longer does, what is under way ends first.
    is_open: bool,
    unfinished: usize,
    /// The first signal past those that may be unfinished. Nothing behind it is read until there is room for it; a client that
    /// keeps to the number it was welcomed with never sends one, so that its cancels are always read.
    waiting: Option<proto::SessionRequest>,
}

type Said = Result<proto::SessionResponse, Status>;

impl Visit {
    pub(super) fn new(
        shared: Arc<Shared>,
        caller: Option<Caller>,
        asked: Streaming<proto::SessionRequest>,
    ) -> Result<Self, Status> {
        let session = Session::open(Arc::clone(&shared), caller, SessionLimits::default())
            .map_err(|failure| Status::unavailable(failure.to_string()))?;
        let (is_welcomed, is_open, unfinished, waiting) = (false, true, 0, None);
        Ok(Self { shared, session, asked, is_welcomed, is_open, unfinished, waiting })
    }

    pub(super) fn into_stream(self) -> impl Stream<Item = Said> + Send {
        stream::unfold(Some(self), |visit| async move {
            let mut visit = visit?;
            match visit.next().await {
                Ok(what) => Some((Ok(proto::SessionResponse { what: Some(what?) }), Some(visit))),
                Err(status) => Some((Err(status), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<Option<What>, Status> {
        if !self.is_welcomed {
            self.is_welcomed = true;
            let in_flight = u32::try_from(SessionLimits::default().in_flight).unwrap_or(u32::MAX);
            let name = self.session.name().to_string();
            return Ok(Some(What::Welcome(proto::Welcome { name, in_flight })));
        }
        let stopping = self.shared.stopping.clone();
        loop {
            let has_room = self.unfinished < SessionLimits::default().in_flight;
            if let Some(request) = self.waiting.take_if(|_| has_room) {
                self.ask(request)?;
                continue;
            }
            tokio::select! {
                // What has ended makes room for what is asked.
                biased;
                event = self.session.next() => return self.tell(event).map(Some),
                asked = self.asked.message(), if self.is_open && self.waiting.is_none() => match asked? {
                    Some(request) if !has_room && is_signal(&request) => self.waiting = Some(request),
                    Some(request) => self.ask(request)?,
                    None => self.is_open = false,
                },
                () = stopping.cancelled(), if self.unfinished == 0 => return Ok(None),
                () = std::future::ready(()), if !self.is_open && self.unfinished == 0 => return Ok(None),
            }
        }
    }

    fn ask(&mut self, request: proto::SessionRequest) -> Result<(), Status> {
        let id = request.id;
        match request.what {
            Some(Asked::Signal(signal)) => {
                match admitted(&self.shared, signal) {
                    Ok(signal) => self.start(id, signal)?,
                    Err(failure) => self.session.fail(id, failure),
                }
                self.unfinished += 1;
            }
            Some(Asked::Cancel(_)) => self.session.cancel(id),
            None => return Err(Status::invalid_argument("a request without what is asked")),
        }
        Ok(())
    }

    fn start(&mut self, id: u64, signal: OutsideSignal) -> Result<(), Status> {
        self.session.start(id, signal).map_err(|error| Status::invalid_argument(error.to_string()))
    }

    fn tell(&mut self, event: SessionEvent) -> Result<What, Status> {
        match event {
            SessionEvent::Ended { id, outcome } => {
                self.unfinished = self.unfinished.saturating_sub(1);
                let outcome = match plain(outcome) {
                    Ok(results) => proto::end::Outcome::Results(results),
                    Err(failure) => proto::end::Outcome::Failure(Failure::into_proto(failure)),
                };
                Ok(What::End(proto::End { id, outcome: Some(outcome) }))
            }
            SessionEvent::Pushed { message, args } => {
                let args = to_plain("args", &args)
                    .map_err(|error| Status::invalid_argument(error.to_string()))?;
                Ok(What::Push(proto::Push { message: message.to_string(), args }))
            }
        }
    }
}

fn is_signal(request: &proto::SessionRequest) -> bool {
    matches!(request.what, Some(Asked::Signal(_)))
}
