//! Keeps an invocation open until its tasks are done.
//!
//! Lambda freezes the environment as soon as the runtime asks for the next invocation, and a task
//! that was merely spawned is lost then. This layer gives each invocation its [`Tasks`] and,
//! after the response has been sent to its last byte and before the next invocation is asked for,
//! waits for what the handler has spawned on it.

use std::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll},
};

use lambda_runtime::{Error, LambdaInvocation};
use shared::{
    observe,
    request::{Tasks, invocation_id},
};
use tower::{Layer, Service};
use tracing::Instrument;

/// Whether the environment has had no invocation yet.
static IS_COLD: AtomicBool = AtomicBool::new(true);

tokio::task_local! {
    static TASKS: Tasks;
}

/// The current invocation's tasks. Outside of one, some that nobody waits for.
pub(crate) fn tasks() -> Tasks {
    TASKS.try_with(Tasks::clone).unwrap_or_default()
}

/// Adds [`Drain`] to a runtime.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DrainLayer;

impl<S> Layer<S> for DrainLayer {
    type Service = Drain<S>;

    fn layer(&self, inner: S) -> Drain<S> {
        Drain(inner)
    }
}

/// Waits for an invocation's tasks after its response.
#[derive(Debug, Clone)]
pub(crate) struct Drain<S>(S);

impl<S> Service<LambdaInvocation> for Drain<S>
where
    S: Service<LambdaInvocation, Response = (), Error = Error>,
    S::Future: Send + 'static,
{
    type Response = ();
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, invocation: LambdaInvocation) -> Self::Future {
        let tasks = Tasks::default();
        let span = observe::request(
            invocation_id(&invocation.context.request_id),
            IS_COLD.swap(false, Ordering::Relaxed),
            invocation.context.xray_trace_id.as_deref(),
        );
        let responding =
            span.in_scope(|| TASKS.sync_scope(tasks.clone(), || self.0.call(invocation)));
        let scope = tasks.clone();
        // The span ends with the last of the work, and its line is written before Lambda may freeze
        // the environment.
        let work = async move {
            let responded = responding.await;
            tasks.done().await;
            responded
        };
        Box::pin(TASKS.scope(scope, work).instrument(span))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        time::Duration,
    };

    use tower::service_fn;

    use super::*;

    fn invocation() -> LambdaInvocation {
        LambdaInvocation {
            parts: http::Response::new(()).into_parts().0,
            body: bytes::Bytes::new(),
            context: lambda_runtime::Context::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_invocation_stays_open_until_its_tasks_are_done_even_when_the_response_failed() {
        for response_sent in [true, false] {
            let done = Arc::new(AtomicBool::new(false));
            let seen = done.clone();
            let mut service = DrainLayer.layer(service_fn(move |_| {
                let done = done.clone();
                async move {
                    let outer = tasks();
                    let inner = outer.clone();
                    outer.spawn(async move {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        inner.spawn(async move {
                            tokio::time::sleep(Duration::from_secs(1)).await;
                            done.store(true, Ordering::SeqCst);
                        });
                    });
                    if response_sent {
                        Ok(())
                    } else {
                        Err(Error::from("connection to the Runtime API lost"))
                    }
                }
            }));
            assert_eq!(service.call(invocation()).await.is_ok(), response_sent);
            assert!(
                seen.load(Ordering::SeqCst),
                "the nested task was not waited for"
            );
        }
    }
}
