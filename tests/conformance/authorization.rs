//! AUT: extraction from the `Authorization` field.

use crate::subject::{Outcome, Subject, authorization};

#[tokio::test]
async fn aut_01_a_well_formed_bearer_is_accepted_and_its_claims_reach_the_service() {
    let subject = Subject::new();
    let token = subject.valid().await;
    subject.expect_token("V", &token, Outcome::Ok).await;
}

#[tokio::test]
async fn aut_05_the_scheme_without_a_token_is_malformed() {
    let subject = Subject::new();
    for value in ["Bearer", "Bearer "] {
        subject.expect(value, authorization(value), Outcome::InvalidRequest).await;
    }
}
