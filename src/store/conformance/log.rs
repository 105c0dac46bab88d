//! Rules about the revocation log. The rules of each kind of ending demand that it is logged.

use std::num::NonZeroU32;

use super::{
    Outcome, ensure,
    subject::{LONG, Subject},
};
use crate::{
    error::StoreErrorKind,
    store::{DenyQuery, DenyRequest, ExternalId, LogCursor, LogQuery, Revocation},
};

pub(super) async fn the_log_is_dense_and_chained(user: Subject) -> Outcome {
    // Likely more than one page.
    const ENTRIES: u32 = 1500;
    let mut reader = user.reader().await?;
    for n in 0..ENTRIES {
        user.store.revoke_session(&user.name, &n.to_string()).await?;
    }
    // The reader checks the numbers, the chain, the times and the end of each page.
    let logged = reader.read().await?;
    let mut nonces: Vec<_> = logged.iter().map(|entry| &entry.nonce).collect();
    nonces.sort_unstable();
    nonces.dedup();
    ensure!(nonces.len() == logged.len(), "names were used twice");
    let sids: Vec<_> = logged
        .iter()
        .filter_map(|entry| match &entry.revocation {
            Revocation::Session { subject, sid } if *subject == user.name => Some(sid.clone()),
            _ => None,
        })
        .collect();
    ensure!(sids.iter().cloned().eq((0..ENTRIES).map(|n| n.to_string())), "{} of {ENTRIES} are logged", sids.len());
    ensure!(reader.read().await?.is_empty(), "entries come again after the cursor");
    // A reader that starts anew finds the same chain.
    user.reader().await?;
    Ok(())
}

pub(super) async fn the_log_holds_the_changes_in_their_order(user: Subject) -> Outcome {
    let mut reader = user.reader().await?;
    let until = user.open("a").await?.now.saturating_add(LONG);
    user.store.revoke_token(&user.name, "j", until).await?;
    user.open_capped("b", NonZeroU32::MIN).await?;
    user.rotate("b", 3, LONG).await?;
    user.rotate("b", 1, LONG).await?;
    user.store.revoke_all(&user.name, None).await?;
    user.store.revoke_session(&user.name, "a").await?;
    // The call before, and those that follow, revoke nothing and write nothing.
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
            Revocation::External { .. } => "foreign".to_owned(),
        })
        .collect();
    ensure!(kinds == ["token j", "session a", "session b", "all"], "the log says {kinds:?}");
    Ok(())
}

pub(super) async fn an_answer_says_where_in_the_log_it_stands_and_what_is_written_there(user: Subject) -> Outcome {
    let now = user.open("s").await?.now;
    user.open("t").await?;
    let until = now.saturating_add(LONG);
    let mut reader = user.reader().await?;
    let mut answers = vec![
        user.store.revoke_token(&user.name, "j", until).await?,
        user.store.revoke_session(&user.name, "s").await?,
        user.store.revoke_session(&user.name, "none").await?,
        user.store.revoke_all(&user.name, Some("t")).await?,
        user.store.revoke_all(&user.name, Some("s")).await?,
    ];
    user.open("u").await?;
    answers.push(user.store.revoke_all(&user.name, None).await?);
    let logged = reader.read().await?;
    ensure!(logged.len() == answers.len(), "six were revoked: {logged:?}");
    for (entry, answer) in logged.iter().zip(&answers) {
        let position = &answer.position;
        ensure!(position.sequence == entry.sequence, "{answer:?} is {entry:?}");
        ensure!(position.bucket < user.store.buckets(), "{answer:?} names no bucket");
        let page = user.store.log(position.bucket, LogQuery::from_start()).await?;
        ensure!(
            page.incarnation == position.incarnation,
            "{answer:?} is of another incarnation than {}",
            page.incarnation
        );
        ensure!(answer.now <= entry.at && entry.at < entry.until, "{answer:?} is {entry:?}");
        ensure!(answer.revocation == entry.revocation && answer.until == entry.until, "{answer:?} is {entry:?}");
    }
    let token = logged.first().map(|entry| entry.until);
    ensure!(token >= Some(until), "the token's entry matters until {until}, the log says {token:?}");
    Ok(())
}

