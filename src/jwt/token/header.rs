//! The JOSE header (RFC 7515 section 4), restricted to the members that a bearer token may have.

use serde::de::{Deserialize, Deserializer, Error, MapAccess};

use crate::{
    error::TokenError,
    ids::is_id,
    jwt::{
        json::{self, FromMembers, Name, Unread},
        keys::Algorithm,
    },
};

/// More members than any honest header has. They are bounded because the header is read before the
/// signature is known to be good.
const MAX_MEMBERS: usize = 32;

/// More values than the members without a meaning have together. They are read before the signature
/// is known to be good, and must not cost more than a valid token (measured:
/// `cargo bench --bench hostile`).
const MAX_VALUES: u32 = 256;

/// The members of a header that have a meaning here. The others are checked for their type only.
///
/// `jwk`, `jku`, `x5u` and `x5c` name keys that the sender would like to be trusted. They are never
/// used, and nothing is fetched (RFC 8725 section 3.10). Claims that an issuer copies into its
/// header are ignored.
pub(crate) struct Header {
    pub(crate) alg: Algorithm,
    pub(crate) kid: Option<String>,
    pub(crate) typ: Option<String>,
}

impl Header {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, TokenError> {
        json::from_slice(json).map_err(|_| TokenError::Malformed("its header is not acceptable"))
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let draft = Draft { alg: None, kid: None, typ: None, unread: Unread::at_most(MAX_VALUES) };
        let Draft { alg, kid, typ, .. } = json::read_object(deserializer, draft)?;
        Ok(Self { alg: alg.ok_or_else(|| D::Error::custom("no alg"))?, kid, typ })
    }
}

/// A header of which some members were read.
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
            // A receiver that does not understand what is critical must refuse (RFC 7515 section
            // 4.1.11). The others say that the payload is not plain claims (RFC 7797, RFC 7516, RFC
            // 7519 section 5.2).
            "crit" | "b64" | "zip" | "enc" | "cty" => return json::refuse(map, "unsupported member"),
            "jku" | "x5u" | "x5t" | "x5t#S256" => drop(map.next_value::<Name<'de>>()?),
            "x5c" => map.next_value_seed(self.unread.texts())?,
            "jwk" => map.next_value_seed(self.unread.object())?,
            _ => map.next_value_seed(self.unread.any())?,
        }
        Ok(())
    }
}

/// Returns true if `typ` is the media type `application/{subtype}`, with or without its prefix and
/// in any case (RFC 7515 section 4.1.9).
pub(crate) fn typ_is(typ: &str, subtype: &str) -> bool {
    const PREFIX: &str = "application/";
    let bare = match typ.get(..PREFIX.len()) {
        Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => typ.get(PREFIX.len()..).unwrap_or_default(),
        _ => typ,
    };
    bare.eq_ignore_ascii_case(subtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(json: &str) -> bool {
        Header::parse(json.as_bytes()).is_ok()
    }

    #[test]
    fn only_an_object_with_a_supported_alg_is_a_header() {
        assert!(accepts(r#" { "alg" : "HS256" } "#));
        for bad in ["", "null", "1", "\"x\"", "[\"JWT\",\"HS256\"]", "{}", r#"{"alg":"none"}"#, r#"{"alg":"hs256"}"#] {
            assert!(!accepts(bad), "{bad}");
        }
        for alg in ["null", "1", "[]", r#"{"HS256":null}"#, r#""""#, r#""ES512""#, r#""Ed25519""#] {
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
