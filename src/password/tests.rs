#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Instant;

use super::*;

const CHEAP: u64 = 1 << 4;

fn cheap() -> PasswordHasher {
    PasswordHasher::new(4).unwrap()
}

/// Returns a hasher with one worker, for which calls wait up to `max_wait`.
fn single(max_wait: Duration) -> PasswordHasher {
    let mut hasher = cheap().max_concurrent(NonZeroUsize::MIN);
    Arc::get_mut(&mut hasher.0).unwrap().max_wait = max_wait;
    hasher
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(10), "in vain: {what}");
        time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_password_verifies_against_its_own_hash_only() {
    let hasher = cheap();
    let hash = hasher.hash("pässwörd").await.unwrap();
    assert!(hash.starts_with("$2b$04$") && hash.len() == 60);
    assert_ne!(hash, hasher.hash("pässwörd").await.unwrap(), "every hash has its own salt");
    assert!(hasher.verify("pässwörd", &hash).await.unwrap());
    for wrong in ["Pässwörd", "pässwör", "pässwörd ", "passwrd"] {
        assert!(!hasher.verify(wrong, &hash).await.unwrap(), "{wrong}");
    }
}

#[tokio::test]
async fn what_bcrypt_cannot_hold_is_neither_hashed_nor_verified() {
    let hasher = cheap();
    let longest = "a".repeat(71);
    let hash = hasher.hash(&longest).await.unwrap();
    assert!(hasher.verify(&longest, &hash).await.unwrap());

    let pass = hasher.hash("pass").await.unwrap();
    let before = hasher.rounds_computed();
    let mebibyte = "a".repeat(1 << 20);
    for (password, error) in [
        ("", PasswordError::Empty),
        (&"a".repeat(72), PasswordError::TooLong),
        (&mebibyte, PasswordError::TooLong),
        ("pass\0junk", PasswordError::ContainsNul),
        ("pass\0", PasswordError::ContainsNul),
    ] {
        assert_eq!(hasher.hash(password).await, Err(error));
        for stored in [Some(hash.as_str()), Some(&pass), Some("no hash"), None] {
            assert_eq!(hasher.verify_or_dummy(password, stored).await, Ok(false));
        }
    }
    assert_eq!(hasher.rounds_computed(), before, "nothing is computed for them, whatever the account");
}

#[tokio::test]
async fn every_state_of_an_account_costs_the_same() {
    let hasher = PasswordHasher::new(6).unwrap();
    let right = hasher.hash("right").await.unwrap();
    let old = cheap().hash("right").await.unwrap();
    let absurd = right.replacen("$06$", "$31$", 1);
    let below = right.replacen("$06$", "$03$", 1);
    for (password, stored, expected) in [
        ("right", Some(right.as_str()), true),
        ("wrong", Some(&right), false),
        ("right", None, false),
        ("right", Some(&old), true),
        ("wrong", Some(&old), false),
        ("right", Some(&absurd), false),
        ("right", Some(&below), false),
        ("right", Some(""), false),
        ("right", Some("$2b$04$short"), false),
        ("right", Some("$argon2id$bad"), false),
        ("right", Some("ü".repeat(30).as_str()), false),
    ] {
        let before = hasher.rounds_computed();
        assert_eq!(hasher.verify_or_dummy(password, stored).await, Ok(expected), "{password} {stored:?}");
        assert_eq!(hasher.rounds_computed() - before, 1 << 6, "{password} {stored:?}");
    }
}

/// Texts that differ from their NFKC form, and that form.
const LOOK_ALIKES: [(&str, &str); 5] = [
    ("pa\u{308}sswo\u{308}rd", "p\u{e4}ssw\u{f6}rd"),
    ("\u{1112}\u{1161}\u{11ab}", "\u{d55c}"),
    ("\u{ff12}\u{b2}", "22"),
    ("\u{fb01}sh", "fish"),
    ("\u{212b}ngstr\u{f6}m", "\u{c5}ngstr\u{f6}m"),
];

#[tokio::test]
async fn a_password_verifies_however_its_characters_are_composed() {
    let hasher = cheap();
    for (typed, form) in LOOK_ALIKES {
        assert_ne!(typed, form);
        for stored in [typed, form] {
            let hash = hasher.hash(stored).await.unwrap();
            assert!(bcrypt::verify(form, &hash).unwrap(), "the hash is that of the form: {stored:?}");
            for password in [typed, form] {
                assert!(hasher.verify(password, &hash).await.unwrap(), "{password:?} for {stored:?}");
            }
            let other = format!("{typed}.");
            assert!(!hasher.verify(&other, &hash).await.unwrap(), "{other:?}");
        }
    }
}

