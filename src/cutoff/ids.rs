//! The ids of a stream's token, in one allocation.

use std::sync::Arc;

use crate::{
    clock::Timestamp,
    ids::{SessionId, Subject, TokenId},
    jwt::TokenNames,
    replica::Bearer,
    store::{DenyQuery, ExternalId},
};

/// The ids of a token, packed into bytes.
///
/// The bytes are the [`Head`], and then a text: the subject, the session id, the token id and, for
/// another issuer's token, the issuer. If the token id begins with the session id, the text
/// contains the session id only once. Equal ids have equal bytes.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Ids(Box<[u8]>);

/// The lengths, flags and times before the text. Small numbers take fewer bytes: see
/// [`write_number`].
#[derive(Clone, Copy)]
struct Head {
    /// The lengths in bytes of the subject, the session id and the token id. If the token id begins
    /// with the session id, its length counts only the rest.
    lengths: [usize; 3],
    has_session: bool,
    /// True if the token id begins with the session id.
    follows_session: bool,
    generation: u64,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

/// The ids of a token as separate values.
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

/// A view of packed [`Ids`]: the decoded head and the text.
#[derive(Clone, Copy)]
pub(super) struct Unpacked<'a> {
    head: Head,
    text: &'a str,
}

impl Ids {
    /// Packs the ids. Returns `None` if an id is longer than 65,535 bytes. Verified tokens have
    /// shorter ids.
    pub(super) fn new(names: &TokenNames<'_>, keeps_issuer: bool) -> Option<Self> {
        let TokenNames { subject, session_id, token_id, generation, issued_at, expires_at, .. } = *names;
        let (subject, session) = (subject.as_str(), session_id.map_or("", SessionId::as_str));
        let rest = token_id.as_str().strip_prefix(session).filter(|_| !session.is_empty());
        let token = rest.unwrap_or(token_id.as_str());
        let issuer = if keeps_issuer { names.issuer } else { "" };
        let lengths = [subject, session, token].map(str::len);
        if lengths.iter().any(|length| u16::try_from(*length).is_err()) {
            return None;
        }
        let (has_session, follows_session) = (session_id.is_some(), rest.is_some());
        let mut bytes = Vec::with_capacity(64 + subject.len() + session.len() + token.len() + issuer.len());
        Head { lengths, has_session, follows_session, generation, issued_at, expires_at }.write(&mut bytes);
        for text in [subject, session, token, issuer] {
            bytes.extend_from_slice(text.as_bytes());
        }
        Some(Self(bytes.into_boxed_slice()))
    }

    /// Decodes the head.
    pub(super) fn read(&self) -> Unpacked<'_> {
        let mut rest = &*self.0;
        let head = Head::read(&mut rest);
        // The text is valid UTF-8, because `new` wrote it.
        Unpacked { head, text: str::from_utf8(rest).unwrap_or_default() }
    }
}

impl Head {
    fn write(&self, bytes: &mut Vec<u8>) {
        let [subject, session, token] = self.lengths.map(|length| length as u64);
        let (issued_at, expires_at) = (self.issued_at.as_millis(), self.expires_at.as_millis());
        // Stores the lifetime instead of the expiry: the smaller number takes fewer bytes.
        let lifetime = expires_at.wrapping_sub(issued_at);
        // Tokens of this crate have times in whole seconds. Seconds take fewer bytes than
        // milliseconds.
        let in_seconds = issued_at % SECOND == 0 && lifetime % SECOND == 0;
        let unit = if in_seconds { SECOND } else { 1 };
        bytes.push(flags([self.has_session, self.follows_session, in_seconds]));
        for number in [subject, session, token, self.generation, issued_at / unit, lifetime / unit] {
            write_number(bytes, number);
        }
    }

