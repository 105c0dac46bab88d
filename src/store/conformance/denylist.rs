//! Rules about revocations of other issuers' tokens (denials).

use std::time::Duration;

use super::{
    names::{BAD_LENGTHS, ensure_rejected},
    outcome::{Broken, Outcome, ensure},
    user::{LONG, SHORT, User},
};
use crate::{
    clock::Timestamp,
    store::{Denial, DenyQuery, DenyRequest, ExternalId, Revoked},
};

/// Returns an issuer that no other rule uses.
pub(super) fn issuer(user: &User) -> String {
    format!("https://issuer.example/{}", user.name)
}

pub(super) fn token(jti: &str) -> ExternalId {
    ExternalId::Token(jti.into())
}

pub(super) fn session(sid: &str) -> ExternalId {
    ExternalId::Session(sid.into())
}

pub(super) fn subject(name: &str) -> ExternalId {
    ExternalId::Subject(name.into())
}

pub(super) async fn deny(user: &User, id: ExternalId, keep: Duration) -> Outcome<Revoked> {
    Ok(user.denylist()?.deny(DenyRequest::new(issuer(user), id, keep)).await?)
}

pub(super) async fn denied(user: &User, [jti, sid, subject]: [&str; 3]) -> Outcome<Denial> {
    let query = DenyQuery {
        jti: Some(jti.into()),
        sid: Some(sid.into()),
        subject: Some(subject.into()),
        ..DenyQuery::new(issuer(user))
    };
    Ok(user.denylist()?.denied(query).await?)
}

/// The time in which a repeated denial changes nothing.
pub(super) const HALF_A_SECOND: Duration = Duration::from_millis(500);

fn moment_after(moment: Timestamp) -> Timestamp {
    moment.saturating_add(Duration::from_millis(2))
}

pub(super) async fn a_denied_token_is_denied(user: User) -> Outcome {
    let denial = denied(&user, ["j", "s", "u"]).await?;
    ensure!(
        !denial.token && denial.revoked_before.is_none(),
        "a denial exists before the first call of `deny`: {denial:?}"
    );
    ensure!(denial.born <= denial.now, "`born` is later than `now`: {denial:?}");
    for expected in [true, false] {
        let found = deny(&user, token("j"), LONG).await?.found;
        ensure!(found == expected, "`found` is {found}, expected {expected}");
    }
    let denial = denied(&user, ["j", "s", "u"]).await?;
    ensure!(denial.token && denial.revoked_before.is_none(), "only the token was denied: {denial:?}");
    let denial = denied(&user, ["k", "j", "j"]).await?;
    ensure!(!denial.token && denial.revoked_before.is_none(), "another token is denied too: {denial:?}");
    let denial = user.denylist()?.denied(DenyQuery::new(issuer(&user))).await?;
    ensure!(!denial.token && denial.revoked_before.is_none(), "a token without ids is denied: {denial:?}");
    Ok(())
}

/// Denies a session or subject, and then queries a token with the ids `of`. Returns the moment up
/// to which tokens are denied. Fails if this moment is not within half a second after the call.
async fn moment_of(user: &User, id: ExternalId, of: [&str; 3]) -> Outcome<Timestamp> {
    let answer = deny(user, id, LONG).await?;
    let denial = denied(user, of).await?;
    let Some(before) = denial.revoked_before else {
        return Err(Broken(format!("the denial has no moment: {denial:?}")));
    };
    ensure!(is_moment_of(before, answer.now), "the moment of a denial at {} is wrong: {denial:?}", answer.now);
    Ok(before)
}

/// Returns true if a denial at `now` may revoke the tokens that were issued up to `before`.
pub(super) fn is_moment_of(before: Timestamp, now: Timestamp) -> bool {
    now <= before && before < now.saturating_add(HALF_A_SECOND)
}

pub(super) async fn a_denied_subject_or_session_is_denied_up_to_the_last_denial(user: User) -> Outcome {
    let first = moment_of(&user, subject("u"), ["j", "s", "u"]).await?;
    let denial = denied(&user, ["j", "s", "u"]).await?;
    ensure!(denial.revoked_before == Some(first), "the subject was denied up to {first}: {denial:?}");
    ensure!(!denial.token, "no token was denied: {denial:?}");
    user.wait_until(moment_after(first)).await?;
    let second = moment_of(&user, session("s"), ["j", "s", "u"]).await?;
    let denial = denied(&user, ["j", "s", "u"]).await?;
    ensure!(denial.revoked_before == Some(second), "then the session was denied up to {second}: {denial:?}");
    let denial = denied(&user, ["j", "t", "u"]).await?;
    ensure!(denial.revoked_before == Some(first), "another session of the subject is denied up to {first}: {denial:?}");
    user.wait_until(moment_after(second)).await?;
    let third = moment_of(&user, subject("u"), ["j", "s", "u"]).await?;
    let denial = denied(&user, ["j", "s", "u"]).await?;
    ensure!(denial.revoked_before == Some(third), "then the subject was denied again up to {third}: {denial:?}");
    Ok(())
}

