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
#[derive(Debug)]
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

    /// Returns the ids. `issuer` is that of our own tokens.
    pub(super) fn unpack(&self, issuer: &Arc<str>) -> OwnedIds {
        let (subject, rest) = split(&self.text, self.subject);
        let (session, rest) = split(rest, self.session);
        let (token, own_issuer) = split(rest, self.token);
        let token = if self.follows_session { [session, token].concat() } else { token.to_owned() };
        OwnedIds {
            issuer: if own_issuer.is_empty() { Arc::clone(issuer) } else { own_issuer.into() },
            subject: subject.into(),
            session: self.has_session.then(|| session.into()),
            token: token.into(),
            generation: self.generation,
            issued_at: self.issued_at,
            expires_at: self.expires_at,
        }
    }

    /// Returns the session's id, for logs.
    #[cfg(feature = "tracing")]
    pub(super) fn session(&self) -> &str {
        split(split(&self.text, self.subject).1, self.session).0
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

fn split(text: &str, at: u16) -> (&str, &str) {
    text.split_at_checked(at.into()).unwrap_or((text, ""))
}
