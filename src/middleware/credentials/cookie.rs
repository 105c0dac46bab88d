//! Tokens in the `Cookie` field (RFC 6265 section 5.4). HTTP/2 allows several lines (RFC 9113
//! section 8.2.3).
//!
//! The parser reads bytes, so that invalid text in another cookie does not hide the token.

use http::{HeaderMap, HeaderValue, header::COOKIE};

use super::credential::{Credential, MAX_EXTRA_BYTES, MAX_PAIRS};

/// Reads the cookie with one of these names. Returns `Malformed` for two such cookies, because a
/// neighbouring domain may have set one. Returns `Absent` for a single cookie with an empty value,
/// because some frameworks clear a cookie that way.
pub(in crate::middleware) fn read<'a>(
    headers: &'a HeaderMap,
    names: &[impl AsRef<str>],
    max_token_len: usize,
) -> Credential<'a> {
    let (mut found, mut pairs_seen, mut names_seen) = (Credential::Absent, 0, 0_u64);
    let mut room = max_token_len.saturating_add(MAX_EXTRA_BYTES);
    for line in headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes) {
        let Some(left) = room.checked_sub(line.len()) else { return Credential::Malformed };
        room = left;
        for pair in pairs(line) {
            pairs_seen += 1;
            if pairs_seen > MAX_PAIRS {
                return Credential::Malformed;
            }
            let Some((index, value)) = value(pair, names) else { continue };
            let name = 1 << index.min(63);
            if names_seen & name != 0 {
                return Credential::Malformed;
            }
            names_seen |= name;
            let value = unquoted(value);
            if !value.is_empty() {
                found = found.and(Credential::of(value, max_token_len));
            }
            if found == Credential::Malformed {
                return found;
            }
        }
    }
    found
}

/// Removes the cookies with these names, and leaves the others as they are.
pub(super) fn strip(headers: &mut HeaderMap, names: &[String]) {
    let left_of = |line: &HeaderValue| {
        let others: Vec<&[u8]> = pairs(line.as_bytes()).filter(|pair| value(pair, names).is_none()).collect();
        let mut line = HeaderValue::from_bytes(&others.join(&b"; "[..])).ok().filter(|line| !line.is_empty())?;
        line.set_sensitive(true);
        Some(line)
    };
    let left: Vec<_> = headers.get_all(COOKIE).iter().filter_map(left_of).collect();
    headers.remove(COOKIE);
    for line in left {
        headers.append(COOKIE, line);
    }
}

fn pairs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b';').map(<[u8]>::trim_ascii)
}

/// Returns the index of the name in `names`, and the value. Names are case-sensitive.
fn value<'a>(pair: &'a [u8], names: &[impl AsRef<str>]) -> Option<(usize, &'a [u8])> {
    let equals = pair.iter().position(|&byte| byte == b'=')?;
    let (name, value) = pair.split_at_checked(equals)?;
    let name = name.trim_ascii();
    let index = names.iter().position(|own| own.as_ref().as_bytes() == name)?;
    Some((index, value.get(1..).unwrap_or_default().trim_ascii()))
}

/// Removes the quotes around a value. Browsers send the quotes back if the server set them.
fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn headers(lines: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        headers
    }

    fn read(lines: &[&[u8]]) -> String {
        super::read(&headers(lines), &["t".to_owned()], 64).describe()
    }

    #[test]
    fn the_one_cookie_of_the_name_is_found_among_others() {
        for line in [&b"t=abc"[..], b"a=1; t=abc; b=2", b"a=1;t=abc", b" t = abc ;", b"a=\xff; t=\"abc\"", b"x; t=abc"]
        {
            assert_eq!(read(&[line]), "abc", "{line:?}");
        }
        assert_eq!(read(&[b"a=1", b"t=abc"]), "abc");
    }

    #[test]
    fn another_name_or_an_empty_value_is_no_credential() {
        for line in
            [&b""[..], b"T=abc", b"tt=abc", b"t", b"a=t=abc", b"=abc", b"x=\"t=abc\"", b"t=", b"t=\"\"", b"t= ;"]
        {
            assert_eq!(read(&[line]), "Absent", "{line:?}");
        }
        assert_eq!(read(&[]), "Absent");
    }

    #[test]
    fn twice_or_no_token_or_more_cookies_than_any_server_takes_is_malformed() {
        for line in
            [&b"t=abc; t=abc"[..], b"t=abc; t=", b"t=; t=abc", b"t=\"", b"t=a b", b"t=\xff", b"t=\"abc", b"t=a,b"]
        {
            assert_eq!(read(&[line]), "Malformed", "{line:?}");
        }
        assert_eq!(read(&[b"t=abc", b"t=abc"]), "Malformed");
        assert_eq!(read(&[format!("t=abc; x={}", "y".repeat(MAX_EXTRA_BYTES + 64)).as_bytes()]), "Malformed");
        assert_eq!(read(&[format!("{}t=abc", "x;".repeat(MAX_PAIRS - 1)).as_bytes()]), "abc");
        assert_eq!(read(&[format!("{}t=abc", "x;".repeat(MAX_PAIRS)).as_bytes()]), "Malformed");
    }

    #[test]
    fn a_value_that_is_too_long_is_cut_to_one_byte_more_than_allowed() {
        assert_eq!(read(&[format!("t={}", "a".repeat(1000)).as_bytes()]), "a".repeat(65));
    }

    #[test]
    fn stripping_leaves_the_other_cookies_as_they_are() {
        let left_of = |lines: &[&[u8]]| {
            let mut headers = headers(lines);
            strip(&mut headers, &["t".to_owned()]);
            let lines = headers.get_all(COOKIE).iter().map(|line| line.as_bytes().to_vec());
            lines.collect::<Vec<_>>()
        };
        assert_eq!(left_of(&[b"a=1; t=abc; b=\xff"]), [b"a=1; b=\xff".to_vec()]);
        assert_eq!(left_of(&[b"a=1", b"t=abc; t=d"]), [b"a=1".to_vec()]);
        assert!(left_of(&[b"t=abc"]).is_empty());
    }
}
