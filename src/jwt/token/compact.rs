//! Verifies a token as text: its three segments, its header and its signature (RFC 7515 sections
//! 3.1, 4 and 7.1).

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::de::{Deserialize, Deserializer, Error, MapAccess};

use super::payload::unverified_issuer;
use crate::{
    error::TokenError,
    ids::is_id,
    jwt::{
        json::{self, FromMembers, Name, Shape, Unread},
        keys::{Algorithm, KeySet, VerifyingKey},
    },
};

/// The default for the maximum length of a token in bytes. Most tokens have a few hundred bytes,
/// and HTTP servers limit a field line to about 8 KiB anyway.
pub(crate) const DEFAULT_MAX_TOKEN_LEN: usize = 8 * 1024;

/// The maximum number of header members. The limit bounds the work for a token with an invalid
/// signature. Headers of real tokens have fewer members.
const MAX_MEMBERS: usize = 32;

/// The maximum number of JSON values in the header members that the crate ignores. The limit bounds
/// the work for a token with an invalid signature (measured: `cargo bench --bench hostile`).
const MAX_VALUES: u32 = 256;

const NOT_COMPACT: TokenError = TokenError::Malformed("it is not three segments of base64url");

/// The header and payload of a token with a verified signature.
pub(crate) struct VerifiedJws {
    pub(crate) header: Header,
    pub(crate) payload: Vec<u8>,
}

/// Verifies a JWS in the compact serialization (RFC 7515 sections 3.1, 5.2 and 7.1), and returns
/// its payload bytes.
///
/// The function checks, in this order:
///
/// * the text: at most 8 KiB, with at most 3 KiB for the header. It has exactly three segments of
///   canonical unpadded base64url. Only the payload may be empty;
/// * the header (section 4): an object without duplicate members, with a supported `alg`. `crit`,
///   `b64`, `zip`, `enc` and `cty` are refused. `jwk`, `jku`, `x5u` and `x5c` are ignored;
/// * the key: a key of the set with the header's algorithm. If the header has a `kid`, the key must
///   have the same `kid`;
/// * the signature.
///
/// The function does **not** check the payload. It accepts everything that the key signed, such as
/// expired tokens, revoked tokens, and tokens for other services. For tokens use
/// [`TokenService::validate_token`](crate::TokenService::validate_token) or
/// [`validate_jwt_stateless`](crate::jwt::validate_jwt_stateless).
///
/// # Errors
///
/// * [`TokenError::Malformed`]: the text or header breaks a rule,
/// * [`TokenError::UnknownKey`]: no key of the set has the header's algorithm and `kid`,
/// * [`TokenError::Signature`]: no such key verifies the signature.
///
/// ```
/// use tower_bearer::{
///     error::TokenError,
///     jwt::{KeySet, VerifyingKey, verify_compact},
/// };
///
/// // RFC 8037, appendix A.
/// let key = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
/// let keys = KeySet::verifying(VerifyingKey::from_jwk(key)?);
/// let text = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0Jzl\
///             nLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
/// assert_eq!(verify_compact(&keys, text.as_bytes())?, b"Example of Ed25519 signing");
///
/// let another = text.replace("RXhhbXBsZSBv", "RXhhbXBsZSBm");
/// assert_eq!(verify_compact(&keys, another.as_bytes()), Err(TokenError::Signature));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn verify_compact(keys: &KeySet, token: &[u8]) -> Result<Vec<u8>, TokenError> {
    verify(keys, &split(token, DEFAULT_MAX_TOKEN_LEN)?).map(|verified| verified.payload)
}

/// Verifies the form and signature of a token of at most `max_len` bytes. Unlike
/// [`verify_compact`], refuses an empty payload.
pub(crate) fn verify_token(keys: &KeySet, token: &[u8], max_len: usize) -> Result<VerifiedJws, TokenError> {
    let segments = split(token, max_len)?;
    if segments.payload.is_empty() {
        return Err(NOT_COMPACT);
    }
    verify(keys, &segments)
}

/// A token whose signature is not verified yet. Its payload is already decoded, because the caller
/// chooses the keys by the `iss` in the payload.
pub(crate) struct UnverifiedToken<'t> {
    segments: Segments<'t>,
    payload: Vec<u8>,
}

