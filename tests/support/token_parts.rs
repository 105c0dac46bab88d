//! A token's text taken apart, changed and put together again.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

/// The header of an access token, without `kid`.
pub const HEADER: &str = r#"{"alg":"HS256","typ":"at+jwt"}"#;

/// Header, payload and signature.
pub fn segments(token: &str) -> [&str; 3] {
    token.split('.').collect::<Vec<_>>().try_into().expect("three segments")
}

/// Any bytes as a segment.
pub fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of a segment.
pub fn decoded(segment: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(segment).expect("base64url")
}

/// A claims set in which one member has this JSON text for a value; it stands last.
pub fn with(claims: &Value, name: &str, value: &str) -> String {
    let others = without(claims, name);
    let others = others.strip_suffix('}').expect("an object");
    let comma = if others.len() > 1 { "," } else { "" };
    format!("{others}{comma}\"{name}\":{value}}}")
}

/// A claims set without one member.
pub fn without(claims: &Value, name: &str) -> String {
    let mut claims = claims.clone();
    claims.as_object_mut().expect("an object").remove(name);
    claims.to_string()
}
