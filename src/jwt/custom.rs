//! The application's own claims: their names, and how they are read from a token.

use std::fmt;

use serde::{
    Deserialize, Serialize,
    de::{
        self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor,
        value::StringDeserializer,
    },
    forward_to_deserialize_any,
};
use serde_json::{Map, Value};

use crate::error::{ClaimProblem, TokenError};

/// The names that the crate reads and writes itself.
pub(super) const RESERVED: [&str; 14] =
    ["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "type", "sid", "gen", "scope", "client_id", "atl", "cnf"];

/// The claims type of an application without claims of its own. Members of a token beyond the
/// registered ones are ignored.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct NoClaims {}

/// The application's claims of a token as JSON: every member that is not a registered one.
///
/// They can be read whatever the application's claims type has become since the token was issued.
/// [`JwtClaims::parse_custom`](super::JwtClaims::parse_custom) converts them.
pub type RawClaims = Map<String, Value>;

/// Reads the claims of a token as the application's type.
pub(super) fn parse<C: DeserializeOwned>(claims: RawClaims) -> Result<C, TokenError> {
    C::deserialize(CustomClaims(claims))
        .map_err(|Misfit { field, problem }| TokenError::CustomClaims { claim: field, problem })
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

/// A deserializer of claims that reports the field at fault, and nothing of the token.
///
/// `serde_json`'s own errors quote values. For types other than structs it leaves the work to
/// `serde_json`, and no field is known.
struct CustomClaims(RawClaims);

/// The reason why claims do not fit their type.
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
        let mut members = Members { rest: self.0.into_iter(), value: None, fields };
        let value = visitor.visit_map(&mut members)?;
        // As `serde_json` does: a type that leaves members unread has to skip them itself.
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

    /// The name has a meaning to `serde_json`'s `RawValue`.
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Misfit> {
        Value::Object(self.0).deserialize_newtype_struct(name, visitor).map_err(Misfit::hide)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

/// The members of a token that a struct reads.
struct Members {
    rest: serde_json::map::IntoIter,
    /// The value of the last name, and the field of that name.
    value: Option<(Value, Option<&'static str>)>,
    fields: &'static [&'static str],
}

impl<'de> MapAccess<'de> for Members {
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

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
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

    #[derive(Debug, Deserialize)]
    struct Sub {
        sub: String,
    }

    #[derive(Debug, Deserialize)]
    struct Role {
        role: String,
        #[serde(default)]
        level: u8,
    }

    #[test]
    fn a_reserved_name_is_found_in_types_that_tell_their_fields() {
        #[derive(Deserialize)]
        struct Renamed {
            role: String,
            #[serde(rename = "exp", default)]
            until: u64,
        }

        #[derive(Deserialize)]
        struct Newtype(Sub);

        #[derive(Deserialize)]
        #[serde(transparent)]
        struct Transparent {
            inner: Renamed,
        }

        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Kind {
            Staff { role: String },
            Scope { role: String },
        }

        assert_eq!(reserved_member_of::<Sub>(), Some("sub"));
        assert_eq!(reserved_member_of::<Renamed>(), Some("exp"));
        assert_eq!(reserved_member_of::<Newtype>(), Some("sub"));
        assert_eq!(reserved_member_of::<Transparent>(), Some("exp"));
        assert_eq!(reserved_member_of::<Option<Sub>>(), Some("sub"));
        assert_eq!(reserved_member_of::<Kind>(), Some("scope"));
    }

    #[test]
    fn other_names_and_types_that_tell_no_fields_have_none() {
        #[derive(Deserialize)]
        struct Flattened {
            #[serde(flatten)]
            inner: Sub,
        }

        #[derive(Deserialize)]
        struct Nested {
            inner: Sub,
        }

        assert_eq!(reserved_member_of::<Role>(), None);
        assert_eq!(reserved_member_of::<Nested>(), None);
        assert_eq!(reserved_member_of::<Flattened>(), None);
        assert_eq!(reserved_member_of::<NoClaims>(), None);
        assert_eq!(reserved_member_of::<RawClaims>(), None);
        assert_eq!(reserved_member_of::<BTreeMap<String, u8>>(), None);
        assert_eq!(reserved_member_of::<Value>(), None);
        assert_eq!(reserved_member_of::<Option<NoClaims>>(), None);
        assert_eq!(reserved_member_of::<()>(), None);
    }

    fn refusal<C: DeserializeOwned>(claims: &Value) -> Option<TokenError> {
        parse::<C>(claims.as_object().cloned().unwrap_or_default()).err()
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
            parse(claims.as_object().cloned().unwrap_or_default()).ok()
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
