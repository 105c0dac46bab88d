//! Splits, changes and reassembles the text of a token.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

/// The header of an access token, without `kid`.
pub const HEADER: &str = r#"{"alg":"HS256","typ":"at+jwt"}"#;

/// Returns the segments of header, payload and signature.
pub fn segments(token: &str) -> [&str; 3] {
    token.split('.').collect::<Vec<_>>().try_into().expect("three segments")
}

/// Encodes any bytes as a segment.
pub fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes a segment.
pub fn decoded(segment: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(segment).expect("base64url")
}

/// Returns the claims set with one member set to this JSON text, as the last member.
pub fn with(claims: &Value, name: &str, value: &str) -> String {
    let others = without(claims, name);
    let others = others.strip_suffix('}').expect("an object");
    let comma = if others.len() > 1 { "," } else { "" };
    format!("{others}{comma}\"{name}\":{value}}}")
}

/// Returns the claims set without one member.
pub fn without(claims: &Value, name: &str) -> String {
    let mut claims = claims.clone();
    claims.as_object_mut().expect("an object").remove(name);
    claims.to_string()
}
