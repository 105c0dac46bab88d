//! The time for which a node may use a response (RFC 9111).

use std::time::Duration;

use http::{
    HeaderMap,
    header::{AGE, CACHE_CONTROL},
};

/// Returns the time for which `Cache-Control` lets this node use the response. Returns `None` if
/// the header sets no time.
///
/// * `no-store` and `no-cache` set the time to zero.
/// * `s-maxage` has no effect, because it is only for shared caches (section 5.2.2.10).
/// * The result is `max-age` minus `Age`. `Age` is the time that the response has spent in other
///   caches (section 4.2.3).
/// * An unreadable `max-age` sets the time to zero. If there are several `max-age`, the smallest
///   one applies (section 4.2.1).
pub(super) fn lifetime(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(CACHE_CONTROL).into_iter();
    let directives = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let seconds = directives.filter_map(|directive| seconds_of(directive.trim_ascii())).min()?;
    Some(Duration::from_secs(seconds.saturating_sub(age(headers))))
}

/// Returns the seconds for which one directive allows the use. Returns `None` if the directive sets
/// no limit.
fn seconds_of(directive: &[u8]) -> Option<u64> {
    let mut parts = directive.splitn(2, |byte| *byte == b'=');
    let name = parts.next()?.trim_ascii().to_ascii_lowercase();
    match name.as_slice() {
        b"no-store" | b"no-cache" => Some(0),
        b"max-age" => Some(parts.next().and_then(number).unwrap_or(0)),
        _ => None,
    }
}

fn age(headers: &HeaderMap) -> u64 {
    headers.get(AGE).and_then(|value| number(value.as_bytes())).unwrap_or(0)
}

/// Reads a number of seconds, with or without quotes (section 1.2.2). Returns at most `u32::MAX`.
fn number(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii();
    let text = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let largest = u64::from(u32::MAX);
    Some(std::str::from_utf8(text).ok()?.parse().map_or(largest, |seconds: u64| seconds.min(largest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(headers: &[(http::HeaderName, &'static str)]) -> Option<u64> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), http::HeaderValue::from_static(value)));
        let mut all = HeaderMap::new();
        headers.for_each(|(name, value)| {
            all.append(name, value);
        });
        lifetime(&all).map(|time| time.as_secs())
    }

    #[test]
    fn a_lifetime_follows_the_directives_for_private_caches() {
        for (value, expected) in [
            ("max-age=300", Some(300)),
            ("public, MAX-AGE = 300 , must-revalidate", Some(300)),
            ("max-age=\"300\"", Some(300)),
            ("max-age=0", Some(0)),
            ("max-age=300, max-age=60", Some(60)),
            ("max-age=300, no-cache", Some(0)),
            ("no-store", Some(0)),
            ("no-cache=\"Set-Cookie\", max-age=300", Some(0)),
            ("max-age=-1", Some(0)),
            ("max-age=", Some(0)),
            ("max-age", Some(0)),
            ("max-age=5m", Some(0)),
            ("max-age=99999999999999999999999", Some(u64::from(u32::MAX))),
            ("s-maxage=300", None),
            ("s-maxage=9, max-age=300", Some(300)),
            ("public", None),
            ("", None),
        ] {
            assert_eq!(seconds(&[(CACHE_CONTROL, value)]), expected, "{value}");
        }
        assert_eq!(seconds(&[]), None);
    }

    #[test]
    fn several_headers_count_as_one() {
        assert_eq!(seconds(&[(CACHE_CONTROL, "public"), (CACHE_CONTROL, "max-age=300")]), Some(300));
        assert_eq!(seconds(&[(CACHE_CONTROL, "max-age=300"), (CACHE_CONTROL, "no-store")]), Some(0));
    }

    #[test]
    fn the_age_of_the_response_is_subtracted() {
        assert_eq!(seconds(&[(CACHE_CONTROL, "max-age=300"), (AGE, "100")]), Some(200));
        assert_eq!(seconds(&[(CACHE_CONTROL, "max-age=300"), (AGE, "400")]), Some(0));
        assert_eq!(seconds(&[(CACHE_CONTROL, "max-age=300"), (AGE, "old")]), Some(300));
        assert_eq!(seconds(&[(AGE, "100")]), None);
    }
}
