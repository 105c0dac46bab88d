//! TIM: the claims about time (RFC 7519 sections 2 and 4.1.4 to 4.1.6).
//!
//! No test here sleeps: each sets the clock (TIM-29).

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use tower_bearer::{
    MemoryStore, NoClaims, TokenService, TokenType,
    clock::Timestamp,
    error::TokenError,
    jwt::{AccessTyp, Validation, validate_jwt_stateless},
};

use crate::{
    subject::{Outcome, Subject},
    support::{
        fixture::{AUDIENCE, ISSUER, SECRET, START, sign},
        test_keys,
        token_parts::{HEADER, with, without},
    },
};

const NOW: u64 = START.as_secs();
/// The default leeway.
const LEEWAY: u64 = 5;

/// Returns a subject with this leeway in seconds.
fn with_leeway(leeway: u64) -> Subject {
    Subject::with(|builder| builder.leeway(Duration::from_secs(leeway)))
}

/// Returns the claims of a fresh `V` that was issued ten minutes ago.
async fn older(subject: &Subject) -> Value {
    let mut claims = subject.claims().await;
    claims["iat"] = json!(NOW - 600);
    claims
}

async fn accepts(subject: &Subject, claims: &Value, name: &str, value: &str) {
    subject.accepts_claims(&format!("{name}: {value}"), with(claims, name, value)).await;
}

async fn refuses(subject: &Subject, claims: &Value, name: &str, value: &str) {
    subject.refuses_claims(&format!("{name}: {value}"), with(claims, name, value)).await;
}

#[tokio::test]
async fn tim_01_a_token_whose_end_is_past_is_refused() {
    for leeway in [0, LEEWAY, 60, 86_400] {
        let subject = with_leeway(leeway);
        let mut claims = subject.claims().await;
        claims["iat"] = json!(NOW - leeway - 600);
        for past in [1, 2, 60, 500] {
            refuses(&subject, &claims, "exp", &(NOW - leeway - past).to_string()).await;
        }
        // "On or after": at the very moment it is over (RFC 7519 section 4.1.4), and a moment
        // before it is not.
        refuses(&subject, &claims, "exp", &(NOW - leeway).to_string()).await;
        refuses(&subject, &claims, "exp", &format!("{}.999", NOW - leeway - 1)).await;
        let max = Duration::from_secs(2 * 86_400);
        let roomy = Subject::with(|builder| builder.leeway(Duration::from_secs(leeway)).max_access_lifetime(max));
        let mut claims = roomy.claims().await;
        claims["iat"] = json!(NOW - leeway - 600);
        accepts(&roomy, &claims, "exp", &format!("{}.001", NOW - leeway)).await;
        accepts(&roomy, &claims, "exp", &(NOW - leeway + 1).to_string()).await;
    }
    // The same by the clock's going on.
    let subject = Subject::new();
    let token = subject.valid().await;
    let end = Timestamp::from_secs(subject.claims().await["exp"].as_u64().unwrap() + LEEWAY);
    subject.fixture.clock.set(Timestamp::from_millis(end.as_millis() - 1));
    subject.expect_token("the last moment", &token, Outcome::Ok).await;
    for later in [end, Timestamp::from_millis(end.as_millis() + 1), end.saturating_add(Duration::from_secs(86_400))] {
        subject.fixture.clock.set(later);
        subject.refuses_token(&later.to_string(), &token).await;
    }
}

/// The documented default is 5 s (`Builder`, `Validation`), not the minute of `jsonwebtoken`.
#[tokio::test]
async fn tim_04_the_leeway_is_five_seconds_by_default() {
    let subject = Subject::new();
    let claims = older(&subject).await;
    for past in [60, 59, 30, 6, 5] {
        refuses(&subject, &claims, "exp", &(NOW - past).to_string()).await;
    }
    for past in [4, 1, 0] {
        accepts(&subject, &claims, "exp", &(NOW - past).to_string()).await;
    }
    let keys = tower_bearer::KeySet::signing(test_keys::signing(tower_bearer::jwt::Algorithm::HS256));
    let rules = Validation::new().issuer(ISSUER).audience(AUDIENCE);
    let check = |past: u64| {
        let token = sign(HEADER, &with(&claims, "exp", &(NOW - past).to_string()));
        validate_jwt_stateless::<NoClaims>(&token, &keys, &rules, TokenType::Access, START)
    };
    check(4).unwrap();
    assert!(matches!(check(5), Err(TokenError::Expired { .. })));
}

