//! The future of a stream's end.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::atomic::Ordering,
    task::{Context, Poll},
};

use super::{cause::CutoffCause, io::CutoffIo, stream::OpenStream, streams::Streams};
use crate::jwt::{Claims, NoClaims};

/// A future that resolves with a cause when a token is no longer good.
///
/// The cause is a revocation of the token, its session or its subject, or a store that was away for
/// too long. Sockets and tasks that outlive their request use this type. [`TokenService::ended`]
/// makes it from claims. In Axum it is also an extractor (feature `axum`), and `C` is the type of
/// the layer's claims.
///
/// Take it before the handler returns. The watch over the token begins when the value is made, and
/// ends when the value is dropped. A loop can poll `&mut Cutoff` repeatedly, as below.
///
/// ```
/// use axum::{
///     extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code},
///     response::Response,
/// };
/// use tower_bearer::Cutoff;
///
/// async fn handler(upgrade: WebSocketUpgrade, cutoff: Cutoff) -> Response {
///     upgrade.on_upgrade(|socket| echo(socket, cutoff))
/// }
///
/// async fn echo(mut socket: WebSocket, mut cutoff: Cutoff) {
///     loop {
///         tokio::select! {
///             cause = &mut cutoff => {
///                 let frame = CloseFrame { code: close_code::POLICY, reason: cause.as_str().into() };
///                 let _ = socket.send(Message::Close(Some(frame))).await;
///                 return;
///             }
///             message = socket.recv() => {
///                 let Some(Ok(message)) = message else { return };
///                 if socket.send(message).await.is_err() {
///                     return;
///                 }
///             }
///         }
///     }
/// }
/// ```
///
/// If a client does not read, a send can wait for long. Give the send a deadline, or
/// [`wrap`](Self::wrap) the connection.
///
/// [`TokenService::ended`]: crate::TokenService::ended
#[must_use = "a future does nothing unless it is polled"]
pub struct Cutoff<C = NoClaims> {
    stream: OpenStream,
    claims: PhantomData<fn() -> C>,
}

impl<C> Cutoff<C> {
    pub(crate) fn new(streams: &Streams, claims: &Claims<C>) -> Self {
        let notes = claims.notes();
        if let Some(is_watched) = &notes.upgrade {
            is_watched.store(true, Ordering::Release);
        }
        Self { stream: OpenStream::open(streams, &claims.names(), notes.cut_at_expiry, None), claims: PhantomData }
    }

    /// Starts a watch over the token of these claims. Returns `None` if no service verified them.
    pub(crate) fn of(claims: &Claims<C>) -> Option<Self>
    where
        C: Send + Sync + 'static,
    {
        Some(Self::new(&claims.ticket()?.streams()?, claims))
    }

    /// Makes the expiry of the token a cause too: the future then resolves at `exp` plus the
    /// leeway.
    ///
    /// By default a socket may outlive its token. A layer with
    /// [`AuthLayer::cut_at_expiry`](crate::AuthLayer::cut_at_expiry) calls this for the claims of
    /// its requests.
    pub fn at_expiry(mut self) -> Self {
        self.stream.cut_at_expiry();
        self
    }

    /// Returns the cause if the token is no longer good now, and `None` otherwise.
    #[must_use]
    pub fn cause(&self) -> Option<CutoffCause> {
        self.stream.cause()
    }

    /// Wraps a connection. After the cutoff, its reads, writes and flushes return an error:
    /// see [`CutoffIo`].
    pub fn wrap<T>(self, io: T) -> CutoffIo<T> {
        CutoffIo::new(self.stream, io)
    }
}

impl<C> Future for Cutoff<C> {
    type Output = CutoffCause;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<CutoffCause> {
        self.stream.poll_cut(context)
    }
}

impl<C> fmt::Debug for Cutoff<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cutoff").field("cause", &self.cause()).finish()
    }
}
