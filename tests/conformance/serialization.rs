//! SER: the compact serialization and its base64url (RFC 7515 sections 2 and 7.1).

use http::{HeaderValue, Request};
use http_body_util::Full;
use tower::Layer;
use tower_bearer::{
    AuthLayer, Error, KeySet, TokenType,
    error::TokenError,
    jwt::{Algorithm, SigningKey},
};

use crate::{
    subject::{Inner, Outcome, Subject, authorization, bearer, send},
    support::{
        Fixture,
        fixture::{sign_with, signature},
        test_keys,
        token_parts::{decoded, encoded, segments, with},
        vectors,
    },
};

const HMACS: [Algorithm; 3] = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];

/// Returns a subject whose tokens are signed by this algorithm.
fn of(algorithm: Algorithm) -> Subject {
    Subject::with_keys(KeySet::signing(test_keys::signing(algorithm)))
}

/// Returns the HS256 signature of any text, as a segment.
fn mac(text: &str) -> String {
    encoded(signature(jsonwebtoken::Algorithm::HS256, &test_keys::encoding(Algorithm::HS256), text.as_bytes()))
}

#[tokio::test]
async fn ser_01_a_token_has_three_segments() {
    let subject = Subject::new();
    let token = subject.valid().await;
    let [h, p, s] = segments(&token);
    let signed = |text: String| format!("{text}.{}", mac(&text));
    subject.expect_token("V", &token, Outcome::Ok).await;
    subject.expect_token("V, signed here", &signed(format!("{h}.{p}")), Outcome::Ok).await;
    for (what, bad) in [
        ("no dot", format!("{h}{p}{s}")),
        ("no dot and no JSON", "abc".to_owned()),
        ("one dot", format!("{h}.{p}")),
        ("one dot, the payload signed", signed(p.to_owned())),
        ("one dot, the header signed", signed(h.to_owned())),
        ("three dots, the last at the end", format!("{token}.")),
        ("three dots, the first at the start", format!(".{token}")),
        ("three dots, a segment after the signature", format!("{token}.{s}")),
        ("three dots, the header twice", format!("{h}.{token}")),
        ("three dots, all before the last signed", signed(format!("{h}.{p}.{p}"))),
        ("three dots, an empty segment, all before the last signed", signed(format!("{h}.{p}."))),
        ("four dots", format!("{token}.{h}.{p}")),
        ("four dots, all before the last signed", signed(format!("{h}.{p}.{s}.{p}"))),
        ("five dots", format!("{token}.{token}")),
        ("a hundred dots and nothing else", ".".repeat(100)),
        ("a hundred dots after the token", format!("{token}{}", ".".repeat(98))),
        ("a hundred dots before the signature", format!("{h}.{p}{}{s}", ".".repeat(99))),
        ("a hundred dots, the token in each place", format!("{token}{}", format!(".{h}").repeat(98).as_str())),
    ] {
        subject.refuses_token(what, &bad).await;
    }
}

#[tokio::test]
async fn ser_02_no_segment_is_empty() {
    let subject = Subject::new();
    let token = subject.valid().await;
    let [h, p, s] = segments(&token);
    for (what, bad) in [
        ("..", "..".to_owned()),
        ("h..s", format!("{h}..{s}")),
        ("h..s, signed as it stands", format!("{h}..{}", mac(&format!("{h}.")))),
        (".p.s", format!(".{p}.{s}")),
        (".p.s, signed as it stands", format!(".{p}.{}", mac(&format!(".{p}")))),
        ("h.p.", format!("{h}.{p}.")),
        ("h..", format!("{h}..")),
        (".p.", format!(".{p}.")),
        ("..s", format!("..{s}")),
        ("..s, signed as it stands", format!("..{}", mac("."))),
    ] {
        subject.refuses_token(what, &bad).await;
    }
}

/// CVE-2020-28042: a library took an empty signature for a good one.
#[tokio::test]
async fn ser_03_a_token_without_its_signature_is_refused_whatever_its_alg() {
    for algorithm in [HMACS.as_slice(), &[Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256]].concat() {
        let subject = of(algorithm);
        let token = subject.valid().await;
        let [h, p, s] = segments(&token);
        subject.expect_token(&format!("{algorithm}: V"), &token, Outcome::Ok).await;
        let zeros = encoded(vec![0; decoded(s).len()]);
        for bad in [
            format!("{h}.{p}."),
            format!("{h}.{p}"),
            format!("{h}.{p}.AA"),
            format!("{h}.{p}.{zeros}"),
            format!("{h}.{p}.{p}"),
            format!("{h}.{p}.."),
        ] {
            subject.refuses_token(&format!("{algorithm}: {bad}"), &bad).await;
        }
    }
}

