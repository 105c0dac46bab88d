//! Tokens in `Sec-WebSocket-Protocol` (RFC 6455 section 11.3.4), the only field that a web page can
//! set for a WebSocket. The page offers two protocols: a name and the token.

use http::{HeaderMap, HeaderName, HeaderValue, header::SEC_WEBSOCKET_PROTOCOL};

use super::credential::{Credential, MAX_EXTRA_BYTES, MAX_PAIRS};
use crate::error::ConfigError;

/// Returns an error if `name` cannot be the name of a protocol. RFC 6455 section 4.1 allows the
/// characters of RFC 9110 section 5.6.2.
pub(super) fn check_name(name: &str) -> Result<(), ConfigError> {
    // A header field's name has the same grammar.
    if HeaderName::from_bytes(name.as_bytes()).is_ok() {
        return Ok(());
    }
    Err(ConfigError::new(
        "allow_websocket_protocol",
        "has an empty name, or a name with characters that a protocol cannot have",
        "use letters, digits, `-`, `.` and `_`, as in `bearer`",
    ))
}

/// Reads the token, which is the protocol after the protocol `name`. Returns `Malformed` for a name
/// without a token, and for a second pair of name and token.
pub(super) fn read<'a>(headers: &'a HeaderMap, name: &str, max_token_len: usize) -> Credential<'a> {
    let (mut found, mut seen, mut is_next) = (Credential::Absent, 0, false);
    let mut room = max_token_len.saturating_add(MAX_EXTRA_BYTES);
    for line in headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().map(HeaderValue::as_bytes) {
        let Some(left) = room.checked_sub(line.len()) else { return Credential::Malformed };
        room = left;
        for protocol in protocols(line) {
            seen += 1;
            if seen > MAX_PAIRS {
                return Credential::Malformed;
            }
            if is_next {
                found = found.and(Credential::of(protocol, max_token_len));
            }
            is_next = !is_next && protocol == name.as_bytes();
            if found == Credential::Malformed {
                return found;
            }
        }
    }
    if is_next { Credential::Malformed } else { found }
}

/// Removes the name and the token after it, and leaves the other protocols as they are.
pub(super) fn strip(headers: &mut HeaderMap, name: &str) {
    let mut is_next = false;
    let mut left = Vec::new();
    for line in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        let others: Vec<&[u8]> = protocols(line.as_bytes())
            .filter(|protocol| {
                let is_token = is_next;
                is_next = !is_token && *protocol == name.as_bytes();
                !is_token && !is_next
            })
            .collect();
        left.extend(HeaderValue::from_bytes(&others.join(&b", "[..])).ok().filter(|line| !line.is_empty()));
    }
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    for line in left {
        headers.append(SEC_WEBSOCKET_PROTOCOL, line);
    }
}

/// Returns the protocols of a line. Skips the empty elements of the list (RFC 9110 section
/// 5.6.1.2).
fn protocols(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|protocol| !protocol.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let lines = lines.iter().map(|line| (SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(line).unwrap()));
        lines.collect::<Vec<_>>().into_iter().fold(HeaderMap::new(), |mut headers, (name, line)| {
            headers.append(name, line);
            headers
        })
    }

    fn read(lines: &[&str]) -> String {
        super::read(&headers(lines), "bearer", 64).describe()
    }

    #[test]
    fn the_token_is_the_protocol_after_the_name() {
        for lines in [
            &["bearer, abc"][..],
            &["bearer,abc"],
            &["chat , bearer , abc , other"],
            &["bearer", "abc"],
            &["bearer,, abc,"],
        ] {
            assert_eq!(read(lines), "abc", "{lines:?}");
        }
        assert_eq!(read(&["bearer, bearer"]), "bearer", "a token that is called like the protocol");
    }

    #[test]
    fn without_the_name_there_is_no_credential() {
        for lines in [&[][..], &["chat"], &["Bearer, abc"], &["bearerabc"], &["chat, abc"]] {
            assert_eq!(read(lines), "Absent", "{lines:?}");
        }
    }

    #[test]
    fn a_name_without_a_token_or_two_of_them_are_malformed() {
        for lines in
            [&["bearer"][..], &["bearer,"], &["bearer, a, bearer, a"], &["bearer, a", "bearer, b"], &["bearer, a b"]]
        {
            assert_eq!(read(lines), "Malformed", "{lines:?}");
        }
        let many = format!("{}bearer, abc", "x,".repeat(MAX_PAIRS - 1));
        assert_eq!(read(&[&many]), "Malformed");
        assert_eq!(read(&[&"x".repeat(MAX_EXTRA_BYTES + 65)]), "Malformed");
        assert_eq!(read(&[&format!("bearer, {}", "a".repeat(1000))]), "a".repeat(65));
    }

    #[test]
    fn stripping_leaves_the_other_protocols() {
        let left_of = |lines: &[&str]| {
            let mut headers = headers(lines);
            strip(&mut headers, "bearer");
            let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
            lines.map(|line| line.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(left_of(&["chat, bearer, abc, other"]), ["chat, other"]);
        assert_eq!(left_of(&["bearer", "abc", "chat"]), ["chat"]);
        assert_eq!(left_of(&["bearer, abc"]), [""; 0]);
    }
}
