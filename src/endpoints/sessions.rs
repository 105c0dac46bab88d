//! The session endpoints: list the caller's sessions, and end one of them.

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header::LINK, request::Parts};
use http_body_util::Full;
use serde::Serialize;

use super::{
    answer::{empty, json, of_operation},
    endpoint::{Handle, claims_of, refuse_irrevocable},
    fields::Fields,
};
use crate::{
    ids::{SessionId, is_id},
    middleware::{Rejection, RejectionKind},
    store::Page,
    tokens::TokenService,
};

/// The approximate number of sessions in one response.
const PER_PAGE: usize = 200;
/// The maximum number of store calls for one request. The store returns only live sessions, so one
/// call is not enough if most of the sessions that it reads have ended.
const MAX_STEPS: usize = 10;

/// The handler of [`Endpoints::sessions`](super::Endpoints::sessions).
///
/// The handler lists about 200 sessions per response. If there are more, the response has a `Link`
/// to the next page (RFC 8288, `rel="next"`).
pub struct Sessions<C> {
    pub(super) tokens: TokenService<C>,
}

/// One session of the response. Times are whole seconds since the Unix epoch.
#[derive(Serialize)]
struct Listed {
    sid: String,
    opened_at: u64,
    last_rotated_at: u64,
    expires_at: u64,
    current: bool,
    label: String,
}

impl<C: Send + Sync + 'static> Handle for Sessions<C> {
    const METHODS: &'static [Method] = &[Method::GET, Method::HEAD];
    const READS_BODY: bool = false;

    async fn handle(&self, parts: Parts, _: Fields) -> Result<Response<Full<Bytes>>, Rejection> {
        let claims = claims_of::<C>(&parts)?;
        // The `sub` of another issuer's token may equal the id of a different user of this service.
        // The response must not show that user's sessions.
        if claims.is_external() {
            return Err(Rejection::forbidden());
        }
        let query = parts.uri.query().unwrap_or_default();
        let mut cursor = form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "cursor")
            .map(|(_, value)| value.into_owned());
        let mut sessions = Vec::new();
        for _ in 0..MAX_STEPS {
            let page = Page { cursor, limit: 0 };
            let page = self.tokens.sessions(claims.subject(), page).await.map_err(of_operation)?;
            sessions.extend(page.sessions.into_iter().map(|session| Listed {
                current: claims.session_id() == Some(&session.sid),
                sid: session.sid.to_string(),
                opened_at: session.opened_at.as_secs(),
                last_rotated_at: session.last_rotated_at.as_secs(),
                expires_at: session.expires_at.as_secs(),
                label: session.label,
            }));
            cursor = page.next;
            if cursor.is_none() || sessions.len() >= PER_PAGE {
                break;
            }
        }
        let mut response = json(StatusCode::OK, &sessions);
        if let Some(cursor) = cursor {
            let query: String = form_urlencoded::Serializer::new(String::new()).append_pair("cursor", &cursor).finish();
            let link = HeaderValue::try_from(format!("<?{query}>; rel=\"next\""));
            response.headers_mut().extend(link.ok().map(|link| (LINK, link)));
        }
        Ok(response)
    }
}

/// The handler of [`Endpoints::revoke_session`](super::Endpoints::revoke_session).
pub struct RevokeSession<C> {
    pub(super) tokens: TokenService<C>,
}

impl<C: Send + Sync + 'static> Handle for RevokeSession<C> {
    const METHODS: &'static [Method] = &[Method::DELETE];
    const READS_BODY: bool = false;

    async fn handle(&self, parts: Parts, _: Fields) -> Result<Response<Full<Bytes>>, Rejection> {
        let claims = claims_of::<C>(&parts)?;
        // Session ids are base64url, so the path needs no percent-decoding.
        let sid = parts.uri.path().rsplit('/').next().filter(|sid| is_id(sid)).ok_or_else(not_found)?;
        let sid = &SessionId::new(sid);
        // The store has no records of another issuer's sessions, so a client may end only the
        // session of its own token.
        if claims.is_external() {
            if claims.session_id() != Some(sid) {
                return Err(not_found());
            }
            refuse_irrevocable(&claims)?;
            self.tokens.log_out(&claims).await.map_err(of_operation)?;
            return Ok(empty(StatusCode::NO_CONTENT));
        }
        // A revocation adds a log entry even for an unknown session. Without this lookup, a client
        // could fill the log with invented ids.
        if !self.tokens.has_session(claims.subject(), sid).await.map_err(of_operation)? {
            return Err(not_found());
        }
        self.tokens.revoke_session(claims.subject(), sid).await.map_err(of_operation)?;
        Ok(empty(StatusCode::NO_CONTENT))
    }
}

fn not_found() -> Rejection {
    Rejection::new(RejectionKind::NotFound)
}

impl<C> fmt::Debug for Sessions<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for RevokeSession<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevokeSession").finish_non_exhaustive()
    }
}
