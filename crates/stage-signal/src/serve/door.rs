//! The door: takes connections, sends strangers away before gRPC sees them.

use std::io;
use std::net::SocketAddr;
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
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::Caller;
use crate::mesh::Shared;
use crate::stats::count;
use crate::tls::Certified;

/// What every HTTP/2 connection starts with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What an HTTP/1 client is told by a port that wants TLS.
const ANSWER_TLS: &[u8] = b"HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain\r\n\
    content-length: 55\r\nconnection: close\r\n\r\nthis port speaks gRPC over HTTP/2 within TLS, no less\r\n";

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
                    if let Some(transport) = look(&shared, stream, from).await {
                        let connection = Connection { transport, from, _place: place };
                        drop(admit.send(Ok(connection)).await);
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
    Plain,
    Silent,
    Garbage,
}

impl Stranger {
    fn what(self) -> &'static str {
        match self {
            Self::Http1 => "a connection speaks HTTP/1; this port speaks gRPC over HTTP/2",
            Self::Tls => "a connection speaks TLS; this port speaks gRPC without it",
            Self::Plain => "a connection speaks HTTP/2 without TLS; this port takes none",
            Self::Silent => "a connection did not say in time what it speaks",
            Self::Garbage => "a connection speaks no HTTP/2; this port speaks gRPC",
        }
    }

    async fn answer(self, mut stream: TcpStream, is_tls: bool) {
        if self == Self::Http1 {
            let answer = if is_tls { ANSWER_TLS } else { ANSWER };
            // Whether it still listens is its own affair.
            drop(timeout(Duration::from_secs(1), stream.write_all(answer)).await);
            drop(stream.shutdown().await);
        }
    }
}

/// Lets in who speaks what this port speaks; the others are counted and sent away.
async fn look(shared: &Shared, stream: TcpStream, from: SocketAddr) -> Option<Transport> {
    drop(stream.set_nodelay(true));
    let first = peek(shared, &stream).await;
    let refused = match (first, &shared.config.tls) {
        (Ok(()), None) => return Some(Transport::Plain(stream)),
        (Err(Stranger::Tls), Some(tls)) => {
            let patience = shared.config.hello_timeout;
            let shaken = timeout(patience, tls.accept(stream)).await;
            let why = match shaken {
                Ok(Ok((stream, peer))) => return Some(Transport::Tls(Box::new(stream), peer)),
                Ok(Err(why)) => why,
                Err(_) => format!("it took longer than {patience:?}"),
            };
            count(&shared.counters.strangers);
            shared.complain(&from.to_string(), &format!("a TLS handshake failed: {why}"));
            return None;
        }
        (Ok(()), Some(_)) => Stranger::Plain,
        (Err(stranger), _) => stranger,
    };
    count(&shared.counters.strangers);
    shared.complain(&from.to_string(), refused.what());
    refused.answer(stream, shared.config.tls.is_some()).await;
    None
}

/// Reads ahead without taking anything from the stream.
async fn peek(shared: &Shared, stream: &TcpStream) -> Result<(), Stranger> {
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
    transport: Transport,
    from: SocketAddr,
    _place: OwnedSemaphorePermit,
}

/// The bytes of a connection, as they are or encrypted.
enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>, Certified),
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        let certified = match &self.transport {
            Transport::Plain(_) => None,
            Transport::Tls(_, certified) => Some(certified.clone()),
        };
        Caller { address: self.from, certified }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Tls(stream, _) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Tls(stream, _) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(context),
            Transport::Tls(stream, _) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Tls(stream, _) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Transport::Tls(stream, _) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream, _) => stream.is_write_vectored(),
        }
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
        for answer in [ANSWER, ANSWER_TLS] {
            let text = std::str::from_utf8(answer).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        }
    }
}
