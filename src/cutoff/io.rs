//! A connection that fails after the cutoff.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;
use pin_project::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{cause::CutoffCause, stream::OpenStream};

/// A connection that fails after the cutoff. [`Cutoff::wrap`] wraps, for example, an upgraded
/// connection.
///
/// * After the cutoff, reads, writes and flushes immediately return an error of kind
///   [`ConnectionAborted`](io::ErrorKind::ConnectionAborted). The error contains the
///   [`CutoffCause`].
/// * A shutdown still reaches the inner connection, so the application can close the connection.
/// * Two tasks may use the halves of `tokio::io::split`. The cutoff wakes both tasks.
///
/// ```
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use tower_bearer::{Claims, CutoffCause, MemoryStore, NewSession, TokenService, TokenType};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_bearer::BoxError> {
/// # let tokens = TokenService::builder()
/// #     .secret("a test secret that is long enough for HS256")
/// #     .store(MemoryStore::default())
/// #     .build()?;
/// # let token = tokens.create_access_token(NewSession::new("42")).await?;
/// # let claims = tokens.validate_token(token.as_str(), TokenType::Access).await?;
/// let (client, server) = tokio::io::duplex(64); // an upgraded connection
/// let mut server = tokens.ended(&claims).wrap(server);
/// server.write_all(b"hello").await?;
///
/// tokens.revoke_all_for_subject("42").await?;
/// let error = server.read_u8().await.unwrap_err();
/// assert_eq!(error.downcast::<CutoffCause>()?, CutoffCause::Revoked);
/// # drop(client);
/// # Ok(())
/// # }
/// ```
///
/// [`Cutoff::wrap`]: super::Cutoff::wrap
#[pin_project]
pub struct CutoffIo<T> {
    stream: OpenStream,
    halves: Arc<Halves>,
    /// The waker that `stream` stores. It wakes the tasks of both halves.
    waker: Waker,
    #[pin]
    io: T,
}

/// The wakers of the tasks that wait for the two directions of the connection.
#[derive(Debug, Default)]
struct Halves {
    reads: AtomicWaker,
    writes: AtomicWaker,
}

impl Wake for Halves {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.reads.wake();
        self.writes.wake();
    }
}

impl<T> CutoffIo<T> {
    pub(super) fn new(stream: OpenStream, io: T) -> Self {
        let halves = Arc::new(Halves::default());
        let waker = Waker::from(Arc::clone(&halves));
        Self { stream, halves, waker, io }
    }

    /// Returns the cause if the connection was cut.
    pub fn cause(&self) -> Option<CutoffCause> {
        self.stream.cause()
    }

    /// Returns the connection. A later cutoff does not affect the connection.
    pub fn into_inner(self) -> T {
        self.io
    }
}

/// Registers the caller's waker for one direction. Returns an error if the connection was cut.
fn check(stream: &OpenStream, waker: &Waker, half: &AtomicWaker, context: &Context<'_>) -> io::Result<()> {
    half.register(context.waker());
    match stream.poll_cut(&mut Context::from_waker(waker)) {
        Poll::Pending => Ok(()),
        Poll::Ready(cause) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, cause)),
    }
}

impl<T: AsyncRead> AsyncRead for CutoffIo<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        check(this.stream, this.waker, &this.halves.reads, context)?;
        this.io.poll_read(context, buffer)
    }
}

impl<T: AsyncWrite> AsyncWrite for CutoffIo<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.project();
        check(this.stream, this.waker, &this.halves.writes, context)?;
        this.io.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        check(this.stream, this.waker, &this.halves.writes, context)?;
        this.io.poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        check(this.stream, this.waker, &this.halves.writes, context)?;
        this.io.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_shutdown(context)
    }
}

impl<T> fmt::Debug for CutoffIo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CutoffIo").field("cause", &self.cause()).finish_non_exhaustive()
    }
}
