//! The messages about security that no setting can forget.

use crate::{
    pair,
    support::{Fixture, Log},
};

#[cfg(feature = "tracing")]
#[tokio::test]
async fn a_theft_is_logged_once_with_its_session_and_without_the_user() {
    let log = Log::capture();
    let fixture = Fixture::new();
    let pair = pair(&fixture.tokens).await;
    fixture.tokens.refresh(pair.refresh().as_str()).await.unwrap();
    fixture.advance(60);
    for _ in 0..3 {
        fixture.tokens.refresh(pair.refresh().as_str()).await.unwrap_err();
    }
    let text = log.text();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(pair.session_id().as_str())).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(lines[0].contains("WARN") && lines[0].contains("a thief may have a copy"), "{text}");
}
