//! Routes: the buckets and hashes of a token's names, computed once for a token.

use std::sync::Arc;

use super::{
    bucket::SessionNames,
    deny_set::{EntryKind, EntryName, NameHasher},
    verdict::Bearer,
};
use crate::{
    ids::Subject,
    store::{Denylist, ExternalId, ExternalName, RevocationLog},
};

/// The route from a token to its revocations.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// A token of our own.
    Session(SessionRoute),
    /// Another issuer's token: each name under which it may be revoked.
    External(Arc<[ExternalRoute]>),
}

/// The bucket of a subject, and the hashes of the names of subject, session and token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionRoute {
    pub(super) bucket: u32,
    subject: u32,
    session: u32,
    token: u32,
}

/// One name of another issuer's token, and its hash.
#[derive(Clone, Debug)]
pub(crate) struct ExternalRoute {
    name: ExternalName,
    hash: u32,
}

/// Finds the routes of tokens.
pub(super) struct Router {
    log: Arc<dyn RevocationLog>,
    denylist: Option<Arc<dyn Denylist>>,
    hasher: NameHasher,
}

impl Router {
    pub(super) fn new(log: Arc<dyn RevocationLog>, denylist: Option<Arc<dyn Denylist>>, hasher: NameHasher) -> Self {
        Self { log, denylist, hasher }
    }

    pub(super) fn bucket_of(&self, subject: &Subject) -> u32 {
        self.log.bucket_of(subject)
    }

    /// Returns the route of one of our own tokens.
    pub(super) fn session(&self, bearer: &Bearer<'_>) -> Route {
        let Bearer { subject, session_id, token_id, .. } = *bearer;
        Route::Session(SessionRoute {
            bucket: self.bucket_of(subject),
            subject: self.hasher.hash(EntryKind::Subject, subject.as_str(), ""),
            session: self.hasher.hash(EntryKind::Session, subject.as_str(), session_id),
            token: self.hasher.hash(EntryKind::Token, subject.as_str(), token_id),
        })
    }

    /// Returns the route of another issuer's token.
    pub(super) fn external(&self, issuer: &str, ids: impl IntoIterator<Item = ExternalId>) -> Route {
        let routes = ids.into_iter().filter_map(|id| {
            let name = self.denylist.as_ref()?.log_name(issuer, &id);
            let hash = self.hasher.hash(EntryKind::External, &name.id, "");
            Some(ExternalRoute { name, hash })
        });
        Route::External(routes.collect())
    }
}

impl SessionRoute {
    /// Returns the names of this token, with their hashes.
    pub(super) fn names<'a>(&self, bearer: &Bearer<'a>) -> SessionNames<'a> {
        let Bearer { subject, session_id, token_id, .. } = *bearer;
        let subject = subject.as_str();
        SessionNames {
            subject: EntryName::hashed(self.subject, EntryKind::Subject, subject, ""),
            session: EntryName::hashed(self.session, EntryKind::Session, subject, session_id),
            token: EntryName::hashed(self.token, EntryKind::Token, subject, token_id),
        }
    }
}

impl ExternalRoute {
    pub(super) fn bucket(&self) -> u32 {
        self.name.bucket
    }

    pub(super) fn name(&self) -> EntryName<'_> {
        EntryName::hashed(self.hash, EntryKind::External, &self.name.id, "")
    }
}
