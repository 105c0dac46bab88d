//! Reads the payload of a token as claims (RFC 7519 section 4): an object without duplicate
//! members.
//!
//! A registered claim must have the type of its RFC. Two claims of this crate, `atl` and
//! `tb_stamp`, can have any type. All members that the crate does not use are the application's
//! claims.

use std::{borrow::Cow, fmt, time::Duration};

use serde::{
    Deserialize, Serialize, Serializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, IntoDeserializer, MapAccess, Visitor,
        value::StringDeserializer,
    },
    forward_to_deserialize_any,
};
use serde_json::{Map, Value};

use crate::{
    clock::Timestamp,
    error::{ClaimProblem, TokenError},
    ids::{SessionId, Subject, TokenId, is_id},
    jwt::json::{self, FromMembers, Name, NumericDate},
};

/// The application's claims of a token as JSON.
///
/// In a token of this crate, these are all claims except those of the crate, such as `sub`, `sid`
/// and `scope`. In a token of another issuer, these are all claims except the registered claims of
/// RFC 7519.
///
/// The claims of every token fit this type, even if the application has changed its claims type.
/// [`JwtClaims::parse_custom`](crate::jwt::JwtClaims::parse_custom) converts them to another type.
pub type RawClaims = Map<String, Value>;

/// The claims that the parser has read from a payload. `None` means that the claim is absent.
#[derive(Default)]
pub(crate) struct Payload {
    pub(crate) iss: Option<String>,
    pub(crate) sub: Option<Subject>,
    pub(crate) aud: Option<Vec<String>>,
    pub(crate) exp: Option<Timestamp>,
    pub(crate) iat: Option<Timestamp>,
    pub(crate) nbf: Option<Timestamp>,
    pub(crate) jti: Option<TokenId>,
    pub(crate) token_type: Option<TokenType>,
    pub(crate) sid: Option<SessionId>,
    pub(crate) generation: Option<u64>,
    pub(crate) scope: Option<Scope>,
    pub(crate) client_id: Option<String>,
    pub(crate) access_lifetime: Option<Duration>,
    pub(crate) stamp: Option<Box<str>>,
    pub(crate) custom: RawClaims,
}

impl Payload {
    /// Reads the payload of a token in this crate's format. The caller has verified the signature.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, TokenError> {
        serde_json::from_slice(json)
            .map_err(|_| TokenError::Malformed("its claims are not valid JSON, or a claim has a wrong type or value"))
    }

    /// Reads the payload of a token of another issuer. The caller has verified the signature.
    ///
    /// Only the registered claims of RFC 7519 must have a certain type. All other claims are custom
    /// claims, even if this crate uses the same names in its own tokens.
    pub(crate) fn parse_external(json: &[u8]) -> Result<Self, TokenError> {
        serde_json::from_slice::<ExternalPayload>(json)
            .map(|payload| payload.0)
            .map_err(|_| TokenError::Malformed("its claims are not valid JSON, or a claim has a wrong type or value"))
    }

    /// Returns true if the payload has the claim `name`.
    pub(crate) fn contains(&self, name: &str) -> bool {
        match name {
            "iss" => self.iss.is_some(),
            "sub" => self.sub.is_some(),
            "aud" => self.aud.is_some(),
            "exp" => self.exp.is_some(),
            "iat" => self.iat.is_some(),
            "nbf" => self.nbf.is_some(),
            "jti" => self.jti.is_some(),
            "type" => self.token_type.is_some(),
            "sid" => self.sid.is_some(),
            "gen" => self.generation.is_some(),
            "scope" => self.scope.is_some(),
            "client_id" => self.client_id.is_some(),
            "atl" => self.access_lifetime.is_some() || self.custom.contains_key("atl"),
            "tb_stamp" => self.stamp.is_some(),
            custom => self.custom.contains_key(custom),
        }
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        json::read_object(deserializer, Self::default())
    }
}

impl<'de> FromMembers<'de> for Payload {
    const EXPECTED: &'static str = "a claims set";

