//! Environments of one function, as many as may run at once.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{
    Birth, Failure, Function, Invocation, Limits, LogSink, Part,
    api::lock,
    environment::{Environment, Job, StartError},
};

/// The parts of an answer that wait for a slow client; Lambda's own buffer is larger.
const PARTS_IN_FLIGHT: usize = 64;

/// A function that takes invocations. An environment that died is replaced.
pub struct Pool {
    limits: Limits,
    jobs: mpsc::UnboundedSender<Job>,
    running: Arc<Mutex<HashMap<Uuid, oneshot::Sender<()>>>>,
    violations: Arc<Mutex<Vec<String>>>,
    started: Arc<AtomicU64>,
    births: Arc<Mutex<Vec<Birth>>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

/// The state that the workers share.
struct Deployment {
    function: Function,
    folder: PathBuf,
    log: LogSink,
    jobs: tokio::sync::Mutex<mpsc::UnboundedReceiver<Job>>,
    running: Arc<Mutex<HashMap<Uuid, oneshot::Sender<()>>>>,
    violations: Arc<Mutex<Vec<String>>>,
    started: Arc<AtomicU64>,
    births: Arc<Mutex<Vec<Birth>>>,
}

impl Pool {
    /// Starts `size` environments, each at its first invocation.
    #[must_use]
    pub fn start(function: Function, size: usize, folder: &Path, log: LogSink) -> Self {
        let (jobs, queue) = mpsc::unbounded_channel();
        let pool = Self {
            limits: function.limits,
            jobs,
            running: Arc::default(),
            violations: Arc::default(),
            started: Arc::default(),
            births: Arc::default(),
        };
        let deployment = Arc::new(Deployment {
            function,
            folder: folder.to_owned(),
            log,
            jobs: tokio::sync::Mutex::new(queue),
            running: Arc::clone(&pool.running),
            violations: Arc::clone(&pool.violations),
            started: Arc::clone(&pool.started),
            births: Arc::clone(&pool.births),
        });
        for _ in 0..size {
            tokio::spawn(Arc::clone(&deployment).work());
        }
        pool
    }

    /// Invokes the function as soon as an environment is free. The receiver may be dropped: the
    /// client has left then.
    #[must_use]
    pub fn invoke(&self, invocation: Invocation) -> mpsc::Receiver<Part> {
        let (answer, parts) = mpsc::channel(PARTS_IN_FLIGHT);
        if u64::try_from(invocation.event.len()).is_ok_and(|length| length > self.limits.event) {
            let _ = answer.try_send(Part::Failed(Failure::EventTooLarge));
            return parts;
        }
        let (kill, killed) = oneshot::channel();
        lock(&self.running).insert(invocation.id, kill);
        // A pool without workers drops the job, which closes the answer.
        let _ = self.jobs.send(Job {
            invocation,
            answer,
            kill: killed,
        });
        parts
    }

    /// Kills the environment in which the invocation runs (SIGKILL). False if it runs no more.
    #[must_use]
    pub fn kill(&self, id: Uuid) -> bool {
        lock(&self.running)
            .remove(&id)
            .is_some_and(|kill| kill.send(()).is_ok())
    }

    /// The number of invocations that wait or run. One runs until its environment asks for the next.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        lock(&self.running).len()
    }

    /// The number of processes that were started so far.
    #[must_use]
    pub fn processes(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    /// The environments that started so far, in that order.
    #[must_use]
    pub fn births(&self) -> Vec<Birth> {
        lock(&self.births).clone()
    }

    /// The rules of the platform that the function broke.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        lock(&self.violations).clone()
    }
}

impl Deployment {
    async fn work(self: Arc<Self>) {
        let mut idle = None;
        while let Some(job) = self.next_job().await {
            let (id, last) = (job.invocation.id, job.invocation.last);
            let environment = match idle.take() {
                Some(environment) => Ok(environment),
                None => self.start().await,
            };
            match environment {
                Ok(environment) => idle = environment.run(job).await.filter(|_| !last),
                Err(error) => {
                    lock(&self.violations).push(format!("{id}: {error}"));
                }
            }
            lock(&self.running).remove(&id);
        }
    }

    async fn next_job(&self) -> Option<Job> {
        self.jobs.lock().await.recv().await
    }

    async fn start(&self) -> Result<Environment, StartError> {
        self.started.fetch_add(1, Ordering::Relaxed);
        let environment = Environment::start(
            &self.function,
            &self.folder,
            Arc::clone(&self.log),
            Arc::clone(&self.violations),
        )
        .await?;
        lock(&self.births).push(environment.birth());
        Ok(environment)
    }
}
