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

/// A future that resolves with the cause when a token is no longer good: the token, its session or
/// its subject was revoked, or the store was away for too long.
///
/// It is for sockets and tasks that outlive their request. [`TokenService::ended`] makes it from
/// claims. In Axum it is an extractor (feature `axum`), whose `C` is that of the layer's claims.
/// Take it before the handler returns: the watch begins when the value is made, and ends when the
/// value is dropped. An `&mut Cutoff` can be polled again and again, as in `tokio::select!`.
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
///             message = socket.recv() => match message {
///                 Some(Ok(message)) if socket.send(message).await.is_ok() => {}
///                 _ => return,
///             },
///         }
///     }
/// }
/// ```
///
/// A send to a client that does not read can wait for long. Give it a deadline, or
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

    /// Returns the cutoff of the claims of a request; `None` if no service has verified them.
    #[cfg(feature = "axum")]
    pub(crate) fn of(claims: &Claims<C>) -> Option<Self>
    where
        C: Send + Sync + 'static,
    {
        Some(Self::new(&claims.ticket()?.streams()?, claims))
    }

    /// Resolves also when the token expires, at `exp` plus the leeway.
    ///
    /// By default a socket may outlive its token while the session lives. An
    /// [`AuthLayer::cut_at_expiry`](crate::AuthLayer::cut_at_expiry) switches this on for the claims
    /// of its requests.
    pub fn at_expiry(mut self) -> Self {
        self.stream.cut_at_expiry();
        self
    }

    /// Returns the cause if the token is no longer good, without waiting.
    #[must_use]
    pub fn cause(&self) -> Option<CutoffCause> {
        self.stream.cause()
    }

    /// Returns the connection with an end: after the cutoff, each read, write and flush returns an
    /// error. See [`CutoffIo`].
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
