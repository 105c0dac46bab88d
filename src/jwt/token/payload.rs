//! The payload as a claims set (RFC 7519 section 4). It is an object without duplicate members.
//! Every registered claim has its RFC's type, needed or not.

use std::{fmt, time::Duration};

use serde::{
    Deserialize,
    de::{self, Deserializer, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::{
    clock::Timestamp,
    error::TokenError,
    ids::{SessionId, Subject, TokenId, is_id},
    jwt::{
        json::{self, FromMembers, NumericDate},
        scope::Scope,
        token_type::TokenType,
    },
};

/// The members of a claims set.
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
    pub(crate) custom: Map<String, Value>,
}

impl Payload {
    /// Reads the payload of a token whose signature is good.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, TokenError> {
        json::from_slice(json).map_err(|_| TokenError::Malformed("its claims are not acceptable"))
    }

    /// Returns true if it has the claim of this name.
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
                // An empty text breaks the grammar of RFC 6749 section 3.3. A token that allows
                // nothing has no `scope`.
                let scope = Scope::parse(&text).filter(|scope| !scope.is_empty());
                self.scope = Some(scope.ok_or_else(|| de::Error::custom("scope"))?);
            }
            "client_id" => self.client_id = Some(map.next_value()?),
            // The name is this crate's own. If another issuer uses it for something else, the
            // application reads it.
            "atl" => match map.next_value::<Value>()? {
                Value::Number(seconds) if seconds.is_u64() => {
                    self.access_lifetime = seconds.as_u64().map(Duration::from_secs);
                }
                other => drop(self.custom.insert(name.to_owned(), other)),
            },
            // A token bound to a key must not be accepted without proof of that key (RFC 7800, RFC
            // 9449 section 7.2).
            "cnf" => return json::refuse(map, "bound to a key"),
            _ => drop(self.custom.insert(name.to_owned(), map.next_value()?)),
        }
        Ok(())
    }
}

/// An id that keeps [`is_id`].
struct Id(String);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if is_id(&text) { Ok(Self(text)) } else { Err(de::Error::custom("not an id")) }
    }
}

/// An audience: one string, or an array of only strings (RFC 7519 section 4.1.3). An empty array is
/// an error: it means nobody, which is not the same as no `aud`.
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