    fn read_member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "iss" => self.iss = Some(map.next_value()?),
            "sub" => self.sub = Some(Subject::new(map.next_value::<Id>()?.0)),
            "aud" => self.aud = Some(map.next_value::<Audience>()?.0),
            "exp" => self.exp = Some(map.next_value::<NumericDate>()?.0),
            "iat" => self.iat = Some(map.next_value::<NumericDate>()?.0),
            "nbf" => self.nbf = Some(map.next_value::<NumericDate>()?.0),
            "jti" => self.jti = Some(TokenId::new(map.next_value::<Id>()?.0)),
            "type" => self.token_type = Some(map.next_value()?),
            "sid" => self.sid = Some(SessionId::new(map.next_value::<Id>()?.0)),
            "gen" => self.generation = Some(map.next_value()?),
            "scope" => {
                let text: String = map.next_value()?;
                // RFC 6749 section 3.3 does not allow an empty `scope`. A token without rights must
                // omit `scope`.
                let scope = Scope::parse(&text).filter(|scope| !scope.is_empty());
                self.scope = Some(scope.ok_or_else(|| de::Error::custom("scope"))?);
            }
            "client_id" => self.client_id = Some(map.next_value()?),
            // `atl` is not a standard claim, so other software may use the name for a value of
            // another type. Such a value becomes a claim of the application.
            "atl" => match map.next_value::<Value>()? {
                Value::Number(seconds) if seconds.is_u64() => {
                    self.access_lifetime = seconds.as_u64().map(Duration::from_secs);
                }
                other => drop(self.custom.insert(name.to_owned(), other)),
            },
            // Accepts any value. If this crate has not written the value, no log entry has this
            // stamp. The node then asks the store about the token, as for every unknown stamp.
            "tb_stamp" => {
                self.stamp = Some(match map.next_value::<Value>()? {
                    Value::String(text) => text.into(),
                    other => other.to_string().into(),
                });
            }
            // `cnf` binds the token to a key of the client. The crate cannot check that the client
            // has this key, so it refuses the token (RFC 7800, RFC 9449 section 7.2).
            "cnf" => return json::refuse(map, "bound to a key"),
            _ => drop(self.custom.insert(name.to_owned(), map.next_value()?)),
        }
        Ok(())
    }
}

/// The claims of a token of another issuer, as the parser reads them.
struct ExternalPayload(Payload);

impl<'de> Deserialize<'de> for ExternalPayload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        json::read_object(deserializer, Self(Payload::default()))
    }
}

impl<'de> FromMembers<'de> for ExternalPayload {
    const EXPECTED: &'static str = Payload::EXPECTED;

    fn read_member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "iss" | "sub" | "aud" | "exp" | "iat" | "nbf" | "jti" | "cnf" => self.0.read_member(name, map),
            // `events` marks a security event token, such as a logout token of OpenID Connect. It
            // is no access token, although the same key may sign both (RFC 8417 section 4.5).
            "events" => json::refuse(map, "a security event"),
            _ => {
                self.0.custom.insert(name.to_owned(), map.next_value()?);
                Ok(())
            }
        }
    }
}

/// Returns the `iss` of a payload whose signature is not verified yet. Returns `None` if `iss` is
/// absent or not a string.
///
/// Use the result only to choose the keys, and compare it with the verified `iss` afterwards. The
/// function stops reading after `iss`, because anyone can send a payload.
pub(crate) fn unverified_issuer(json: &[u8]) -> Option<Cow<'_, str>> {
    /// A visitor that stores `iss` in its field. Deserialization then fails, because the visitor
    /// does not read the rest of the object.
    struct KeepIssuer<'a, 'de>(&'a mut Option<Cow<'de, str>>);

    impl<'de> Visitor<'de> for KeepIssuer<'_, 'de> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(Payload::EXPECTED)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(Name(name)) = map.next_key()? {
                if name == "iss" {
                    *self.0 = Some(map.next_value::<Name<'de>>()?.0);
                    break;
                }
                map.next_value::<IgnoredAny>()?;
            }
            Ok(())
        }
    }

    let mut issuer = None;
    let _ = serde_json::Deserializer::from_slice(json).deserialize_map(KeepIssuer(&mut issuer));
    issuer
}

/// A string of 1 to 255 bytes without control characters.
struct Id(String);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if is_id(&text) { Ok(Self(text)) } else { Err(de::Error::custom("not an id")) }
    }
}