/// RFC 7520 section 5.6, to the letter.
const DIRECT_ENCRYPTION: &str = "eyJhbGciOiJkaXIiLCJraWQiOiI3N2M3ZTJiOC02ZTEzLTQ1Y2YtODY3Mi02MTdiNWI0NTI0M2EiLCJlbmMiOiJBMTI4R0NNIn0..refa467QzzKx6QAB.JW_i_f52hww_ELQPGaYyeAB6HYGcR559l9TYnSovc23XJoBcW29rHP8yZOZG7YhLpT1bjFuvZPjQS-m0IFtVcXkZXdH_lr_FrdYt9HRUYkshtrMmIUAyGmUnd9zMDB2n0cRDIHAzFVeJUDxkUwVAE7_YGRPdcqMyiBoCO-FBdE-Nceb4h3-FtBP-c_BIwCPTjb9o0SbdcdREEMJMyZBH8ySWMVi1gPD9yxi-aQpGbSv_F9N4IZAxscj5g-NJsUPbjk29-s7LJAGb15wEBtXphVCgyy53CoIKLHHeJHXex45Uz9aKZSRSInZI-wjsY0yu3cT4_aQ3i1o-tiE-F8Ios61EKgyIQ4CWao8PFMj8TTnp.vbb32Xvllea2OtmHAdccRQ";

/// The crate cannot decrypt. It refuses the five segments for their form, before it selects a key.
#[tokio::test]
async fn ser_04_an_encrypted_token_is_refused_for_its_form() {
    let subject = Subject::new();
    let mut tokens = vec![("RFC 7520 section 5.6".to_owned(), DIRECT_ENCRYPTION.to_owned())];
    // Only the form of these is that of a JWE: an attacker need not keep to the standard.
    let token = subject.valid().await;
    let [h, p, s] = segments(&token);
    for header in [
        r#"{"alg":"dir","enc":"A128GCM"}"#,
        r#"{"alg":"A128KW","enc":"A128CBC-HS256","zip":"DEF"}"#,
        r#"{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483648,"p2s":"AA"}"#,
        r#"{"alg":"HS256","enc":"A128GCM"}"#,
    ] {
        tokens.push((header.to_owned(), format!("{}.{p}.{p}.{p}.{s}", encoded(header))));
    }
    tokens.push(("five segments of V".to_owned(), format!("{h}.{p}.{h}.{p}.{s}")));
    assert_refused_for_their_form(&subject, &tokens).await;
}

#[tokio::test]
#[ignore = "reads third-party vectors, which are no part of the tree: see CONTRIBUTING.md"]
async fn ser_04_the_encrypted_tokens_of_rfc_7520_are_refused_for_their_form() {
    let mut tokens = Vec::new();
    for (name, json) in vectors::read_all("jose-cookbook/jwe", "5_") {
        let vector: serde_json::Value = serde_json::from_slice(&json).unwrap();
        if let Some(compact) = vector["output"]["compact"].as_str() {
            tokens.push((name, compact.to_owned()));
        }
    }
    assert!(!tokens.is_empty());
    assert_refused_for_their_form(&Subject::new(), &tokens).await;
}

async fn assert_refused_for_their_form(subject: &Subject, tokens: &[(String, String)]) {
    for (what, token) in tokens {
        subject.refuses_token(what, token).await;
        let verdict = subject.fixture.tokens.validate_jwt_stateless(token, TokenType::Access);
        assert!(matches!(verdict, Err(Error::Token(TokenError::Malformed(_)))), "{what}: {verdict:?}");
    }
}

