//! Text to verified claims, and back: no store, no HTTP, and no clock but the time that is given.
//!
//! The rules of a token stand here, and nowhere else:
//!
//! 1. `token::compact`: three canonical base64url segments, at most [`Validation::max_token_len`] bytes (RFC 7515 section 7.1).
//! 2. `token::header`: an object without duplicate members, an `alg` that a key is made for, no `crit`, `b64`, `zip`, `enc`, `cty`.
//! 3. `keys::key`: one key, one algorithm; the signature is checked before a single claim is read (RFC 8725 section 3.1).
//! 4. `token::payload`: an object without duplicate members, every registered claim of its RFC's type, needed or not.
//! 5. `validation`: issuer, audience, kind and times.
//!
//! `jsonwebtoken` is used for keys and signatures only. Its own header and claim checks are not used: of the points
//! that matter here it leaves 27 open (`crit` ignored, `aud` and `iss` of a wrong type taken as absent, `exp == now`
//! accepted, array claim sets, no size limit, a clock that cannot be given, ...), so all of that is ours, in one pass.
//!
//! ```
//! use std::time::Duration;
//! use tower_bearer::{
//!     TokenId,
//!     clock::Timestamp,
//!     jwt::{
//!         Algorithm, JwtClaims, KeySet, NoClaims, SigningKey, TokenType, Validation, encode_jwt, validate_jwt_stateless,
//!     },
//! };
//!
//! let key = SigningKey::from_secret(Algorithm::HS256, b"a test key that nobody else must know")?;
//! let keys = KeySet::signing(key);
//! let now = Timestamp::from_secs(1_767_225_660);
//!
//! let claims = JwtClaims::new("42", TokenId::new("token-1"), TokenType::Access, now, Duration::from_secs(1800), NoClaims {})
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
mod claims_set;
mod custom;
mod json;
mod keys;
mod scope;
mod token;
mod token_type;
mod validation;
#[cfg(all(test, any(feature = "aws-lc-rs", feature = "rust-crypto")))]
mod vectors;

#[allow(unused_imports, reason = "`build` is about to call it")]
pub(crate) use self::custom::reserved_member_of;
pub(crate) use self::token::{
    compact::{DEFAULT_MAX_TOKEN_LEN, longest_header},
    encode::Encoder,
};
pub use self::{
    claims::Claims,
    claims_set::{JwtClaims, encode_jwt},
    custom::{NoClaims, RawClaims},
    keys::{Algorithm, KeySet, SigningKey, VerifyingKey},
    scope::Scope,
    token::compact::verify_compact,
    token_type::TokenType,
    validation::{AccessTyp, Validation, decode_token, validate_jwt_stateless},
};
