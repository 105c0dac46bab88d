//! JSON rules that are stricter than RFC 8259. Headers, claims and keys share them.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::clock::Timestamp;

/// A string, borrowed from the JSON text unless it contains an escape.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Name<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// A type that [`read_object`] fills from a JSON object, one member at a time.
pub(crate) trait FromMembers<'de> {
    /// The noun for this type in errors.
    const EXPECTED: &'static str;
    /// The greatest number of members. A type needs a limit if it is read before the signature is
    /// verified.
    const MAX_MEMBERS: usize = usize::MAX;

    /// Reads the value of the member `name` from `map`. [`read_object`] calls it once per name.
    fn read_member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;
}

/// Reads an object into `empty`. Fails on a duplicate member, even if the two names are escaped
/// differently. Parsers differ in which of the two they use (RFC 7515 section 4, RFC 7519 section
/// 4).
pub(crate) fn read_object<'de, D, T>(deserializer: D, empty: T) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromMembers<'de>,
{
    struct ObjectVisitor<T>(T);

    impl<'de, T: FromMembers<'de>> Visitor<'de> for ObjectVisitor<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(T::EXPECTED)
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<T, A::Error> {
            let mut seen = SeenNames { few: Vec::with_capacity(16), more: HashSet::new() };
            let mut members = 0;
            while let Some(Name(name)) = map.next_key()? {
                if seen.contains(&name) {
                    return Err(A::Error::custom("duplicate member"));
                }
                if members == T::MAX_MEMBERS {
                    return Err(A::Error::custom("too many members"));
                }
                self.0.read_member(&name, &mut map)?;
                seen.insert(name);
                members += 1;
            }
            Ok(self.0)
        }
    }

    deserializer.deserialize_map(ObjectVisitor(empty))
}

/// The names of the members that [`read_object`] has read.
#[derive(Default)]
struct SeenNames<'de> {
    few: Vec<Cow<'de, str>>,
    /// The names after the first [`FEW`](Self::FEW).
    more: HashSet<Cow<'de, str>>,
}

impl<'de> SeenNames<'de> {
    /// The number of names that are compared one by one. Real tokens have fewer members, and for
    /// these the hashes of a set cost more than the comparisons.
    const FEW: usize = 32;

    fn contains(&self, name: &str) -> bool {
        self.few.iter().any(|seen| seen == name) || self.more.contains(name)
    }

    fn insert(&mut self, name: Cow<'de, str>) {
        if self.few.len() < Self::FEW {
            self.few.push(name);
        } else {
            self.more.insert(name);
        }
    }
}

/// A reader that checks and drops ignored values.
///
/// With `serde::de::IgnoredAny`, `serde_json` skips strings without decoding escapes, so a lone
/// surrogate would pass. `Unread` decodes every string. It limits the number of values, because it
/// reads them before a signature is verified.
pub(crate) struct Unread {
    left: u32,
}

impl Unread {
    /// Creates a reader that fails after `values` values.
    pub(crate) fn at_most(values: u32) -> Self {
        Self { left: values }
    }

    /// Returns a seed that reads one value of this shape.
    pub(crate) fn value(&mut self, shape: Shape) -> UnreadValue<'_> {
        UnreadValue { unread: self, shape }
    }
}

/// One value that is read and dropped.
pub(crate) struct UnreadValue<'a> {
    unread: &'a mut Unread,
    shape: Shape,
}

/// The type that an ignored value must have.
pub(crate) enum Shape {
    Any,
    Object,
    /// An array of strings.
    Texts,
}

impl<'de> DeserializeSeed<'de> for UnreadValue<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.unread.left = self.unread.left.checked_sub(1).ok_or_else(|| D::Error::custom("too many values"))?;
        match self.shape {
            Shape::Any => deserializer.deserialize_any(self),
            Shape::Object => deserializer.deserialize_map(self),
            Shape::Texts => deserializer.deserialize_seq(self),
        }
    }
}

impl<'de> Visitor<'de> for UnreadValue<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.shape {
            Shape::Any => "any JSON value",
            Shape::Object => "an object",
            Shape::Texts => "an array of strings",
        })
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if matches!(self.shape, Shape::Texts) {
            while seq.next_element::<Name<'de>>()?.is_some() {
                self.unread.left =
                    self.unread.left.checked_sub(1).ok_or_else(|| A::Error::custom("too many values"))?;
            }
        } else {
            while seq.next_element_seed(self.unread.value(Shape::Any))?.is_some() {}
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key::<Name<'de>>()?.is_some() {
            map.next_value_seed(self.unread.value(Shape::Any))?;
        }
        Ok(())
    }
}

/// A `NumericDate` (RFC 7519 section 2): seconds since the Unix epoch, possibly with a fraction.
/// Negative dates and dates after the year 9999 are errors.
pub(crate) struct NumericDate(pub(crate) Timestamp);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumericDateVisitor;

        impl Visitor<'_> for NumericDateVisitor {
            type Value = NumericDate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("seconds since the epoch")
            }

            fn visit_u64<E: Error>(self, seconds: u64) -> Result<NumericDate, E> {
                let date = Timestamp::from_secs(seconds);
                if date < Timestamp::END_OF_TIME { Ok(NumericDate(date)) } else { Err(E::custom("beyond year 9999")) }
            }

            fn visit_f64<E: Error>(self, seconds: f64) -> Result<NumericDate, E> {
                // Rounds down, so that a token is not valid for longer than its text says. Treats
                // -0.0 as negative.
                let millis = (seconds * 1000.0).floor();
                #[allow(clippy::cast_precision_loss, reason = "the bound is far below 2^53")]
                let end = Timestamp::END_OF_TIME.as_millis() as f64;
                if seconds.is_sign_negative() || !(0.0..end).contains(&millis) {
                    return Err(E::custom("not a date"));
                }
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in 0..END_OF_TIME")]
                let millis = millis as u64;
                Ok(NumericDate(Timestamp::from_millis(millis)))
            }
        }

        // `deserialize_any` would pass fractions as maps if another crate enables
        // `serde_json/arbitrary_precision`.
        deserializer.deserialize_f64(NumericDateVisitor)
    }
}

/// Returns the error for a member that must be absent. Reads the value first, so that invalid JSON
/// gets the parser's error.
pub(crate) fn refuse<'de, A: MapAccess<'de>, T>(map: &mut A, why: &'static str) -> Result<T, A::Error> {
    map.next_value::<IgnoredAny>()?;
    Err(A::Error::custom(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_borrowed_unless_it_has_an_escape() {
        let is_borrowed =
            |json| serde_json::from_str(json).is_ok_and(|Name(text)| matches!(text, Cow::Borrowed("sub")));
        assert!(is_borrowed(r#""sub""#));
        assert!(!is_borrowed(r#""s\u0075b""#));
        assert!(serde_json::from_str(r#""s\u0075b""#).is_ok_and(|Name(text)| text == "sub"));
    }
}