/// The value of `aud`: a string or an array of strings (RFC 7519 section 4.1.3). An empty array is
/// an error, because it names no recipient.
struct Audience(Vec<String>);

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AudienceVisitor;

        impl<'de> Visitor<'de> for AudienceVisitor {
            type Value = Audience;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_str<E>(self, one: &str) -> Result<Audience, E> {
                Ok(Audience(vec![one.to_owned()]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Audience, A::Error> {
                let mut several = Vec::new();
                while let Some(one) = seq.next_element()? {
                    several.push(one);
                }
                if several.is_empty() { Err(de::Error::custom("nobody")) } else { Ok(Audience(several)) }
            }
        }

        deserializer.deserialize_any(AudienceVisitor)
    }
}

/// The purpose of a token: an access token or a refresh token. Validation accepts neither in place
/// of the other.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TokenType {
    /// Gives access to protected routes.
    Access,
    /// Gives a new pair of tokens in exchange, but no access to protected routes.
    Refresh,
}

impl TokenType {
    /// Returns the value of the `type` claim: `access` or `refresh`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
        }
    }
}

impl Serialize for TokenType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for TokenType {
    /// Accepts only a string. A derived implementation would also accept `{"refresh":null}`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match &*Name::deserialize(deserializer)?.0 {
            "access" => Ok(Self::Access),
            "refresh" => Ok(Self::Refresh),
            _ => Err(de::Error::custom("neither access nor refresh")),
        }
    }
}

impl fmt::Display for TokenType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The rights of a token: a list of scope tokens, such as `read` and `write` (RFC 6749 section
/// 3.3). Comparison is case-sensitive.
#[derive(Clone, Default, Eq, Hash, PartialEq)]
pub struct Scope(String);

impl Scope {
    /// Reads scope tokens that are separated by single spaces. The empty text is the empty scope.
    ///
    /// Returns `None` for any other text. A scope token consists of printable ASCII characters
    /// except space, `"` and `\`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_token =
            |token: &str| !token.is_empty() && token.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
        (text.is_empty() || text.split(' ').all(is_token)).then(|| Self(text.to_owned()))
    }

    /// Returns true if `token` is one of the scope tokens. Compares whole scope tokens,
    /// case-sensitively.
    #[must_use]
    pub fn contains(&self, token: &str) -> bool {
        self.iter().any(|own| own == token)
    }

    /// Returns the scope tokens in their order in the text.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ').filter(|token| !token.is_empty())
    }

    /// Returns true if the scope has no tokens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the scope tokens as one text, separated by spaces.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Converts the application's claims from JSON to the type `C`.
pub(crate) fn parse_custom<C: DeserializeOwned>(claims: RawClaims) -> Result<C, TokenError> {
    C::deserialize(CustomClaims(claims))
        .map_err(|Misfit { field, problem }| TokenError::CustomClaims { claim: field, problem })
}

/// A deserializer of the application's claims. If a claim does not fit its field, the error names
/// the field. Unlike the errors of `serde_json`, it never quotes a value of the token.
///
/// If the claims type is not a struct, `serde_json` reads it, and the error names no field.
struct CustomClaims(RawClaims);

/// The reason why claims do not fit the application's type.
#[derive(Debug)]
struct Misfit {
    field: Option<&'static str>,
    problem: ClaimProblem,
}

impl Misfit {
    const UNKNOWN: Self = Self { field: None, problem: ClaimProblem::Unreadable };

    fn hide(_: serde_json::Error) -> Self {
        Self::UNKNOWN
    }
}

impl<'de> Deserializer<'de> for CustomClaims {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        Value::Object(self.0).deserialize_any(visitor).map_err(Misfit::hide)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let mut members = ClaimMembers { rest: self.0.into_iter(), value: None, fields };
        let value = visitor.visit_map(&mut members)?;
        // A visitor must read or skip all members. `serde_json` has the same rule.
        if members.rest.len() == 0 { Ok(value) } else { Err(Misfit::UNKNOWN) }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        Value::Object(self.0).deserialize_enum(name, variants, visitor).map_err(Misfit::hide)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_some(self)
    }

    /// Passes the name of the newtype to `serde_json`, which recognizes its own `RawValue` by this
    /// name.
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Misfit> {
        Value::Object(self.0).deserialize_newtype_struct(name, visitor).map_err(Misfit::hide)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

/// An iterator over the claims, from which a struct is deserialized.
struct ClaimMembers {
    rest: serde_json::map::IntoIter,
    /// The value of the current member. If the struct has a field of that name, also the name.
    value: Option<(Value, Option<&'static str>)>,
    fields: &'static [&'static str],
}

impl<'de> MapAccess<'de> for ClaimMembers {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Misfit> {
        let Some((name, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some((value, self.fields.iter().copied().find(|field| *field == name)));
        let name: StringDeserializer<Misfit> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        let (value, field) = self.value.take().ok_or(Misfit::UNKNOWN)?;
        seed.deserialize(value).map_err(|_| Misfit { field, ..Misfit::UNKNOWN })
    }
}

impl de::Error for Misfit {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::UNKNOWN
    }

    fn missing_field(field: &'static str) -> Self {
        Self { field: Some(field), problem: ClaimProblem::Missing }
    }
}

impl std::error::Error for Misfit {}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the claims do not fit their type")
    }
}

