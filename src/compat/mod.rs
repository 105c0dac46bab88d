//! Everything that exists only for applications that come from `fastcore.security`, the predecessor:
//! its names, its [`Settings`], its error codes ([`Error::code`](crate::Error::code)), and its refresh without rotation
//! ([`TokenService::refresh_access_token`](crate::TokenService::refresh_access_token)).
//!
//! Its tokens are accepted by [`TokenService::validate_jwt_stateless`](crate::TokenService::validate_jwt_stateless) with the same secret, issuer
//! and audience. They have no key id, so beside another key theirs is added
//! [without a name](crate::jwt::VerifyingKey::without_kid). Its bcrypt hashes verify.
//!
//! | there | here |
//! |--|--|
//! | `create_access_token`, `create_refresh_token`, `create_token_pair` | [`TokenService::create_access_token`](crate::TokenService::create_access_token), [`create_refresh_token`](crate::TokenService::create_refresh_token), [`create_token_pair`](crate::TokenService::create_token_pair) |
//! | `validate_token` | [`TokenService::validate_token`](crate::TokenService::validate_token) |
//! | `refresh_access_token` | [`TokenService::refresh`](crate::TokenService::refresh); [`refresh_access_token`](crate::TokenService::refresh_access_token) if nothing is to rotate |
//! | `revoke_token` | [`TokenService::revoke_token`](crate::TokenService::revoke_token), [`revoke_session`](crate::TokenService::revoke_session) |
//! | `revoke_all_tokens_for_user`, with `except` | [`TokenService::revoke_all_for_subject`](crate::TokenService::revoke_all_for_subject), [`revoke_all_for_subject_except`](crate::TokenService::revoke_all_for_subject_except) |
//! | `decode_token`, `encode_jwt`, `validate_jwt_stateless` | [`jwt::decode_token`](crate::jwt::decode_token), [`jwt::encode_jwt`](crate::jwt::encode_jwt), [`jwt::validate_jwt_stateless`](crate::jwt::validate_jwt_stateless) |
//! | `TokenRepository`, `Token` | [`SessionStore`](crate::SessionStore), [`SessionRecord`](crate::store::SessionRecord) (a session, not a token) |
//! | `TokenType` | [`TokenType`](crate::TokenType) |
//! | `get_password_hash`, `verify_password` | `password::PasswordHasher` |
//! | `UserAuthentication`, `BaseUserAuthentication` | [`users::UserAuthentication`](crate::users::UserAuthentication) |
//! | `get_token_data` | [`AuthLayer`](crate::AuthLayer) and [`Claims`](crate::Claims) |
//! | `get_current_user_dependency` | [`middleware::CurrentUserLayer`](crate::middleware::CurrentUserLayer) and [`users::CurrentUser`](crate::users::CurrentUser) |
//! | `get_refresh_token_data`, `refresh_token` | [`Endpoints::refresh`](crate::endpoints::Endpoints::refresh) |
//! | `logout_user` | [`Endpoints::logout`](crate::endpoints::Endpoints::logout): it ends the whole session |
//! | `setup_security` | [`TokenService::builder`](crate::TokenService::builder) |
//! | `get_security_status` | [`TokenService::status`](crate::TokenService::status), [`Endpoints::health`](crate::endpoints::Endpoints::health) |
//! | `InvalidTokenError`, `ExpiredTokenError`, `RevokedTokenError` | [`error::TokenError`](crate::error::TokenError), with the same codes |
//! | `InvalidCredentialsError`, `AuthenticationError` | [`Error`](crate::Error) |

mod codes;
mod refresh;
mod settings;

pub use self::settings::Settings;
