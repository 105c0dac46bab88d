//! Rules about the revocation log. This file checks the pages, and the other files check the
//! entries.

pub(super) mod denials;
pub(super) mod endings;
pub(super) mod names;
mod reader;
pub(super) mod republish;

use std::num::NonZeroU32;

use super::{
    outcome::{Outcome, ensure},
    user::{LONG, User, logged},
};
use crate::{
    error::StoreErrorKind,
    store::{LogCursor, LogQuery, Revocation},
};

pub(super) async fn the_log_is_dense_and_chained(user: User) -> Outcome {
    // This number of entries needs several pages.
    const ENTRIES: u32 = 1500;
    let mut reader = user.reader().await?;
    for n in 0..ENTRIES {
        user.revoke_session(&n.to_string()).await?;
    }
    // `read` checks the numbers, the nonces and the times of the entries, and the head of the log.
    let logged = reader.read().await?;
    let mut nonces: Vec<_> = logged.iter().map(|entry| &entry.nonce).collect();
    nonces.sort_unstable();
    nonces.dedup();
    ensure!(nonces.len() == logged.len(), "two entries have the same nonce");
    let sids: Vec<_> = logged
        .iter()
        .filter_map(|entry| match &entry.revocation {
            Revocation::Session { subject, sid } if *subject == user.name => Some(sid.as_str()),
            _ => None,
        })
        .collect();
    ensure!(
        sids.iter().eq((0..ENTRIES).map(|n| n.to_string()).collect::<Vec<_>>().iter()),
        "the log has {} of {ENTRIES} entries",
        sids.len()
    );
    ensure!(reader.read().await?.is_empty(), "a read after the last entry returned entries again");
    // A second reader must find the same entries.
    user.reader().await?;
    Ok(())
}

pub(super) async fn the_log_holds_the_changes_in_their_order(user: User) -> Outcome {
    let mut reader = user.reader().await?;
    let until = user.open("a").await?.now.saturating_add(LONG);
    user.revoke_token("j", until).await?;
    user.open_capped("b", NonZeroU32::MIN).await?;
    user.rotate("b", 3, LONG).await?;
    user.rotate("b", 1, LONG).await?;
    user.revoke_all(None).await?;
    user.revoke_session("a").await?;
    // The call above and the calls below end no live session or token, so they write no entry.
    user.open("c").await?;
    user.advance("c", 0).await?;
    user.rotate("c", 0, LONG).await?;
    user.rotate("a", 0, LONG).await?;
    let kinds: Vec<_> = reader
        .revocations()
        .await?
        .into_iter()
        .map(|revocation| match revocation {
            Revocation::Session { sid, .. } => format!("session {sid}"),
            Revocation::Token { jti, .. } => format!("token {jti}"),
            Revocation::Subject { .. } => "all".to_owned(),
            Revocation::External { .. } => "external".to_owned(),
        })
        .collect();
    ensure!(kinds == ["token j", "session a", "session b", "all"], "the log has {kinds:?}");
    Ok(())
}

pub(super) async fn an_answer_says_where_in_the_log_it_stands_and_what_is_written_there(user: User) -> Outcome {
    let now = user.open("s").await?.now;
    user.open("t").await?;
    let until = now.saturating_add(LONG);
    let mut reader = user.reader().await?;
    let mut answers = vec![
        user.revoke_token("j", until).await?,
        user.revoke_session("s").await?,
        user.revoke_session("none").await?,
        user.revoke_all(Some("t")).await?,
        user.revoke_all(Some("s")).await?,
    ];
    user.open("u").await?;
    answers.push(user.revoke_all(None).await?);
    let log = user.log()?;
    let entries = reader.read().await?;
    ensure!(entries.len() == answers.len(), "expected one entry for each of six revocations: {entries:?}");
    for (entry, answer) in entries.iter().zip(&answers) {
        let named = logged(answer)?;
        let position = &named.position;
        ensure!(position.sequence == entry.sequence, "the answer {answer:?} does not fit its entry {entry:?}");
        ensure!(position.bucket < log.buckets(), "the bucket in {answer:?} does not exist");
        let page = log.read(position.bucket, LogQuery::from_start()).await?;
        ensure!(page.incarnation == position.incarnation, "the incarnation in {answer:?} is not {}", page.incarnation);
        ensure!(
            answer.now <= entry.at && entry.at < entry.until,
            "the answer {answer:?} does not fit its entry {entry:?}"
        );
        ensure!(
            named.revocation == entry.revocation && named.until == entry.until,
            "the answer {answer:?} does not fit its entry {entry:?}"
        );
    }
    let token = entries.first().map(|entry| entry.until);
    ensure!(token >= Some(until), "the token was revoked until {until}, but `until` of its entry is {token:?}");
    Ok(())
}

