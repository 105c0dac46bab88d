//! AUT: extraction from the `Authorization` field.

use http::{HeaderValue, Request};
use tower::Layer;
use tower_bearer::{Claims, TokenType, middleware::Unauthenticated};

use crate::{
    subject::{Outcome, Subject, authorization, bearer},
    support::{
        Behaviour, WireServer, bad_tokens,
        wire::{http2_request, statuses},
    },
};

/// Returns a request with exactly these `Authorization` lines in this order.
fn lines<'a>(values: impl IntoIterator<Item = &'a str>) -> http::request::Builder {
    values.into_iter().fold(Request::get("/"), |request, value| {
        request.header("authorization", HeaderValue::from_bytes(value.as_bytes()).unwrap())
    })
}

/// Returns `text` in every mixture of upper and lower case.
fn every_case(text: &str) -> impl Iterator<Item = String> {
    let len = text.len();
    (0..1_u32 << len).map(move |mask| {
        let turned = |(at, letter): (usize, char)| {
            if mask & 1 << at == 0 { letter.to_ascii_lowercase() } else { letter.to_ascii_uppercase() }
        };
        text.chars().enumerate().map(turned).collect()
    })
}

#[tokio::test]
async fn aut_01_a_well_formed_bearer_is_accepted_and_its_claims_reach_the_service() {
    let subject = Subject::new();
    let token = subject.valid().await;
    for behaviour in [Behaviour::AtOnce, Behaviour::Late] {
        subject.fixture.store.answer(behaviour);
        subject.expect_token(&format!("V, {behaviour:?}"), &token, Outcome::Ok).await;
        let parts = subject.inner.last();
        let claims: &Claims = parts.extensions.get().unwrap();
        assert_eq!((claims.subject().as_str(), claims.scope().as_str()), ("42", "read"));
        assert_eq!(claims.token_type(), Some(TokenType::Access));
        assert!(parts.extensions.get::<Unauthenticated>().is_none());
        assert_eq!(parts.headers["authorization"], format!("Bearer {token}"), "the default keeps the field");
    }
}

#[tokio::test]
async fn aut_02_no_credentials_at_all_is_a_challenge_without_an_error() {
    let subject = Subject::new();
    subject.expect("no field", Request::get("/"), Outcome::NoCredentials).await;
    // An empty value is as if absent; space and tab around a value are no part of it (RFC 9110
    // section 5.5).
    for value in ["", " ", "\t", " \t "] {
        subject.expect(&format!("{value:?}"), authorization(value), Outcome::NoCredentials).await;
    }
    // Fields with similar names are ignored.
    let token = subject.valid().await;
    for name in ["proxy-authorization", "x-authorization", "authorisation", "authentication", "cookie"] {
        let request = Request::get("/").header(name, format!("Bearer {token}"));
        subject.expect(name, request, Outcome::NoCredentials).await;
    }
}

#[tokio::test]
async fn aut_03_the_scheme_is_case_insensitive() {
    let subject = Subject::new();
    let token = subject.valid().await;
    for scheme in every_case("bearer") {
        subject.expect(&scheme, authorization(format!("{scheme} {token}")), Outcome::Ok).await;
        // The same holds for malformed credentials and bad tokens.
        subject.expect(&scheme, authorization(&scheme), Outcome::InvalidRequest).await;
        subject.expect(&scheme, authorization(format!("{scheme} abc")), Outcome::InvalidToken).await;
    }
}

