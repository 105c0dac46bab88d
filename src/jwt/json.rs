//! A stricter JSON reader than RFC 8259 requires, for headers, claims and keys.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::clock::Timestamp;

/// A string of a JSON text. It is copied only if it contains an escape.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Name<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// A type that [`read_object`] fills from the members of a JSON object.
pub(crate) trait FromMembers<'de> {
    /// The name of the expected object in error texts.
    const EXPECTED: &'static str;
    /// The maximum number of members. Set a limit for objects that are read before the signature is
    /// verified, because anyone can send them.
    const MAX_MEMBERS: usize = usize::MAX;

    /// Reads the value of the member `name` from `map`. [`read_object`] calls this at most once for
    /// each name.
    fn read_member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;

    /// Reads the value of a member whose name has occurred before.
    ///
    /// Default: an error, because parsers differ in which of the two members they use (RFC 7515
    /// section 4, RFC 7519 section 4).
    fn read_duplicate<A: MapAccess<'de>>(&mut self, _name: &str, _map: &mut A) -> Result<(), A::Error> {
        Err(A::Error::custom("duplicate member"))
    }
}

/// Reads an object into `empty`, and returns it. By default, fails if two members have the same
/// name (see [`FromMembers::read_duplicate`]).
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
                    self.0.read_duplicate(&name, &mut map)?;
                    continue;
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

/// A reader of JSON values that the caller does not need. It checks the values and drops them.
///
/// The reader decodes every string, so it finds invalid escapes such as a lone surrogate.
/// `serde::de::IgnoredAny` would not find them.
///
/// The number of values has a limit, because the reader runs before the signature is verified.
pub(crate) struct Unread {
    left: u32,
}

impl Unread {
    /// Creates a reader that fails if it reads more than `values` values.
    pub(crate) fn at_most(values: u32) -> Self {
        Self { left: values }
    }

    /// Returns a deserializer of one value with this shape.
    pub(crate) fn value(&mut self, shape: Shape) -> UnreadValue<'_> {
        UnreadValue { unread: self, shape }
    }
}

/// A deserializer that checks and drops one value.
pub(crate) struct UnreadValue<'a> {
    unread: &'a mut Unread,
    shape: Shape,
}

/// The expected JSON type of a dropped value.
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

/// A time as a `NumericDate` (RFC 7519 section 2): seconds since the Unix epoch, possibly with a
/// fraction. A negative time or a time after the year 9999 is an error.
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
                // Rounds down, so that a token is not valid for longer than its text says. The
                // check of the sign also refuses -0.0.
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

        // If another crate enables `serde_json/arbitrary_precision`, `deserialize_any` passes a
        // fraction as a map. This visitor would then fail.
        deserializer.deserialize_f64(NumericDateVisitor)
    }
}

/// Returns the error `why` for a member that must be absent. Reads the value first, so that invalid
/// JSON gets the parser's error instead.
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
