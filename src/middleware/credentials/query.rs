//! Tokens in the query (RFC 6750 section 2.3), decoded as `application/x-www-form-urlencoded`.

use std::borrow::Cow;

use http::{Uri, uri::PathAndQuery};

use super::credential::{Credential, MAX_EXTRA_BYTES, MAX_PAIRS};

/// Reads the parameter with one of these names. Returns `Malformed` for two such parameters.
pub(super) fn read<'a>(query: &'a str, names: &[String], max_token_len: usize) -> Credential<'a> {
    if query.len() > max_token_len.saturating_add(MAX_EXTRA_BYTES) {
        return Credential::Malformed;
    }
    let mut found = Credential::Absent;
    for (index, pair) in query.split('&').enumerate() {
        if index >= MAX_PAIRS {
            return Credential::Malformed;
        }
        if bears_name(pair, names)
            && let Some((_, value)) = form_urlencoded::parse(pair.as_bytes()).next()
        {
            let text = match value {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            };
            found = found.and(Credential::of(text, max_token_len));
        }
        if found == Credential::Malformed {
            return found;
        }
    }
    found
}

/// Removes the parameters with these names, and leaves the others as they are.
pub(super) fn strip(uri: &mut Uri, names: &[String]) {
    let Some(query) = uri.query() else { return };
    let (ours, others): (Vec<_>, Vec<_>) = query.split('&').partition(|pair| bears_name(pair, names));
    if ours.is_empty() {
        return;
    }
    let target = if others.is_empty() { uri.path().to_owned() } else { format!("{}?{}", uri.path(), others.join("&")) };
    let mut parts = uri.clone().into_parts();
    // The shorter query is valid, so the fallbacks should never apply. A fallback would drop the
    // path together with the credential.
    parts.path_and_query = Some(PathAndQuery::try_from(target).unwrap_or_else(|_| PathAndQuery::from_static("/")));
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

/// Returns true if the parameter's decoded name is in `names`. Does not decode `+`, because the
/// names contain no space.
fn bears_name(pair: &str, names: &[String]) -> bool {
    let name = pair.split_once('=').map_or(pair, |(name, _)| name);
    names.iter().any(|own| percent_encoding::percent_decode_str(name).eq(own.bytes()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn read(query: &str) -> String {
        super::read(query, &["t".to_owned(), "a_b".to_owned()], 64).describe()
    }

    #[test]
    fn the_one_parameter_of_the_name_is_found_and_decoded() {
        for query in ["t=abc", "x=1&t=abc&y", "&t=abc&", "%74=abc", "t=%61bc", "a_b=abc", "a%5fb=abc"] {
            assert_eq!(read(query), "abc", "{query}");
        }
    }

    #[test]
    fn another_name_is_no_credential() {
        for query in ["", "T=abc", "tt=abc", "x=t=abc", "t%3Dabc", "t;x=abc", "t+=abc", "%=abc", "t%=abc", "t%7=abc"] {
            assert_eq!(read(query), "Absent", "{query}");
        }
    }

    #[test]
    fn twice_or_no_token_or_a_query_longer_than_any_server_takes_is_malformed() {
        for query in ["t=abc&t=abc", "t=abc&%74=abc", "t", "t=", "t=a%20b", "t=%ff", "t=a,b", "t=abc&%61_b=abc"] {
            assert_eq!(read(query), "Malformed", "{query}");
        }
        assert_eq!(read(&format!("t=abc&x={}", "y".repeat(MAX_EXTRA_BYTES + 64))), "Malformed");
        assert_eq!(read(&format!("{}t=abc", "x&".repeat(MAX_PAIRS - 1))), "abc");
        assert_eq!(read(&format!("{}t=abc", "x&".repeat(MAX_PAIRS))), "Malformed");
    }

    #[test]
    fn a_value_that_is_too_long_is_cut_to_one_byte_more_than_allowed() {
        assert_eq!(read(&format!("t={}", "a".repeat(1000))), "a".repeat(65));
        assert_eq!(read(&format!("t=%61{}", "a".repeat(1000))), "a".repeat(65));
    }

    #[test]
    fn stripping_leaves_the_rest_as_it_is_written() {
        for (before, after) in [
            ("/p?t=abc", "/p"),
            ("/p?x=%41&t=abc&y", "/p?x=%41&y"),
            ("/p?%74=abc&x=1&t=d", "/p?x=1"),
            ("/p?x=1&&y=2", "/p?x=1&&y=2"),
            ("http://host:1/p?t=abc", "http://host:1/p"),
            ("/p", "/p"),
        ] {
            let mut uri: Uri = before.parse().unwrap();
            strip(&mut uri, &["t".to_owned()]);
            assert_eq!(uri.to_string(), after);
        }
    }
}
