//! The usual semaphore of Redis: a sorted set of holders by time, and a script that takes a place.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// Drops who is too old, then takes a place if there is one.
const ACQUIRE: &str = "redis.call('zremrangebyscore', KEYS[1], '-inf', ARGV[1] - ARGV[2]) \
    if redis.call('zcard', KEYS[1]) < tonumber(ARGV[3]) then \
    redis.call('zadd', KEYS[1], ARGV[1], ARGV[4]) return 1 end return 0";

pub(crate) struct Redis {
    server: Child,
    port: u16,
}

impl Redis {
    pub(crate) fn start(runtime: &Runtime) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let server = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn();
        let Ok(server) = server else {
            panic!("this benchmark needs redis: sudo apt-get install redis-server");
        };
        let redis = Self { server, port };
        runtime.block_on(async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        redis
    }

    /// `grants` places taken and given back by clients with a connection each; whoever finds none
    /// asks again.
    pub(crate) async fn contend(&self, clients: usize, limit: usize, grants: u64) -> Duration {
        let mut connections = Vec::new();
        for client in 0..clients {
            connections.push(Connection::open(self.port, client, limit).await);
        }
        let each = grants.div_ceil(clients as u64);
        let start = Instant::now();
        let tasks: Vec<_> = connections
            .into_iter()
            .map(|mut connection| {
                tokio::spawn(async move {
                    for _ in 0..each {
                        connection.take_turn().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        start.elapsed().mul_f64(grants as f64 / (each * clients as u64) as f64)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

struct Connection {
    stream: BufReader<TcpStream>,
    script: String,
    name: String,
    limit: String,
}

impl Connection {
    async fn open(port: u16, client: usize, limit: usize) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let stream = BufReader::new(stream);
        let (name, limit) = (format!("holder-{client}"), limit.to_string());
        let mut connection = Self { stream, script: String::new(), name, limit };
        connection.script = connection.call(&["SCRIPT", "LOAD", ACQUIRE]).await;
        connection
    }

    async fn take_turn(&mut self) {
        let (script, name, limit) = (self.script.clone(), self.name.clone(), self.limit.clone());
        loop {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            let now = now.as_millis().to_string();
            let arguments = ["EVALSHA", &script, "1", "db", &now, "1000", &limit, &name];
            if self.call(&arguments).await == "1" {
                break;
            }
        }
        self.call(&["ZREM", "db", &name]).await;
    }

    /// Sends a command and returns the integer or the string that it answers.
    async fn call(&mut self, words: &[&str]) -> String {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.get_mut().write_all(command.as_bytes()).await.unwrap();
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        let (kind, rest) = line.trim_end().split_at(1);
        match kind {
            ":" | "+" => rest.to_owned(),
            "$" => {
                let mut body = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.stream.read_exact(&mut body).await.unwrap();
                String::from_utf8_lossy(&body).trim_end().to_owned()
            }
            _ => panic!("redis: {line}"),
        }
    }
}
