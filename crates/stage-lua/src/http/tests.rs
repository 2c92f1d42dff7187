use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// A server whose answers begin and do not end.
async fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun";
                while stream.read(&mut [0; 4096]).await.is_ok_and(|count| count > 0) {
                    stream.write_all(head).await.unwrap();
                }
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn a_request_past_the_limit_is_refused_until_another_has_ended() {
    let (counts, address) = (Arc::<Counts>::default(), server().await);
    let http = Http::new(Arc::clone(&counts)).unwrap();
    let request = || Request::new("get", &address).unwrap();
    let all_but_one = u32::try_from(IN_FLIGHT).unwrap() - 1;
    let others = http.permits.acquire_many(all_but_one).await.unwrap();

    let last = http.begin(request()).await.unwrap();
    let refused = http.begin(request()).await.err().unwrap();
    assert_eq!(refused.kind(), Kind::Busy);
    assert!(refused.to_string().contains("try again when some have ended"), "{refused}");
    assert_eq!((counts.stats().under_way, counts.stats().ended), (1, 0));

    drop(last);
    assert_eq!((counts.stats().under_way, counts.stats().ended), (0, 1));
    let next = http.begin(request()).await.unwrap();
    assert_eq!((counts.stats().under_way, counts.stats().ended), (1, 1));
    drop((next, others));
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_any_more_has_ended() {
    let (counts, address) = (Arc::<Counts>::default(), server().await);
    let http = Http::new(Arc::clone(&counts)).unwrap();
    let whole = http.whole(Request::new("get", &address).unwrap(), 1 << 20);
    let given_up = tokio::time::timeout(Duration::from_millis(100), whole).await;
    assert!(given_up.is_err());
    assert_eq!((counts.stats().under_way, counts.stats().ended), (0, 1));
}

#[test]
fn each_kind_of_failure_is_counted_by_its_own_name() {
    let counts = Counts::default();
    for (times, kind) in (1..).zip(Kind::ALL) {
        (0..times).for_each(|_| counts.failed(kind));
    }
    let expected: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).zip(1..).collect();
    assert_eq!(counts.stats().failed, expected);
}
