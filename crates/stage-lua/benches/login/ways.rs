//! The same service, written three ways over the same database.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use dashmap::DashMap;
use stage_db::{Param, Pool};
use stage_lua::{Databases, Options, Output, Parts, Runtime, Script, TicketDesk};
use stage_signal::{Delivery, Destination, Identity, Inbox, Mesh, OpenGate, Outgoing};
use stage_ticket::Tickets;
use stage_value::Value;
use tokio::sync::oneshot;

type Done<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// What a user asks for.
pub(crate) trait Service: Send + Sync {
    fn login(&self, user: i64) -> Done<'_>;
    fn purchase(&self, user: i64) -> Done<'_>;
}

const LOGIN: &str = "SELECT coins FROM accounts WHERE id = $1";

async fn ask(pool: &Pool, user: i64) -> i64 {
    loop {
        // Whoever gets no connection in time tries again, as the user would.
        if let Ok(rows) = pool.query(LOGIN, vec![Param::Int(user)]).await {
            return rows.rows[0][0].as_int().unwrap();
        }
    }
}

async fn pay(pool: &Pool, user: i64) {
    let transaction = loop {
        if let Ok(transaction) = pool.begin().await {
            break transaction;
        }
    };
    let update = "UPDATE accounts SET coins = coins - 1 WHERE id = $1";
    transaction.query(update, vec![Param::Int(user)]).await.unwrap();
    transaction.query("SELECT pg_sleep(1) AS v", vec![]).await.unwrap();
    transaction.commit().await.unwrap();
}

/// One lock around the sessions, held across the question to the database.
pub(crate) struct GlobalLock {
    pub(crate) pool: Pool,
    pub(crate) sessions: tokio::sync::Mutex<HashMap<i64, i64>>,
}

impl Service for GlobalLock {
    fn login(&self, user: i64) -> Done<'_> {
        Box::pin(async move {
            let mut sessions = self.sessions.lock().await;
            let coins = ask(&self.pool, user).await;
            sessions.entry(user).or_insert(coins);
        })
    }

    fn purchase(&self, user: i64) -> Done<'_> {
        Box::pin(async move {
            let _sessions = self.sessions.lock().await;
            pay(&self.pool, user).await;
        })
    }
}

/// A lock for each user.
pub(crate) struct LockPerUser {
    pub(crate) pool: Pool,
    pub(crate) locks: DashMap<i64, Arc<tokio::sync::Mutex<Option<i64>>>>,
}

impl LockPerUser {
    fn lock(&self, user: i64) -> Arc<tokio::sync::Mutex<Option<i64>>> {
        Arc::clone(&self.locks.entry(user).or_default())
    }
}

impl Service for LockPerUser {
    fn login(&self, user: i64) -> Done<'_> {
        Box::pin(async move {
            let lock = self.lock(user);
            let mut session = lock.lock().await;
            let coins = ask(&self.pool, user).await;
            session.get_or_insert(coins);
        })
    }

    fn purchase(&self, user: i64) -> Done<'_> {
        Box::pin(async move {
            let lock = self.lock(user);
            let _session = lock.lock().await;
            pay(&self.pool, user).await;
        })
    }
}

/// The script beside this file, asked by signals that are answered by signals.
pub(crate) struct Stage {
    mesh: Mesh,
    clients: Arc<Clients>,
    numbers: AtomicI64,
    _runtime: Runtime,
}

/// The stage that the script tells of what is done.
#[derive(Default)]
struct Clients {
    waiting: Mutex<HashMap<i64, oneshot::Sender<()>>>,
}

impl Inbox for Clients {
    fn deliver(&self, delivery: Delivery) -> Result<(), Delivery> {
        let id = delivery.args.first().and_then(Value::as_int);
        let waiting = id.and_then(|id| self.waiting.lock().unwrap().remove(&id));
        // One that was given up has nobody to tell.
        waiting.map(|waiting| waiting.send(()).is_ok());
        Ok(())
    }

    fn load(&self) -> usize {
        0
    }
}

impl Stage {
    /// `share` of the connections is for the slow transactions.
    pub(crate) async fn start(pool: Pool, logins: i32, share: i32) -> Self {
        let identity =
            Identity { name: "a".into(), group: "a".into(), address: None, incarnation: 1 };
        let config = stage_signal::Config::default();
        let mesh = Mesh::new(identity, config, Arc::new(OpenGate)).unwrap();
        let tickets = Tickets::new(stage_ticket::Config::default()).unwrap();
        tickets.set_category("login", logins.into(), None).unwrap();
        tickets.set_category("purchase", share.into(), None).unwrap();
        let parts = Parts {
            node: "a".into(),
            mesh: mesh.clone(),
            submitter: stage_submit::Submitter::new(stage_submit::Limits::default()),
            tickets: TicketDesk::new(tickets),
            databases: Databases::default().with("accounts", pool),
            shared: Arc::default(),
            route: stage_route::Route::new("a", stage_route::Config::never()),
            output: Output::new(std::io::sink()),
        };
        let runtime = Runtime::new(Options::default(), parts).unwrap();
        let script = Script::of_text("login.lua", include_str!("login.lua"));
        runtime.start_stage(&"login".parse().unwrap(), &script, 1).await.unwrap();
        let clients = Arc::new(Clients::default());
        mesh.register("clients".parse().unwrap(), clients.clone());
        Self { mesh, clients, numbers: AtomicI64::new(0), _runtime: runtime }
    }

    fn signal(&self, message: &str, user: i64) -> Done<'_> {
        let id = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (done, waiting) = oneshot::channel();
        self.clients.waiting.lock().unwrap().insert(id, done);
        // Dropping it would take the signal back.
        let signal = self.mesh.send(Outgoing {
            destination: Destination::Stage("login".parse().unwrap()),
            message: message.parse().unwrap(),
            args: vec![Value::Int(user), Value::Int(id)],
            origin_stage: "clients".into(),
            wants_results: false,
            idempotent: false,
            timeout: None,
            trace: None,
        });
        Box::pin(async move {
            waiting.await.unwrap();
            drop(signal);
        })
    }
}

impl Service for Stage {
    fn login(&self, user: i64) -> Done<'_> {
        self.signal("login", user)
    }

    fn purchase(&self, user: i64) -> Done<'_> {
        self.signal("purchase", user)
    }
}
