//! Rules about names (subjects and ids) in log entries. The entries must contain every name
//! unchanged.

use super::super::{
    names::{BAD_LENGTHS, ODD, calls_with, ensure_rejected},
    outcome::{Outcome, ensure},
    user::User,
};
use crate::{ids::SessionId, store::Revocation};

pub(in super::super) async fn subjects_of_any_text_are_logged_by_their_name(user: User) -> Outcome {
    // Other rules use the same subjects. Only the session's id is unique to this rule.
    let sid = user.name.as_str();
    for name in ODD {
        user.other(*name).open(sid).await?;
    }
    let mut reader = user.reader().await?;
    for (n, name) in ODD.iter().enumerate() {
        let one = user.other(*name);
        if n % 2 == 0 {
            one.revoke_all(None).await?;
        } else {
            one.revoke_session(sid).await?;
        }
    }
    let logged = reader.read().await?;
    for name in ODD {
        let named = logged.iter().filter(|entry| match &entry.revocation {
            Revocation::Session { subject, .. } | Revocation::Subject { subject, .. } => subject == name,
            _ => false,
        });
        ensure!(named.count() == 1, "the log does not have exactly one revocation of the subject {name:?}");
    }
    Ok(())
}

pub(in super::super) async fn sessions_of_any_text_are_logged_by_their_name(user: User) -> Outcome {
    for sid in ODD {
        user.open(sid).await?;
    }
    let mut reader = user.reader().await?;
    for sid in ODD {
        user.revoke_session(sid).await?;
    }
    let logged = reader.revocations().await?;
    let expected = ODD.iter().map(|sid| super::endings::session(&user, sid));
    ensure!(logged.into_iter().eq(expected), "the names in the log differ from those of the revoked sessions");
    Ok(())
}

pub(in super::super) async fn names_that_no_token_can_have_are_not_logged(user: User) -> Outcome {
    user.open("s").await?;
    let log = user.log()?;
    let until = user.in_an_hour().await?;
    let bucket = log.bucket_of(&user.name);
    let mut reader = user.reader().await?;
    for length in BAD_LENGTHS {
        let bad = "x".repeat(length);
        let stranger = user.other(&bad);
        calls_with(&user, &bad).await?;
        let session = |user: &User, sid: &str| super::endings::session(user, sid);
        let except = Revocation::Subject {
            subject: user.name.clone(),
            generation: u64::MAX >> 20,
            except: Some(SessionId::from(&bad)),
        };
        ensure_rejected(
            length,
            [
                ("republish", log.republish(log.bucket_of(&stranger.name), session(&stranger, "s"), until).await.err()),
                ("republish sid", log.republish(bucket, session(&user, &bad), until).await.err()),
                ("republish jti", log.republish(bucket, super::endings::token(&user, &bad), until).await.err()),
                ("republish except", log.republish(bucket, except, until).await.err()),
            ],
        )?;
    }
    let logged = reader.read().await?;
    ensure!(logged.is_empty(), "the log has {logged:?}");
    ensure!(user.is_active("s").await?, "the session is {:?}", user.state("s").await?);
    Ok(())
}