#[tokio::test]
async fn ser_06_the_json_serializations_are_no_credential_at_all() {
    let subject = Subject::new();
    let token = subject.valid().await;
    let [h, p, s] = segments(&token);
    for json in [
        format!(r#"{{"payload":"{p}","protected":"{h}","signature":"{s}"}}"#),
        format!(r#"{{"payload":"{p}","signatures":[{{"protected":"{h}","signature":"{s}"}}]}}"#),
        format!(r#"{{ "payload": "{p}", "protected": "{h}", "signature": "{s}" }}"#),
        format!(r#"["{h}","{p}","{s}"]"#),
        format!(r#""{token}""#),
    ] {
        subject.expect(&json, authorization(format!("Bearer {json}")), Outcome::InvalidRequest).await;
        // The service refuses the text too if an application passes it directly.
        let verdict = subject.fixture.tokens.validate_jwt_stateless(&json, TokenType::Access);
        assert!(matches!(verdict, Err(Error::Token(TokenError::Malformed(_)))), "{json}: {verdict:?}");
    }
}

/// The row says 401 for all three segments, and the grammar of RFC 6750 section 2.1 has `=` at the
/// end only. It is followed for a text whose segments are padded: that is clearly a token, and a
/// bad one. Elsewhere `=` makes a malformed request, as a quotation mark does.
#[tokio::test]
async fn ser_08_padding_is_refused_in_every_segment() {
    let subject = Subject::new();
    let token = subject.valid().await;
    let [h, p, s] = segments(&token);
    let calls = subject.fixture.store.calls();
    for pad in ["=", "==", "===", "===="] {
        let after_signature = format!("{h}.{p}.{s}{pad}");
        subject.refuses_token(pad, &after_signature).await;
        for bad in [
            format!("{h}{pad}.{p}.{s}"),
            format!("{h}.{p}{pad}.{s}"),
            format!("{h}{pad}.{p}{pad}.{s}{pad}"),
            format!("{h}.{p}{pad}.{}", mac(&format!("{h}.{p}{pad}"))),
            format!("{h}{pad}.{p}.{}", mac(&format!("{h}{pad}.{p}"))),
        ] {
            subject.refuses_token(&bad, &bad).await;
            let verdict = subject.fixture.tokens.validate_token(&bad, TokenType::Access).await;
            assert!(matches!(verdict, Err(Error::Token(_))), "{bad}: {verdict:?}");
        }
    }
    for bad in [format!("={token}"), format!("{h}.={p}.{s}"), format!("{h}.{p}.={s}"), token.replacen('e', "=", 2)] {
        subject.expect(&bad, bearer(&bad), Outcome::InvalidRequest).await;
    }
    assert_eq!(subject.fixture.store.calls(), calls, "the store was asked");
}

#[tokio::test]
async fn ser_09_the_standard_alphabet_is_refused_in_every_segment() {
    let subject = Subject::new();
    let key = test_keys::encoding(Algorithm::HS256);
    // Three in a row have one at the end of a group of three bytes: its six low bits are the 62nd
    // or the 63rd letter.
    let header = r#"{"alg":"HS256","typ":"at+jwt","x":">>>???"}"#;
    let claims = subject.claims().await;
    let both = |text: &str| text.contains('-') && text.contains('_');
    let token = (0..1000)
        .map(|n| with(&claims, "x", &format!(r#"">>>???{n}""#)))
        .map(|claims| sign_with(jsonwebtoken::Algorithm::HS256, &key, header.as_bytes(), claims.as_bytes()))
        .find(|token| segments(token).into_iter().all(both))
        .expect("a token with both letters in every segment");
    subject.expect_token("V", &token, Outcome::Ok).await;
    for segment in 0..3 {
        for [url, standard] in [["-", "+"], ["_", "/"], ["-_", "+/"]] {
            let mut parts = segments(&token).map(str::to_owned);
            for (url, standard) in url.chars().zip(standard.chars()) {
                parts[segment] = parts[segment].replace(url, &standard.to_string());
            }
            let changed = parts.join(".");
            assert_ne!(changed, token);
            subject.refuses_token(&format!("segment {segment}: {standard} for {url}"), &changed).await;
        }
    }
}

#[tokio::test]
async fn ser_12_a_length_that_no_bytes_have_is_refused() {
    let subject = Subject::new();
    let token = subject.valid().await;
    for segment in 0..3 {
        let mut parts = segments(&token).map(str::to_owned);
        while parts[segment].len() % 4 != 1 {
            parts[segment].pop();
        }
        let cut = parts.join(".");
        subject.refuses_token(&format!("segment {segment}, cut"), &cut).await;
        // Cut and signed again, where there is something to sign.
        let [h, p, _] = parts;
        let signed = format!("{h}.{p}.{}", mac(&format!("{h}.{p}")));
        if segment < 2 {
            subject.refuses_token(&format!("segment {segment}, cut and signed"), &signed).await;
        }
        let mut parts = segments(&token).map(str::to_owned);
        while parts[segment].len() % 4 != 1 {
            parts[segment].push('A');
        }
        subject.refuses_token(&format!("segment {segment}, longer"), &parts.join(".")).await;
    }
}

/// The stray bits of a last letter: two texts must not be one token (RFC 4648 section 3.5).
#[tokio::test]
async fn stray_bits_at_the_end_of_a_segment_are_refused() {
    let subject = Subject::new();
    let token = subject.valid().await;
    let [h, p, s] = segments(&token);
    // 32 bytes are 43 letters, of which the last has two bits that no byte needs.
    assert_eq!(s.len(), 43);
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = letters.iter().position(|&letter| letter == s.as_bytes()[42]).unwrap();
    assert_eq!(last % 4, 0);
    for stray in 1..4 {
        let twin = format!("{h}.{p}.{}{}", &s[..42], char::from(letters[last + stray]));
        subject.refuses_token(&format!("{stray} in the stray bits"), &twin).await;
    }
}

#[tokio::test]
async fn ser_13_no_space_or_control_character_stands_in_a_token() {
    let subject = Subject::new();
    let token = subject.valid().await;
    let lengths = segments(&token).map(str::len);
    let starts = [0, lengths[0] + 1, lengths[0] + lengths[1] + 2];
    let calls = subject.fixture.store.calls();
    for segment in 0..3 {
        for at in [starts[segment] + lengths[segment] / 2, starts[segment] + 4, starts[segment] + lengths[segment] - 1]
        {
            for byte in (0x00..=0x20).chain([0x7f, 0x80, 0xa0, 0xff]) {
                let mut text = token.clone().into_bytes();
                text.insert(at, byte);
                let what = format!("{byte:#04x} in segment {segment} at {at}");
                match HeaderValue::from_bytes(&[b"Bearer ", &text[..]].concat()) {
                    Ok(value) => {
                        let request = Request::get("/").header("authorization", value);
                        subject.expect(&what, request, Outcome::InvalidRequest).await;
                    }
                    // No field value can carry it (RFC 9110 section 5.5), be the request read from
                    // a wire or made here.
                    Err(_) => assert!(byte < 0x20 && byte != b'\t' || byte == 0x7f, "{what}"),
                }
                // The service itself can be given any text.
                if let Ok(text) = String::from_utf8(text) {
                    let verdict = subject.fixture.tokens.validate_jwt_stateless(&text, TokenType::Access);
                    assert!(verdict.is_err(), "{what}: {verdict:?}");
                }
            }
        }
    }
    assert_eq!(subject.fixture.store.calls(), calls, "the store was asked");
}

#[tokio::test]
async fn ser_16_a_token_cut_short_or_made_longer_is_refused() {
    let subject = Subject::new();
    let token = subject.valid().await;
    for length in 1..token.len() {
        subject.refuses_token(&format!("the first {length} bytes"), &token[..length]).await;
        subject.refuses_token(&format!("without the first {length} bytes"), &token[length..]).await;
    }
    // Of the empty text nothing is left but the scheme.
    subject.expect("nothing", bearer(""), Outcome::InvalidRequest).await;
    let letters = (b'0'..=b'z').filter(u8::is_ascii_alphanumeric).chain(*b"-._~+/=");
    let longer =
        letters.map(|letter| char::from(letter).to_string()).chain([".A", "AAAA", "..", "AA=="].map(str::to_owned));
    for end in longer.chain([token.clone(), format!(".{token}")]) {
        subject.refuses_token(&format!("V and {end}"), &format!("{token}{end}")).await;
        if !end.contains('=') {
            subject.refuses_token(&format!("{end} and V"), &format!("{end}{token}")).await;
        }
    }
}

#[tokio::test]
async fn ser_17_segments_of_two_tokens_do_not_mix() {
    for algorithm in [HMACS.as_slice(), &[Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256]].concat() {
        let subject = of(algorithm);
        // The two differ in every segment: the one header has a `kid`, the other has none and a
        // `typ` in capitals.
        let one = subject.valid().await;
        let header = format!(r#"{{"alg":"{algorithm}","typ":"AT+JWT"}}"#);
        let claims = subject.claims_text().await;
        let name = format!("{algorithm:?}");
        let other =
            sign_with(name.parse().unwrap(), &test_keys::encoding(algorithm), header.as_bytes(), claims.as_bytes());
        for (what, token) in [("the one", &one), ("the other", &other)] {
            subject.expect_token(&format!("{algorithm}: {what}"), token, Outcome::Ok).await;
        }
        let (a, b) = (segments(&one), segments(&other));
        assert!((0..3).all(|segment| a[segment] != b[segment]));
        for mix in 1..7 {
            let pick = |segment: usize| if mix >> segment & 1 == 0 { a[segment] } else { b[segment] };
            let mixed = [pick(0), pick(1), pick(2)].join(".");
            subject.refuses_token(&format!("{algorithm}: mix {mix:03b}"), &mixed).await;
        }
        // And those of one token in another order.
        let [h, p, s] = a;
        for order in [[h, s, p], [p, h, s], [p, s, h], [s, h, p], [s, p, h]] {
            subject.refuses_token(&format!("{algorithm}: another order"), &order.join(".")).await;
        }
    }
}

#[tokio::test]
async fn ser_18_a_mac_has_the_length_of_its_hash() {
    for algorithm in HMACS {
        let subject = of(algorithm);
        let token = subject.valid().await;
        let [h, p, s] = segments(&token);
        let mac = decoded(s);
        subject.expect_token(&format!("{algorithm}: V"), &token, Outcome::Ok).await;
        for length in (0..mac.len()).chain(mac.len() + 1..mac.len() + 4).chain([mac.len() * 2, 4096]) {
            for fill in [0, mac[0], 0xff] {
                let mut changed = mac.clone();
                changed.resize(length, fill);
                let what = format!("{algorithm}: {length} bytes, filled with {fill}");
                subject.refuses_token(&what, &format!("{h}.{p}.{}", encoded(changed))).await;
            }
        }
        subject.refuses_token("the MAC twice", &format!("{h}.{p}.{}", encoded([&mac[..], &mac[..]].concat()))).await;
        subject.refuses_token("the end of the MAC", &format!("{h}.{p}.{}", encoded(&mac[1..]))).await;
    }
}

#[tokio::test]
async fn ser_19_white_space_in_header_and_claims_is_legal() {
    let subject = Subject::new();
    for header in [
        r#" { "alg" : "HS256" } "#,
        "{\"alg\":\"HS256\"}\n",
        "\n{\r\n\t\"alg\" :\t\"HS256\" ,\r\n\t\"typ\":\"at+jwt\"\r\n}\r\n",
        "\t{\"alg\":\r\"HS256\",  \"x\" : [ 1 , { } ] }",
    ] {
        subject.accepts_header(header).await;
    }
    let pretty = serde_json::to_string_pretty(&subject.claims().await).unwrap();
    subject.accepts_claims("pretty claims", format!("\r\n\t {pretty}\n ")).await;
}

#[tokio::test]
async fn ser_20_letters_are_not_folded() {
    let subject = Subject::new();
    let token = subject.valid().await;
    subject.refuses_token("lower case", &token.to_ascii_lowercase()).await;
    subject.refuses_token("upper case", &token.to_ascii_uppercase()).await;
    let [h, p, s] = segments(&token);
    for bad in [
        format!("{}.{p}.{s}", h.to_ascii_lowercase()),
        format!("{h}.{}.{s}", p.to_ascii_lowercase()),
        format!("{h}.{p}.{}", s.to_ascii_lowercase()),
        format!("{h}.{p}.{}", s.to_ascii_uppercase()),
    ] {
        subject.refuses_token("one segment", &bad).await;
    }
}

/// A valid token, a layer that accepts it, and counters of calls.
struct Property {
    fixture: Fixture,
    layer: AuthLayer,
    inner: Inner,
    token: String,
    calls: usize,
}

impl Property {
    async fn of(key: SigningKey) -> Self {
        let fixture = Fixture::with_keys(KeySet::signing(key), |builder| builder);
        let layer = AuthLayer::new(fixture.tokens.clone());
        let token = fixture.access("read").await;
        let property = Self { layer, inner: Inner::default(), token, calls: fixture.store.calls() + 1, fixture };
        let answer =
            send(property.layer.layer(property.inner.clone()), bearer(&property.token).body(Full::default()).unwrap())
                .await;
        assert_eq!((answer.status.as_u16(), property.inner.calls()), (200, 1));
        property
    }

    /// Asserts that the layer refuses this text without calling the store or the inner service.
    async fn refuses(&self, what: impl Fn() -> String, text: &[u8]) {
        let request = authorization([b"Bearer ", text].concat()).body(Full::default()).unwrap();
        let answer = send(self.layer.layer(self.inner.clone()), request).await;
        assert!([400, 401].contains(&answer.status.as_u16()), "{}: {answer:?}", what());
        let called = (self.inner.calls(), self.fixture.store.calls());
        assert_eq!(called, (1, self.calls), "{}: the inner service or the store was called", what());
    }

    async fn refuses_change(&self, at: usize, byte: u8) {
        let mut changed = self.token.clone().into_bytes();
        changed[at] = byte;
        self.refuses(|| format!("{byte:#04x} at {at} of {}", self.token), &changed).await;
    }
}

/// Returns all bytes that a field value can carry (RFC 9110 section 5.5).
fn field_bytes() -> impl Iterator<Item = u8> {
    (0..=u8::MAX).filter(|&byte| HeaderValue::from_bytes(&[b'a', byte, b'a']).is_ok())
}

#[tokio::test]
async fn every_change_of_one_byte_of_a_token_is_refused() {
    let property = Property::of(test_keys::signing(Algorithm::HS256)).await;
    assert_eq!(field_bytes().count(), 256 - 32);
    for (at, own) in property.token.bytes().enumerate() {
        for byte in field_bytes().filter(|&byte| byte != own) {
            property.refuses_change(at, byte).await;
        }
    }
}

#[tokio::test]
async fn every_byte_that_is_lost_added_or_doubled_and_every_swap_is_refused() {
    let property = Property::of(test_keys::signing(Algorithm::HS256)).await;
    let token = property.token.clone().into_bytes();
    for at in 0..token.len() {
        let (before, after) = token.split_at(at);
        property.refuses(|| format!("without the byte at {at}"), &[before, &after[1..]].concat()).await;
        property.refuses(|| format!("the first {at} bytes"), before).await;
        if at > 0 {
            property.refuses(|| format!("without the first {at} bytes"), after).await;
        }
        property.refuses(|| format!("the byte at {at} doubled"), &[before, &after[..1], after].concat()).await;
        if at > 0 && token[at - 1] != token[at] {
            let mut swapped = token.clone();
            swapped.swap(at - 1, at);
            property.refuses(|| format!("the byte at {at} swapped with the one before"), &swapped).await;
        }
    }
    // Spaces and tabs around the value are no part of it, and so no change of the token (RFC 9110
    // section 5.5).
    for byte in field_bytes().filter(|byte| !b" \t".contains(byte)) {
        property.refuses(|| format!("{byte:#04x} after the token"), &[&token[..], &[byte]].concat()).await;
        property.refuses(|| format!("{byte:#04x} before the token"), &[&[byte], &token[..]].concat()).await;
    }
}

/// A sample: the whole would take minutes where the backend is not optimized.
#[tokio::test]
async fn a_change_of_one_byte_is_refused_for_key_pairs_too() {
    for algorithm in [Algorithm::ES256, Algorithm::EdDSA] {
        let property = Property::of(test_keys::signing(algorithm)).await;
        let token = property.token.clone().into_bytes();
        let end_of_segment = |at: usize| token.get(at + 1).is_none_or(|&next| next == b'.');
        for at in (0..token.len()).filter(|at| at % 5 == 0 || end_of_segment(*at)) {
            // The letter whose last bit differs: at the end of a segment that may be a stray bit.
            let own = token[at];
            let other = if own.is_ascii_alphanumeric() { if own == b'A' { b'B' } else { b'A' } } else { b'Q' };
            property.refuses_change(at, other).await;
            property.refuses_change(at, own ^ 1).await;
            property.refuses_change(at, own | 0x80).await;
        }
        for length in (0..token.len()).step_by(7) {
            property.refuses(|| format!("{algorithm}: the first {length} bytes"), &token[..length]).await;
        }
        for end in ["A", "AA", ".", ".A", "=", "=="] {
            property.refuses(|| format!("{algorithm}: {end} at the end"), &[&token, end.as_bytes()].concat()).await;
        }
    }
}
