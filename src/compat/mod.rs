//! Everything that exists only for applications that come from `fastcore.security`, the predecessor:
//! its names, its [`Settings`], its error codes ([`Error::code`]), and its refresh without rotation
//! ([`TokenService::refresh_access_token`]).
//!
//! Its tokens are accepted by [`TokenService::validate_jwt_stateless`] with the same secret, issuer
//! and audience. They have no key id, so beside another key theirs is added
//! [without a name](crate::jwt::VerifyingKey::without_kid). Its bcrypt hashes verify.
//!
//! | there | here |
//! |--|--|
//! | `create_access_token`, `create_refresh_token`, `create_token_pair` | [`TokenService::create_access_token`], [`create_refresh_token`](TokenService::create_refresh_token), [`create_token_pair`](TokenService::create_token_pair) |
//! | `validate_token` | [`TokenService::validate_token`] |
//! | `refresh_access_token` | [`TokenService::refresh`]; [`refresh_access_token`](TokenService::refresh_access_token) if nothing is to rotate |
//! | `revoke_token` | [`TokenService::revoke_token`], [`revoke_session`](TokenService::revoke_session) |
//! | `revoke_all_tokens_for_user`, with `except` | [`TokenService::revoke_all_for_subject`], [`revoke_all_for_subject_except`](TokenService::revoke_all_for_subject_except) |
//! | `decode_token`, `encode_jwt`, `validate_jwt_stateless` | [`jwt::decode_token`], [`jwt::encode_jwt`], [`jwt::validate_jwt_stateless`] |
//! | `TokenRepository`, `Token` | [`SessionStore`], [`SessionRecord`](store::SessionRecord) (a session, not a token) |
//! | `TokenType` | [`TokenType`] |
//! | `get_password_hash`, `verify_password` | `password::PasswordHasher` |
//! | `UserAuthentication`, `BaseUserAuthentication` | [`users::UserAuthentication`] |
//! | `get_token_data` | [`AuthLayer`] and [`Claims`] |
//! | `get_current_user_dependency` | [`middleware::CurrentUserLayer`] and [`users::CurrentUser`] |
//! | `get_refresh_token_data`, `refresh_token` | [`Endpoints::refresh`](endpoints::Endpoints::refresh) |
//! | `logout_user` | [`Endpoints::logout`](endpoints::Endpoints::logout): it ends the whole session |
//! | `setup_security` | [`TokenService::builder`] |
//! | `get_security_status` | [`TokenService::status`], [`Endpoints::health`](endpoints::Endpoints::health) |
//! | `InvalidTokenError`, `ExpiredTokenError`, `RevokedTokenError` | [`error::TokenError`], with the same codes |
//! | `InvalidCredentialsError`, `AuthenticationError` | [`Error`] |

mod codes;
mod refresh;
mod settings;

pub use self::settings::Settings;
#[cfg(doc)]
use crate::{
    AuthLayer, Claims, Error, SessionStore, TokenService, TokenType, endpoints, error, jwt, middleware, store, users,
};
