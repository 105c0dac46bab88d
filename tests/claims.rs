//! What a claims set may say, on tokens that are signed well: the rules of RFC 7519 section 4, one member at a time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use support::fixture::{AUDIENCE, ISSUER, SECRET, START, sign};
use tower_bearer::{
    Claims, Error, KeySet, NoClaims, TokenType,
    clock::Timestamp,
    error::TokenError,
    jwt::{Algorithm, JwtClaims, SigningKey, Validation, encode_jwt, validate_jwt_stateless},
};

const NOW: u64 = START.as_secs();

fn keys() -> KeySet {
    KeySet::signing(SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap())
}

fn rules() -> Validation {
    Validation::new().issuer(ISSUER).audience(AUDIENCE)
}

/// A good claims set in which one member is replaced by this text; without it, if the text is empty.
fn with(name: &str, value: &str) -> String {
    let (issued, expires) = (NOW.to_string(), (NOW + 600).to_string());
    let quoted = |text: &str| format!("\"{text}\"");
    let mut members = vec![
        ("iss", quoted(ISSUER)),
        ("sub", quoted("42")),
        ("aud", quoted(AUDIENCE)),
        ("jti", quoted("t")),
        ("type", quoted("access")),
        ("iat", issued),
        ("exp", expires),
    ];
    members.retain(|(own, _)| *own != name);
    if !value.is_empty() {
        members.push((name, value.to_owned()));
    }
    let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

fn validate(claims: &str) -> Result<Claims, TokenError> {
    let token = sign(r#"{"alg":"HS256","typ":"at+jwt"}"#, claims);
    validate_jwt_stateless::<NoClaims>(&token, &keys(), &rules(), TokenType::Access, START)
}

fn accepts(name: &str, value: &str) {
    validate(&with(name, value)).unwrap_or_else(|error| panic!("{name}: {value} is refused: {error}"));
}

fn refuses(name: &str, value: &str) {
    let verdict = validate(&with(name, value));
    assert!(verdict.is_err(), "{name}: {value} is accepted");
}

#[test]
fn every_registered_claim_has_its_type_or_the_token_is_refused() {
    accepts("x", "1");
    for name in ["iss", "sub", "aud", "jti", "type", "sid", "gen", "scope", "client_id", "exp", "iat", "nbf"] {
        for wrong in ["null", "true", "{}", "[1]", r#"["a",1]"#, "-1", "-0", "1e400", r#"{"access":null}"#] {
            // A number that is none of these claims' type is refused with the others.
            refuses(name, wrong);
        }
    }
    for text in ["sub", "jti", "sid", "iss", "aud", "scope", "client_id", "type"] {
        refuses(text, "5");
    }
    for number in ["exp", "iat", "nbf", "gen"] {
        refuses(number, r#""9999999999""#);
    }
}

#[test]
fn what_a_token_must_say_cannot_be_left_out() {
    for name in ["iss", "sub", "aud", "jti", "type", "iat", "exp"] {
        refuses(name, "");
    }
}

#[test]
fn an_audience_is_one_text_or_several_and_any_of_them_may_be_ours() {
    accepts("aud", r#""api""#);
    accepts("aud", r#"["x","api"]"#);
    for other in [r#""API""#, r#""api ""#, r#""api,x""#, "[]", r#"["other"]"#, r#"["api",null]"#] {
        refuses("aud", other);
    }
    // None configured: whoever names one means someone else, be it nobody.
    let none = Validation::new().issuer(ISSUER);
    for (audience, good) in [("", true), (r#""api""#, false), ("[]", false)] {
        let token = sign(r#"{"alg":"HS256"}"#, &with("aud", audience));
        let verdict = validate_jwt_stateless::<NoClaims>(&token, &keys(), &none, TokenType::Access, START);
        assert_eq!(verdict.is_ok(), good, "{audience}");
    }
}

#[test]
fn an_id_is_one_to_255_bytes_without_control_characters() {
    for name in ["sub", "jti", "sid"] {
        accepts(name, &format!("\"{}\"", "a".repeat(255)));
        accepts(name, r#""\u00fc \\ ' : *""#);
        for bad in [String::new(), "a".repeat(256), r"a\u0000b".to_owned(), r"a\u0085".to_owned(), r"\n".to_owned()] {
            refuses(name, &format!("\"{bad}\""));
        }
    }
}

#[test]
fn a_scope_keeps_its_grammar() {
    accepts("scope", r#""read write""#);
    for bad in [r#""""#, r#"" read""#, r#""read ""#, r#""read  write""#, r#""read\twrite""#, r#""a\"b""#, r#"["read"]"#]
    {
        refuses("scope", bad);
    }
}

#[test]
fn times_may_have_fractions_and_end_before_the_year_10_000() {
    let life = |seconds: f64| {
        #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
        let moment = NOW as f64 + seconds;
        format!("{moment:.3}")
    };
    accepts("exp", &life(100.9));
    accepts("iat", &life(-0.5));
    accepts("nbf", &life(5.0));
    refuses("nbf", &life(5.001));
    refuses("iat", &life(5.001));
    // Over by less than the leeway is not over; by as much, it is (RFC 7519 section 4.1.4: "on or after").
    let expires = |exp: u64| validate(&with("exp", &exp.to_string()).replace(&format!(r#""iat":{NOW}"#), r#""iat":1"#));
    assert!(matches!(expires(NOW - 5), Err(TokenError::Expired { .. })));
    // A life of more than 24 hours is refused for that, not for its end.
    assert!(matches!(expires(NOW - 4), Err(TokenError::Claims(_))));
    for bad in ["253402300800", "18446744073709551615", "1767225660000", "017", "+17", "0x10", "1e400"] {
        refuses("exp", bad);
    }
    refuses("iat", &(NOW + 600).to_string());
}

#[test]
fn a_life_longer_than_allowed_is_refused() {
    accepts("exp", &(NOW + 86_400).to_string());
    refuses("exp", &(NOW + 86_401).to_string());
}

#[test]
fn a_token_bound_to_a_key_is_no_bearer_token() {
    refuses("cnf", r#"{"jkt":"x"}"#);
    refuses("cnf", "null");
}

#[test]
fn a_member_twice_or_a_lone_surrogate_anywhere_is_refused() {
    let good = with("x", r#"{"a":[1,"\ud83d\ude00"]}"#);
    validate(&good).unwrap();
    for extra in
        [r#""sub":"42""#, r#""s\u0075b":"42""#, r#""x":1"#, r#""y":"\ud800""#, r#""y":["\udc00"]"#, r#""\ud800":1"#]
    {
        assert!(validate(&good.replacen('{', &format!("{{{extra},"), 1)).is_err(), "{extra}");
    }
}

#[test]
fn a_payload_that_is_not_one_object_is_refused() {
    let good = with("x", "1");
    for bad in [
        "",
        "null",
        "1",
        "\"x\"",
        "[]",
        "{}",
        &format!("{good} x"),
        &format!("{good}{good}"),
        &format!("\u{feff}{good}"),
    ] {
        assert!(validate(bad).is_err(), "{bad}");
    }
}

#[test]
fn nothing_is_signed_that_a_verifier_refuses() {
    let claims =
        |subject: &str, life: Duration| JwtClaims::new(subject, "t", TokenType::Access, START, life, NoClaims {});
    let minute = Duration::from_secs(60);
    encode_jwt(&keys(), &claims("42", minute)).unwrap();
    let refused = [
        claims("", minute),
        claims(&"a".repeat(256), minute),
        claims("a\0b", minute),
        claims("42", Duration::ZERO),
        claims("42", Duration::MAX),
        claims("42", minute).with_not_before(Timestamp::from_secs(NOW + 60)),
        claims("42", minute).with_session("", 0),
    ];
    for claims in refused {
        let signed = encode_jwt(&keys(), &claims);
        assert!(matches!(signed, Err(Error::Issue(_))), "{claims:?} is signed");
    }
}

#[test]
fn a_leeway_without_measure_does_not_keep_tokens_alive() {
    let rules = rules().leeway(Duration::MAX);
    assert!(rules.check().is_err());
    let token = sign(r#"{"alg":"HS256"}"#, &with("x", "1"));
    let later = START.saturating_add(Duration::from_secs(2 * 86_400));
    let verdict = validate_jwt_stateless::<NoClaims>(&token, &keys(), &rules, TokenType::Access, later);
    assert!(matches!(verdict, Err(TokenError::Expired { .. })));
}
