//! One environment: a process and its Runtime API.

use std::{
    io,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::process::Pid;
use shared::clock::Clock;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use crate::process::Guard;

use super::{
    Birth, Failure, Function, Invocation, LogSink, Part,
    api::{Assigned, Server, Word},
};

/// Lambda's own timeout.
const INIT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("can't run the function: {0}")]
    Spawn(#[from] io::Error),
    #[error("the function could not be initialised: {0}")]
    Init(String),
}

/// An environment that waits, frozen, for an invocation.
pub(super) struct Environment {
    server: Server,
    child: Child,
    assign: mpsc::Sender<Assigned>,
    words: mpsc::UnboundedReceiver<Word>,
    clock: Clock,
    birth: Birth,
    _guard: Guard,
}

/// An invocation, and the receiver of its answer.
pub(super) struct Job {
    pub(super) invocation: Invocation,
    pub(super) answer: mpsc::Sender<Part>,
    /// Kills the environment.
    pub(super) kill: oneshot::Receiver<()>,
}

impl Environment {
    pub(super) async fn start(
        function: &Function,
        folder: &Path,
        log: LogSink,
        violations: Arc<Mutex<Vec<String>>>,
    ) -> Result<Self, StartError> {
        let (assign, assignments) = mpsc::channel(1);
        let (say, words) = mpsc::unbounded_channel();
        let server =
            Server::start(function.mode, function.limits, assignments, say, violations).await?;
        let spawned = Instant::now();
        let mut child = command(function, folder, &server.address).spawn()?;
        let pid = child
            .id()
            .and_then(|id| Pid::from_raw(id.try_into().ok()?))
            .ok_or_else(|| io::Error::other("the process has no id"))?;
        let guard = Guard::of(pid)?;
        server.api.attach(pid);
        if let Some(output) = child.stdout.take() {
            tokio::spawn(async move {
                let mut lines = BufReader::new(output).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    log(&line);
                }
            });
        }
        let mut environment = Self {
            server,
            child,
            assign,
            words,
            clock: Clock::system(),
            birth: Birth {
                process: pid,
                spawned,
                ready: spawned,
            },
            _guard: guard,
        };
        environment.initialised().await?;
        environment.birth.ready = Instant::now();
        Ok(environment)
    }

    pub(super) fn birth(&self) -> Birth {
        self.birth
    }

    async fn initialised(&mut self) -> Result<(), StartError> {
        tokio::select! {
            word = timeout(INIT, self.words.recv()) => match word {
                Ok(Some(Word::Next)) => Ok(()),
                Ok(Some(Word::InitError(error))) => Err(StartError::Init(error)),
                Ok(None) => Err(StartError::Init("no Runtime API".to_owned())),
                Err(_) => Err(StartError::Init("it took more than 10 s".to_owned())),
            },
            ended = self.child.wait() => Err(StartError::Init(format!("it ended: {ended:?}"))),
        }
    }

    /// Runs one invocation to its end. `None` if the process did not survive it.
    pub(super) async fn run(mut self, job: Job) -> Option<Self> {
        let Job {
            invocation,
            answer,
            kill,
        } = job;
        let deadline = Instant::now() + invocation.timeout;
        let left = i64::try_from(invocation.timeout.as_millis()).unwrap_or(i64::MAX);
        let assigned = Assigned {
            id: invocation.id,
            event: invocation.event,
            deadline,
            deadline_ms: self.clock.now().as_millisecond().saturating_add(left),
            abandoned: invocation.abandoned,
            answer: answer.clone(),
        };
        if self.assign.send(assigned).await.is_err() {
            return None;
        }
        let failure = tokio::select! {
            word = self.words.recv() => match word {
                Some(Word::Next) => return Some(self),
                other => Failure::Crashed(format!("{other:?}")),
            },
            ended = self.child.wait() => Failure::Crashed(format!("{ended:?}")),
            Ok(()) = kill => Failure::Killed,
            () = sleep_until(deadline) => Failure::TimedOut,
        };
        // At once, and so that not even a signal handler runs.
        let _ = self.child.start_kill();
        let _ = self.child.wait().await;
        self.server.api.detach();
        let _ = answer.send(Part::Failed(failure)).await;
        None
    }
}

fn command(function: &Function, folder: &Path, api: &str) -> Command {
    let mut command = Command::new(&function.binary);
    command
        .env_clear()
        .env("AWS_LAMBDA_FUNCTION_NAME", function.name)
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
        .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
        .env("AWS_LAMBDA_RUNTIME_API", api)
        .envs(function.env.iter().map(|(name, value)| (name, value)))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .process_group(0)
        .kill_on_drop(true);
    command
}