#[tokio::test]
async fn aut_04_another_scheme_is_no_bearer_credential() {
    let subject = Subject::new();
    let token = subject.valid().await;
    for value in [
        "Basic dXNlcjpwdw==".to_owned(),
        "Basic".to_owned(),
        "Negotiate oYG0MIGxoAMKAQA=".to_owned(),
        r#"Digest username="Mufasa", realm="api", nonce="abc""#.to_owned(),
        format!("Basic {token}"),
        format!("Token {token}"),
        format!("JWT {token}"),
        // The scheme of key-bound tokens (RFC 9449 section 7.1) is not `Bearer`.
        format!("DPoP {token}"),
        // The scheme is the whole text before the first space or tab.
        token.clone(),
        format!("Bearer{token}"),
        format!("Bearer: {token}"),
        format!("Bearer:{token}"),
        format!("Bearer={token}"),
        format!("Bearer,{token}"),
        format!("Bearer, Bearer {token}"),
        format!("\"Bearer\" {token}"),
        format!("Bearers {token}"),
        format!("Beare {token}"),
        format!("XBearer {token}"),
        format!("OAuth2 Bearer {token}"),
        format!("Basic dXNlcjpwdw==, Bearer {token}"),
        // Letters that look similar, or that other case mappings would turn into ASCII.
        format!("\u{412}earer {token}"),
        format!("\u{ff22}earer {token}"),
        format!("\u{feff}Bearer {token}"),
        // No-break space is no space.
        format!("Bearer\u{a0}{token}"),
    ] {
        subject.expect(&value, authorization(&value), Outcome::NoCredentials).await;
    }
}

#[tokio::test]
async fn aut_05_the_scheme_without_a_token_is_malformed() {
    let subject = Subject::new();
    // Values with white space at the end come only from within a process: on the wire it is
    // stripped.
    for value in ["Bearer", "Bearer ", "Bearer  ", "Bearer\t", "bearer", "BEARER \t ", " Bearer", "\tBearer "] {
        subject.expect(&format!("{value:?}"), authorization(value), Outcome::InvalidRequest).await;
    }
}

#[tokio::test]
async fn aut_06_one_or_more_spaces_and_nothing_else_part_scheme_and_token() {
    let subject = Subject::new();
    let token = subject.valid().await;
    let spaces = " ".repeat(1000);
    for value in [
        format!("Bearer   {token}"),
        format!("Bearer{spaces}{token}"),
        // Around the whole value it is the field's, not the credential's (RFC 9110 section 5.5).
        format!(" \tBearer {token}\t "),
    ] {
        subject.expect(&format!("{value:?}"), authorization(&value), Outcome::Ok).await;
    }
    // `1*SP` of RFC 9110 section 11.4 is no tab.
    for value in [format!("Bearer\t{token}"), format!("Bearer \t{token}"), format!("Bearer\t {token}")] {
        subject.expect(&format!("{value:?}"), authorization(&value), Outcome::InvalidRequest).await;
    }
}

#[tokio::test]
async fn aut_09_a_second_word_after_the_token_is_malformed() {
    let subject = Subject::new();
    let token = subject.valid().await;
    let (head, tail) = token.split_at(token.len() / 2);
    for value in [
        format!("Bearer {token} extra"),
        format!("Bearer {token}  extra"),
        format!("Bearer {token}\textra"),
        format!("Bearer {token} {token}"),
        format!("Bearer extra {token}"),
        format!("Bearer Bearer {token}"),
        format!("Bearer {token} Bearer {token}"),
        format!("Bearer {token} realm=\"api\""),
        format!("Bearer {head} {tail}"),
    ] {
        subject.expect(&value, authorization(&value), Outcome::InvalidRequest).await;
    }
}

#[tokio::test]
async fn aut_10_credentials_joined_by_a_comma_are_malformed() {
    let subject = Subject::new();
    let (token, second) = (subject.valid().await, subject.valid().await);
    for value in [
        format!("Bearer {token}, Bearer {second}"),
        format!("Bearer {token},Bearer {second}"),
        format!("Bearer {token}, Bearer {token}"),
        format!("Bearer {token}, {second}"),
        format!("Bearer {token},{second}"),
        format!("Bearer {token},"),
        format!("Bearer {token} ,"),
        format!("Bearer ,{token}"),
        format!("Bearer {token}, Basic dXNlcjpwdw=="),
        format!("Bearer {token};"),
    ] {
        subject.expect(&value, authorization(&value), Outcome::InvalidRequest).await;
    }
}

