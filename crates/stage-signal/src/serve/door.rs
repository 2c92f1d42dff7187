//! The door: takes connections, sends strangers away before gRPC sees them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::mesh::Shared;
use crate::stats::count;

/// What every HTTP/2 connection starts with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What an HTTP/1 client is told.
const ANSWER: &[u8] = b"HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain\r\n\
    content-length: 47\r\nconnection: close\r\n\r\nthis port speaks gRPC over HTTP/2 and no less\r\n";

/// How long to wait for the rest of a preface that came in part, and after a failed accept.
const PAUSE: Duration = Duration::from_millis(10);

/// The connections that speak HTTP/2. Must be called within a runtime.
pub(super) fn open(
    shared: Arc<Shared>,
    listener: TcpListener,
) -> impl Stream<Item = io::Result<Connection>> {
    let (admit, mut admitted) = mpsc::channel(16);
    let mut porter = JoinSet::new();
    porter.spawn(receive(shared, listener, admit));
    stream::poll_fn(move |context| {
        // The porter lives as long as this stream.
        let _porter = &porter;
        admitted.poll_recv(context)
    })
}

/// Takes connections and looks at several strangers at once, never at more than may be open.
async fn receive(
    shared: Arc<Shared>,
    listener: TcpListener,
    admit: mpsc::Sender<io::Result<Connection>>,
) {
    let places = Arc::new(Semaphore::new(shared.config.max_connections));
    let mut looks = JoinSet::new();
    loop {
        while looks.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, from)) => {
                let (shared, admit) = (Arc::clone(&shared), admit.clone());
                looks.spawn(async move {
                    match look(&shared, &stream).await {
                        Ok(()) => drop(admit.send(Ok(Connection { stream, _place: place })).await),
                        Err(stranger) => {
                            count(&shared.counters.strangers);
                            shared.complain(&from.to_string(), stranger.what());
                            stranger.answer(stream).await;
                        }
                    }
                });
            }
            Err(error) => {
                shared.complain("listener", &format!("no connection can be taken: {error}"));
                sleep(PAUSE).await;
            }
        }
    }
}

/// What a connection speaks instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stranger {
    Http1,
    Tls,
    Silent,
    Garbage,
}

impl Stranger {
    fn what(self) -> &'static str {
        match self {
            Self::Http1 => "a connection speaks HTTP/1; this port speaks gRPC over HTTP/2",
            Self::Tls => "a connection speaks TLS; this port speaks gRPC without it",
            Self::Silent => "a connection did not say in time what it speaks",
            Self::Garbage => "a connection speaks no HTTP/2; this port speaks gRPC",
        }
    }

    async fn answer(self, mut stream: TcpStream) {
        if self == Self::Http1 {
            // Whether it still listens is its own affair.
            drop(timeout(Duration::from_secs(1), stream.write_all(ANSWER)).await);
            drop(stream.shutdown().await);
        }
    }
}

/// Reads ahead without taking anything from the stream.
async fn look(shared: &Shared, stream: &TcpStream) -> Result<(), Stranger> {
    drop(stream.set_nodelay(true));
    let mut bytes = [0; PREFACE.len()];
    let preface = async {
        loop {
            let count = stream.peek(&mut bytes).await.map_err(|_| Stranger::Silent)?;
            match judge(&bytes[..count]) {
                Some(judgement) => return judgement,
                None if count == 0 => return Err(Stranger::Silent),
                None => sleep(PAUSE).await,
            }
        }
    };
    timeout(shared.config.hello_timeout, preface).await.unwrap_or(Err(Stranger::Silent))
}

/// What the first bytes are, or `None` if there are too few to know.
fn judge(bytes: &[u8]) -> Option<Result<(), Stranger>> {
    let length = bytes.len().min(PREFACE.len());
    if bytes[..length] == PREFACE[..length] {
        return (length == PREFACE.len()).then_some(Ok(()));
    }
    let word = bytes.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    Some(Err(match bytes {
        [0x16, 3, ..] => Stranger::Tls,
        _ if (3..=7).contains(&word) && bytes.get(word) == Some(&b' ') => Stranger::Http1,
        _ => Stranger::Garbage,
    }))
}

/// A connection that holds one of the places.
pub(super) struct Connection {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_told_apart_by_their_first_bytes() {
        assert_eq!(judge(PREFACE), Some(Ok(())));
        assert_eq!(judge(b"PRI * HT"), None);
        assert_eq!(judge(b""), None);
        assert_eq!(judge(b"GET / HTTP/1.1\r\n"), Some(Err(Stranger::Http1)));
        assert_eq!(judge(b"POST /x HTTP/1.1"), Some(Err(Stranger::Http1)));
        assert_eq!(judge(&[0x16, 3, 1, 2, 0]), Some(Err(Stranger::Tls)));
        assert_eq!(judge(&[0xff; 24]), Some(Err(Stranger::Garbage)));
    }

    #[test]
    fn the_answer_to_http1_says_its_own_length() {
        let text = std::str::from_utf8(ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
    }
}
