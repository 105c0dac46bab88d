//! The fields of a request's body: a form or a JSON object, with limits of size and time.

use std::{fmt, time::Duration};

use http::{
    HeaderMap,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use mime::Mime;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{
    error::BoxError,
    middleware::{Rejection, RejectionKind},
};

/// The maximum size of a body in bytes, more than any login needs.
const MAX_BODY: usize = 16 * 1024;
/// The longest time for receiving a body. Without this limit, a slow client would occupy a task and
/// a connection.
const MAX_TIME: Duration = Duration::from_secs(10);

/// The fields of a body: names and values, in the order of the body. A repeated field has several
/// entries.
#[derive(Default)]
pub struct Fields(Vec<(String, Field)>);

enum Field {
    Text(Zeroizing<String>),
    /// A JSON value other than a string.
    Other,
}

impl Fields {
    pub(super) async fn read<B>(headers: &HeaderMap, body: B) -> Result<Self, Rejection>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let parse = match media_type(headers)? {
            MediaType::Form => parse_form,
            MediaType::Json => parse_json,
        };
        let collected = tokio::time::timeout(MAX_TIME, Limited::new(body, MAX_BODY).collect()).await;
        match collected {
            Ok(Ok(body)) => parse(&body.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                Err(Rejection::new(RejectionKind::PayloadTooLarge))
            }
            Ok(Err(_)) => Err(Rejection::new(RejectionKind::InvalidParameter)),
            Err(_) => Err(Rejection::new(RejectionKind::RequestTimeout)),
        }
    }

    /// Returns true if the headers announce a body that [`read`](Self::read) accepts: a form or
    /// JSON.
    pub(super) fn are_in(headers: &HeaderMap) -> bool {
        supported_media_type(headers).is_some()
    }

    /// Returns the text of the field with this name, or `None` if the field is missing. Rejects a
    /// repeated field, and a JSON value that is not a string.
    pub(super) fn at_most_one(&self, name: &str) -> Result<Option<&str>, Rejection> {
        if self.0.iter().any(|(own, _)| own == name) { self.one(name).map(Some) } else { Ok(None) }
    }

    /// Returns the text of the field with this name. Rejects a missing or repeated field, and a
    /// JSON value that is not a string.
    pub(crate) fn one(&self, name: &str) -> Result<&str, Rejection> {
        let mut found = self.0.iter().filter(|(own, _)| own == name);
        match (found.next(), found.next()) {
            (Some((_, Field::Text(text))), None) => Ok(text),
            _ => Err(Rejection::new(RejectionKind::InvalidParameter)),
        }
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

enum MediaType {
    Form,
    Json,
}

fn media_type(headers: &HeaderMap) -> Result<MediaType, Rejection> {
    supported_media_type(headers).ok_or_else(|| Rejection::new(RejectionKind::UnsupportedMediaType))
}

fn supported_media_type(headers: &HeaderMap) -> Option<MediaType> {
    let mut lines = headers.get_all(CONTENT_TYPE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let media: Mime = line.to_str().ok()?.parse().ok()?;
    let in_utf_8 = media.get_param(mime::CHARSET).is_none_or(|charset| charset == mime::UTF_8);
    if !in_utf_8 || headers.contains_key(CONTENT_ENCODING) {
        return None;
    }
    match media.essence_str() {
        "application/x-www-form-urlencoded" => Some(MediaType::Form),
        "application/json" => Some(MediaType::Json),
        _ => None,
    }
}

fn parse_form(body: &[u8]) -> Result<Fields, Rejection> {
    // The parser replaces invalid UTF-8 by U+FFFD. The endpoint rejects this character, because
    // otherwise two different passwords could become equal.
    let fields: Vec<_> = form_urlencoded::parse(body)
        .map(|(name, value)| (name.into_owned(), Zeroizing::new(value.into_owned())))
        .collect();
    if fields.iter().any(|(name, value)| name.contains('\u{fffd}') || value.contains('\u{fffd}')) {
        return Err(Rejection::new(RejectionKind::InvalidParameter));
    }
    Ok(Fields(fields.into_iter().map(|(name, value)| (name, Field::Text(value))).collect()))
}

fn parse_json(body: &[u8]) -> Result<Fields, Rejection> {
    serde_json::from_slice(body).map_err(|_| Rejection::new(RejectionKind::InvalidParameter))
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    let field = match value {
                        Value::String(text) => Field::Text(Zeroizing::new(text)),
                        _ => Field::Other,
                    };
                    fields.push((name, field));
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(FieldsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(fields: Result<Fields, Rejection>, name: &str) -> Option<String> {
        fields.ok()?.one(name).ok().map(str::to_owned)
    }

    #[test]
    fn a_field_is_taken_only_if_it_stands_there_once_and_is_text() {
        assert_eq!(one(parse_form(b"a=1&b=x%20y+z"), "b").as_deref(), Some("x y z"));
        assert_eq!(one(parse_json(br#"{"a":1,"b":"x"}"#), "b").as_deref(), Some("x"));
        assert_eq!(one(parse_form(b"b="), "b").as_deref(), Some(""));
        for form in ["", "a=1", "b=1&b=1", "b=%ff"] {
            assert_eq!(one(parse_form(form.as_bytes()), "b"), None, "{form}");
        }
        for json in ["", "[]", "{}", r#"{"b":1}"#, r#"{"b":null}"#, r#"{"b":"1","b":"1"}"#, r#"{"b":"1"} x"#] {
            assert_eq!(one(parse_json(json.as_bytes()), "b"), None, "{json}");
        }
    }
}