#[tokio::test]
async fn aut_12_a_second_field_line_is_malformed_be_it_the_same() {
    let subject = Subject::new();
    let (token, second) = (subject.valid().await, subject.valid().await);
    let (good, other) = (format!("Bearer {token}"), format!("Bearer {second}"));
    let cases: [(&str, &[&str]); 11] = [
        ("the same twice", &[&good, &good]),
        ("two good ones", &[&good, &other]),
        ("a good one and a bad one", &[&good, "Bearer abc"]),
        ("a bad one and a good one", &["Bearer abc", &good]),
        ("a good one and another scheme", &[&good, "Basic dXNlcjpwdw=="]),
        ("another scheme and a good one", &["Basic dXNlcjpwdw==", &good]),
        ("a good one and an empty line", &[&good, ""]),
        ("an empty line and a good one", &["", &good]),
        ("two of another scheme", &["Basic dXNlcjpwdw==", "Basic dXNlcjpwdw=="]),
        ("two empty lines", &["", ""]),
        ("the same three times", &[&good, &good, &good]),
    ];
    for (what, values) in cases {
        subject.expect(what, lines(values.iter().copied()), Outcome::InvalidRequest).await;
    }
    let optional = Subject::new().layered(tower_bearer::middleware::AuthLayerBuilder::optional);
    optional.expect("in the optional mode", lines([&*good, &*good]), Outcome::InvalidRequest).await;
}

#[tokio::test]
async fn aut_17_obs_text_in_the_value_is_malformed_and_no_panic() {
    let subject = Subject::new();
    let token = subject.valid().await;
    for byte in [0x80, 0x85, 0xa0, 0xad, 0xbf, 0xc0, 0xc3, 0xe2, 0xef, 0xf0, 0xf5, 0xfe, 0xff] {
        for (place, value) in [
            ("alone", [b"Bearer ", &[byte][..]].concat()),
            ("before the token", [b"Bearer ", &[byte][..], token.as_bytes()].concat()),
            ("after the token", [b"Bearer ", token.as_bytes(), &[byte][..]].concat()),
            ("within a text that is too long", [b"Bearer ", &[byte][..], "a".repeat(9000).as_bytes()].concat()),
        ] {
            subject.expect(&format!("{byte:#x} {place}"), authorization(value), Outcome::InvalidRequest).await;
        }
        // In the scheme it makes another scheme.
        let value = [b"Bearer", &[byte][..], b" ", token.as_bytes()].concat();
        subject.expect(&format!("{byte:#x} in the scheme"), authorization(value), Outcome::NoCredentials).await;
    }
    subject.expect("two", authorization(b"Bearer \xff\xfe"), Outcome::InvalidRequest).await;
}

#[tokio::test]
async fn aut_18_utf_8_letters_in_the_token_are_malformed() {
    let subject = Subject::new();
    let token = subject.valid().await;
    let (head, tail) = token.split_at(20);
    for letter in ["\u{fc}", "\u{130}", "\u{ff0e}", "\u{2024}", "\u{200b}", "\u{feff}", "\u{301}", "\u{1f511}"] {
        for value in [
            format!("Bearer ey{letter}abc"),
            format!("Bearer {letter}"),
            format!("Bearer {letter}{token}"),
            format!("Bearer {head}{letter}{tail}"),
            format!("Bearer {token}{letter}"),
        ] {
            subject.expect(&value, authorization(&value), Outcome::InvalidRequest).await;
        }
    }
}

