//! The ids of a stream's token, in one allocation.

use std::sync::Arc;

use crate::{
    clock::Timestamp,
    ids::{SessionId, Subject, TokenId},
    jwt::TokenNames,
    replica::Bearer,
    store::ExternalId,
};

/// The ids of a token. A `jti` that begins with the `sid`, as those of this crate do, is kept
/// without it.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Ids {
    /// Subject, session, token, and the issuer of another issuer's token.
    text: Box<str>,
    subject: u16,
    session: u16,
    token: u16,
    has_session: bool,
    follows_session: bool,
    pub(super) generation: u64,
    pub(super) issued_at: Timestamp,
    pub(super) expires_at: Timestamp,
}

/// The ids, each by itself.
#[derive(Debug)]
pub(super) struct OwnedIds {
    pub(super) issuer: Arc<str>,
    pub(super) subject: Subject,
    pub(super) session: Option<SessionId>,
    pub(super) token: TokenId,
    generation: u64,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

impl Ids {
    /// Packs the ids. `None` if one is longer than a verified token's can be.
    pub(super) fn new(names: &TokenNames<'_>, keeps_issuer: bool) -> Option<Self> {
        let TokenNames { subject, session_id, token_id, generation, issued_at, expires_at, .. } = *names;
        let (subject, session) = (subject.as_str(), session_id.map_or("", SessionId::as_str));
        let rest = token_id.as_str().strip_prefix(session).filter(|_| !session.is_empty());
        let token = rest.unwrap_or(token_id.as_str());
        let issuer = if keeps_issuer { names.issuer } else { "" };
        let length = |text: &str| u16::try_from(text.len()).ok();
        Some(Self {
            text: [subject, session, token, issuer].concat().into_boxed_str(),
            subject: length(subject)?,
            session: length(session)?,
            token: length(token)?,
            has_session: session_id.is_some(),
            follows_session: rest.is_some(),
            generation,
            issued_at,
            expires_at,
        })
    }

    /// Returns the ids by themselves. `issuer` is that of this service's tokens.
    pub(super) fn unpack(&self, issuer: &Arc<str>) -> OwnedIds {
        let own_issuer = self.text.get(self.lengths().iter().sum::<usize>()..).unwrap_or_default();
        OwnedIds {
            issuer: if own_issuer.is_empty() { Arc::clone(issuer) } else { own_issuer.into() },
            subject: self.subject().into(),
            session: self.has_session.then(|| self.session().into()),
            token: self.token().into(),
            generation: self.generation,
            issued_at: self.issued_at,
            expires_at: self.expires_at,
        }
    }

    /// Returns the ids of one of this service's tokens without a copy. `subject` is that of the token.
    pub(super) fn bearer<'a>(&'a self, issuer: &'a str, subject: &'a Subject) -> Bearer<'a> {
        Bearer {
            issuer,
            subject,
            session_id: self.session(),
            token_id: self.token(),
            generation: self.generation,
            issued_at: self.issued_at,
            expires_at: self.expires_at,
        }
    }

    pub(super) fn subject(&self) -> &str {
        self.part(0, 1)
    }

    /// Returns the session's id. It is empty without a session.
    pub(super) fn session(&self) -> &str {
        self.part(1, 2)
    }

    /// Returns the token's id. Its text may begin with the session's.
    fn token(&self) -> &str {
        self.part(if self.follows_session { 1 } else { 2 }, 3)
    }

    /// Returns the text of the ids between two numbers: 0 is the subject's, 1 the session's, 2 the
    /// token's.
    fn part(&self, first: usize, end: usize) -> &str {
        let until = |number| self.lengths().iter().take(number).sum::<usize>();
        self.text.get(until(first)..until(end)).unwrap_or_default()
    }

    fn lengths(&self) -> [usize; 3] {
        [self.subject, self.session, self.token].map(usize::from)
    }
}

impl OwnedIds {
    pub(super) fn bearer(&self) -> Bearer<'_> {
        Bearer {
            issuer: &self.issuer,
            subject: &self.subject,
            session_id: self.session.as_ref().map_or("", SessionId::as_str),
            token_id: self.token.as_str(),
            generation: self.generation,
            issued_at: self.issued_at,
            expires_at: self.expires_at,
        }
    }

    /// Returns the ids under which another issuer's token may be revoked.
    pub(super) fn external(&self) -> Vec<ExternalId> {
        let session = self.session.clone().map(ExternalId::Session);
        let all = [ExternalId::Subject(self.subject.clone()), ExternalId::Token(self.token.clone())];
        all.into_iter().chain(session).collect()
    }
}