pub(super) async fn issuers_and_kinds_are_kept_apart(user: User) -> Outcome {
    deny(&user, subject("1"), LONG).await?;
    let denial = denied(&user, ["1", "1", "2"]).await?;
    ensure!(!denial.token && denial.revoked_before.is_none(), "only a subject was denied: {denial:?}");

    let denylist = user.denylist()?;
    let other = DenyQuery {
        jti: Some("1".into()),
        sid: Some("1".into()),
        subject: Some("1".into()),
        ..DenyQuery::new(format!("{}/", issuer(&user)))
    };
    let denial = denylist.denied(other).await?;
    ensure!(!denial.token && denial.revoked_before.is_none(), "another issuer's token is denied too: {denial:?}");
    // The store must not confuse issuer `a` and id `1` with issuer `a1` and an empty id.
    let joined = DenyQuery { subject: Some("".into()), ..DenyQuery::new(format!("{}1", issuer(&user))) };
    let denial = denylist.denied(joined).await?;
    ensure!(denial.revoked_before.is_none(), "the store confuses two pairs of issuer and id: {denial:?}");

    user.open("s").await?;
    deny(&user, ExternalId::Subject(user.name.clone()), LONG).await?;
    ensure!(user.is_active("s").await?, "a denial of another issuer's subject ended a session of this store");
    Ok(())
}

pub(super) async fn a_denial_is_remembered_for_its_time(user: User) -> Outcome {
    let ids = || [token("x"), session("x"), subject("x")];
    let mut until = Timestamp::default();
    for id in ids() {
        until = deny(&user, id, SHORT).await?.now.saturating_add(SHORT);
    }
    // The longer time applies, in either order of the calls.
    deny(&user, token("longer"), LONG).await?;
    deny(&user, token("longer"), SHORT).await?;
    loop {
        // The rule does not check that the store forgets the denial after `keep`. Another node may
        // accept the token for longer, so the store may keep the denial.
        let denial = denied(&user, ["x", "x", "x"]).await?;
        if until <= denial.now {
            break;
        }
        ensure!(denial.token && denial.revoked_before.is_some(), "the store dropped the denial too early: {denial:?}");
        tokio::time::sleep(SHORT / 30).await;
    }
    deny(&user, token("another"), LONG).await?;
    ensure!(
        denied(&user, ["longer", "x", "x"]).await?.token,
        "the store dropped the denial with the longer time too early"
    );
    for id in ids() {
        deny(&user, id, LONG).await?;
    }
    let denial = denied(&user, ["x", "x", "x"]).await?;
    ensure!(denial.token && denial.revoked_before.is_some(), "the ids were denied again: {denial:?}");
    Ok(())
}

pub(super) async fn a_denial_is_remembered_for_as_long_as_denials_are_kept(user: User) -> Outcome {
    // A node makes this call if it accepts tokens for up to `LONG` after their issue.
    user.denylist()?.keep_denials_for(LONG);
    let mut until = Timestamp::default();
    for id in [token("x"), session("x"), subject("x")] {
        until = deny(&user, id, SHORT).await?.now.saturating_add(SHORT);
    }
    user.wait_until(until.saturating_add(SHORT)).await?;
    // A store may remove expired records at each change, so the rule makes some changes.
    for n in 0..4 {
        deny(&user, token(&format!("another {n}")), LONG).await?;
    }
    for ids in [["x", "s", "u"], ["j", "x", "u"], ["j", "s", "x"]] {
        let denial = denied(&user, ids).await?;
        ensure!(
            denial.token || denial.revoked_before.is_some(),
            "the store dropped a denial for {ids:?} too early: {denial:?}"
        );
    }
    Ok(())
}

pub(super) async fn a_repeated_denial_finds_nothing_within_half_a_second(user: User) -> Outcome {
    for id in [token("x"), session("x"), subject("x")] {
        let (mut times, mut found) = (Vec::new(), 0);
        for _ in 0..50 {
            let answer = deny(&user, id.clone(), LONG).await?;
            times.push(answer.now);
            found += u128::from(answer.found);
        }
        let lasted = times.last().zip(times.first()).map(|(last, first)| last.saturating_since(*first));
        let windows = lasted.unwrap_or_default().as_millis() / HALF_A_SECOND.as_millis() + 2;
        ensure!((1..=windows).contains(&found), "{id:?}: `found` was true {found} times in 50 calls within {lasted:?}");
    }
    // If `keep` is zero, the store writes nothing.
    let nothing = deny(&user, token("over"), Duration::ZERO).await?;
    ensure!(!nothing.found, "a denial with a `keep` of zero has `found` true: {nothing:?}");
    Ok(())
}

pub(super) async fn names_that_no_token_can_have_are_not_denied(user: User) -> Outcome {
    for length in BAD_LENGTHS {
        denials_of(&user, &"x".repeat(length)).await?;
    }
    Ok(())
}

/// Checks that the store rejects denials of a token, session and subject with the invalid id `bad`.
pub(super) async fn denials_of(user: &User, bad: &str) -> Outcome {
    let denylist = user.denylist()?;
    let request = |id| DenyRequest::new(issuer(user), id, LONG);
    ensure_rejected(
        bad.len(),
        [
            ("deny jti", denylist.deny(request(token(bad))).await.err()),
            ("deny sid", denylist.deny(request(session(bad))).await.err()),
            ("deny sub", denylist.deny(request(subject(bad))).await.err()),
        ],
    )
}
