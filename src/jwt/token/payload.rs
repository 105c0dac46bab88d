//! Reading a claims set: an object without duplicate members, every registered claim of its RFC's type, needed or not (RFC 7519 section 4).

use std::{collections::HashSet, fmt, time::Duration};

use serde::{
    Deserialize,
    de::{self, Deserializer, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::{
    clock::Timestamp,
    error::TokenError,
    ids::is_id,
    jwt::{
        json::{self, Name, NumericDate},
        scope::Scope,
        token_type::TokenType,
    },
};

/// The members of a claims set, each of its RFC's type, none of them twice.
#[derive(Default)]
pub(crate) struct Payload {
    pub(crate) iss: Option<String>,
    pub(crate) sub: Option<String>,
    pub(crate) aud: Option<Vec<String>>,
    pub(crate) exp: Option<Timestamp>,
    pub(crate) iat: Option<Timestamp>,
    pub(crate) nbf: Option<Timestamp>,
    pub(crate) jti: Option<String>,
    pub(crate) token_type: Option<TokenType>,
    pub(crate) sid: Option<String>,
    pub(crate) generation: Option<u64>,
    pub(crate) scope: Option<Scope>,
    pub(crate) client_id: Option<String>,
    pub(crate) access_lifetime: Option<Duration>,
    pub(crate) custom: Map<String, Value>,
}

impl Payload {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, TokenError> {
        json::from_slice(json).map_err(|_| TokenError::Malformed("its claims are not acceptable"))
    }

    /// Whether the claim of this name is there.
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
        deserializer.deserialize_map(PayloadVisitor)
    }
}

struct PayloadVisitor;

impl<'de> Visitor<'de> for PayloadVisitor {
    type Value = Payload;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a claims set")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Payload, A::Error> {
        let mut payload = Payload::default();
        let mut seen = HashSet::with_capacity(16);
        while let Some(Name(name)) = map.next_key()? {
            match &*name {
                "iss" => payload.iss = Some(map.next_value()?),
                "sub" => payload.sub = Some(map.next_value::<Id>()?.0),
                "aud" => payload.aud = Some(map.next_value::<Audience>()?.0),
                "exp" => payload.exp = Some(map.next_value::<NumericDate>()?.0),
                "iat" => payload.iat = Some(map.next_value::<NumericDate>()?.0),
                "nbf" => payload.nbf = Some(map.next_value::<NumericDate>()?.0),
                "jti" => payload.jti = Some(map.next_value::<Id>()?.0),
                "type" => payload.token_type = Some(map.next_value()?),
                "sid" => payload.sid = Some(map.next_value::<Id>()?.0),
                "gen" => payload.generation = Some(map.next_value()?),
                "scope" => {
                    let text: String = map.next_value()?;
                    // An empty text breaks the grammar of RFC 6749 section 3.3: whoever allows nothing leaves it out.
                    let scope = Scope::parse(&text).filter(|scope| !scope.is_empty());
                    payload.scope = Some(scope.ok_or_else(|| de::Error::custom("scope"))?);
                }
                "client_id" => payload.client_id = Some(map.next_value()?),
                // This crate's own name: what another issuer means by it is the application's to
                // read.
                "atl" => match map.next_value::<Value>()? {
                    Value::Number(seconds) if seconds.is_u64() => {
                        payload.access_lifetime = seconds.as_u64().map(Duration::from_secs);
                    }
                    other => drop(payload.custom.insert(name.clone().into_owned(), other)),
                },
                // A token bound to a key must not be taken without proof of that key (RFC 7800, RFC 9449 section 7.2).
                "cnf" => return json::refuse(&mut map, "bound to a key"),
                _ => drop(payload.custom.insert(name.clone().into_owned(), map.next_value()?)),
            }
            if !seen.insert(name) {
                return Err(de::Error::custom("duplicate member"));
            }
        }
        Ok(payload)
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

/// One string, or an array of nothing but strings (RFC 7519 section 4.1.3). An empty array is for nobody: it is not the same as no
/// `aud`.
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