#[tokio::test]
async fn a_hash_of_the_text_as_typed_stays_valid() {
    let hasher = cheap();
    for (typed, form) in LOOK_ALIKES {
        let old = bcrypt::hash(typed, 4).unwrap();
        assert!(hasher.verify(typed, &old).await.unwrap(), "{typed:?}");
        assert!(!hasher.verify(form, &old).await.unwrap(), "nobody typed {form:?}");
    }
    // In NFKC it has 18 characters of 33 bytes each: too long, and never hashed as such.
    let expanding = "\u{fdfa}".repeat(3);
    assert_eq!(hasher.hash(&expanding).await, Err(PasswordError::TooLong));
    let old = bcrypt::hash(&expanding, 4).unwrap();
    assert!(hasher.verify(&expanding, &old).await.unwrap());
}

#[tokio::test]
async fn the_limit_of_bcrypt_applies_to_the_normalised_text() {
    let hasher = cheap();
    // 213 typed bytes, 71 in NFKC.
    let wide = "\u{ff41}".repeat(71);
    let hash = hasher.hash(&wide).await.unwrap();
    assert!(hasher.verify(&wide, &hash).await.unwrap());
    assert!(hasher.verify(&"a".repeat(71), &hash).await.unwrap());
    for too_long in ["\u{ff41}".repeat(72), "\u{ff41}".repeat(1 << 18)] {
        let before = hasher.rounds_computed();
        assert_eq!(hasher.hash(&too_long).await, Err(PasswordError::TooLong));
        assert_eq!(hasher.verify(&too_long, &hash).await, Ok(false));
        assert_eq!(hasher.rounds_computed(), before);
    }
    for nul in ["pa\u{308}ss\0", "\0\u{308}"] {
        assert_eq!(hasher.hash(nul).await, Err(PasswordError::ContainsNul), "{nul:?}");
        assert_eq!(hasher.verify(nul, &hash).await, Ok(false), "{nul:?}");
    }
}

#[test]
fn no_longer_text_than_the_limit_of_typed_ones_fits_into_bcrypt_in_nfkc() {
    // The most typed bytes for one byte in NFKC: each character fully decomposed, each part in
    // the longest spelling that becomes it.
    let all = || '\u{1}'..=char::MAX;
    let mut longest = std::collections::HashMap::new();
    for c in all() {
        let form: Vec<_> = c.to_string().nfkd().collect();
        if let [part] = form[..] {
            let bytes = longest.entry(part).or_insert(0);
            *bytes = c.len_utf8().max(*bytes);
        }
    }
    let typed = |c: char| c.to_string().nfkd().map(|part| longest.get(&part).copied().unwrap_or(4)).sum::<usize>();
    let stable = all().filter(|c| c.to_string().nfkc().eq([*c]));
    let worst = stable.map(|c| typed(c).div_ceil(c.len_utf8())).max().unwrap();
    assert!(worst * MAX_BYTES < MAX_TYPED_BYTES, "{worst} bytes for one");
}

#[tokio::test]
async fn the_cost_depends_on_the_text_and_not_on_the_account() {
    let hasher = PasswordHasher::new(6).unwrap();
    let (typed, form) = LOOK_ALIKES[0];
    let [normalised, as_typed] = [form, typed].map(|text| bcrypt::hash(text, 6).unwrap());
    let old = bcrypt::hash(typed, 4).unwrap();
    let right = [Some(normalised.as_str()), Some(&as_typed), Some(&old)];
    let other = hasher.hash("wrong").await.unwrap();
    let wrong = [Some(other.as_str()), Some("no hash"), None];
    for (stored, expected) in right.map(|stored| (stored, true)).into_iter().chain(wrong.map(|none| (none, false))) {
        let before = hasher.rounds_computed();
        assert_eq!(hasher.verify_or_dummy(typed, stored).await, Ok(expected), "{stored:?}");
        assert_eq!(hasher.rounds_computed() - before, 2 << 6, "{stored:?}");
    }
    for password in ["right", form] {
        let before = hasher.rounds_computed();
        hasher.verify_or_dummy(password, Some(&other)).await.unwrap();
        assert_eq!(hasher.rounds_computed() - before, 1 << 6, "{password:?} is its own form");
    }
}

