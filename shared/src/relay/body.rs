//! The body of a relayed answer.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderName;
use http_body::Frame;
use tokio::sync::mpsc;

/// The trailer of a body that ends before its answer does and cannot say so itself; its value is the
/// reason.
pub const BROKEN_OFF: HeaderName = HeaderName::from_static("x-gateway-broken-off");

/// The body of a relayed answer. It cannot fail: Lambda's runtime writes a body's error into the
/// body as text and ends it cleanly, so a broken answer ends with an error event of ours or, where
/// it has no events, with the trailer [`BROKEN_OFF`] instead.
#[derive(Debug)]
pub struct RelayBody(pub(super) mpsc::Receiver<Frame<Bytes>>);

impl From<Bytes> for RelayBody {
    /// A body that is there already, as the gateway's own answers are.
    fn from(whole: Bytes) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        // The channel is new, so there is room and someone to receive.
        let _ = sender.try_send(Frame::data(whole));
        Self(receiver)
    }
}

impl http_body::Body for RelayBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}