pub(super) async fn an_unknown_bucket_or_cursor_does_no_harm(user: User) -> Outcome {
    let log = user.log()?;
    user.revoke_session("s").await?;
    for bucket in [log.buckets(), u32::MAX] {
        let answer = log.read(bucket, LogQuery::from_start()).await;
        let rejected = answer.as_ref().is_err_and(|error| error.kind() == StoreErrorKind::Rejected);
        ensure!(rejected, "the bucket {bucket} does not exist, but was not rejected: {answer:?}");
    }
    for cursor in ["", "-", "0", "0-0", "18446744073709551616", "no cursor", "\r\n*"] {
        // The store may return an error, or a page that starts at any entry, but must not panic.
        drop(log.read(0, LogQuery::after(LogCursor::new(cursor))).await);
    }
    // The store must still answer after the invalid cursors.
    user.reader().await?;
    Ok(())
}

pub(super) async fn the_log_tells_for_how_long_it_is_kept(user: User) -> Outcome {
    let log = user.log()?;
    for (asked, expected) in [(LONG * 30, LONG * 30), (LONG, LONG * 30), (LONG * 31, LONG * 31)] {
        log.keep_log_for(asked);
        let bucket = logged(&user.revoke_session("s").await?)?.position.bucket;
        let page = log.read(bucket, LogQuery::from_start()).await?;
        ensure!(page.keep >= expected, "a node set {asked:?}, but the log keeps entries for {:?}", page.keep);
    }
    Ok(())
}

pub(super) async fn the_longest_staleness_is_told_and_only_grows(user: User) -> Outcome {
    let log = user.log()?;
    let bucket = log.bucket_of(&user.name);
    for (allowed, expected) in [(LONG, LONG), (LONG / 2, LONG), (LONG * 2, LONG * 2)] {
        log.allow_staleness(allowed);
        // The next page must contain the new staleness, even if nothing was written since.
        let page = log.read(bucket, LogQuery::from_start()).await?;
        ensure!(
            page.max_staleness >= expected,
            "a node set the staleness {allowed:?}, the page has {:?}",
            page.max_staleness
        );
        let revoked = user.revoke_session("s").await?;
        ensure!(
            logged(&revoked)?.max_staleness >= expected,
            "a node set the staleness {allowed:?}, the answer is {revoked:?}"
        );
    }
    let revoked = [user.revoke_token("j", user.in_an_hour().await?).await?, user.revoke_all(None).await?];
    for revoked in revoked {
        ensure!(logged(&revoked)?.max_staleness >= LONG * 2, "`max_staleness` is too low: {revoked:?}");
    }
    Ok(())
}

pub(super) async fn a_subject_has_one_bucket(user: User) -> Outcome {
    let log = user.log()?;
    for n in 0..20 {
        let user = user.sibling(&n.to_string());
        let bucket = log.bucket_of(&user.name);
        ensure!(bucket < log.buckets(), "the bucket {bucket} does not exist");
        let until = user.open("s").await?.now.saturating_add(LONG);
        let answers =
            [user.revoke_token("j", until).await?, user.revoke_session("s").await?, user.revoke_all(None).await?];
        for answer in &answers {
            let position = &logged(answer)?.position;
            ensure!(position.bucket == bucket, "the entry is not in the user's bucket {bucket}: {position:?}");
            let page = log.read(position.bucket, LogQuery::from_start()).await?;
            ensure!(page.sequence >= position.sequence, "the log of bucket {bucket} does not have {position:?}");
        }
    }
    Ok(())
}
