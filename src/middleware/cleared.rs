//! The cookies that a response removes, because their token has become useless.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header::SET_COOKIE};

use super::rejection::{Rejection, RejectionKind};
use crate::{
    cookies::{BrowserSessions, TokenCookie},
    error::{ConfigError, Error, TokenError},
};

/// The `Set-Cookie` fields that remove a layer's cookies from the browser.
#[derive(Clone, Debug)]
pub(super) struct ClearedCookies(Arc<Fields>);

#[derive(Debug)]
struct Fields {
    access: Vec<HeaderValue>,
    refresh: Option<HeaderValue>,
}

/// The cookies whose token has become useless.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Useless {
    Access,
    /// Both cookies: the session itself has ended.
    Session,
}

impl ClearedCookies {
    pub(super) fn of(sessions: &BrowserSessions) -> Self {
        let refresh = Some(sessions.refresh_cookie().clear());
        Self(Arc::new(Fields { access: vec![sessions.access_cookie().clear()], refresh }))
    }

    /// Creates the fields for cookies with these names. The layer does not know their attributes,
    /// so it uses the defaults of [`TokenCookie`]. Browsers ignore a field if the cookie has
    /// another path or domain.
    pub(super) fn of_names(names: &[String]) -> Result<Self, ConfigError> {
        let clear = |name: &String| TokenCookie::builder().name(name).build().map(|cookie| cookie.clear());
        let access = names.iter().map(clear).collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Fields { access, refresh: None })))
    }

    /// Adds the fields that remove the `useless` cookies.
    pub(super) fn clear(&self, useless: Useless, headers: &mut HeaderMap) {
        let refresh = self.0.refresh.iter().filter(|_| useless == Useless::Session);
        for field in self.0.access.iter().chain(refresh) {
            headers.append(SET_COOKIE, field.clone());
        }
    }
}

impl Useless {
    /// Returns the cookies that are useless after this rejection of the token in the access cookie.
    pub(super) fn after(rejection: &Rejection) -> Option<Self> {
        match rejection.cause() {
            // `InvalidRequest` without a cause: the text in the cookie is not a token.
            None => (rejection.kind() == RejectionKind::InvalidRequest).then_some(Self::Access),
            Some(Error::Token(error)) => match error {
                TokenError::Revoked { .. } | TokenError::SessionExpired => Some(Self::Session),
                // The token may be acceptable later.
                TokenError::NotYetValid { .. } | TokenError::Refused => None,
                // The session may still exist, even if the store does not know it at the moment. So
                // the refresh cookie remains.
                _ => Some(Self::Access),
            },
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, error::StoreErrorKind, ids::TokenId};

    #[test]
    fn only_the_end_of_the_session_makes_both_cookies_useless() {
        let revoked = TokenError::Revoked { token_id: TokenId::new("a"), revoked_at: None };
        let at = Timestamp::from_secs(1);
        for (error, expected) in [
            (Error::from(revoked), Some(Useless::Session)),
            (TokenError::SessionExpired.into(), Some(Useless::Session)),
            (TokenError::Expired { at }.into(), Some(Useless::Access)),
            (TokenError::UnknownSession.into(), Some(Useless::Access)),
            (TokenError::Signature.into(), Some(Useless::Access)),
            (TokenError::NotYetValid { at }.into(), None),
            (TokenError::Refused.into(), None),
            (crate::error::StoreError::new(StoreErrorKind::Timeout).into(), None),
        ] {
            let rejection = Rejection::from(error);
            assert_eq!(Useless::after(&rejection), expected, "{rejection:?}");
        }
        assert_eq!(Useless::after(&Rejection::new(RejectionKind::CrossSite)), None);
        assert_eq!(Useless::after(&Rejection::forbidden()), None);
    }
}