impl<'t> UnverifiedToken<'t> {
    /// Splits a token of at most `max_len` bytes into its segments, and decodes the payload. Does
    /// not verify the signature.
    pub(crate) fn parse(token: &'t str, max_len: usize) -> Result<Self, TokenError> {
        let segments = split(token.as_bytes(), max_len)?;
        if segments.payload.is_empty() {
            return Err(NOT_COMPACT);
        }
        let payload = decode_segment(segments.payload)?;
        Ok(Self { segments, payload })
    }

    /// Returns `iss`, which anyone can have written, because no signature is verified yet.
    pub(crate) fn issuer(&self) -> Option<Cow<'_, str>> {
        unverified_issuer(&self.payload)
    }

    /// Verifies the header and the signature. Uses only the keys for which `allows` returns true.
    ///
    /// If no key verifies a token without `kid`, the error is [`TokenError::UnknownKey`]. The
    /// caller can then fetch the keys again, because the issuer may have replaced its only key.
    pub(crate) fn verify(
        &self,
        keys: &KeySet,
        allows: impl Fn(&VerifyingKey) -> bool,
    ) -> Result<(Header, &[u8]), TokenError> {
        let (header, outcome) = verify_signature(keys, &self.segments, allows)?;
        match outcome {
            Err(TokenError::Signature) if header.kid.is_none() => Err(TokenError::UnknownKey),
            outcome => outcome.map(|()| (header, &*self.payload)),
        }
    }
}

/// Verifies the header and the signature, and then decodes the payload. With this order, a token
/// with an invalid signature costs little.
fn verify(keys: &KeySet, segments: &Segments<'_>) -> Result<VerifiedJws, TokenError> {
    let (header, outcome) = verify_signature(keys, segments, |_| true)?;
    outcome?;
    Ok(VerifiedJws { header, payload: decode_segment(segments.payload)? })
}

/// Reads the header, and verifies the signature with the allowed keys that fit the header.
fn verify_signature(
    keys: &KeySet,
    segments: &Segments<'_>,
    allows: impl Fn(&VerifyingKey) -> bool,
) -> Result<(Header, Result<(), TokenError>), TokenError> {
    let header = Header::parse(&decode_segment(segments.header)?)?;
    let signature = decode_segment(segments.signature)?;
    let candidates = keys.candidates(header.kid.as_deref(), header.alg).filter(|key| allows(key));
    let outcome = check_signature(candidates, segments.signing_input, &signature);
    Ok((header, outcome))
}

/// Verifies the signature with each of the keys. Fails with `UnknownKey` if there is no key, and
/// with `Signature` if no key verifies the signature.
#[allow(clippy::ptr_arg, reason = "the backends' verifiers take a &Vec<u8>")]
fn check_signature<'k>(
    candidates: impl Iterator<Item = &'k VerifyingKey>,
    message: &[u8],
    signature: &Vec<u8>,
) -> Result<(), TokenError> {
    let mut refusal = TokenError::UnknownKey;
    for key in candidates {
        if key.verify(message, signature) {
            return Ok(());
        }
        refusal = TokenError::Signature;
    }
    Err(refusal)
}

struct Segments<'a> {
    signing_input: &'a [u8],
    header: &'a [u8],
    payload: &'a [u8],
    signature: &'a [u8],
}

/// Splits a token into three segments. Only the payload may be empty, because RFC 7515 allows the
/// signature of an empty payload.
///
/// If the token has four segments, the third contains a dot, and [`decode_segment`] refuses the
/// dot.
fn split(token: &[u8], max_len: usize) -> Result<Segments<'_>, TokenError> {
    if token.len() > max_len {
        return Err(TokenError::Malformed("it is longer than allowed"));
    }
    let mut segments = token.splitn(3, |&byte| byte == b'.');
    let (Some(header), Some(payload), Some(signature)) = (segments.next(), segments.next(), segments.next()) else {
        return Err(NOT_COMPACT);
    };
    if header.is_empty() || signature.is_empty() {
        return Err(NOT_COMPACT);
    }
    if header.len() > longest_header(max_len) {
        return Err(TokenError::Malformed("its header is longer than allowed"));
    }
    // The signed text ends before the last dot (RFC 7515 section 5.2).
    let end = token.len().saturating_sub(signature.len() + 1);
    let signing_input = token.get(..end).ok_or(NOT_COMPACT)?;
    Ok(Segments { signing_input, header, payload, signature })
}

