//! The application's own claims: their names, and how they are read from a token.

use std::fmt;

use serde::{
    de::{self, DeserializeOwned, Deserializer, Visitor},
    forward_to_deserialize_any,
};
use serde_json::{Map, Value};

use super::{Claims, JwtClaims, claims::RESERVED};
use crate::error::{ClaimProblem, TokenError};

/// The application's claims of a token as JSON: every member that is not a registered one.
pub type RawClaims = Map<String, Value>;

impl Claims<RawClaims> {
    /// Returns the same verified claims with the application's as type `C`.
    ///
    /// # Errors
    ///
    /// [`TokenError::CustomClaims`] if they do not fit.
    pub fn parse_custom<C: DeserializeOwned>(&self) -> Result<Claims<C>, TokenError> {
        let misfit = TokenError::CustomClaims { claim: None, problem: ClaimProblem::Unreadable };
        let custom = C::deserialize(Value::Object(self.custom.clone())).map_err(|_| misfit)?;
        Ok(Claims::verified(JwtClaims {
            issuer: self.issuer.clone(),
            subject: self.subject.clone(),
            audience: self.audience.clone(),
            expires_at: self.expires_at,
            issued_at: self.issued_at,
            not_before: self.not_before,
            token_id: self.token_id.clone(),
            token_type: self.token_type,
            session_id: self.session_id.clone(),
            generation: self.generation,
            scope: self.scope.clone(),
            client_id: self.client_id.clone(),
            access_lifetime: self.access_lifetime,
            custom,
        }))
    }
}

/// Returns the first field of a claims type, or variant of an enum, whose name is reserved.
///
/// Such a field is never filled, because the crate reads the member itself. If it is serialized,
/// no token can be made. Some types do not tell their fields: maps, `#[serde(flatten)]`, untagged
/// and internally tagged enums, and implementations by hand. For these the result is `None`. The
/// names of aliases count, those of `rename(serialize = "..")` are not seen.
pub(crate) fn reserved_member_of<C: DeserializeOwned>() -> Option<&'static str> {
    match C::deserialize(FieldNames) {
        // Types without fields are made from nothing.
        Ok(_) | Err(Fields(None)) => None,
        Err(Fields(Some(names))) => names.iter().copied().find(|name| RESERVED.contains(name)),
    }
}

/// A deserializer that gives up with the names of the fields that it is asked for.
struct FieldNames;

/// An error that holds the names of a type's fields, if the type has told them.
#[derive(Debug)]
struct Fields(Option<&'static [&'static str]>);

impl<'de> Deserializer<'de> for FieldNames {
    type Error = Fields;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fields> {
        Err(Fields(None))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Fields> {
        Err(Fields(Some(fields)))
    }

    /// A variant with content is an object with the variant's name as its only member.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Fields> {
        Err(Fields(Some(variants)))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fields> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fields> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

impl de::Error for Fields {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(None)
    }
}

impl std::error::Error for Fields {}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("only the names of the fields were asked for")
    }
}
