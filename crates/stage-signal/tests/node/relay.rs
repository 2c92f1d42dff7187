//! A network between two nodes that delays, stalls and cuts, as a test tells it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub(crate) struct Relay {
    pub(crate) address: String,
    weather: Arc<Weather>,
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct Weather {
    is_stalled: AtomicBool,
    delay_ms: AtomicU64,
    connections: Mutex<CancellationToken>,
}

impl Relay {
    pub(crate) fn to(target: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let weather = Arc::<Weather>::default();
        runtime.spawn(serve(listener, target.to_owned(), Arc::clone(&weather)));
        Self { address, weather, runtime: Some(runtime) }
    }

    /// Both ends hear nothing of each other, and of that neither.
    pub(crate) fn stall(&self, is_stalled: bool) {
        self.weather.is_stalled.store(is_stalled, Ordering::Relaxed);
    }

    pub(crate) fn delay(&self, delay: Duration) {
        let ms = u64::try_from(delay.as_millis()).unwrap();
        self.weather.delay_ms.store(ms, Ordering::Relaxed);
    }

    /// Closes all connections, with whatever is on its way.
    pub(crate) fn cut(&self) {
        std::mem::take(&mut *self.weather.connections.lock().unwrap()).cancel();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

async fn serve(listener: TcpListener, target: String, weather: Arc<Weather>) {
    loop {
        let Ok((near, _)) = listener.accept().await else { continue };
        let Ok(far) = TcpStream::connect(&target).await else { continue };
        let cut = weather.connections.lock().unwrap().clone();
        let weather = Arc::clone(&weather);
        tokio::spawn(cut.run_until_cancelled_owned(async move {
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::select! {
                () = carry(near_in, far_out, &weather) => {}
                () = carry(far_in, near_out, &weather) => {}
            }
        }));
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    weather: &Weather,
) {
    let mut bytes = [0; 4096];
    loop {
        let Ok(count @ 1..) = from.read(&mut bytes).await else { return };
        sleep(Duration::from_millis(weather.delay_ms.load(Ordering::Relaxed))).await;
        while weather.is_stalled.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(2)).await;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
