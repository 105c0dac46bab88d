//! The registries of open streams: one for each source of decisions about revocations.

use std::sync::Arc;

use crate::{
    cutoff::{StreamStatus, Streams},
    jwt::External,
    replica::{Replica, ReplicaTasks, RevocationListener},
    store::Revocation,
};

/// The open streams of a service. Each registry has one clock and one source of decisions about
/// revocations. Own tokens and other issuers' tokens need different clocks and sources, so they
/// have different registries.
#[derive(Clone)]
pub(super) struct TokenStreams {
    own: Streams,
    /// The streams with other issuers' tokens that a denylist can revoke.
    revocable: Option<Streams>,
    /// The streams with other issuers' tokens that nothing revokes.
    stateless: Option<Streams>,
}

impl TokenStreams {
    pub(super) fn new(own: Streams, revocable: Option<Streams>, stateless: Option<Streams>) -> Self {
        Self { own, revocable, stateless }
    }

    /// Returns the registry of streams with own tokens.
    pub(super) fn own(&self) -> &Streams {
        &self.own
    }

    /// Returns the registry of streams with other issuers' tokens that a denylist can revoke.
    pub(super) fn revocable(&self) -> Option<&Streams> {
        self.revocable.as_ref()
    }

    /// Returns the registry for own tokens (`None`), or for another issuer's token (`Some`).
    pub(super) fn of(&self, external: Option<&External>) -> &Streams {
        let others = match external {
            None => None,
            Some(External { is_revocable: true, .. }) => self.revocable.as_ref(),
            Some(_) => self.stateless.as_ref(),
        };
        others.unwrap_or(&self.own)
    }

    /// Gives the replica and its tasks to the registries. The replica's log then confirms the
    /// tokens of the streams.
    pub(super) fn follow(&self, replica: &Arc<Replica>, tasks: ReplicaTasks) {
        let tasks = Arc::new(tasks);
        for streams in self.followers() {
            streams.follow(Arc::clone(replica), Arc::clone(&tasks));
        }
    }

    /// Returns the listener through which the replica reports revocations to the registries.
    pub(super) fn listener(&self) -> Box<dyn RevocationListener> {
        Box::new(Listeners(self.followers().map(Streams::listener).collect()))
    }

    fn followers(&self) -> impl Iterator<Item = &Streams> {
        [&self.own].into_iter().chain(&self.revocable)
    }

    pub(super) fn status(&self) -> StreamStatus {
        let all = self.followers().chain(&self.stateless);
        all.map(Streams::status).fold(StreamStatus::default(), StreamStatus::and)
    }
}

/// The listeners of several registries, as one listener.
struct Listeners(Vec<Box<dyn RevocationListener>>);

impl RevocationListener for Listeners {
    fn is_urgent(&self) -> bool {
        self.0.iter().any(|listener| listener.is_urgent())
    }

    fn revoked(&self, revocations: &mut dyn Iterator<Item = &Revocation>) {
        match &*self.0 {
            [one] => one.revoked(revocations),
            several => {
                let all: Vec<_> = revocations.collect();
                for listener in several {
                    listener.revoked(&mut all.iter().copied());
                }
            }
        }
    }
}
