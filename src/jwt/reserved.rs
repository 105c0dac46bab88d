//! Finds fields of the application's claims type that have the name of a claim of this crate.

use serde::{
    de::{self, DeserializeOwned, Deserializer, Visitor, value::Error},
    forward_to_deserialize_any,
};

/// The registered claims of RFC 7519 section 4.1. In a token of another issuer, all other claims
/// are custom claims.
pub(super) const REGISTERED: [&str; 7] = ["iss", "sub", "aud", "exp", "iat", "nbf", "jti"];

/// The names of all claims that the crate reads or writes in its own tokens.
pub(super) const RESERVED: [&str; 15] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "nbf",
    "jti",
    "type",
    "sid",
    "gen",
    "scope",
    "client_id",
    "atl",
    "cnf",
    "tb_stamp",
];

/// Returns the first field of a claims type that has a reserved name. For an enum, returns the
/// first such variant.
///
/// Such a field never gets a value, because the crate takes the reserved claims of a token for
/// itself. If the type serializes the field, the crate cannot sign a token.
///
/// Returns `None` for a type that does not pass its field names to serde. Examples are maps,
/// `#[serde(flatten)]`, untagged or internally tagged enums, and manual implementations. The
/// function finds aliases, but not the names of `rename(serialize = "..")`.
pub(crate) fn reserved_member_of<C: DeserializeOwned>() -> Option<&'static str> {
    let mut names: &[&str] = &[];
    // A type without fields returns `Ok` here, and has no name to check.
    C::deserialize(FieldNames(&mut names)).err()?;
    names.iter().copied().find(|name| RESERVED.contains(name))
}

/// A deserializer that stores the field names of a type, and then fails.
struct FieldNames<'a>(&'a mut &'static [&'static str]);

impl FieldNames<'_> {
    fn keep<T>(self, names: &'static [&'static str]) -> Result<T, Error> {
        *self.0 = names;
        Err(de::Error::custom("only the field names were requested"))
    }
}

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        self.keep(&[])
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        self.keep(fields)
    }

    /// Stores the names of the variants. `serde_json` writes a variant with content as an object,
    /// whose only member has the name of the variant.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        self.keep(variants)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

#[cfg(test)]
#[allow(dead_code, reason = "only the names of the fields matter")]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::Value;

    use super::*;
    use crate::jwt::{NoClaims, RawClaims};

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
}