#[tokio::test]
async fn aut_20_characters_outside_b64token_are_malformed() {
    let subject = Subject::new();
    let token = subject.valid().await;
    for value in [
        "Bearer {\"a\":1}".to_owned(),
        format!("Bearer \"{token}\""),
        "Bearer <script>".to_owned(),
        format!("Bearer '{token}'"),
        format!("Bearer <{token}>"),
        format!("Bearer token={token}"),
        format!("Bearer token=\"{token}\""),
        format!("Bearer {}", token.replacen('.', "%2E", 1)),
        // Padding stands at the end or nowhere, and after something.
        "Bearer =".to_owned(),
        "Bearer ==".to_owned(),
        format!("Bearer ={token}"),
        format!("Bearer {}", token.replace('.', ".=")),
    ] {
        subject.expect(&value, authorization(&value), Outcome::InvalidRequest).await;
    }
    let (head, tail) = token.split_at(20);
    for character in ('!'..='~').filter(|&c| !c.is_ascii_alphanumeric() && !"-._~+/".contains(c)) {
        let value = format!("Bearer {head}{character}{tail}");
        subject.expect(&value, authorization(&value), Outcome::InvalidRequest).await;
        if character != '=' {
            let value = format!("Bearer {token}{character}");
            subject.expect(&value, authorization(&value), Outcome::InvalidRequest).await;
        }
    }
}

#[tokio::test]
async fn aut_21_a_padded_token_is_well_formed_and_invalid() {
    let subject = Subject::new();
    let token = subject.valid().await;
    for padding in 1..=8 {
        let padded = format!("{token}{}", "=".repeat(padding));
        subject.expect_token(&padded, &padded, Outcome::InvalidToken).await;
    }
    // The other characters that a b64token may have and base64url has not (RFC 7515 section 2).
    let (head, tail) = token.split_at(20);
    for character in ["+", "/", "~"] {
        for text in [format!("{head}{character}{tail}"), format!("{token}{character}"), format!("{character}{token}")] {
            subject.expect_token(&text, &text, Outcome::InvalidToken).await;
        }
    }
}

#[tokio::test]
async fn aut_22_an_opaque_token_is_invalid() {
    let subject = Subject::new();
    for text in [
        "abc",
        "a",
        ".",
        "..",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "a.b.c.d.e",
        "Bearer",
        "null",
        "undefined",
        "2YotnFZFEjr1zCsicMWpAA",
        "mF_9.B5f-4.1JqM",
        "AbCdEf123456/+~-._==",
        "ghp_0123456789abcdefghijklmnopqrstuvwxyz",
    ] {
        subject.expect_token(text, text, Outcome::InvalidToken).await;
    }
    // So is a token that is no text at all but the parts of a good one.
    let token = subject.valid().await;
    for text in [token.rsplit_once('.').unwrap().0, token.split_once('.').unwrap().1, &token[1..]] {
        subject.expect_token(text, text, Outcome::InvalidToken).await;
    }
}

#[tokio::test]
async fn aut_27_the_fields_name_has_no_case_on_the_wire() {
    let subject = Subject::new();
    let token = subject.valid().await;
    let server = WireServer::start(subject.layer.layer(subject.inner.clone())).await;
    // HTTP/2 has lower case only (RFC 9113 section 8.2.1); there is nothing to try over gRPC.
    for name in ["aUTHORIZATION", "AUTHORIZATION", "authorization", "Authorization", "aUtHoRiZaTiOn"] {
        let calls = subject.inner.calls();
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: Bearer {token}\r\nConnection: close\r\n\r\n");
        assert_eq!(statuses(&server.exchange(name, request.as_bytes()).await), [200], "{name}");
        assert_eq!(subject.inner.calls(), calls + 1, "{name}");
        let twice = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{name}: Bearer {token}\r\n\
             Connection: close\r\n\r\n"
        );
        assert_eq!(statuses(&server.exchange(name, twice.as_bytes()).await), [400], "{name}, twice");
        assert_eq!(subject.inner.calls(), calls + 1, "{name}, twice");
    }
}

