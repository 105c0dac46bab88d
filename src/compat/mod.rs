//! Support for applications that migrate from `fastcore.security`, the predecessor of this crate.
//! The module contains the predecessor's [`Settings`], its error codes ([`Error::fastcore_code`]),
//! and its refresh without rotation ([`TokenService::refresh_access_token`],
//! [`Endpoints::refresh_without_rotation`]).
//!
//! With the same secret, issuer and audience, [`TokenService::validate_jwt_stateless`] accepts the
//! predecessor's tokens. Their headers have no `kid`, so add their key to a key set [without a
//! `kid`](crate::jwt::VerifyingKey::without_kid). The predecessor's bcrypt hashes stay valid.
//!
//! | `fastcore.security` | this crate |
//! |--|--|
//! | `create_access_token` | [`TokenService::create_access_token`] |
//! | `create_refresh_token` | [`TokenService::create_refresh_token`] |
//! | `create_token_pair` | [`TokenService::create_token_pair`] |
//! | `validate_token` | [`TokenService::validate_token`] |
//! | `refresh_access_token` | [`TokenService::refresh`] |
//! | the same, without rotation | [`TokenService::refresh_access_token`] |
//! | `revoke_token` | [`TokenService::revoke_token`], [`TokenService::revoke_session`] |
//! | `revoke_all_tokens_for_user` | [`TokenService::revoke_all_for_subject`] |
//! | the same, with `except` | [`TokenService::revoke_all_for_subject_except`] |
//! | `decode_token` | [`jwt::decode_token`] |
//! | `encode_jwt` | [`jwt::encode_jwt`] |
//! | `validate_jwt_stateless` | [`jwt::validate_jwt_stateless`] |
//! | `TokenRepository` | [`SessionStore`] |
//! | `Token` | [`SessionRecord`]: a session, not a token |
//! | `TokenType` | [`TokenType`] |
//! | `get_password_hash`, `verify_password` | `password::PasswordHasher` |
//! | `UserAuthentication`, `BaseUserAuthentication` | [`users::UserAuthentication`] |
//! | `get_token_data` | [`AuthLayer`] and [`Claims`] |
//! | `get_current_user_dependency` | [`CurrentUserLayer`] and [`users::CurrentUser`] |
//! | `get_refresh_token_data`, `refresh_token` | [`Endpoints::refresh`] |
//! | the same, without rotation | [`Endpoints::refresh_without_rotation`] |
//! | `logout_user` | [`Endpoints::logout`], which ends the whole session |
//! | `setup_security` | [`TokenService::builder`] |
//! | `get_security_status` | [`TokenService::status`], [`Endpoints::health`] |
//! | `InvalidTokenError`, `ExpiredTokenError`, `RevokedTokenError` | [`TokenError`] |
//! | `InvalidCredentialsError`, `AuthenticationError` | [`Error`] |
//!
//! [`AuthLayer`]: crate::AuthLayer
//! [`Claims`]: crate::Claims
//! [`CurrentUserLayer`]: crate::middleware::CurrentUserLayer
//! [`Endpoints::health`]: crate::endpoints::Endpoints::health
//! [`Endpoints::logout`]: crate::endpoints::Endpoints::logout
//! [`Endpoints::refresh`]: crate::endpoints::Endpoints::refresh
//! [`Endpoints::refresh_without_rotation`]: crate::endpoints::Endpoints::refresh_without_rotation
//! [`Error`]: crate::Error
//! [`Error::fastcore_code`]: crate::Error::fastcore_code
//! [`SessionRecord`]: crate::store::SessionRecord
//! [`SessionStore`]: crate::SessionStore
//! [`TokenError`]: crate::error::TokenError
//! [`TokenService::builder`]: crate::TokenService::builder
//! [`TokenService::create_access_token`]: crate::TokenService::create_access_token
//! [`TokenService::create_refresh_token`]: crate::TokenService::create_refresh_token
//! [`TokenService::create_token_pair`]: crate::TokenService::create_token_pair
//! [`TokenService::refresh`]: crate::TokenService::refresh
//! [`TokenService::refresh_access_token`]: crate::TokenService::refresh_access_token
//! [`TokenService::revoke_all_for_subject`]: crate::TokenService::revoke_all_for_subject
//! [`TokenService::revoke_all_for_subject_except`]: crate::TokenService::revoke_all_for_subject_except
//! [`TokenService::revoke_session`]: crate::TokenService::revoke_session
//! [`TokenService::revoke_token`]: crate::TokenService::revoke_token
//! [`TokenService::status`]: crate::TokenService::status
//! [`TokenService::validate_jwt_stateless`]: crate::TokenService::validate_jwt_stateless
//! [`TokenService::validate_token`]: crate::TokenService::validate_token
//! [`TokenType`]: crate::TokenType
//! [`jwt::decode_token`]: crate::jwt::decode_token
//! [`jwt::encode_jwt`]: crate::jwt::encode_jwt
//! [`jwt::validate_jwt_stateless`]: crate::jwt::validate_jwt_stateless
//! [`users::CurrentUser`]: crate::users::CurrentUser
//! [`users::UserAuthentication`]: crate::users::UserAuthentication

mod codes;
mod refresh;
mod settings;

pub use self::{refresh::RefreshWithoutRotation, settings::Settings};
