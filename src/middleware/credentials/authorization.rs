//! The `Authorization` field (RFC 6750 section 2.1, RFC 9110 section 11.6.2).

use http::{HeaderMap, header::AUTHORIZATION};

use super::{
    Credential,
    field::{self, Line},
};

const SCHEME: &[u8] = b"bearer";

/// Reads the one `Authorization` field. Another scheme's is no bearer credential.
#[inline]
pub(super) fn read(headers: &HeaderMap, max_token_len: usize) -> Credential<'_> {
    let line = match field::line(headers, &AUTHORIZATION, max_token_len) {
        Line::Absent => return Credential::Absent,
        Line::One(line) => line,
        Line::Several => return Credential::Malformed,
    };
    let rest = match line.text.split_at_checked(SCHEME.len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => rest,
        _ => return Credential::Absent,
    };
    // 1*SP: a tab is no separator, but it ends the scheme.
    match rest.first() {
        None | Some(b'\t') => return Credential::Malformed,
        Some(b' ') => {}
        Some(_) => return Credential::Absent,
    }
    let spaces = rest.iter().take_while(|&&byte| byte == b' ').count();
    line.token(rest.get(spaces..).unwrap_or_default(), max_token_len)
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "tests")]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn token_in(lines: &[&[u8]]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(line).expect("a value that HTTP can carry"));
        }
        read(&headers, 64).told()
    }

    #[test]
    fn the_scheme_has_no_case_and_spaces_may_be_several() {
        for line in ["Bearer abc", "bearer abc", "BEARER abc", "bEaReR    abc", " \tBearer abc\t "] {
            assert_eq!(token_in(&[line.as_bytes()]), "abc", "{line:?}");
        }
    }

    #[test]
    fn another_scheme_or_nothing_is_no_credential() {
        assert_eq!(token_in(&[]), "Absent");
        for line in ["", "  ", "Basic dXNlcjpwdw==", "Bearerabc", "Bearer: abc", "abc"] {
            assert_eq!(token_in(&[line.as_bytes()]), "Absent", "{line:?}");
        }
    }

    #[test]
    fn anything_but_one_b64token_after_the_scheme_is_malformed() {
        let bad: [&[u8]; 10] = [
            b"Bearer",
            b"Bearer ",
            b"Bearer\tabc",
            b"Bearer \tabc",
            b"Bearer abc def",
            b"Bearer abc,",
            b"Bearer =",
            b"Bearer \"abc\"",
            b"Bearer \xff\xfe",
            "Bearer ey\u{fc}".as_bytes(),
        ];
        for line in bad {
            assert_eq!(token_in(&[line]), "Malformed", "{line:?}");
        }
    }

    #[test]
    fn a_second_field_line_is_malformed_even_if_it_is_the_same() {
        assert_eq!(token_in(&[b"Bearer abc", b"Bearer abc"]), "Malformed");
        assert_eq!(token_in(&[b"Basic abc", b"Bearer abc"]), "Malformed");
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_to_one_byte_more_than_allowed() {
        assert_eq!(token_in(&[format!("Bearer {}", "a".repeat(1000)).as_bytes()]), "a".repeat(65));
    }
}