#[tokio::test]
async fn aut_28_cr_lf_and_nul_on_the_wire_reach_no_service() {
    let subject = Subject::new();
    let token = subject.valid().await;
    let (head, tail) = token.split_at(20);
    let server = WireServer::start(subject.layer.layer(subject.inner.clone())).await;
    let broken = [
        ("NUL at the end", format!("Bearer {token}\0")),
        ("NUL within", format!("Bearer {head}\0{tail}")),
        ("NUL before", format!("Bearer \0{token}")),
        ("NUL in the scheme", format!("Bea\0rer {token}")),
        ("a bare CR at the end", format!("Bearer {token}\rX")),
        ("a bare CR within", format!("Bearer {head}\r{tail}")),
        ("a bare CR and a space", format!("Bearer {token}\r ")),
        ("a bare LF within", format!("Bearer {head}\n{tail}")),
        ("CR LF within", format!("Bearer {head}\r\n{tail}")),
        // Folding, which RFC 9112 section 5.2 has taken out of HTTP.
        ("a folded line", format!("Bearer\r\n {token}")),
        ("a folded line by a tab", format!("Bearer {head}\r\n\t{tail}")),
        ("DEL", format!("Bearer {token}\x7f")),
        ("ESC", format!("Bearer \x1b{token}")),
        ("BS", format!("Bearer X\x08{token}")),
    ];
    let control = format!("Bearer {token}");
    for (what, value) in &broken {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: {value}\r\nConnection: close\r\n\r\n");
        let answer = server.exchange(what, request.as_bytes()).await;
        assert_eq!(statuses(&answer), [400], "{what}: {}", String::from_utf8_lossy(&answer));
        assert!(!String::from_utf8_lossy(&answer).contains(head), "{what}: the answer has the token");
        // What gRPC is carried by: a literal field in HTTP/2 could hold any byte (RFC 9113 section
        // 8.2.1).
        server.exchange(what, &http2_request(&[("authorization", value), ("content-type", "application/grpc")])).await;
        assert_eq!(subject.inner.calls(), 0, "{what}");
        // Such a value cannot be created inside the process either.
        assert!(HeaderValue::from_bytes(value.as_bytes()).is_err(), "{what}");
        assert!(tonic::metadata::AsciiMetadataValue::try_from(value.as_bytes()).is_err(), "{what}");
    }
    // The same requests without the byte reach the service.
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: {control}\r\nConnection: close\r\n\r\n");
    assert_eq!(statuses(&server.exchange("V", request.as_bytes()).await), [200]);
    server.exchange("V", &http2_request(&[("authorization", &control), ("content-type", "application/grpc")])).await;
    assert_eq!(subject.inner.calls(), 2);
}

#[tokio::test]
async fn aut_30_the_optional_mode_passes_nobody_without_claims_and_refuses_whoever_claims_to_be_someone() {
    let subject = Subject::new().layered(tower_bearer::middleware::AuthLayerBuilder::optional);
    let anonymous = || {
        let parts = subject.inner.last();
        parts.extensions.get::<Claims>().is_none() && parts.extensions.get::<Unauthenticated>().is_some()
    };
    for (what, request) in [
        ("no field", Request::get("/")),
        ("an empty value", authorization("")),
        ("another scheme", authorization("Basic dXNlcjpwdw==")),
    ] {
        subject.expect(what, request, Outcome::Ok).await;
        assert!(anonymous(), "{what}");
    }
    assert_eq!(subject.fixture.store.calls(), 0, "nobody is not asked after");
    // Claims in the extensions of an incoming request must not count as those of a token.
    let token = subject.valid().await;
    let claims: Claims = subject.fixture.tokens.validate_token(&token, TokenType::Access).await.unwrap();
    subject.expect("claims brought along", Request::get("/").extension(claims), Outcome::Ok).await;
    assert!(anonymous());

    for value in ["Bearer", "Bearer a b", "Bearer a,"] {
        subject.expect(value, authorization(value), Outcome::InvalidRequest).await;
    }
    for (fault, token) in bad_tokens(&subject.fixture).await {
        subject.expect_token(fault, &token, Outcome::InvalidToken).await;
    }
    let token = subject.valid().await;
    subject.expect("V", bearer(&token), Outcome::Ok).await;
    assert!(!anonymous());
    subject.fixture.store.answer(Behaviour::Fails(tower_bearer::error::StoreErrorKind::Unavailable));
    subject.expect("a store that fails", bearer(&token), Outcome::Unavailable).await;
}
