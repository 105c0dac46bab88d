//! Text to verified claims, and back: no store, no HTTP, and no clock but the time that is given.
//!
//! The rules of a token stand here, and nowhere else:
//!
//! 1. `compact`: three canonical base64url segments, at most [`Validation::max_token_len`] bytes (RFC 7515 section 7.1).
//! 2. `header`: an object without duplicate members, an `alg` that a key is made for, no `crit`, `b64`, `zip`, `enc`, `cty`.
//! 3. `key`: one key, one algorithm; the signature is checked before a single claim is read (RFC 8725 section 3.1).
//! 4. `members`: an object without duplicate members, every registered claim of its RFC's type, needed or not.
//! 5. `validation`: issuer, audience, kind and times.
//!
//! `jsonwebtoken` is used for keys and signatures only. Its own header and claim checks are not used: of the points
//! that matter here it leaves 27 open (`crit` ignored, `aud` and `iss` of a wrong type taken as absent, `exp == now`
//! accepted, array claim sets, no size limit, a clock that cannot be given, ...), so all of that is ours, in one pass.
//!
//! ```
//! use std::time::Duration;
//! use tower_bearer::{
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
//! let claims = JwtClaims::new("42", "token-1", TokenType::Access, now, Duration::from_secs(1800), NoClaims {})
//!     .with_issuer("https://api.example.com")
//!     .with_audience(["api"]);
//! let token = encode_jwt(&keys, &claims)?;
//!
//! let rules = Validation::new().issuer("https://api.example.com").audience("api");
//! let claims = validate_jwt_stateless::<NoClaims>(&token, &keys, &rules, TokenType::Access, now)?;
//! assert_eq!(claims.subject(), "42");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod algorithm;
mod backend;
mod claims;
mod compact;
mod custom;
mod der;
mod ed25519;
mod encode;
mod header;
mod json;
mod jwk;
mod jwk_set;
mod key;
mod key_set;
mod members;
mod pem;
mod public_key;
mod scope;
mod secret;
mod validation;
#[cfg(all(test, any(feature = "aws-lc-rs", feature = "rust-crypto")))]
mod vectors;

pub use self::{
    algorithm::Algorithm,
    claims::{Claims, JwtClaims, NoClaims, TokenType},
    compact::verify_compact,
    custom::RawClaims,
    encode::encode_jwt,
    key::{SigningKey, VerifyingKey},
    key_set::KeySet,
    scope::Scope,
    validation::{AccessTyp, Validation, decode_token, validate_jwt_stateless},
};
pub(crate) use self::{
    compact::{DEFAULT_MAX_TOKEN_LEN, longest_header},
    custom::reserved_member_of,
    encode::Encoder,
};
