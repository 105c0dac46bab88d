//! The operations on a store, and their answers.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use proptest::{collection::vec, option, prelude::*, sample::select};
use tower_bearer::{
    Subject,
    clock::Timestamp,
    error::StoreError,
    store::{Checked, OpenSession, Opened, Page, Revoked, RotateRefresh, Rotated, SessionRecord, SessionStore},
};

pub const USERS: usize = 2;
const SIDS: [&str; 5] = ["a", "b", "g", "!x", "*"];
const JTIS: [&str; 3] = ["j", "a", "g"];
/// The steps of a case. More would make a failure hard to read.
pub const STEPS: u32 = 100;

/// A step of a case.
#[derive(Clone, Debug)]
pub enum Step {
    /// Time passes.
    Wait(Duration),
    /// These operations run, concurrently if there are several.
    Do(Vec<Operation>),
}

/// An operation whose arguments may depend on earlier answers.
#[derive(Clone, Debug)]
pub enum Operation {
    Open { user: usize, sid: &'static str, idle: Duration, absolute: Duration, began: Option<Began>, cap: Option<u32> },
    Check { user: usize, sid: &'static str, jti: &'static str },
    Rotate { user: usize, sid: &'static str, counter: Counter, idle: Duration, grace: Duration },
    RevokeSession { user: usize, sid: &'static str },
    RevokeToken { user: usize, jti: &'static str, lifetime: Duration },
    RevokeAll { user: usize, except: Option<&'static str> },
    Sessions { user: usize },
}

impl Operation {
    /// Returns the same operation on this session.
    fn on(mut self, of: usize, this: &'static str) -> Self {
        match &mut self {
            Self::Open { user, sid, .. }
            | Self::Check { user, sid, .. }
            | Self::Rotate { user, sid, .. }
            | Self::RevokeSession { user, sid } => (*user, *sid) = (of, this),
            Self::RevokeToken { user, .. } | Self::RevokeAll { user, .. } | Self::Sessions { user } => *user = of,
        }
        self
    }
}

/// The start of a login.
#[derive(Clone, Copy, Debug)]
pub enum Began {
    Now,
    AtTheLastRevocation,
    AtFirst,
}

/// The presented counter, relative to that of the record.
#[derive(Clone, Copy, Debug)]
pub enum Counter {
    Current,
    Behind(u32),
    Ahead(u32),
}

/// A call with all arguments.
#[derive(Clone, Debug)]
pub enum Call {
    Open(OpenSession),
    Check { subject: Subject, sid: &'static str, jti: &'static str },
    Rotate(RotateRefresh),
    RevokeSession { subject: Subject, sid: &'static str },
    RevokeToken { subject: Subject, jti: &'static str, until: Timestamp },
    RevokeAll { subject: Subject, except: Option<&'static str> },
    Sessions { subject: Subject },
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    Opened(Opened),
    Checked(Checked),
    Rotated(Rotated),
    Revoked(Revoked),
    /// A listing has no time, so these two times enclose it.
    Listed {
        earliest: Timestamp,
        sessions: Vec<SessionRecord>,
        latest: Timestamp,
    },
}

impl Call {
    pub async fn make(self, store: Arc<dyn SessionStore>) -> Result<Reply, StoreError> {
        Ok(match self {
            Self::Open(open) => Reply::Opened(store.open(open).await?),
            Self::Check { subject, sid, jti } => Reply::Checked(store.check(&subject, &sid.into(), &jti.into()).await?),
            Self::Rotate(rotate) => Reply::Rotated(store.rotate(rotate).await?),
            Self::RevokeSession { subject, sid } => Reply::Revoked(store.revoke_session(&subject, &sid.into()).await?),
            Self::RevokeToken { subject, jti, until } => {
                Reply::Revoked(store.revoke_token(&subject, &jti.into(), until).await?)
            }
            Self::RevokeAll { subject, except } => {
                Reply::Revoked(store.revoke_all(&subject, except.map(Into::into).as_ref()).await?)
            }
            Self::Sessions { subject } => {
                let earliest = store.ping().await?;
                let page = store.sessions(&subject, Page::default()).await?;
                assert_eq!(page.next, None, "five sessions do not need two pages");
                Reply::Listed { earliest, sessions: page.sessions, latest: store.ping().await? }
            }
        })
    }
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => select(vec![1, 5, 15, 40]).prop_map(|millis| Step::Wait(Duration::from_millis(millis))),
        10 => operation().prop_map(|operation| Step::Do(vec![operation])),
        2 => vec(operation(), 2..=3).prop_map(Step::Do),
        // Concurrent operations on one session are the most error-prone case.
        3 => (0..USERS, select(&SIDS[..]), vec(operation(), 2..=3)).prop_map(|(user, sid, operations)| {
            Step::Do(operations.into_iter().map(|operation| operation.on(user, sid)).collect())
        }),
    ];
    vec(step, STEPS as usize)
}

fn operation() -> impl Strategy<Value = Operation> {
    let (user, sid, jti) = (0..USERS, select(&SIDS[..]), select(&JTIS[..]));
    let began = select(vec![None, None, Some(Began::Now), Some(Began::AtTheLastRevocation), Some(Began::AtFirst)]);
    let cap = prop_oneof![3 => Just(None), 1 => (1u32..=3).prop_map(Some)];
    let counter = prop_oneof![
        6 => Just(Counter::Current),
        3 => Just(Counter::Behind(1)),
        1 => (2u32..=3).prop_map(Counter::Behind),
        1 => (1u32..=3).prop_map(Counter::Ahead),
    ];
    prop_oneof![
        6 => (user.clone(), sid.clone(), lifetime(), lifetime(), began, cap).prop_map(
            |(user, sid, idle, absolute, began, cap)| Operation::Open { user, sid, idle, absolute, began, cap }
        ),
        5 => (user.clone(), sid.clone(), jti.clone()).prop_map(|(user, sid, jti)| Operation::Check { user, sid, jti }),
        8 => (user.clone(), sid.clone(), counter, lifetime(), select(vec![0, 10, 3_600_000])).prop_map(
            |(user, sid, counter, idle, grace)| {
                Operation::Rotate { user, sid, counter, idle, grace: Duration::from_millis(grace) }
            }
        ),
        2 => (user.clone(), sid.clone()).prop_map(|(user, sid)| Operation::RevokeSession { user, sid }),
        1 => (user.clone(), jti, lifetime()).prop_map(|(user, jti, lifetime)| Operation::RevokeToken { user, jti, lifetime }),
        2 => (user.clone(), option::of(sid)).prop_map(|(user, except)| Operation::RevokeAll { user, except }),
        3 => user.prop_map(|user| Operation::Sessions { user }),
    ]
}

/// Some sessions end within a case, most do not.
fn lifetime() -> impl Strategy<Value = Duration> {
    select(vec![20, 60, 3_600_000, 3_600_000, 7_200_000]).prop_map(Duration::from_millis)
}

pub fn cap(cap: Option<u32>) -> Option<NonZeroU32> {
    cap.and_then(NonZeroU32::new)
}
