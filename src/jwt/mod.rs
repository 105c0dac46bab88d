//! Tokens: from text to verified claims, and back. This module knows no store and no HTTP, and it
//! has no clock: the caller gives the time.
//!
//! All rules for tokens are here:
//!
//! 1. `token::compact`: three canonical base64url segments, at most [`Validation::max_token_len`]
//!    bytes (RFC 7515 section 7.1).
//! 2. Its header: an object without duplicate members, a supported `alg`, no `crit`, `b64`,
//!    `zip`, `enc`, `cty`.
//! 3. `keys::key`: one key, one algorithm. The signature is checked before any claim is read (RFC
//!    8725 section 3.1).
//! 4. `token::payload`: an object without duplicate members. Each registered claim has its RFC's
//!    type, needed or not.
//! 5. `validation`: issuer, audience, token type and times, and last the application's claims.
//!
//! `jsonwebtoken` is used for keys and signatures only. Its own header and claim checks leave 27
//! points open that matter here. For example: `crit` is ignored, `aud` and `iss` of a wrong type
//! count as absent, `exp == now` is accepted, array claims sets are accepted, there is no size
//! limit, and its clock cannot be set.
//!
//! ```
//! use std::time::Duration;
//! use tower_bearer::{
//!     TokenId,
//!     clock::Timestamp,
//!     jwt::{
//!         Algorithm, JwtClaims, KeySet, NoClaims, SigningKey, TokenType, Validation,
//!         encode_jwt, validate_jwt_stateless,
//!     },
//! };
//!
//! let key = SigningKey::from_secret(Algorithm::HS256, b"a test key that nobody else must know")?;
//! let keys = KeySet::signing(key);
//! let now = Timestamp::from_secs(1_767_225_660);
//!
//! let (id, lifetime) = (TokenId::new("token-1"), Duration::from_secs(1800));
//! let claims = JwtClaims::new("42", id, TokenType::Access, now, lifetime, NoClaims {})
//!     .with_issuer("https://api.example.com")
//!     .with_audience(["api"]);
//! let token = encode_jwt(&keys, &claims)?;
//!
//! let rules = Validation::new().issuer("https://api.example.com").audience("api");
//! let claims = validate_jwt_stateless::<NoClaims>(&token, &keys, &rules, TokenType::Access, now)?;
//! assert_eq!(claims.subject(), "42");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod claims;
mod encode;
mod json;
mod keys;
mod reserved;
mod token;
mod validation;
#[cfg(all(test, any(feature = "aws-lc-rs", feature = "rust-crypto")))]
mod vectors;

pub(crate) use self::{
    claims::{Admitted, TokenNames, Verifier},
    encode::Encoder,
    reserved::reserved_member_of,
    token::compact::{DEFAULT_MAX_TOKEN_LEN, longest_header},
};
pub use self::{
    claims::{Claims, JwtClaims, NoClaims},
    encode::encode_jwt,
    keys::{Algorithm, KeySet, SigningKey, VerifyingKey},
    token::{
        compact::verify_compact,
        payload::{RawClaims, Scope, TokenType},
    },
    validation::{AccessTyp, Validation, decode_token, validate_jwt_stateless},
};