#[tokio::test]
async fn tim_05_a_token_without_an_end_is_refused() {
    for typ in [AccessTyp::Compatible, AccessTyp::AtJwt, AccessTyp::Unmarked] {
        let subject = Subject::with(|builder| builder.access_typ(typ));
        let claims = subject.claims().await;
        subject.refuses_claims("no exp", without(&claims, "exp")).await;
        for name in ["Exp", "EXP", "exp ", " exp", "expires_at", "expires_in"] {
            let other = with(&serde_json::from_str(&without(&claims, "exp")).unwrap(), name, &(NOW + 60).to_string());
            subject.refuses_claims(name, other).await;
        }
    }
}

#[tokio::test]
async fn tim_06_an_end_in_quotation_marks_is_refused() {
    let subject = Subject::new();
    let claims = subject.claims().await;
    for text in [
        "9999999999".to_owned(),
        (NOW + 60).to_string(),
        format!("{}.0", NOW + 60),
        String::new(),
        "never".to_owned(),
        "2099-01-01T00:00:00Z".to_owned(),
        "Infinity".to_owned(),
    ] {
        refuses(&subject, &claims, "exp", &format!("\"{text}\"")).await;
    }
}

#[tokio::test]
async fn tim_07_an_end_that_is_no_number_is_refused() {
    let subject = Subject::new();
    let claims = subject.claims().await;
    let inside = NOW + 60;
    for wrong in ["null", "true", "false", "[]", "[1]", "{}", &format!("[{inside}]"), &format!(r#"{{"exp":{inside}}}"#)]
    {
        refuses(&subject, &claims, "exp", wrong).await;
    }
    // As `serde_json` writes numbers for itself where its arbitrary precision is on.
    refuses(&subject, &claims, "exp", &format!(r#"{{"$serde_json::private::Number":"{inside}"}}"#)).await;
}

#[tokio::test]
async fn tim_08_times_may_have_a_fraction_and_none_is_rounded_up() {
    let subject = Subject::new();
    let claims = older(&subject).await;
    for exp in [format!("{}.9", NOW + 100), format!("{}e0", NOW + 100), format!("{}E-1", (NOW + 100) * 10)] {
        accepts(&subject, &claims, "exp", &exp).await;
    }
    accepts(&subject, &claims, "iat", &format!("{}.5", NOW - 1)).await;
    accepts(&subject, &claims, "nbf", &format!("{NOW}.000001")).await;
    accepts(&subject, &claims, "exp", &format!("{}.001", NOW - LEEWAY)).await;
    refuses(&subject, &claims, "exp", &format!("{}.0", NOW - LEEWAY)).await;
    refuses(&subject, &claims, "exp", &format!("{}.999999", NOW - LEEWAY - 1)).await;
    // Half a millisecond of life is none: the clock counts whole ones.
    refuses(&subject, &claims, "exp", &format!("{}.0005", NOW - LEEWAY)).await;
    refuses(&subject, &claims, "nbf", &format!("{}.001", NOW + LEEWAY)).await;
    refuses(&subject, &claims, "iat", &format!("{}.001", NOW + LEEWAY)).await;
    // To the millisecond: from 100.9 on with the leeway of 5 it is over at 105.9.
    let token = subject.signed(HEADER, with(&claims, "exp", &format!("{}.9", NOW + 100)));
    for (millis, good) in [(105_899, true), (105_900, false), (106_000, false)] {
        subject.fixture.clock.set(START.saturating_add(Duration::from_millis(millis)));
        if good {
            subject.expect_token("the last moment", &token, Outcome::Ok).await;
        } else {
            subject.refuses_token(&format!("after {millis} ms"), &token).await;
        }
    }
}

#[tokio::test]
async fn tim_10_times_before_the_epoch_are_refused() {
    let subject = Subject::new();
    let claims = subject.claims().await;
    let negative =
        ["-1", "-0", "-0.0", "-1.5", "-1e-400", "-0e9", "-9223372036854775808", "-18446744073709551615", "-1e308"];
    for name in ["exp", "iat", "nbf"] {
        for value in negative {
            refuses(&subject, &claims, name, value).await;
        }
        refuses(&subject, &claims, name, &format!("-{}", NOW + 60)).await;
    }
    refuses(&subject, &claims, "exp", "0").await;
}

#[tokio::test]
async fn tim_11_times_beyond_all_measure_are_refused() {
    let subject = Subject::with(|builder| builder.max_access_lifetime(Duration::from_secs(100 * 365 * 86_400)));
    let claims = subject.claims().await;
    accepts(&subject, &claims, "exp", &(NOW + 99 * 365 * 86_400).to_string()).await;
    for name in ["exp", "iat", "nbf"] {
        for value in [
            "1e400",
            "-1e400",
            "1e308",
            "1e19",
            "1.7976931348623157e308",
            "NaN",
            "Infinity",
            "-Infinity",
            "inf",
            "nan",
            "9007199254740993",
            "9223372036854775807",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "99999999999999999999999999",
            // The first moment of the year 10 000, and milliseconds where seconds belong.
            "253402300800",
            "253402300800.0",
            "1767225660000",
        ] {
            refuses(&subject, &claims, name, value).await;
        }
    }
    // The last moment before it is a date, though no token lives so long.
    refuses(&subject, &claims, "exp", "253402300799").await;
}

#[tokio::test]
async fn tim_15_a_time_is_written_as_json_writes_numbers() {
    let subject = Subject::new();
    let claims = subject.claims().await;
    let good = NOW + 60;
    accepts(&subject, &claims, "exp", &good.to_string()).await;
    for name in ["exp", "iat", "nbf"] {
        for bad in [
            format!("0{good}"),
            format!("00{good}"),
            "017".to_owned(),
            format!("+{good}"),
            format!("{good:#x}"),
            "0xff".to_owned(),
            "0b1".to_owned(),
            "0o7".to_owned(),
            format!("{good}."),
            format!(".{good}"),
            format!("{good}e"),
            format!("{good}n"),
            format!("{good}u"),
            "1_767_225_720".to_owned(),
            "1,767".to_owned(),
            "1 767 225 720".to_owned(),
            format!("- {good}"),
            format!("--{good}"),
            format!("{good}-1"),
            "１７".to_owned(),
        ] {
            refuses(&subject, &claims, name, &bad).await;
        }
    }
}

#[tokio::test]
async fn tim_16_a_token_whose_beginning_is_to_come_is_refused() {
    for leeway in [0, LEEWAY, 60] {
        let subject = with_leeway(leeway);
        let claims = subject.claims().await;
        for ahead in [1, 10, 600, 1700] {
            refuses(&subject, &claims, "nbf", &(NOW + leeway + ahead).to_string()).await;
        }
        refuses(&subject, &claims, "nbf", &format!("{}.001", NOW + leeway)).await;
    }
    // With `nbf` at or after `exp`, the token is never valid.
    let subject = Subject::new();
    let mut claims = subject.claims().await;
    claims["exp"] = json!(NOW + 3);
    for nbf in [NOW + 3, NOW + 4] {
        refuses(&subject, &claims, "nbf", &nbf.to_string()).await;
    }
}

#[tokio::test]
async fn tim_17_a_beginning_within_the_leeway_is_accepted() {
    for leeway in [0, LEEWAY, 60] {
        let subject = with_leeway(leeway);
        let claims = subject.claims().await;
        for nbf in [NOW + leeway, NOW, NOW - 1, 0] {
            accepts(&subject, &claims, "nbf", &nbf.to_string()).await;
        }
    }
}

#[tokio::test]
async fn tim_18_a_beginning_of_another_type_is_refused() {
    let subject = Subject::new();
    let claims = subject.claims().await;
    let quoted = format!("\"{NOW}\"");
    for wrong in ["\"x\"", "\"\"", &quoted, "null", "true", "false", "-5", "{}", "[]", "[0]", r#"{"nbf":0}"#] {
        refuses(&subject, &claims, "nbf", wrong).await;
    }
}

#[tokio::test]
async fn tim_20_a_token_issued_in_the_future_is_refused() {
    for leeway in [0, LEEWAY, 60] {
        let subject = with_leeway(leeway);
        let mut claims = subject.claims().await;
        claims["exp"] = json!(NOW + 7200);
        for ahead in [1, 60, 3600, 7000] {
            refuses(&subject, &claims, "iat", &(NOW + leeway + ahead).to_string()).await;
        }
        refuses(&subject, &claims, "iat", &format!("{}.001", NOW + leeway)).await;
        accepts(&subject, &claims, "iat", &(NOW + leeway).to_string()).await;
    }
    // Nor may it be issued at or after its end.
    let subject = Subject::new();
    let mut claims = subject.claims().await;
    claims["exp"] = json!(NOW + 3);
    for iat in [NOW + 3, NOW + 4] {
        refuses(&subject, &claims, "iat", &iat.to_string()).await;
    }
}

#[tokio::test]
async fn tim_21_a_token_says_when_it_was_issued() {
    for typ in [AccessTyp::Compatible, AccessTyp::AtJwt, AccessTyp::Unmarked] {
        let subject = Subject::with(|builder| builder.access_typ(typ));
        let claims = subject.claims().await;
        subject.refuses_claims("no iat", without(&claims, "iat")).await;
        let quoted = format!("\"{NOW}\"");
        for wrong in ["\"zzz\"", "\"\"", &quoted, "null", "true", "[]", "[1]", "{}", "-1"] {
            refuses(&subject, &claims, "iat", wrong).await;
        }
    }
}

#[tokio::test]
async fn a_lifetime_longer_than_allowed_is_refused() {
    let subject = Subject::new();
    let claims = subject.claims().await;
    accepts(&subject, &claims, "exp", &(NOW + 86_400).to_string()).await;
    refuses(&subject, &claims, "exp", &(NOW + 86_401).to_string()).await;
}

#[tokio::test]
async fn tim_25_a_leeway_beyond_measure_is_an_error_at_start_and_overflows_nothing() {
    const DAY: Duration = Duration::from_secs(86_400);
    let build = |leeway: Duration| {
        let builder = TokenService::builder().secret(SECRET).issuer(ISSUER).audience(AUDIENCE);
        builder.store(MemoryStore::default()).leeway(leeway).build().map(drop)
    };
    for good in [Duration::ZERO, Duration::from_millis(1), Duration::from_secs(300), DAY] {
        build(good).unwrap();
    }
    for bad in [
        Duration::MAX,
        Duration::from_secs(u64::MAX),
        Duration::from_millis(u64::MAX),
        Duration::from_secs(u64::MAX / 1000),
        // More than all time since the epoch.
        Duration::from_secs(NOW + 1),
        DAY + Duration::from_nanos(1),
        DAY + Duration::from_secs(1),
    ] {
        assert_eq!(build(bad).unwrap_err().setting(), "leeway", "{bad:?}");
        assert_eq!(Validation::new().leeway(bad).check().unwrap_err().setting(), "leeway", "{bad:?}");
    }
    // Without a call of `check` the leeway is one day at most, and no sum overflows or panics.
    let keys = tower_bearer::KeySet::signing(test_keys::signing(tower_bearer::jwt::Algorithm::HS256));
    let rules = Validation::new().issuer(ISSUER).audience(AUDIENCE).leeway(Duration::MAX);
    let claims = older(&Subject::new()).await;
    let judge = |claims: &str, now: Timestamp| {
        validate_jwt_stateless::<NoClaims>(&sign(HEADER, claims), &keys, &rules, TokenType::Access, now).map(drop)
    };
    let end = claims["exp"].as_u64().unwrap();
    judge(&claims.to_string(), Timestamp::from_secs(end + 86_399)).unwrap();
    for now in [Timestamp::from_secs(end + 86_400), Timestamp::END_OF_TIME, Timestamp::from_millis(u64::MAX)] {
        assert!(matches!(judge(&claims.to_string(), now), Err(TokenError::Expired { .. })), "{now}");
    }
    // A leeway longer than the time since the epoch, as a clock that has never been set shows it.
    for now in [Timestamp::default(), Timestamp::from_secs(1), Timestamp::from_secs(1000)] {
        assert!(matches!(judge(&claims.to_string(), now), Err(TokenError::NotYetValid { .. })), "{now}");
        let early = with(&serde_json::from_str(&with(&claims, "iat", "0")).unwrap(), "exp", "600");
        judge(&early, now).unwrap();
    }
    // The same under a layer, with the longest leeway that there is.
    let subject = Subject::with(|builder| builder.leeway(DAY));
    let token = subject.valid().await;
    for now in [Timestamp::default(), Timestamp::END_OF_TIME, Timestamp::from_millis(u64::MAX)] {
        subject.fixture.clock.set(now);
        subject.refuses_token(&now.to_string(), &token).await;
    }
}

#[tokio::test]
async fn tim_29_all_times_are_judged_by_the_clock_that_is_given() {
    let subject = Subject::new();
    let mut claims = subject.claims().await;
    (claims["nbf"], claims["exp"]) = (json!(NOW + 100), json!(NOW + 200));
    let token = subject.signed(HEADER, claims.to_string());
    // There and back: no verdict is kept.
    for (millis, good) in [
        (0, false),
        (94_999, false),
        (95_000, true),
        (150_000, true),
        (204_999, true),
        (205_000, false),
        (94_999, false),
        (150_000, true),
        (205_000, false),
    ] {
        subject.fixture.clock.set(START.saturating_add(Duration::from_millis(millis)));
        if good {
            subject.expect_token(&format!("at {millis} ms"), &token, Outcome::Ok).await;
        } else {
            subject.refuses_token(&format!("at {millis} ms"), &token).await;
        }
    }
    // The day of this test is no day of those tokens: had any check looked at the system's clock,
    // none would have passed. And no other place of the crate reads it.
    let mut readers = Vec::new();
    files(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").as_path(), &mut |name, text| {
        if text.contains("SystemTime::now") || text.contains("get_current_timestamp") {
            readers.push(name.to_owned());
        }
    });
    assert_eq!(readers, ["clock.rs"]);
}

fn files(folder: &Path, each: &mut impl FnMut(&str, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, each);
        } else {
            each(path.file_name().unwrap().to_str().unwrap(), &fs::read_to_string(&path).unwrap());
        }
    }
}
