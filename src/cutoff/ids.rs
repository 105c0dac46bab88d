//! The ids of a stream's token, in one allocation.

use std::sync::Arc;

use crate::{
    clock::Timestamp,
    ids::{SessionId, Subject, TokenId},
    jwt::TokenNames,
    replica::Bearer,
    store::ExternalId,
};

/// The ids of a token. The `jti` of a token of this crate begins with its `sid`, so `text` contains
/// the bytes of the `sid` only once.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Ids {
    /// The subject, the session id and the token id (without a leading session id). For another
    /// issuer's token, the issuer follows.
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

/// The ids in separate values.
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
    /// Packs the ids. Returns `None` if an id has more than 65,535 bytes. The ids of verified
    /// tokens are shorter.
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

    /// Copies the ids to separate values. `issuer` is the issuer of this service's tokens, and is
    /// used if `text` contains no issuer.
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

    /// Returns the ids of a token of this service without a copy. `subject` is the token's subject.
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

    /// Returns the session's id, which is empty for a token without a session.
    pub(super) fn session(&self) -> &str {
        self.part(1, 2)
    }

    /// Returns the token's id, whose text may begin with the session's id.
    fn token(&self) -> &str {
        self.part(if self.follows_session { 1 } else { 2 }, 3)
    }

    /// Returns the text from part `first` up to, but without, part `end`. Part 0 is the subject,
    /// part 1 the session id, part 2 the token id (without a leading session id).
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

    /// Returns the ids by which a denylist may deny another issuer's token.
    pub(super) fn external(&self) -> Vec<ExternalId> {
        let session = self.session.clone().map(ExternalId::Session);
        let all = [ExternalId::Subject(self.subject.clone()), ExternalId::Token(self.token.clone())];
        all.into_iter().chain(session).collect()
    }
}
