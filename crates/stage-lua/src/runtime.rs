use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stage_value::Id;

use crate::home::{Event, Front, Home, Mail};
use crate::instance::{self, Seat};
use crate::mailbox::Mailbox;
use crate::preempt;
use crate::services::{Counters, Options, Parts, Services};
use crate::testing::TestFailure;
use crate::vm_thread::VmThread;
use crate::worker::{self, Workers};
use crate::{Script, StartError, script_files};

/// All VMs of a process: one per stage instance, and the workers.
pub struct Runtime {
    services: Arc<Services>,
    options: Arc<Options>,
    instances: Mutex<Vec<Instance>>,
    threads: Mutex<Vec<VmThread>>,
    /// Looks for changed scripts.
    looking: Option<tokio::task::JoinHandle<()>>,
}

/// A running instance as the node sees it.
struct Instance {
    stage: Id,
    mailbox: Mailbox<Mail>,
}

/// How much waits and runs in front of one kind of VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueView {
    /// The stage, or `workers`.
    pub name: String,
    /// How many VMs share the load.
    pub vms: usize,
    /// Messages or calls that wait.
    pub waiting: usize,
    /// Handlers or calls that run or sleep.
    pub running: usize,
}

impl Runtime {
    /// Starts the workers. Must be called within the node's tokio runtime.
    ///
    /// # Errors
    /// [`StartError::Thread`] if the operating system gives no thread.
    pub fn new(options: Options, parts: Parts) -> Result<Self, StartError> {
        preempt::self_test();
        let meter = parts.route.meter_of("workers", options.workers.max(1));
        let workers = Arc::new(Workers::new(&options, meter));
        let tokio = tokio::runtime::Handle::current();
        let services = Arc::new(Services::new(parts, workers, tokio)?);
        let options = Arc::new(options);
        let threads = Mutex::new(worker::start(&services, &options)?);
        let files = Arc::clone(&services.files);
        let looking = options.look.map(|every| services.spawn(script_files::follow(files, every)));
        Ok(Self { services, options, instances: Mutex::default(), threads, looking })
    }

    /// Starts the instances of a stage: each runs the script up to its first wait.
    ///
    /// The stage can be signalled from before its script runs; what comes then waits.
    ///
    /// # Errors
    /// [`StartError`] if the script is not Lua or raises an error before its first wait.
    pub async fn start_stage(
        &self,
        stage: &Id,
        script: &Script,
        instances: usize,
    ) -> Result<(), StartError> {
        for number in 1..=instances {
            let (mailbox, receiver) = Mailbox::new(self.options.mailbox);
            let meter = self.services.parts.route.meter(&format!("{stage}#{number}"));
            let workers = Arc::clone(&self.services.workers);
            let home = Home::from(Front {
                stage: stage.clone(),
                mailbox: mailbox.clone(),
                meter,
                known: Arc::default(),
                workers,
            });
            self.services.parts.mesh.register(stage.clone(), Arc::new(home.clone()));
            self.services.events.add(mailbox.clone());
            let seat = Seat { home, receiver, script: script.clone() };
            let (services, options) = (Arc::clone(&self.services), Arc::clone(&self.options));
            let (thread, started) = instance::start(services, options, seat)?;
            locked(&self.threads).push(thread);
            locked(&self.instances).push(Instance { stage: stage.clone(), mailbox });
            let stopped = StartError::Script { message: "the stage's thread ended".to_owned() };
            started.await.unwrap_or(Err(stopped))?;
        }
        Ok(())
    }

    /// Tells all instances what has happened to the node.
    pub fn tell(&self, event: &Event) {
        self.services.events.tell(event);
    }

    /// What waits and runs, by stage and for the workers.
    #[must_use]
    pub fn queues(&self) -> Vec<QueueView> {
        let mut views: Vec<QueueView> = Vec::new();
        for instance in &*locked(&self.instances) {
            let (waiting, running) = (instance.mailbox.waiting(), instance.mailbox.running());
            match views.iter_mut().find(|view| view.name == instance.stage.as_str()) {
                Some(view) => {
                    view.vms += 1;
                    view.waiting += waiting;
                    view.running += running;
                }
                None => {
                    let name = instance.stage.to_string();
                    views.push(QueueView { name, vms: 1, waiting, running });
                }
            }
        }
        let (waiting, running) = self.services.workers.load();
        let vms = self.options.workers.max(1);
        views.push(QueueView { name: "workers".to_owned(), vms, waiting, running });
        views
    }

    /// Leaves something in the mailbox of a stage's first instance.
    pub(crate) fn ask_stage(&self, stage: &Id, mail: Mail) -> Result<(), TestFailure> {
        let instances = locked(&self.instances);
        let instance = instances.iter().find(|instance| instance.stage == *stage);
        let mailbox = &instance.ok_or(TestFailure::Unknown)?.mailbox;
        if mailbox.post(mail) { Ok(()) } else { Err(TestFailure::Stopped) }
    }

    /// What has happened since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.services.counters
    }

    /// Requests of scripts to other services.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn requests(&self) -> crate::RequestStats {
        self.services.requests.stats()
    }

    /// Waits until nothing waits or runs, at most for the given time; how much is left then.
    ///
    /// A script that sleeps in its main chunk counts as running.
    pub async fn drain(&self, within: Duration) -> usize {
        const LOOK: Duration = Duration::from_millis(10);
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let left = self.queues().iter().map(|view| view.waiting + view.running).sum();
            if left == 0 || tokio::time::Instant::now() >= deadline {
                return left;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Stops all VMs. What runs in them ends at its next wait.
    ///
    /// Returns how many threads did not end in time; a script that never waits holds its own.
    pub async fn stop(&self, within: Duration) -> usize {
        self.services.workers.stop();
        if let Some(looking) = &self.looking {
            looking.abort();
        }
        for instance in &*locked(&self.instances) {
            instance.mailbox.post(Mail::Stop);
        }
        let deadline = tokio::time::Instant::now() + within;
        let mut threads = std::mem::take(&mut *locked(&self.threads));
        while !threads.is_empty() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
            threads.retain(|thread| !thread.is_finished());
        }
        threads.len()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
