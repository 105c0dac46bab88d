//! JSN: the JSON of headers and claims sets (RFC 8259, RFC 7519 sections 4 and 7.2).

use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Map, Value};
use tower::Layer;
use tower_bearer::{
    AuthLayer, Claims, KeySet, TokenType,
    error::TokenError,
    jwt::{Algorithm, SigningKey, Validation, decode_token, verify_compact},
};

use crate::{
    subject::{Outcome, Subject, bearer, send},
    support::{
        fixture::{SECRET, builder, sign_with},
        token_parts::{HEADER, encoded, segments, with, without},
        vectors,
    },
};

/// Returns a subject that accepts tokens long enough for every file of the suite. A refusal for the
/// length would prove nothing about JSON.
fn with_long_tokens() -> Subject {
    Subject::with(|builder| builder.max_token_len(1 << 20))
}

/// Returns a claims set with one more member of any text, as the last or the first.
fn around(claims: &str, value: &[u8], last: bool) -> Vec<u8> {
    let members = &claims[1..claims.len() - 1];
    if last {
        [format!("{{{members},\"x\":").as_bytes(), value, b"}"].concat()
    } else {
        [b"{\"x\":", value, format!(",{members}}}").as_bytes()].concat()
    }
}

/// Returns a header with one more member of any text.
fn header_around(value: &[u8]) -> Vec<u8> {
    [br#"{"alg":"HS256","typ":"at+jwt","x":"#, value, b"}"].concat()
}

#[tokio::test]
async fn jsn_01_a_claim_twice_is_refused_in_any_order_and_spelling() {
    let subject = Subject::new();
    let claims = subject.claims().await;
    let text = claims.to_string();
    subject.accepts_claims("V", &text).await;
    let now = claims["iat"].as_u64().unwrap();
    let (old, new) = (now - 1000, now + 600);
    let without_exp = without(&claims, "exp");
    for [first, second] in [[old, new], [new, old], [new, new]] {
        let twice = with(&serde_json::from_str(&without_exp).unwrap(), "exp", &format!(r#"{first},"exp":{second}"#));
        subject.refuses_claims(&twice, &twice).await;
    }
    for (name, other) in [
        ("sub", r#""1""#),
        ("iss", r#""https://other.example""#),
        ("aud", r#""other""#),
        ("aud", r#"["other"]"#),
        ("exp", "0"),
        ("iat", "0"),
        ("jti", r#""other""#),
        ("type", r#""refresh""#),
        ("sid", r#""other""#),
        ("gen", "0"),
        ("scope", r#""admin""#),
        ("nbf", "0"),
        ("client_id", r#""other""#),
        ("x", "1"),
        ("", "1"),
    ] {
        // One that has the member once, with what it has in `V` or with the other value.
        let own = claims.get(name).map_or_else(|| other.to_owned(), Value::to_string);
        let once = with(&claims, name, &own);
        subject.accepts_claims(&once, &once).await;
        let spelled = name.chars().map(|letter| format!("\\u{:04x}", u32::from(letter))).collect::<Vec<_>>().concat();
        let members = &once[1..once.len() - 1];
        for value in [other, &own, "null"] {
            for name in [name, &spelled] {
                for twice in
                    [format!(r#"{{"{name}":{value},{members}}}"#), format!(r#"{{{members},"{name}":{value}}}"#)]
                {
                    subject.refuses_claims(&twice, &twice).await;
                }
            }
        }
    }
    // Far apart, among many others.
    let others = (0..100).map(|n| format!(r#""n{n}":{n},"#)).collect::<Vec<_>>().concat();
    subject.refuses_claims("far apart", format!(r#"{{"x":1,{others}{},"x":1}}"#, &text[1..text.len() - 1])).await;
    // Duplicates inside a value are accepted, because RFC 7519 section 4 is about claim names.
    subject.accepts_claims("inside", with(&claims, "x", r#"{"a":1,"a":2}"#)).await;
}

#[tokio::test]
async fn jsn_06_a_claims_set_is_an_object() {
    let subject = Subject::new();
    let claims = subject.claims().await;
    let values: Vec<&Value> = claims.as_object().unwrap().values().collect();
    for bad in [
        "null".to_owned(),
        "true".to_owned(),
        "false".to_owned(),
        "0".to_owned(),
        "1".to_owned(),
        "-1.5e3".to_owned(),
        "\"\"".to_owned(),
        "\"x\"".to_owned(),
        "[]".to_owned(),
        "[{}]".to_owned(),
        "{}".to_owned(),
        " ".to_owned(),
        "\n".to_owned(),
        "x".to_owned(),
        serde_json::to_string(&claims.to_string()).unwrap(),
        // The claims as an array: a derived reader takes the members in the order of its fields.
        serde_json::to_string(&values).unwrap(),
        format!("[{claims}]"),
    ] {
        subject.refuses_claims(&bad, &bad).await;
    }
    subject.refuses_claims("nothing", "").await;
    let token = subject.valid().await;
    let [h, _, s] = segments(&token);
    subject.refuses_token("no payload", &format!("{h}..{s}")).await;
}

#[tokio::test]
async fn jsn_07_a_payload_is_one_json_text_and_nothing_else() {
    let subject = Subject::new();
    let good = subject.claims_text().await;
    let inside = &good[1..good.len() - 1];
    subject.accepts_claims("V", &good).await;
    for bad in [
        format!("{good}{good}"),
        format!("{good} {good}"),
        format!("{good}\n{{}}"),
        format!("{{}}{good}"),
        format!("{good} x"),
        format!("{good},"),
        format!("{good}}}"),
        format!("{good}\0"),
        format!("{good};"),
        format!("\u{feff}{good}"),
        format!("{good}\u{feff}"),
        format!("\u{a0}{good}"),
        format!("\u{2028}{good}"),
        format!("\u{b}{good}"),
        format!("// x\n{good}"),
        format!("/* x */{good}"),
        format!("{good}// x"),
        format!("{good}/* x */"),
        format!("# x\n{good}"),
        format!("{{/* x */{inside}}}"),
        format!("{{{inside},}}"),
        format!("{{,{inside}}}"),
        format!("{{{inside}"),
        format!("{inside}}}"),
        good.replace('"', "'"),
        good.replacen("\"sub\"", "'sub'", 1),
        good.replacen("\"sub\"", "sub", 1),
        good.replacen("\"sub\":", "\"sub\"=", 1),
        good.replacen(',', ";", 1),
        format!(")]}}',\n{good}"),
    ] {
        subject.refuses_claims(&bad, &bad).await;
    }
}

#[tokio::test]
async fn jsn_08_text_is_utf_8_and_nothing_else() {
    let subject = Subject::new();
    let good = subject.claims_text().await;
    let utf16 = |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    for (what, bad) in [
        ("UTF-16LE", utf16(&good, u16::to_le_bytes)),
        ("UTF-16BE", utf16(&good, u16::to_be_bytes)),
        ("UTF-16LE with a mark", utf16(&format!("\u{feff}{good}"), u16::to_le_bytes)),
        ("UTF-16BE with a mark", utf16(&format!("\u{feff}{good}"), u16::to_be_bytes)),
        ("UTF-32LE", good.chars().flat_map(|letter| u32::from(letter).to_le_bytes()).collect()),
        ("UTF-8 with a mark", [b"\xef\xbb\xbf", good.as_bytes()].concat()),
    ] {
        subject.refuses_claims(what, bad).await;
    }
    let bytes: [&[u8]; 12] = [
        b"\xff",
        b"\xfe\xff",
        b"\x80",
        b"\xc3",
        b"\xe4",
        b"\xc0\x80",
        b"\xc1\xbf",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xed\xb0\x80\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
    ];
    let escapes: [&[u8]; 8] = [
        br"\ud800",
        br"\udc00",
        br"\ud800\ud800",
        br"\udc00\ud800",
        br"\ud800x",
        br"\ud83d\u0041",
        br"\uD800\n",
        br"\u00",
    ];
    for bad in bytes.into_iter().chain(escapes) {
        let quoted = [b"\"", bad, b"\""].concat();
        let what = String::from_utf8_lossy(bad).into_owned();
        for value in [
            quoted.clone(),
            [b"[", &quoted[..], b"]"].concat(),
            [b"{\"a\":", &quoted[..], b"}"].concat(),
            [b"{", &quoted[..], b":1}"].concat(),
            [b"\"a", bad, b"b\""].concat(),
        ] {
            subject.refuses_claims(&format!("{what} in a claim"), around(&good, &value, true)).await;
            subject.refuses_header(header_around(&value)).await;
        }
        // In a name, and in a claim that matters.
        let name = [&good.as_bytes()[..good.len() - 1], b",", &quoted, b":1}"].concat();
        subject.refuses_claims(&format!("{what} in a name"), name).await;
        for claim in ["sub", "client_id", "iss", "aud"] {
            let members = serde_json::from_str(&good).unwrap();
            let members = without(&members, claim);
            let name = format!(",\"{claim}\":");
            let changed = [&members.as_bytes()[..members.len() - 1], name.as_bytes(), &quoted, b"}"];
            subject.refuses_claims(&format!("{what} in {claim}"), changed.concat()).await;
        }
    }
    // What is well formed passes, be it ever so unusual.
    for good_text in ["\u{fc}", "\u{10ffff}", "\u{fffe}", r"\ud83d\ude00", r"\u0000", "\u{7f}", "\u{2028}"] {
        let value = format!("\"{good_text}\"");
        subject.accepts_claims(good_text, around(&good, value.as_bytes(), true)).await;
    }
}

/// The limit is that of `serde_json`, 127 levels in all: that many arrays less one fit into a
/// claim.
#[tokio::test]
async fn jsn_10_claims_are_nested_up_to_a_limit() {
    let subject = with_long_tokens();
    let good = subject.claims_text().await;
    let arrays = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    for depth in [1, 2, 16, 100, 126] {
        for value in [arrays(depth), objects(depth)] {
            subject.accepts_claims(&format!("{depth} levels in a claim"), around(&good, value.as_bytes(), true)).await;
        }
    }
    let claims: Value = serde_json::from_str(&good).unwrap();
    for depth in [127, 128, 129, 200, 1000, 100_000] {
        for value in [arrays(depth), objects(depth), "[".repeat(depth), r#"{"a":"#.repeat(depth)] {
            let what = format!("{depth} levels: {}...", &value[..4]);
            subject.refuses_claims(&what, around(&good, value.as_bytes(), true)).await;
            subject.refuses_claims(&what, &value).await;
            subject.refuses_claims(&what, format!("{value}{good}")).await;
            // Also where another type is expected, or nothing may stand at all.
            for name in ["sub", "aud", "exp", "scope", "gen", "cnf"] {
                subject.refuses_claims(&what, with(&claims, name, &value)).await;
            }
        }
    }
}

const SUITE: &str = "json-test-suite";

#[tokio::test]
#[ignore = "reads third-party vectors, which are no part of the tree: see CONTRIBUTING.md"]
async fn jsn_12_what_is_no_json_is_refused_as_payload_claim_and_header() {
    let files = vectors::read_all(SUITE, "n_");
    let mut tried = 0;
    for (name, json) in &files {
        let subject = with_long_tokens();
        let good = subject.claims_text().await;
        subject.refuses_claims(&format!("{name} as payload"), json).await;
        subject.refuses_claims(&format!("{name} as claim"), around(&good, json, true)).await;
        subject.refuses_header(json).await;
        tried += 3;
        // And where more follows, or the header goes on.
        subject.refuses_claims(&format!("{name} as first claim"), around(&good, json, false)).await;
        subject.refuses_header(header_around(json)).await;
    }
    println!("n_: {} files, {tried} tokens", files.len());
    assert_eq!((files.len(), tried), (188, 188 * 3));
}

/// All claims as the application gets them.
type AnyClaims = Map<String, Value>;

/// Returns a layer that passes all claims on, on the store of a subject.
fn reading(subject: &Subject) -> AuthLayer<AnyClaims> {
    let fixture = &subject.fixture;
    let tokens = builder(&fixture.clock).store(fixture.store.clone()).max_token_len(1 << 20).claims::<AnyClaims>();
    AuthLayer::new(tokens.build().unwrap())
}

#[tokio::test]
#[ignore = "reads third-party vectors, which are no part of the tree: see CONTRIBUTING.md"]
async fn jsn_13_what_is_json_is_accepted_as_a_claim_and_handed_on() {
    let files = vectors::read_all(SUITE, "y_");
    for (name, json) in &files {
        let subject = with_long_tokens();
        let good = subject.claims_text().await;
        let value: Value = serde_json::from_slice(json).unwrap();
        for last in [false, true] {
            let token = subject.signed(HEADER, around(&good, json, last));
            subject.expect_token(name, &token, Outcome::Ok).await;
            let service = reading(&subject).layer(subject.inner.clone());
            subject.expect_of(service, name, bearer(&token), Outcome::Ok).await;
            let claims = subject.inner.last().extensions.get::<Claims<AnyClaims>>().cloned().unwrap();
            assert_eq!((claims.subject().as_str(), claims.custom().get("x")), ("42", Some(&value)), "{name}");
        }
        subject.accepts_header(header_around(json)).await;
    }
    println!("y_: {} files", files.len());
    assert_eq!(files.len(), 95);
}

/// The standard leaves open if these texts are accepted. Nothing may panic, and all readers must
/// agree.
#[tokio::test]
#[ignore = "reads third-party vectors, which are no part of the tree: see CONTRIBUTING.md"]
async fn jsn_14_what_may_be_json_is_accepted_or_refused_but_never_a_fault() {
    let files = vectors::read_all(SUITE, "i_");
    let mut accepted = 0;
    for (name, json) in &files {
        let subject = with_long_tokens();
        let good = subject.claims_text().await;
        let as_claim = subject.signed(HEADER, around(&good, json, true));
        for token in [
            as_claim.clone(),
            subject.signed(HEADER, json),
            subject.signed(json, &good),
            subject.signed(header_around(json), &good),
            format!("{}.{}.AA", encoded(json), encoded(json)),
        ] {
            let request = bearer(&token).body(Full::<Bytes>::default()).unwrap();
            let answer = send(subject.layer.layer(subject.inner.clone()), request).await;
            let outcome = if answer.status == 200 { Outcome::Ok } else { Outcome::InvalidToken };
            subject.expect_token(name, &token, outcome).await;
        }
        accepted += usize::from(subject.fixture.tokens.validate_token(&as_claim, TokenType::Access).await.is_ok());
        // A lone surrogate, though, and what is no UTF-8 is refused: rule 5 of the catalogue.
        if name.starts_with("i_string") || name.contains("surrogate") {
            subject.refuses_token(name, &as_claim).await;
        }
    }
    println!("i_: {} files, {accepted} of them accepted as a claim", files.len());
    assert_eq!(files.len(), 35);
}

/// Runs the whole suite below HTTP. The functions without a service must call such texts malformed
/// too.
#[test]
#[ignore = "reads third-party vectors, which are no part of the tree: see CONTRIBUTING.md"]
fn vec_10_json_test_suite_at_the_level_of_text() {
    let keys = KeySet::signing(SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap());
    let rules = Validation::new().max_token_len(1 << 20);
    let mut counts = [0; 3];
    for (kind, count) in ["y_", "n_", "i_"].into_iter().zip(&mut counts) {
        let files = vectors::read_all(SUITE, kind);
        for (name, json) in &files {
            *count += 1;
            let claims = around(r#"{"sub":"42","jti":"t","type":"access","iat":1,"exp":2}"#, json, true);
            for token in [
                signed_text(HEADER.as_bytes(), &claims),
                signed_text(&header_around(json), b"{}"),
                signed_text(json, b"{}"),
            ] {
                let verdict = decode_token::<Value>(&token, &keys, &rules);
                assert!(
                    verdict.is_ok() || matches!(verdict, Err(TokenError::Malformed(_) | TokenError::Claims(_))),
                    "{name}"
                );
            }
            let as_claim = decode_token::<Value>(&signed_text(HEADER.as_bytes(), &claims), &keys, &rules);
            assert!(kind == "i_" || as_claim.is_ok() == (kind == "y_"), "{name}: {as_claim:?}");
            // Signatures are independent of JSON: any payload verifies, but only a valid header.
            if json.len() < 4096 {
                assert_eq!(
                    verify_compact(&keys, signed_text(HEADER.as_bytes(), json).as_bytes()).as_ref(),
                    Ok(json),
                    "{name}"
                );
            }
            assert!(
                kind != "n_" || verify_compact(&keys, signed_text(&header_around(json), b"{}").as_bytes()).is_err(),
                "{name}"
            );
        }
    }
    println!("y_, n_, i_: {counts:?} files");
    assert_eq!(counts, [95, 188, 35]);
}

fn signed_text(header: &[u8], payload: &[u8]) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    sign_with(jsonwebtoken::Algorithm::HS256, &key, header, payload)
}