pub(super) async fn an_unknown_bucket_or_cursor_does_no_harm(user: Subject) -> Outcome {
    user.store.revoke_session(&user.name, "s").await?;
    for bucket in [user.store.buckets(), u32::MAX] {
        let answer = user.store.log(bucket, LogQuery::from_start()).await;
        let rejected = answer.as_ref().is_err_and(|error| error.kind() == StoreErrorKind::Rejected);
        ensure!(rejected, "there is a bucket {bucket}: {answer:?}");
    }
    for cursor in ["", "-", "0", "0-0", "18446744073709551616", "no cursor", "\r\n*"] {
        // Returns an error, or the log from some place on. A panic would end the rule.
        drop(user.store.log(0, LogQuery::after(LogCursor::new(cursor))).await);
    }
    // A reader sees a hole by the numbers, and the store still answers.
    user.reader().await?;
    Ok(())
}

pub(super) async fn the_log_tells_for_how_long_it_is_kept(user: Subject) -> Outcome {
    for (asked, expected) in [(LONG * 30, LONG * 30), (LONG, LONG * 30), (LONG * 31, LONG * 31)] {
        user.store.keep_log_for(asked);
        let bucket = user.store.revoke_session(&user.name, "s").await?.position.bucket;
        let page = user.store.log(bucket, LogQuery::from_start()).await?;
        ensure!(page.keep >= expected, "asked for {asked:?}, it is kept for {:?}", page.keep);
    }
    Ok(())
}

pub(super) async fn the_longest_staleness_is_told_and_only_grows(user: Subject) -> Outcome {
    let bucket = user.store.bucket_of(&user.name);
    for (allowed, expected) in [(LONG, LONG), (LONG / 2, LONG), (LONG * 2, LONG * 2)] {
        user.store.allow_staleness(allowed);
        // A reader alone makes it known.
        let page = user.store.log(bucket, LogQuery::from_start()).await?;
        ensure!(page.max_staleness >= expected, "{allowed:?} was allowed, the log says {:?}", page.max_staleness);
        let revoked = user.store.revoke_session(&user.name, "s").await?;
        ensure!(revoked.max_staleness >= expected, "{allowed:?} was allowed: {revoked:?}");
    }
    let revoked = [
        user.store.revoke_token(&user.name, "j", user.store.ping().await?.saturating_add(LONG)).await?,
        user.store.revoke_all(&user.name, None).await?,
    ];
    for revoked in revoked {
        ensure!(revoked.max_staleness >= LONG * 2, "{revoked:?}");
    }
    Ok(())
}

pub(super) async fn what_was_revoked_before_the_log_was_kept_longer_is_told_as_such(user: Subject) -> Outcome {
    let issuer = format!("https://issuer.example/{}", user.name);
    let deny = DenyRequest { issuer: issuer.clone(), id: ExternalId::Token("j".to_owned()), keep: LONG };
    let bucket = user.store.deny(deny).await?.position.bucket;
    let before = user.store.log(bucket, LogQuery::from_start()).await?.keep;
    user.store.keep_log_for(before.saturating_add(LONG));
    let asked = user.store.ping().await?;
    for _ in 0..2 {
        let query = DenyQuery { issuer: issuer.clone(), jti: Some("j".to_owned()), sid: None, subject: None };
        let denial = user.store.denied(query).await?;
        let told = denial.kept_longer;
        let right = told.is_some_and(|kept| kept.before <= before && kept.since <= denial.now);
        ensure!(right, "kept for {before:?} until {asked}, then longer: {denial:?}");
        let keep = user.store.log(bucket, LogQuery::from_start()).await?.keep;
        ensure!(keep >= before.saturating_add(LONG), "{keep:?}");
    }
    Ok(())
}

pub(super) async fn a_subject_has_one_bucket(user: Subject) -> Outcome {
    for n in 0..20 {
        let user = user.other(format!("{}-{n}", user.name));
        let bucket = user.store.bucket_of(&user.name);
        ensure!(bucket < user.store.buckets(), "there is no bucket {bucket}");
        let until = user.open("s").await?.now.saturating_add(LONG);
        let positions = [
            user.store.revoke_token(&user.name, "j", until).await?.position,
            user.store.revoke_session(&user.name, "s").await?.position,
            user.store.revoke_all(&user.name, None).await?.position,
        ];
        for position in positions {
            ensure!(position.bucket == bucket, "bucket {bucket} is the user's, not {position:?}");
            let page = user.store.log(position.bucket, LogQuery::from_start()).await?;
            ensure!(page.sequence >= position.sequence, "bucket {bucket} does not hold {position:?}");
        }
    }
    Ok(())
}
