//! One line of a header field. No more of it is read than a token can have.

use http::{HeaderMap, HeaderName};

use super::Credential;

/// The lines of a request under a field's name.
pub(super) enum Line<'a> {
    Absent,
    One(Beginning<'a>),
    /// Never guess which is meant, though they may be the same.
    Several,
}

/// The beginning of a line, without the spaces around it. A scheme, spaces and a token fit in, and
/// one byte more.
pub(super) struct Beginning<'a> {
    pub(super) text: &'a [u8],
    is_cut: bool,
}

/// Returns the field's one line.
#[inline]
pub(super) fn line<'a>(headers: &'a HeaderMap, name: &HeaderName, max_token_len: usize) -> Line<'a> {
    let mut lines = headers.get_all(name).iter();
    let line = match (lines.next(), lines.next()) {
        (None, _) => return Line::Absent,
        (Some(line), None) => line.as_bytes(),
        (Some(_), Some(_)) => return Line::Several,
    };
    Line::One(match line.get(..max_token_len.saturating_add(256)) {
        Some(text) if text.len() < line.len() => Beginning { text: text.trim_ascii_start(), is_cut: true },
        _ => Beginning { text: line.trim_ascii(), is_cut: false },
    })
}

impl<'a> Beginning<'a> {
    /// Returns the token that this part of the line is. A line that was cut before the token became
    /// too long has too many spaces around it.
    #[inline]
    pub(super) fn token(&self, part: &'a [u8], max_token_len: usize) -> Credential<'a> {
        if self.is_cut && part.len() <= max_token_len {
            return Credential::Malformed;
        }
        Credential::of(part, max_token_len)
    }
}

/// Reads a field of the application's own, which holds the token alone. An empty one is as if
/// absent, as an empty `Authorization` is.
pub(super) fn token<'a>(headers: &'a HeaderMap, name: &HeaderName, max_token_len: usize) -> Credential<'a> {
    match line(headers, name, max_token_len) {
        Line::Absent | Line::One(Beginning { text: [], .. }) => Credential::Absent,
        Line::One(line) => line.token(line.text, max_token_len),
        Line::Several => Credential::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::AUTHORIZATION};

    use super::{super::authorization, *};

    #[test]
    fn of_a_line_without_end_only_the_beginning_is_looked_at() {
        let mut headers = HeaderMap::new();
        let name = HeaderName::from_static("x-token");
        for (line, expected) in [
            (format!("{}abc", " ".repeat(2000)), "Absent".to_owned()),
            (format!("a{}b", " ".repeat(2000)), format!("a{}", " ".repeat(64))),
            ("a".repeat(2000), "a".repeat(65)),
        ] {
            headers.insert(&name, HeaderValue::try_from(&line).unwrap_or(HeaderValue::from_static("?")));
            assert_eq!(token(&headers, &name, 64).told(), expected);
            headers.insert(
                AUTHORIZATION,
                HeaderValue::try_from(format!("Bearer {line}")).unwrap_or(HeaderValue::from_static("?")),
            );
            let expected = if expected == "Absent" { "Malformed".to_owned() } else { expected };
            assert_eq!(authorization::read(&headers, 64).told(), expected);
        }
    }
}