/// Returns the maximum length of the header segment: three eighths of `max_len`, the maximum length
/// of a token. With the default of 8 KiB, the header has at most 3 KiB.
///
/// The crate reads the header before it checks the signature. So the limit bounds the work that a
/// forged token causes (measured: `cargo bench --bench hostile`). 3 KiB suffice for any `kid` and
/// an RSA 2048 certificate in `x5c`.
pub(crate) const fn longest_header(max_len: usize) -> usize {
    max_len / 8 * 3
}

/// Decodes canonical unpadded base64url (RFC 7515 section 2, appendix C). Refuses padding, another
/// alphabet and non-zero trailing bits, so that a token has only one text.
fn decode_segment(segment: &[u8]) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(segment).map_err(|_| TokenError::Malformed("a segment is not canonical base64url"))
}

/// The header members that the crate uses.
///
/// The crate never uses a key from the token's own header (`jwk`, `jku`, `x5u`, `x5c`), because the
/// sender chose that key (RFC 8725 section 3.10). Of these members, it checks only the type.
pub(crate) struct Header {
    pub(crate) alg: Algorithm,
    pub(crate) kid: Option<String>,
    pub(crate) typ: Option<String>,
}

impl Header {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, TokenError> {
        serde_json::from_slice(json).map_err(|_| {
            TokenError::Malformed("its header is not valid JSON, or a parameter is missing or not supported")
        })
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let draft = Draft { alg: None, kid: None, typ: None, unread: Unread::at_most(MAX_VALUES) };
        let Draft { alg, kid, typ, .. } = json::read_object(deserializer, draft)?;
        Ok(Self { alg: alg.ok_or_else(|| D::Error::custom("no alg"))?, kid, typ })
    }
}

/// The members of a header while the parser reads it.
struct Draft {
    alg: Option<Algorithm>,
    kid: Option<String>,
    typ: Option<String>,
    unread: Unread,
}

impl<'de> FromMembers<'de> for Draft {
    const EXPECTED: &'static str = "a JOSE header";
    const MAX_MEMBERS: usize = MAX_MEMBERS;

    fn read_member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "alg" => {
                let text = map.next_value::<Name<'de>>()?.0;
                self.alg = Some(Algorithm::from_jose(&text).ok_or_else(|| A::Error::custom("unsupported alg"))?);
            }
            "kid" => {
                let text: String = map.next_value()?;
                if !is_id(&text) {
                    return Err(A::Error::custom("kid"));
                }
                self.kid = Some(text);
            }
            "typ" => self.typ = Some(map.next_value::<String>()?),
            // `crit` lists extensions that a receiver must understand (RFC 7515 section 4.1.11).
            // With any of the other members, the payload is not plain claims (RFC 7797, RFC 7516,
            // RFC 7519 section 5.2).
            "crit" | "b64" | "zip" | "enc" | "cty" => return json::refuse(map, "unsupported member"),
            "jku" | "x5u" | "x5t" | "x5t#S256" => drop(map.next_value::<Name<'de>>()?),
            "x5c" => map.next_value_seed(self.unread.value(Shape::Texts))?,
            "jwk" => map.next_value_seed(self.unread.value(Shape::Object))?,
            _ => map.next_value_seed(self.unread.value(Shape::Any))?,
        }
        Ok(())
    }
}

/// Returns true if `typ` is the media type `application/{subtype}`. `typ` can omit the prefix
/// `application/`, and case does not matter (RFC 7515 section 4.1.9).
pub(crate) fn typ_is(typ: &str, subtype: &str) -> bool {
    const PREFIX: &str = "application/";
    let bare = match typ.get(..PREFIX.len()) {
        Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => typ.get(PREFIX.len()..).unwrap_or_default(),
        _ => typ,
    };
    bare.eq_ignore_ascii_case(subtype)
}

#[cfg(test)]
mod header_tests {
    use super::*;

    fn accepts(json: &str) -> bool {
        Header::parse(json.as_bytes()).is_ok()
    }

