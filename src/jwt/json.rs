//! What JSON of a token is held to beyond RFC 8259, for the header and the claims alike.

use std::{borrow::Cow, fmt};

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::clock::Timestamp;

/// A member's name, borrowed from the text where it contains no escape.
pub(crate) struct Name<'de>(pub(crate) Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }

        deserializer.deserialize_str(NameVisitor)
    }
}

/// Reads values that do not matter, to the last escape, and throws them away.
///
/// `serde::de::IgnoredAny` lets `serde_json` skip strings without looking at their escapes, so a lone surrogate would pass; here every
/// string is decoded. It reads no more values than it was made for: they are paid for before a signature is known to be good.
pub(crate) struct Unread {
    left: u32,
}

impl Unread {
    pub(crate) fn at_most(values: u32) -> Self {
        Self { left: values }
    }

    /// Any value.
    pub(crate) fn any(&mut self) -> Reader<'_> {
        Reader { unread: self, kind: Kind::Any }
    }

    /// An object.
    pub(crate) fn object(&mut self) -> Reader<'_> {
        Reader { unread: self, kind: Kind::Object }
    }

    /// An array of strings.
    pub(crate) fn texts(&mut self) -> Reader<'_> {
        Reader { unread: self, kind: Kind::Texts }
    }
}

/// One value that is read and thrown away.
pub(crate) struct Reader<'a> {
    unread: &'a mut Unread,
    kind: Kind,
}

enum Kind {
    Any,
    Object,
    Texts,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.unread.left = self.unread.left.checked_sub(1).ok_or_else(|| D::Error::custom("too many values"))?;
        match self.kind {
            Kind::Any => deserializer.deserialize_any(self),
            Kind::Object => deserializer.deserialize_map(self),
            Kind::Texts => deserializer.deserialize_seq(self),
        }
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Any => "any JSON value",
            Kind::Object => "an object",
            Kind::Texts => "an array of strings",
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
        if matches!(self.kind, Kind::Texts) {
            while seq.next_element::<Name<'de>>()?.is_some() {
                self.unread.left =
                    self.unread.left.checked_sub(1).ok_or_else(|| A::Error::custom("too many values"))?;
            }
        } else {
            while seq.next_element_seed(self.unread.any())?.is_some() {}
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key::<Name<'de>>()?.is_some() {
            map.next_value_seed(self.unread.any())?;
        }
        Ok(())
    }
}

/// RFC 7519 section 2: seconds since the epoch, which may have a fraction. Never negative here, and before the year 10 000.
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
                // Reads -0.0 as negative, and rounds down: a token never lives longer than its text says.
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

        // Not `deserialize_any`: it gives fractions as maps if another crate turns `serde_json/arbitrary_precision` on.
        deserializer.deserialize_f64(NumericDateVisitor)
    }
}

/// Reads one JSON text to its end: trailing characters are an error.
pub(crate) fn from_slice<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(json)
}

/// Marks a member that is refused by its presence alone.
pub(crate) fn refuse<'de, A: MapAccess<'de>, T>(map: &mut A, why: &'static str) -> Result<T, A::Error> {
    map.next_value::<IgnoredAny>()?;
    Err(A::Error::custom(why))
}
