//! A door in front of the storage that a test opens, closes and spoils while the gateway runs.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};

/// What happens to those who come to the door, and to those who are in it when the mode changes:
/// their connections break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All bytes pass.
    Pass,
    /// Nobody listens.
    Refuse,
    /// Connections are accepted and reset.
    Reset,
    /// All bytes pass, but each connection waits first.
    Slow(Duration),
    /// Each request is answered with a plain 500 that `PostgREST` did not write.
    Answer500,
    /// The storage gets each request and does what it says, but its answers never arrive.
    SwallowAnswers,
}

/// The database functions that were called, in order.
type Calls = Arc<Mutex<Vec<String>>>;

/// A TCP forwarder to the storage.
#[derive(Debug)]
pub struct StorageDoor {
    address: SocketAddr,
    target: String,
    mode: watch::Sender<Mode>,
    calls: Calls,
    /// Dropping it closes the door.
    listening: Arc<Mutex<Option<tokio::task::JoinHandle<()>>>>,
}

impl StorageDoor {
    /// A door to `target`, a base URL like `http://127.0.0.1:54321`, on a free port. It is open.
    pub async fn open(target: &str) -> Result<Self> {
        let target = target
            .strip_prefix("http://")
            .context("the storage is not on this machine")?
            .to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (mode, _) = watch::channel(Mode::Pass);
        let door = Self {
            address: listener.local_addr()?,
            target,
            mode,
            calls: Calls::default(),
            listening: Arc::default(),
        };
        door.listen(listener);
        Ok(door)
    }

    /// What `SUPABASE_URL` must be.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The database functions that were called through it while it was open, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        lock(&self.calls).clone()
    }

    /// Changes the mode, for those who come and those who are inside.
    pub async fn set(&self, mode: Mode) -> Result<()> {
        let before = self.mode.send_replace(mode);
        match (before == Mode::Refuse, mode == Mode::Refuse) {
            (false, true) => {
                let listening = lock(&self.listening).take();
                if let Some(task) = listening {
                    task.abort();
                    // Once it has ended, so has the listener.
                    let _ = task.await;
                }
            }
            (true, false) => self.listen(TcpListener::bind(self.address).await?),
            _ => {}
        }
        Ok(())
    }

    fn listen(&self, listener: TcpListener) {
        let (target, mode) = (self.target.clone(), self.mode.subscribe());
        let calls = Arc::clone(&self.calls);
        let task = tokio::spawn(async move {
            while let Ok((visitor, _)) = listener.accept().await {
                tokio::spawn(serve(
                    visitor,
                    target.clone(),
                    mode.clone(),
                    Arc::clone(&calls),
                ));
            }
        });
        *lock(&self.listening) = Some(task);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for StorageDoor {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.listening).take() {
            task.abort();
        }
    }
}

/// Serves one visitor until it leaves or the mode changes.
async fn serve(visitor: TcpStream, target: String, mut mode: watch::Receiver<Mode>, calls: Calls) {
    let now = *mode.borrow_and_update();
    tokio::select! {
        _ = pass(visitor, &target, now, &calls) => {}
        // A connection that is dropped with bytes unread is reset, as an outage would.
        _ = mode.changed() => {}
    }
}

async fn pass(
    mut visitor: TcpStream,
    target: &str,
    mode: Mode,
    calls: &Calls,
) -> std::io::Result<()> {
    match mode {
        Mode::Refuse | Mode::Reset => {
            // Read a little, so that closing it is a reset and not an end.
            visitor.readable().await?;
            Ok(())
        }
        Mode::Slow(wait) => {
            sleep(wait).await;
            let mut storage = TcpStream::connect(target).await?;
            copy_bidirectional(&mut visitor, &mut storage).await?;
            Ok(())
        }
        Mode::Pass => {
            let mut storage = TcpStream::connect(target).await?;
            let (mut from_visitor, mut to_visitor) = visitor.split();
            let (mut from_storage, mut to_storage) = storage.split();
            tokio::try_join!(
                listening_in(&mut from_visitor, &mut to_storage, calls),
                async {
                    tokio::io::copy(&mut from_storage, &mut to_visitor).await?;
                    to_visitor.shutdown().await
                },
            )?;
            Ok(())
        }
        Mode::SwallowAnswers => {
            let mut storage = TcpStream::connect(target).await?;
            let (mut from_visitor, _to_visitor) = visitor.split();
            let (mut from_storage, mut to_storage) = storage.split();
            let mut ignored = tokio::io::sink();
            tokio::try_join!(
                tokio::io::copy(&mut from_visitor, &mut to_storage),
                tokio::io::copy(&mut from_storage, &mut ignored),
            )?;
            Ok(())
        }
        Mode::Answer500 => {
            let mut request = vec![0; 64 * 1024];
            if visitor.read(&mut request).await? > 0 {
                let answer = "HTTP/1.1 500 Internal Server Error\r\nconnection: close\r\ncontent-length: 4\r\n\r\noops";
                visitor.write_all(answer.as_bytes()).await?;
            }
            Ok(())
        }
    }
}

/// Copies requests and notes the functions that they call. Each begins a read of its own: clients
/// await an answer before they send the next one over the same connection.
async fn listening_in(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    calls: &Calls,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return to.shutdown().await;
        };
        let text = String::from_utf8_lossy(bytes);
        if let Some((_, rest)) = text
            .lines()
            .next()
            .and_then(|line| line.split_once("/rpc/"))
        {
            let function = rest.split([' ', '?']).next().unwrap_or_default();
            lock(calls).push(function.to_owned());
        }
        to.write_all(bytes).await?;
    }
}