#[tokio::test]
async fn a_hash_with_the_prefix_of_spring_is_read_and_none_is_written() {
    let hasher = cheap();
    let hash = hasher.hash("right").await.unwrap();
    let stored = format!("{{bcrypt}}{hash}");
    assert!(hasher.verify("right", &stored).await.unwrap());
    assert!(!hasher.verify("wrong", &stored).await.unwrap());
    assert!(!hasher.needs_rehash(&stored));
    assert!(hasher.needs_rehash(&stored.replacen("$2b$", "$2a$", 1)));
    for prefix in ["{noop}", "{BCRYPT}", "{bcrypt}{bcrypt}", "{bcrypt} ", " {bcrypt}", "bcrypt", "{argon2}", "{}"] {
        let stored = format!("{prefix}{hash}");
        let before = hasher.rounds_computed();
        assert_eq!(hasher.verify("right", &stored).await, Ok(false), "{prefix}");
        assert_eq!(hasher.rounds_computed() - before, CHEAP, "{prefix}");
        assert!(hasher.needs_rehash(&stored), "{prefix}");
    }
}

#[tokio::test]
async fn a_hash_of_another_cost_or_version_needs_a_rehash() {
    let hasher = cheap();
    let hash = hasher.hash("right").await.unwrap();
    assert!(!hasher.needs_rehash(&hash));
    assert!(PasswordHasher::new(5).unwrap().needs_rehash(&hash));
    assert!(hasher.needs_rehash(&hash.replacen("$2b$", "$2y$", 1)));
    assert!(hasher.needs_rehash("$2b$04$short"));
}

#[test]
fn a_cost_that_cannot_work_is_a_configuration_error() {
    for cost in [0, 3, 19, 31, u32::MAX] {
        let error = PasswordHasher::new(cost).unwrap_err();
        assert_eq!(error.setting(), "cost");
        assert!(error.to_string().contains(&cost.to_string()));
    }
    assert!(PasswordHasher::new(18).is_ok());
    assert_eq!(PasswordHasher::default().0.cost, 12);
}

#[tokio::test]
async fn a_call_that_finds_no_worker_in_time_is_told_overloaded() {
    let hasher = single(Duration::from_millis(20));
    let _busy = Arc::clone(&hasher.0.workers).acquire_owned().await.unwrap();
    assert_eq!(hasher.verify_or_dummy("right", None).await, Err(PasswordError::Overloaded));
    assert_eq!(hasher.hash("right").await, Err(PasswordError::Overloaded));
    assert_eq!(hasher.rounds_computed(), 0);
    assert_eq!(hasher.0.queue.available_permits(), PasswordHasher::QUEUE_PER_WORKER, "the places are free again");
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_those_who_wait_are_served() {
    let hasher = single(Duration::from_secs(60));
    let busy = Arc::clone(&hasher.0.workers).acquire_owned().await.unwrap();
    let waiting: Vec<_> = (0..PasswordHasher::QUEUE_PER_WORKER)
        .map(|_| {
            let hasher = hasher.clone();
            tokio::spawn(async move { hasher.verify_or_dummy("right", None).await })
        })
        .collect();
    until("all places taken", || hasher.0.queue.available_permits() == 0).await;
    assert_eq!(hasher.verify_or_dummy("right", None).await, Err(PasswordError::Overloaded));

    drop(busy);
    for call in waiting {
        assert_eq!(call.await.unwrap(), Ok(false));
    }
    assert_eq!(hasher.rounds_computed(), PasswordHasher::QUEUE_PER_WORKER as u64 * CHEAP);
}

#[tokio::test]
async fn a_dropped_call_keeps_its_worker_until_its_computation_ends() {
    let hasher = single(Duration::from_secs(60));
    let (release, held) = std::sync::mpsc::channel::<()>();
    let call = hasher.compute(move |_| held.recv());
    assert!(time::timeout(Duration::from_millis(20), call).await.is_err(), "the call was dropped half way");

    assert_eq!(hasher.0.workers.available_permits(), 0);
    drop(release);
    until("the worker free again", || hasher.0.workers.available_permits() == 1).await;
}

#[tokio::test]
async fn a_computation_that_panics_is_an_error_and_frees_its_worker() {
    let hasher = single(Duration::from_secs(60));
    assert_eq!(hasher.compute(|_| panic!("a test's own panic")).await, Err::<(), _>(PasswordError::Failed));
    assert_eq!(hasher.verify_or_dummy("right", None).await, Ok(false));
}