#[cfg(test)]
#[allow(dead_code, reason = "only the names of the fields matter")]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::jwt::NoClaims;

    #[derive(Debug, Deserialize)]
    struct Role {
        role: String,
        #[serde(default)]
        level: u8,
    }

    fn refusal<C: DeserializeOwned>(claims: &Value) -> Option<TokenError> {
        parse_custom::<C>(claims.as_object().cloned().unwrap_or_default()).err()
    }

    fn misfit(claim: Option<&'static str>, problem: ClaimProblem) -> TokenError {
        TokenError::CustomClaims { claim, problem }
    }

    #[test]
    fn claims_that_do_not_fit_name_the_field_and_no_value() {
        use ClaimProblem::{Missing, Unreadable};

        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Strict {
            role: String,
        }

        assert_eq!(refusal::<Role>(&json!({ "role": "guest", "other": [1] })), None);
        assert_eq!(refusal::<Role>(&json!({ "other": 1 })), Some(misfit(Some("role"), Missing)));
        assert_eq!(refusal::<Role>(&json!({ "role": 7 })), Some(misfit(Some("role"), Unreadable)));
        assert_eq!(
            refusal::<Role>(&json!({ "role": "guest", "level": "high" })),
            Some(misfit(Some("level"), Unreadable))
        );
        assert_eq!(refusal::<Strict>(&json!({ "role": "guest", "secret": 1 })), Some(misfit(None, Unreadable)));
        assert_eq!(refusal::<BTreeMap<String, u8>>(&json!({ "secret": "value" })), Some(misfit(None, Unreadable)));
        assert_eq!(refusal::<String>(&json!({ "secret": "value" })), Some(misfit(None, Unreadable)));
        assert_eq!(refusal::<NoClaims>(&json!({ "role": "guest" })), None);
        for claims in [json!({ "role": ["hidden"] }), json!({ "role": "a", "level": "hidden" })] {
            let text = refusal::<Role>(&claims).map(|error| format!("{error} {error:?}")).unwrap_or_default();
            assert!(text.contains("level") || text.contains("role"), "{text}");
            assert!(!text.contains("hidden"), "{text}");
        }
    }

    #[test]
    fn other_types_than_structs_are_read_as_serde_json_reads_them() {
        #[derive(Debug, Deserialize, PartialEq)]
        enum Kind {
            Staff { role: String },
        }

        #[derive(Debug, Deserialize, PartialEq)]
        struct Newtype(BTreeMap<u8, bool>);

        #[derive(Debug, Deserialize, PartialEq)]
        struct Flattened {
            role: String,
            #[serde(flatten)]
            rest: RawClaims,
        }

        fn read<C: DeserializeOwned>(claims: &Value) -> Option<C> {
            parse_custom(claims.as_object().cloned().unwrap_or_default()).ok()
        }

        let claims = json!({ "Staff": { "role": "admin" } });
        assert_eq!(read::<Value>(&claims).as_ref(), Some(&claims));
        assert_eq!(read::<RawClaims>(&claims).as_ref(), claims.as_object());
        assert_eq!(read(&claims), Some(Kind::Staff { role: "admin".to_owned() }));
        assert_eq!(read(&claims), Some(Some(Kind::Staff { role: "admin".to_owned() })));
        assert_eq!(read(&json!({ "7": true })), Some(Newtype(BTreeMap::from([(7, true)]))));
        let rest = RawClaims::from_iter([("level".to_owned(), json!(1))]);
        let flattened = json!({ "role": "admin", "level": 1 });
        assert_eq!(read(&flattened), Some(Flattened { role: "admin".to_owned(), rest }));
    }
}