    fn read(bytes: &mut &[u8]) -> Self {
        let flags = bytes.split_off_first().copied().unwrap_or_default();
        let mut number = || read_number(bytes);
        let mut length = || usize::try_from(number()).unwrap_or_default();
        let lengths = [length(), length(), length()];
        let generation = number();
        let unit = if flags & 4 == 0 { 1 } else { SECOND };
        let mut time = || number().wrapping_mul(unit);
        let (issued_at, lifetime) = (time(), time());
        Self {
            lengths,
            has_session: flags & 1 != 0,
            follows_session: flags & 2 != 0,
            generation,
            issued_at: Timestamp::from_millis(issued_at),
            expires_at: Timestamp::from_millis(issued_at.wrapping_add(lifetime)),
        }
    }
}

/// A second in milliseconds.
const SECOND: u64 = 1000;

/// Packs three flags into a byte. The first flag is the lowest bit.
fn flags(flags: [bool; 3]) -> u8 {
    flags.iter().rev().fold(0, |byte, flag| byte << 1 | u8::from(*flag))
}

/// Appends a number with 7 bits in each byte, the lowest bits first. The highest bit of a byte is
/// set if another byte follows.
fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn read_number(bytes: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    while let Some(byte) = bytes.split_off_first() {
        number |= u64::from(byte & 0x7f).unbounded_shl(shift);
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
    }
    number
}

impl<'a> Unpacked<'a> {
    /// Copies the ids to separate values. If the text contains no issuer, the token has the issuer
    /// of this service's tokens, `issuer`.
    pub(super) fn to_owned(self, issuer: &Arc<str>) -> OwnedIds {
        let own_issuer = self.text.get(self.head.lengths.iter().sum::<usize>()..).unwrap_or_default();
        OwnedIds {
            issuer: if own_issuer.is_empty() { Arc::clone(issuer) } else { own_issuer.into() },
            subject: self.subject().into(),
            session: self.head.has_session.then(|| self.session().into()),
            token: self.token().into(),
            generation: self.head.generation,
            issued_at: self.head.issued_at,
            expires_at: self.head.expires_at,
        }
    }

    /// Borrows the ids of a token of this service as a [`Bearer`]. `issuer` and `subject` are those
    /// of the token.
    pub(super) fn bearer(self, issuer: &'a str, subject: &'a Subject) -> Bearer<'a> {
        Bearer {
            issuer,
            subject,
            session_id: self.session(),
            token_id: self.token(),
            generation: self.head.generation,
            issued_at: self.head.issued_at,
            expires_at: self.head.expires_at,
        }
    }

    pub(super) fn subject(self) -> &'a str {
        self.part(0, 1)
    }

    /// Returns the session id, or an empty text for a token without a session.
    pub(super) fn session(self) -> &'a str {
        self.part(1, 2)
    }

    pub(super) fn issued_at(self) -> Timestamp {
        self.head.issued_at
    }

    pub(super) fn expires_at(self) -> Timestamp {
        self.head.expires_at
    }

    /// Returns the token id. If the token id begins with the session id, the bytes of the session
    /// id in the text are also the beginning of the token id.
    fn token(self) -> &'a str {
        self.part(if self.head.follows_session { 1 } else { 2 }, 3)
    }

    /// Returns the text of the parts from `first` to `end - 1`. Part 0 is the subject, part 1 the
    /// session id, and part 2 the token id without a leading session id.
    fn part(self, first: usize, end: usize) -> &'a str {
        let until = |number| self.head.lengths.iter().take(number).sum::<usize>();
        self.text.get(until(first)..until(end)).unwrap_or_default()
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

    /// Returns the query that asks a denylist about another issuer's token.
    pub(super) fn deny_query(&self) -> DenyQuery {
        DenyQuery::about(&self.issuer, &self.token, self.session.as_ref(), &self.subject)
    }

    /// Returns the ids by which a denylist can deny another issuer's token.
    pub(super) fn external(&self) -> Vec<ExternalId> {
        self.deny_query().into_ids().collect()
    }
}
