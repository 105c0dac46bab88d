//! A future that resolves when the node cuts a stream.

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

/// A future that resolves with a [`CutoffCause`] when the node no longer accepts a token.
///
/// Use the future in connections and tasks that outlive their request. It resolves if:
///
/// * the token, its session or all sessions of its subject are revoked, or
/// * the node cannot confirm the token in time, mostly because the store is unavailable.
///
/// [`TokenService::ended`] creates the future from claims. With the feature `axum`, the type is
/// also an extractor, and `C` is the type of the layer's claims.
///
/// Create the future before the handler returns. The node watches the token until the future is
/// dropped. A loop can poll `&mut Cutoff` repeatedly:
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
///                 let reason = cause.as_str().into();
///                 let frame = CloseFrame { code: close_code::POLICY, reason };
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
/// This loop does not poll the future while it sends. If the client does not read, a send can wait
/// for a long time. So give each send a deadline, or [`wrap`](Self::wrap) the connection.
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
        if let Some(is_watched) = notes.and_then(|notes| notes.upgrade.as_ref()) {
            is_watched.store(true, Ordering::Release);
        }
        let at_expiry = notes.is_some_and(|notes| notes.cut_at_expiry);
        Self { stream: OpenStream::open(streams, &claims.names(), at_expiry, None), claims: PhantomData }
    }

    /// Starts to watch the token of these claims. Returns `None` if no service verified the claims.
    pub(crate) fn of(claims: &Claims<C>) -> Option<Self>
    where
        C: Send + Sync + 'static,
    {
        Some(Self::new(&claims.ticket()?.streams()?, claims))
    }

    /// Makes the future also resolve when the token expires, at `exp` plus the leeway.
    ///
    /// By default, the future ignores the expiry. With the setting
    /// [`AuthLayer::cut_at_expiry`](crate::AuthLayer::cut_at_expiry), this call is not necessary.
    pub fn at_expiry(mut self) -> Self {
        self.stream.cut_at_expiry();
        self
    }

    /// Returns the cause if the node no longer accepts the token, and `None` otherwise.
    #[must_use]
    pub fn cause(&self) -> Option<CutoffCause> {
        self.stream.cause()
    }

    /// Wraps a connection. Its reads, writes and flushes then return an error after the cutoff: see
    /// [`CutoffIo`].
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
