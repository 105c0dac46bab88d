//! HDR: the JOSE header (RFC 7515 section 4).

use std::{io, net::TcpListener};

use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::EncodingKey;
use tower_bearer::{
    Error, KeySet, TokenType,
    error::TokenError,
    jwt::{AccessTyp, Algorithm},
};

use crate::{
    subject::{Outcome, Subject, bearer},
    support::{
        fixture::{SECRET, sign_with, signature},
        test_keys,
        token_parts::{decoded, encoded, segments},
    },
};

/// TEST secret of an attacker.
const ATTACKERS: &str = "an attacker's TEST secret, as long as any HMAC needs it: 0123456789abcdef0123456789";

fn attackers() -> EncodingKey {
    EncodingKey::from_secret(ATTACKERS.as_bytes())
}

/// Returns the header of a good token with one more member.
fn with(member: &str) -> String {
    format!(r#"{{"alg":"HS256","typ":"at+jwt",{member}}}"#)
}

/// Returns the public half of a P-256 key as a JWK. The last 64 bytes of the PEM's content are the
/// point.
fn public_jwk(file: &str) -> String {
    let pem = test_keys::text(file);
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(body).unwrap();
    let (x, y) = der[der.len() - 64..].split_at(32);
    format!(r#"{{"kty":"EC","crv":"P-256","alg":"ES256","x":"{}","y":"{}"}}"#, encoded(x), encoded(y))
}

#[tokio::test]
async fn hdr_01_whatever_is_critical_is_refused() {
    let subject = Subject::new();
    subject.accepts_header(with(r#""urn:x":1"#)).await;
    for member in [
        r#""crit":["urn:x"],"urn:x":1"#,
        r#""crit":["urn:x"]"#,
        r#""urn:x":1,"crit":["urn:x"]"#,
        // Names that this crate does understand: RFC 7515 section 4.1.11 forbids them there, and
        // its own extensions are none.
        r#""crit":["alg"]"#,
        r#""crit":["typ"]"#,
        r#""crit":["exp"],"exp":9999999999"#,
        r#""crit":["kid","alg"]"#,
        r#""crit":["http://openbanking.org.uk/iat"]"#,
        // Values that are no list of names.
        r#""crit":[]"#,
        r#""crit":[""]"#,
        r#""crit":[1]"#,
        r#""crit":null"#,
        r#""crit":"urn:x""#,
        r#""crit":{}"#,
        r#""crit":false"#,
        r#""cr\u0069t":["urn:x"]"#,
        r#""crit":["urn:x"],"crit":[]"#,
    ] {
        subject.refuses_header(with(member)).await;
    }
    subject.refuses_header(r#"{"crit":["urn:x"],"alg":"HS256","urn:x":1}"#).await;
}

/// RFC 7797. A raw payload of claims has `{` and `"`, which no bearer credential has (RFC 6750
/// section 2.1): 400, where the row says 401 for both forms. A raw payload that has none of them is
/// refused as the row says.
#[tokio::test]
async fn hdr_02_an_unencoded_payload_is_refused() {
    let subject = Subject::new();
    for member in [
        r#""b64":false,"crit":["b64"]"#,
        r#""crit":["b64"],"b64":false"#,
        r#""b64":false"#,
        r#""b64":true"#,
        r#""b64":true,"crit":["b64"]"#,
        r#""b64":null"#,
        r#""b64":"false""#,
        r#""b\u00364":false"#,
    ] {
        subject.refuses_header(with(member)).await;
    }
    let header = encoded(with(r#""b64":false,"crit":["b64"]"#));
    let signed = |payload: &str| {
        let text = format!("{header}.{payload}");
        let mac =
            signature(jsonwebtoken::Algorithm::HS256, &EncodingKey::from_secret(SECRET.as_bytes()), text.as_bytes());
        (text, encoded(mac))
    };
    let claims = subject.claims_text().await;
    let (raw, mac) = signed(&claims);
    subject.expect("raw", bearer(&format!("{raw}.{mac}")), Outcome::InvalidRequest).await;
    let given = subject.fixture.tokens.validate_jwt_stateless(&format!("{raw}.{mac}"), TokenType::Access);
    assert!(matches!(given, Err(Error::Token(TokenError::Malformed(_)))), "{given:?}");
    // Detached, as RFC 7797 section 5.2 has it for a payload with dots.
    subject.refuses_token("raw and detached", &format!("{header}..{mac}")).await;
    let (raw, mac) = signed("42");
    subject.refuses_token("raw, of letters alone", &format!("{raw}.{mac}")).await;
}

#[tokio::test]
async fn hdr_08_no_spelling_of_none_is_an_algorithm() {
    let subject = Subject::new();
    let claims = encoded(subject.claims_text().await);
    let spellings = (0..16_u32).map(|capitals| {
        let letter = |(at, letter): (usize, char)| {
            if capitals >> at & 1 == 1 { letter.to_ascii_uppercase() } else { letter }
        };
        "none".chars().enumerate().map(letter).collect::<String>()
    });
    let others = ["none ", " none", r"none\u0000", r"n\u006fne", r"none\n", "", "null", "non", "nonee"];
    for alg in spellings.chain(others.map(str::to_owned)) {
        for header in [format!(r#"{{"alg":"{alg}"}}"#), format!(r#"{{"typ":"at+jwt","alg":"{alg}"}}"#)] {
            // With our own signature, without any, and with one that is none.
            subject.refuses_header(&header).await;
            let text = format!("{}.{claims}", encoded(&header));
            for signature in ["", "AA", "bm9uZQ", &encoded([0; 32])] {
                subject.refuses_token(&header, &format!("{text}.{signature}")).await;
            }
            subject.refuses_token(&header, &text).await;
        }
    }
}

#[tokio::test]
async fn hdr_09_alg_is_a_text() {
    let subject = Subject::new();
    for header in ["{}", r#"{"typ":"at+jwt"}"#, r#"{"Alg":"HS256"}"#, r#"{"ALG":"HS256"}"#, r#"{"alg ":"HS256"}"#] {
        subject.refuses_header(header).await;
    }
    for alg in [
        "null",
        "true",
        "0",
        "1",
        "256",
        "[]",
        r#"["HS256"]"#,
        "{}",
        r#"{"HS256":null}"#,
        r#"{"name":"HS256"}"#,
        r#""""#,
        r#"" ""#,
    ] {
        subject.refuses_header(format!(r#"{{"alg":{alg},"typ":"at+jwt"}}"#)).await;
    }
}

#[tokio::test]
async fn hdr_12_alg_is_compared_to_the_letter() {
    let subject = Subject::new();
    // The same text, though spelled with an escape, is the same name (RFC 8259 section 8.3).
    subject.accepts_header(r#"{"alg":"\u0048S256"}"#).await;
    for alg in [
        "hs256",
        "HS256 ",
        "Hs256",
        "hS256",
        " HS256",
        "HS256\\u0000",
        "HS256\\n",
        "HS 256",
        "HS256,none",
        "HS-256",
        "Ｈs256",
        "HS２56",
    ] {
        subject.refuses_header(format!(r#"{{"alg":"{alg}"}}"#)).await;
    }
}

/// Signs the claims of a fresh `V` with the TEST key of an algorithm, under a header with `alg` =
/// `says`.
async fn by(subject: &Subject, algorithm: Algorithm, says: &str) -> String {
    let header = format!(r#"{{"alg":"{says}","typ":"at+jwt"}}"#);
    let key = test_keys::encoding(algorithm);
    let algorithm = algorithm.as_str().parse().unwrap();
    sign_with(algorithm, &key, header.as_bytes(), subject.claims_text().await.as_bytes())
}

#[tokio::test]
async fn hdr_13_an_algorithm_that_no_key_is_made_for_is_refused() {
    use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};

    // The algorithms of one secret, and those of one RSA key: the same key verifies them all, but
    // is allowed for one.
    for family in [[HS256, HS384, HS512].as_slice(), &[RS256, PS256, RS384, RS512, PS384, PS512]] {
        for &allowed in &family[..2] {
            let subject = Subject::with_keys(KeySet::signing(test_keys::signing(allowed)));
            for &used in family {
                let token = by(&subject, used, used.as_str()).await;
                if used == allowed {
                    subject.expect_token(&format!("{used}"), &token, Outcome::Ok).await;
                    continue;
                }
                subject.refuses_token(&format!("{used} where {allowed} is allowed"), &token).await;
                let lies = by(&subject, used, allowed.as_str()).await;
                subject.refuses_token(&format!("{used} that says {allowed}"), &lies).await;
                let lies = by(&subject, allowed, used.as_str()).await;
                subject.refuses_token(&format!("{allowed} that says {used}"), &lies).await;
            }
        }
    }
    let subject = Subject::new();
    for used in [RS256, PS256, ES256, ES384, EdDSA] {
        let token = by(&subject, used, used.as_str()).await;
        subject.refuses_token(&format!("{used} where HS256 is allowed"), &token).await;
    }
}

/// `Ed25519` is RFC 9864's name of what a key of ours calls `EdDSA`: the name counts, not what it
/// means.
#[tokio::test]
async fn hdr_14_an_algorithm_that_is_not_supported_is_refused() {
    let unsupported = [
        "ES512",
        "ES256K",
        "ESP256",
        "ES256 ",
        "Ed25519",
        "Ed448",
        "EDDSA",
        "eddsa",
        "ML-DSA-44",
        "ML-DSA-65",
        "ML-DSA-87",
        "SLH-DSA-SHA2-128s",
        "HS1",
        "HS224",
        "HS256/64",
        "RS1",
        "dir",
        "A128KW",
        "A256GCMKW",
        "RSA1_5",
        "RSA-OAEP",
        "ECDH-ES",
        "PBES2-HS256+A128KW",
        "HMAC",
        "x",
    ];
    let secret = Subject::new();
    for alg in unsupported {
        secret.refuses_header(format!(r#"{{"alg":"{alg}"}}"#)).await;
    }
    for algorithm in [Algorithm::EdDSA, Algorithm::ES256] {
        let subject = Subject::with_keys(KeySet::signing(test_keys::signing(algorithm)));
        subject.expect_token("V", &by(&subject, algorithm, algorithm.as_str()).await, Outcome::Ok).await;
        for alg in unsupported {
            let token = by(&subject, algorithm, alg).await;
            subject.refuses_token(&format!("{algorithm} that calls itself {alg}"), &token).await;
        }
    }
    // A service with a key of that name accepts `Ed25519` and no other name.
    let subject = Subject::with_keys(KeySet::signing(test_keys::signing(Algorithm::Ed25519)));
    subject.expect_token("its own", &subject.valid().await, Outcome::Ok).await;
    let good = by(&subject, Algorithm::EdDSA, "Ed25519").await;
    subject.expect_token("Ed25519", &good, Outcome::Ok).await;
    for alg in ["EdDSA", "ed25519", "Ed448", "ES256"] {
        let token = by(&subject, Algorithm::EdDSA, alg).await;
        subject.refuses_token(&format!("Ed25519 that calls itself {alg}"), &token).await;
    }
}

#[tokio::test]
async fn hdr_15_a_member_twice_is_refused() {
    let subject = Subject::new();
    let token = subject.valid().await;
    let kid = subject.fixture.tokens.status().await.signing_key.unwrap().kid.unwrap();
    subject.accepts_header(format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#)).await;
    for header in [
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","alg":"none"}"#,
        r#"{"alg":"HS256","typ":"at+jwt","alg":"HS256"}"#,
        r#"{"alg":"HS256","\u0061lg":"HS256"}"#,
        r#"{"al\u0067":"HS256","alg":"HS256"}"#,
        &format!(r#"{{"alg":"HS256","kid":"{kid}","kid":"{kid}"}}"#),
        &format!(r#"{{"alg":"HS256","kid":"other","kid":"{kid}"}}"#),
        &format!(r#"{{"alg":"HS256","kid":"{kid}","kid":"other"}}"#),
        &format!(r#"{{"alg":"HS256","kid":"{kid}","k\u0069d":"{kid}"}}"#),
        r#"{"alg":"HS256","typ":"at+jwt","typ":"at+jwt"}"#,
        r#"{"alg":"HS256","typ":"JWT","typ":"at+jwt"}"#,
        r#"{"alg":"HS256","jku":"https://a.example","jku":"https://b.example"}"#,
        r#"{"alg":"HS256","x":1,"x":1}"#,
        r#"{"alg":"HS256","x":1,"y":2,"\u0078":null}"#,
        r#"{"alg":"HS256","":1,"":2}"#,
    ] {
        subject.refuses_header(header).await;
    }
    // The token's own header, with its own first member once more.
    let own = String::from_utf8(decoded(segments(&token)[0])).unwrap();
    subject.refuses_header(own.replacen('{', r#"{"alg":"HS256","#, 1)).await;
}

#[tokio::test]
async fn hdr_17_a_header_is_one_object() {
    let subject = Subject::new();
    let good = r#"{"alg":"HS256"}"#;
    for bad in [
        "",
        " ",
        "null",
        "true",
        "1",
        "\"x\"",
        "\"HS256\"",
        "[]",
        r#"["JWT","HS256"]"#,
        r#"["HS256","at+jwt"]"#,
        r#"["HS256",null,null]"#,
        r#"[{"alg":"HS256"}]"#,
        "{}",
        "HS256",
        "alg=HS256",
        r#"{"alg":"HS256""#,
        r#"{"alg":"HS256",}"#,
        "{'alg':'HS256'}",
        r#"{alg:"HS256"}"#,
        &format!("{good}{good}"),
        &format!("{good},"),
        &format!("{good}\0"),
        &format!("{good} x"),
        &format!("{good}// x"),
        &format!("\u{feff}{good}"),
    ] {
        subject.refuses_header(bad).await;
    }
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    subject.refuses_header(utf16).await;
    subject.refuses_header(b"{\"alg\":\"HS256\",\"x\":\"\xff\"}").await;
    subject.refuses_header(b"{\"alg\":\"HS256\",\"\xc0\x80\":1}").await;
    subject.refuses_header(r#"{"alg":"HS256","x":"\ud800"}"#).await;
}

#[tokio::test]
async fn hdr_18_a_parameter_that_nobody_knows_is_ignored() {
    let subject = Subject::new();
    for member in [
        r#""foo":{"a":1}"#,
        r#""foo":null"#,
        r#""foo":[[[1.5e3]]]"#,
        r#""":"""#,
        r#""https://example.com/x":"\ud83d\ude00""#,
        // Claims in the header are ignored (RFC 7519 section 5.3 leaves them to the application).
        r#""iss":"https://other.example","sub":"1","aud":"other","exp":0"#,
        // Names that resemble those of used members.
        r#""CRIT":["x"],"Crit":["x"],"crit ":["x"],"B64":false,"Enc":"x","ZIP":"DEF""#,
        r#""nonce":"x","p2c":2147483648,"epk":{}"#,
    ] {
        subject.accepts_header(with(member)).await;
    }
    assert_eq!(subject.inner.last().extensions.get::<tower_bearer::Claims>().unwrap().subject(), "42");
}

/// Returns a layer that requires the header of RFC 9068 section 2.1.
fn at_jwt() -> Subject {
    Subject::with(|builder| builder.access_typ(AccessTyp::AtJwt))
}

#[tokio::test]
async fn hdr_19_typ_may_be_missing_unless_the_issuer_keeps_rfc_9068() {
    let plain = r#"{"alg":"HS256"}"#;
    Subject::new().accepts_header(plain).await;
    at_jwt().refuses_header(plain).await;
}

#[tokio::test]
async fn hdr_20_typ_is_at_jwt_where_the_issuer_keeps_rfc_9068() {
    let header = |typ: &str| format!(r#"{{"alg":"HS256","typ":{typ}}}"#);
    let strict = at_jwt();
    strict.expect_token("V of the service itself", &strict.valid().await, Outcome::Ok).await;
    // A media type has no case, and may leave its `application/` out (RFC 7515 section 4.1.9).
    for good in [r#""at+jwt""#, r#""AT+JWT""#, r#""application/at+jwt""#, r#""Application/At+Jwt""#, r#""at\u002bjwt""#]
    {
        strict.accepts_header(header(good)).await;
    }
    strict.refuses_header(r#"{"alg":"HS256"}"#).await;
    let lax = Subject::new();
    for bad in [
        r#""JWT""#,
        r#""jwt""#,
        r#""application/jwt""#,
        r#""JOSE""#,
        r#""JOSE+JSON""#,
        r#""id+jwt""#,
        r#""rt+jwt""#,
        r#""dpop+jwt""#,
        r#""logout+jwt""#,
        r#""secevent+jwt""#,
        r#""token-introspection+jwt""#,
        r#""oauth-authz-req+jwt""#,
        r#""""#,
        r#"" ""#,
        r#""at+jwt ""#,
        r#"" at+jwt""#,
        r#""at+jwt;x=1""#,
        r#""at jwt""#,
        r#""at+jw""#,
        r#""at+jwts""#,
        r#""application/""#,
        r#""application/application/at+jwt""#,
        r#""text/at+jwt""#,
        "null",
        "1",
        "true",
        "[]",
        r#"["at+jwt"]"#,
        r#"{"at+jwt":null}"#,
    ] {
        strict.refuses_header(header(bad)).await;
        // By default `JWT` is accepted beside it, as the predecessor wrote it; nothing else is.
        if bad.to_ascii_lowercase().trim_matches('"').trim_start_matches("application/") != "jwt" {
            lax.refuses_header(header(bad)).await;
        }
    }
}

/// CVE-2018-0114: the key that a token brings along is not the key that verifies it.
#[tokio::test]
async fn hdr_26_a_key_in_the_header_verifies_nothing() {
    let oct = format!(r#"{{"kty":"oct","alg":"HS256","k":"{}"}}"#, encoded(ATTACKERS));
    let secret = Subject::new();
    let mine = Subject::with_keys(KeySet::signing(test_keys::signing(Algorithm::ES256)));
    let attackers_pair = EncodingKey::from_ec_pem(test_keys::text("TEST-tls-server-key.pem").as_bytes()).unwrap();
    let ec = public_jwk("TEST-ec-p256-public.pem");
    let kid = secret.fixture.tokens.status().await.signing_key.unwrap().kid.unwrap();
    for member in [format!(r#""jwk":{oct}"#), format!(r#""jwk":{oct},"kid":"{kid}""#), format!(r#""jwk":{ec}"#)] {
        let header = with(&member);
        let claims = secret.claims_text().await;
        let forged = sign_with(jsonwebtoken::Algorithm::HS256, &attackers(), header.as_bytes(), claims.as_bytes());
        secret.refuses_token(&header, &forged).await;
        // With a valid signature the member is ignored, so the signature was the reason of the
        // refusal.
        secret.accepts_header(&header).await;
    }
    // The layer's own key in the header does not help a signature of another.
    for jwk in [&ec, &oct] {
        let header = format!(r#"{{"alg":"ES256","typ":"at+jwt","jwk":{jwk}}}"#);
        let claims = mine.claims_text().await;
        let es256 = jsonwebtoken::Algorithm::ES256;
        let forged = sign_with(es256, &attackers_pair, header.as_bytes(), claims.as_bytes());
        mine.refuses_token(&header, &forged).await;
        let ours = sign_with(es256, &test_keys::encoding(Algorithm::ES256), header.as_bytes(), claims.as_bytes());
        mine.expect_token(&header, &ours, Outcome::Ok).await;
    }
    // The attacker's pair with its own public half, as its certificate has it.
    let header = format!(r#"{{"alg":"ES256","typ":"at+jwt","jwk":{}}}"#, tls_server_jwk());
    let claims = mine.claims_text().await;
    let forged = sign_with(jsonwebtoken::Algorithm::ES256, &attackers_pair, header.as_bytes(), claims.as_bytes());
    mine.refuses_token(&header, &forged).await;
    // No shape of `jwk` makes a difference; what is no object is refused even if it is signed well.
    for jwk in ["null", "[]", "1", "\"x\"", "[{}]"] {
        secret.refuses_header(with(&format!(r#""jwk":{jwk}"#))).await;
    }
}

/// Returns the public half of the TEST certificate's key, from the end of its PKCS#8.
fn tls_server_jwk() -> String {
    public_jwk("TEST-tls-server-key.pem")
}

/// RFC 8725 section 3.10: an address in a header is a way to make a server call (SSRF), and to hand
/// it a key.
#[tokio::test]
async fn hdr_27_no_address_in_the_header_is_ever_called() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let subject = Subject::new();
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}/.well-known/jwks.json"),
        format!("https://localhost:{port}/jwks"),
        format!("//127.0.0.1:{port}/"),
        format!("127.0.0.1:{port}"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "https://issuer.example/jwks".to_owned(),
        String::new(),
        "data:application/json;base64,e30".to_owned(),
    ] {
        for name in ["jku", "x5u"] {
            let header = with(&format!(r#""{name}":"{url}""#));
            let claims = subject.claims_text().await;
            let forged = sign_with(jsonwebtoken::Algorithm::HS256, &attackers(), header.as_bytes(), claims.as_bytes());
            subject.refuses_token(&header, &forged).await;
            subject.accepts_header(&header).await;
        }
        // As issuer and as name of a key it is no address either.
        subject.refuses_header(with(&format!(r#""kid":"{url}""#))).await;
        let claims = crate::support::token_parts::with(&subject.claims().await, "iss", &format!(r#""{url}""#));
        subject.refuses_claims(&url, claims).await;
    }
    for bad in [r#""jku":1"#, r#""jku":null"#, r#""x5u":[]"#, r#""x5u":["http://127.0.0.1/"]"#] {
        subject.refuses_header(with(bad)).await;
    }
    // No task is left that could call later, and no call has arrived.
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
    assert_eq!(listener.accept().map(drop).unwrap_err().kind(), io::ErrorKind::WouldBlock, "there was a connection");
}

#[tokio::test]
async fn hdr_28_a_certificate_in_the_header_verifies_nothing() {
    let certificate =
        |name: &str| -> String { test_keys::text(name).lines().filter(|line| !line.starts_with('-')).collect() };
    let (own, authority) = (certificate("TEST-tls-server.pem"), certificate("TEST-tls-ca.pem"));
    let subject = Subject::of(crate::support::Fixture::with_keys(
        KeySet::signing(test_keys::signing(Algorithm::ES256)),
        |builder| builder.max_token_len(4 << 20),
    ));
    let attackers = EncodingKey::from_ec_pem(test_keys::text("TEST-tls-server-key.pem").as_bytes()).unwrap();
    let ours = test_keys::encoding(Algorithm::ES256);
    let thousand = vec![format!(r#""{own}""#); 1000].join(",");
    for (what, member) in [
        ("self-signed", format!(r#""x5c":["{own}"]"#)),
        ("with its authority", format!(r#""x5c":["{own}","{authority}"]"#)),
        ("no certificate at all", r#""x5c":["AAAA","not base64 !",""]"#.to_owned()),
        ("none", r#""x5c":[]"#.to_owned()),
        ("a thumbprint", format!(r#""x5t":"{}","x5t#S256":"{}""#, encoded([1; 20]), encoded([1; 32]))),
        ("all of it", format!(r#""x5c":["{own}"],"x5t":"AA","x5u":"https://a.example/","jwk":{}"#, tls_server_jwk())),
    ] {
        let header = format!(r#"{{"alg":"ES256","typ":"at+jwt",{member}}}"#);
        let claims = subject.claims_text().await;
        let es256 = jsonwebtoken::Algorithm::ES256;
        let forged = sign_with(es256, &attackers, header.as_bytes(), claims.as_bytes());
        subject.refuses_token(what, &forged).await;
        // It is not even parsed: whatever it holds, a signature of ours is one.
        let signed = sign_with(es256, &ours, header.as_bytes(), claims.as_bytes());
        subject.expect_token(what, &signed, Outcome::Ok).await;
    }
    // A thousand values exceed the limit and are refused before they are all read, even with a
    // valid signature.
    let header = format!(r#"{{"alg":"ES256","typ":"at+jwt","x5c":[{thousand}]}}"#);
    let claims = subject.claims_text().await;
    let signed = sign_with(jsonwebtoken::Algorithm::ES256, &ours, header.as_bytes(), claims.as_bytes());
    subject.refuses_token("a thousand", &signed).await;
    let secret = Subject::new();
    secret.refuses_header(with(&format!(r#""x5c":[{thousand}]"#))).await;
    for bad in [
        format!(r#""x5c":"{own}""#),
        r#""x5c":null"#.to_owned(),
        r#""x5c":[1]"#.to_owned(),
        r#""x5c":[["AA"]]"#.to_owned(),
        r#""x5t":1"#.to_owned(),
        r#""x5t#S256":null"#.to_owned(),
    ] {
        secret.refuses_header(with(&bad)).await;
    }
}

#[tokio::test]
async fn hdr_31_a_header_that_is_nested_too_deep_is_refused() {
    let subject = Subject::with(|builder| builder.max_token_len(4 << 20));
    let arrays = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    for good in [1, 16, 64, 100] {
        subject.accepts_header(with(&format!(r#""x":{}"#, arrays(good)))).await;
        subject.accepts_header(with(&format!(r#""x":{}"#, objects(good)))).await;
    }
    for deep in [127, 128, 200, 1000, 100_000] {
        for value in [arrays(deep), objects(deep), "[".repeat(deep), r#"{"a":"#.repeat(deep)] {
            for name in ["x", "jwk", "kid", "typ", "x5c", "jku", "crit", "b64", "enc"] {
                subject.refuses_header(with(&format!(r#""{name}":{value}"#))).await;
            }
            subject.refuses_header(&value).await;
            subject.refuses_header(format!(r#"{{"alg":{value}}}"#)).await;
        }
        // A client without a key can send this, because the header is read before the signature is
        // verified.
        let unsigned = format!("{}.e30.AA", encoded(with(&format!(r#""x":{}"#, arrays(deep)))));
        subject.refuses_token("unsigned", &unsigned).await;
    }
}

/// RFC 7516, RFC 7519 section 5.2, RFC 1951: members that say that the payload is not plain claims.
#[tokio::test]
async fn a_header_that_says_that_the_payload_is_something_else_is_refused() {
    let subject = Subject::new();
    for member in [
        r#""zip":"DEF""#,
        r#""zip":null"#,
        r#""enc":"A128GCM""#,
        r#""enc":"""#,
        r#""cty":"JWT""#,
        r#""cty":"json""#,
        r#""cty":null"#,
        r#""c\u0074y":"JWT""#,
    ] {
        subject.refuses_header(with(member)).await;
    }
}
