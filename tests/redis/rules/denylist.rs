//! Tokens of other issuers.

use std::time::Duration;

use tower_bearer::{
    clock::Timestamp,
    store::{ExternalId, Revocation},
};

use super::{ISSUER, deny};
use crate::support::{
    TextStore,
    redis_fixture::{Fixture, query, wait_until_after, with},
};

#[tokio::test]
async fn a_query_about_no_id_writes_nothing() {
    let f = Fixture::new().await;
    f.redis::<()>(&["CONFIG", "RESETSTAT"]).await;
    let denial = f.store.denied(query(ISSUER, "", "", "")).await.unwrap();
    assert!(denial.born <= denial.now);
    let stats: String = f.redis(&["INFO", "commandstats"]).await;
    assert!(!stats.contains("cmdstat_eval") && stats.contains("cmdstat_hmget"), "{stats}");
}

#[tokio::test]
async fn a_denied_token_is_known_by_its_jti_and_the_others_are_not() {
    let f = Fixture::new().await;
    assert!(f.store.deny(deny(ISSUER, ExternalId::Token("j1".into()))).await.unwrap().found);
    assert!(!f.store.deny(deny(ISSUER, ExternalId::Token("j1".into()))).await.unwrap().found);
    assert!(f.store.denied(query(ISSUER, "j1", "s", "u")).await.unwrap().token);
    let other = f.store.denied(query(ISSUER, "j2", "j1", "j1")).await.unwrap();
    assert_eq!((other.token, other.revoked_before), (false, None));
    assert!(!f.store.denied(query("https://other.example", "j1", "", "")).await.unwrap().token);
}

#[tokio::test]
async fn a_denied_subject_or_session_is_dead_up_to_that_moment() {
    let f = Fixture::new().await;
    let first = f.store.deny(deny(ISSUER, ExternalId::Subject("1".into()))).await.unwrap();
    let denial = f.store.denied(query(ISSUER, "j", "s", "1")).await.unwrap();
    let end_of_half_a_second = |moment: Timestamp| Timestamp::from_millis(moment.as_millis() / 500 * 500 + 499);
    assert_eq!(denial.revoked_before, Some(end_of_half_a_second(first.now)));
    wait_until_after(&f.store, end_of_half_a_second(first.now)).await;
    let second = f.store.deny(deny(ISSUER, ExternalId::Session("s".into()))).await.unwrap();
    let denial = f.store.denied(query(ISSUER, "j", "s", "1")).await.unwrap();
    assert_eq!(denial.revoked_before, Some(end_of_half_a_second(second.now)), "the later of both");
    let log = f.log().await;
    let moment = Some(end_of_half_a_second(first.now));
    assert!(matches!(&log[0].revocation, Revocation::External { before, .. } if *before == moment));
}

#[tokio::test]
async fn a_foreign_subject_is_not_our_user_of_that_name() {
    let f = Fixture::new().await;
    f.open("1", "s1").await;
    f.store.deny(deny(ISSUER, ExternalId::Subject("1".into()))).await.unwrap();
    f.store.deny(deny(ISSUER, ExternalId::Session("s1".into()))).await.unwrap();
    assert!(f.is_active("1", "s1").await);
    f.store.revoke_all("2", None).await.unwrap();
    assert_eq!(f.store.denied(query(ISSUER, "", "", "2")).await.unwrap().revoked_before, None);
}

#[tokio::test]
async fn a_later_denial_that_is_kept_for_less_does_not_shorten_an_earlier_one() {
    let f = Fixture::new().await;
    f.store.deny(deny(ISSUER, ExternalId::Subject("1".into()))).await.unwrap();
    f.store.deny(with(deny(ISSUER, ExternalId::Subject("1".into())), |deny| deny.keep = Duration::ZERO)).await.unwrap();
    let keys: Vec<String> = f.redis(&["KEYS", "tb:{0}:d:*"]).await;
    let ttl: i64 = f.redis(&["TTL", &keys[0]]).await;
    assert!(ttl > 3500, "{ttl}");
}

#[tokio::test]
async fn after_data_was_lost_the_store_tells_since_when_it_remembers() {
    let f = Fixture::new().await;
    let revoked = f.store.deny(deny(ISSUER, ExternalId::Token("j1".into()))).await.unwrap();
    f.redis::<()>(&["FLUSHALL"]).await;
    let denial = f.store.denied(query(ISSUER, "j1", "s", "u")).await.unwrap();
    assert!(!denial.token && denial.born >= revoked.now && denial.now >= denial.born);
    let nothing = f.store.denied(query(ISSUER, "", "", "")).await.unwrap();
    assert_eq!(nothing.born, denial.born);
}