    #[test]
    fn only_an_object_with_a_supported_alg_is_a_header() {
        assert!(accepts(r#" { "alg" : "HS256" } "#) && accepts(r#"{"alg":"Ed25519"}"#));
        for bad in ["", "null", "1", "\"x\"", "[\"JWT\",\"HS256\"]", "{}", r#"{"alg":"none"}"#, r#"{"alg":"hs256"}"#] {
            assert!(!accepts(bad), "{bad}");
        }
        for alg in ["null", "1", "[]", r#"{"HS256":null}"#, r#""""#, r#""ES512""#, r#""Ed448""#] {
            assert!(!accepts(&format!(r#"{{"alg":{alg}}}"#)), "{alg}");
        }
    }

    #[test]
    fn a_member_that_changes_the_meaning_is_refused() {
        for member in ["crit", "b64", "zip", "enc", "cty"] {
            assert!(!accepts(&format!(r#"{{"alg":"HS256","{member}":null}}"#)), "{member}");
        }
    }

    #[test]
    fn a_duplicate_member_is_refused_however_it_is_spelled() {
        assert!(!accepts(r#"{"alg":"HS256","alg":"HS256"}"#));
        assert!(!accepts(r#"{"alg":"HS256","foo":1,"f\u006fo":1}"#));
    }

    #[test]
    fn members_that_do_not_matter_still_need_their_type_and_valid_text() {
        assert!(accepts(r#"{"alg":"HS256","jku":"http://127.0.0.1/","x5c":["a"],"jwk":{},"foo":{"a":[1,null]}}"#));
        for bad in
            [r#""jku":1"#, r#""x5c":"a""#, r#""x5c":[1]"#, r#""jwk":[]"#, r#""typ":null"#, r#""kid":7"#, r#""kid":"""#]
        {
            assert!(!accepts(&format!(r#"{{"alg":"HS256",{bad}}}"#)), "{bad}");
        }
        assert!(!accepts(r#"{"alg":"HS256","foo":"\ud800"}"#));
    }

    #[test]
    fn the_number_of_members_is_bounded() {
        let with = |others: usize| {
            let names: Vec<_> = (0..others).map(|n| format!(r#""m{n}":0"#)).collect();
            accepts(&format!(r#"{{"alg":"HS256",{}}}"#, names.join(",")))
        };
        assert!(with(MAX_MEMBERS - 1));
        assert!(!with(MAX_MEMBERS));
    }

    #[test]
    fn the_number_of_values_is_bounded() {
        let max = usize::try_from(MAX_VALUES).unwrap_or_default();
        let array = |value: &str, values: usize| format!("[{}]", vec![value; values].join(","));
        for (name, value) in [("foo", "[]"), ("x5c", "\"a\"")] {
            let with = |values: usize| accepts(&format!(r#"{{"alg":"HS256","{name}":{}}}"#, array(value, values)));
            assert!(with(max - 1), "{name}");
            assert!(!with(max), "{name}");
        }
        assert!(!accepts(&format!(r#"{{"alg":"HS256","foo":{},"bar":[1]}}"#, array("1", max - 1))));
    }

    #[test]
    fn typ_is_compared_as_a_media_type() {
        for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
            assert!(typ_is(typ, "at+jwt"), "{typ}");
        }
        for typ in ["", "jwt", "application/", "application/application/at+jwt", "at+jwt ", "id+jwt"] {
            assert!(!typ_is(typ, "at+jwt"), "{typ}");
        }
    }
}

#[cfg(all(test, any(feature = "aws-lc-rs", feature = "rust-crypto")))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::jwt::{Algorithm, SigningKey};

    fn key() -> SigningKey {
        SigningKey::from_secret(Algorithm::HS256, b"a TEST secret that is long enough for HS256").unwrap()
    }

    fn signed(payload: &[u8]) -> String {
        let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(payload));
        let signature = key().sign(input.as_bytes()).unwrap();
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    #[test]
    fn any_payload_is_given_back_but_a_token_has_one() {
        let keys = KeySet::signing(key());
        for payload in [&b""[..], b"{}", b"text", &[0, 0xff, b'.']] {
            let text = signed(payload);
            assert_eq!(verify_compact(&keys, text.as_bytes()).unwrap(), payload);
            let token = verify_token(&keys, text.as_bytes(), 8192);
            assert_eq!(token.is_ok(), !payload.is_empty(), "{payload:?}");
        }
    }

    #[test]
    fn a_missing_key_is_distinguished_from_a_forgery() {
        let with = |header: &str| {
            let input = format!("{}.e30", URL_SAFE_NO_PAD.encode(header));
            format!("{input}.{}", URL_SAFE_NO_PAD.encode(key().sign(input.as_bytes()).unwrap()))
        };
        let named = |kid: &str| key().with_kid(kid).unwrap().verifying_key().clone();
        let one = KeySet::verifying(named("k1"));
        let two = one.clone().and_verifying(named("k2")).unwrap();
        let (good, unnamed) = (with(r#"{"alg":"HS256","kid":"k1"}"#), with(r#"{"alg":"HS256"}"#));
        for (keys, text) in [(&one, &good), (&two, &good), (&one, &unnamed)] {
            assert_eq!(verify_compact(keys, text.as_bytes()).unwrap(), b"{}");
            let forged = text.replacen(".e30.", ".W10.", 1);
            assert_eq!(verify_compact(keys, forged.as_bytes()), Err(TokenError::Signature));
        }
        for header in [r#"{"alg":"HS256","kid":"k3"}"#, r#"{"alg":"HS512","kid":"k1"}"#, r#"{"alg":"ES256"}"#] {
            assert_eq!(verify_compact(&two, with(header).as_bytes()), Err(TokenError::UnknownKey), "{header}");
        }
        // Without a `kid`, the token fits neither of the two named keys.
        assert_eq!(verify_compact(&two, unnamed.as_bytes()), Err(TokenError::UnknownKey));
        let (forgery, missing) = (TokenError::Signature.to_string(), TokenError::UnknownKey.to_string());
        assert_ne!(forgery, missing);
    }

    #[test]
    fn a_text_of_8_kib_is_read_and_a_longer_one_is_not() {
        let keys = KeySet::signing(key());
        let base = signed(b"").len();
        // Base64url writes three bytes as four characters.
        let longest = vec![b'a'; (DEFAULT_MAX_TOKEN_LEN - base) / 4 * 3];
        assert!(verify_compact(&keys, signed(&longest).as_bytes()).is_ok());
        let text = signed(&[longest, vec![b'a'; 3]].concat());
        assert!(text.len() > DEFAULT_MAX_TOKEN_LEN);
        assert_eq!(
            verify_compact(&keys, text.as_bytes()),
            Err(TokenError::Malformed("it is longer than allowed")),
            "though it is signed"
        );
        assert!(verify_token(&keys, text.as_bytes(), text.len()).is_ok());
    }

    #[test]
    fn a_header_has_at_most_three_eighths_of_the_text() {
        let keys = KeySet::signing(key());
        let signed = |len: usize| {
            // Base64url writes three bytes as four characters.
            let fill = "a".repeat(len / 4 * 3 - r#"{"alg":"HS256","x":""}"#.len());
            let input = format!("{}.e30", URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"HS256","x":"{fill}"}}"#)));
            format!("{input}.{}", URL_SAFE_NO_PAD.encode(key().sign(input.as_bytes()).unwrap()))
        };
        for (max_len, header) in [(8192, 3072), (16384, 6144)] {
            let (longest, longer) = (signed(header), signed(header + 4));
            assert_eq!(longest.find('.'), Some(header));
            assert!(verify_token(&keys, longest.as_bytes(), max_len).is_ok());
            let refusal = verify_token(&keys, longer.as_bytes(), max_len).err();
            assert_eq!(refusal, Some(TokenError::Malformed("its header is longer than allowed")));
        }
    }

    #[test]
    fn what_is_not_three_segments_is_malformed_before_any_key_is_asked() {
        let keys = KeySet::signing(key());
        let good = signed(b"x");
        for bad in [
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            "...".to_owned(),
            "a.b".to_owned(),
            format!(".{good}"),
            format!("{good}."),
            format!("{good}.x"),
            format!("{good}="),
            format!(" {good}"),
            good.rsplit_once('.').unwrap().0.to_owned() + ".",
        ] {
            let error = verify_compact(&keys, bad.as_bytes()).unwrap_err();
            assert!(matches!(error, TokenError::Malformed(_)), "{bad:?}: {error}");
        }
    }
}
