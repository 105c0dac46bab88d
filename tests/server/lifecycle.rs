//! Sessions from login to logout.

use http::Method;

use crate::{Store, Tokens, claims_in, is_invalid_grant, is_invalid_token, on_each_store};

on_each_store!(
    logout_ends_its_session_and_no_other,
    logout_all_ends_every_session_but_the_one_that_is_to_be_kept,
    sessions_are_listed_and_ended_by_their_own_user_only,
    ref_06_a_refresh_rotates_and_a_replay_within_the_grace_gets_the_same_successor,
    ref_03_reuse_outside_the_grace_ends_the_session_and_its_access_tokens,
    neither_kind_of_token_passes_for_the_other,
);

async fn logout_ends_its_session_and_no_other(store: Store) {
    let server = store.server(&[]);
    let (here, elsewhere) = (server.log_in("alice").await, server.log_in("alice").await);
    let answer = server.post("/logout", &here.access).await.expect(200);
    assert_eq!(answer.json(), serde_json::json!({ "message": "Successfully logged out" }));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.starts_with("refresh_token=;") && cookie.contains("Max-Age=0"), "{cookie}");

    server.refuses(&here).await;
    assert!(is_invalid_token(&server.post("/logout", &here.access).await));
    assert!(is_invalid_token(&server.get("/optional", &here.access).await));
    server.accepts(&elsewhere).await;

    // Access tokens of earlier rotations end with their session.
    let later = server.renew(&elsewhere).await;
    server.accepts(&elsewhere).await;
    server.post("/logout", &later.access).await.expect(200);
    server.refuses(&elsewhere).await;
    server.refuses(&later).await;
}

async fn logout_all_ends_every_session_but_the_one_that_is_to_be_kept(store: Store) {
    let server = store.server(&[]);
    let bob = server.log_in("bob").await;
    let (here, there) = (server.log_in("alice").await, server.log_in("alice").await);

    // An unclear `keep_current` must be refused, because it decides who stays logged in.
    for wrong in ["?keep_current=1", "?keep_current=", "?keep_current=True", "?keep_current=true&keep_current=true"] {
        let answer = server.post(&format!("/logout-all{wrong}"), &here.access).await.expect(400);
        assert_eq!(answer.error().as_deref(), Some("invalid_request"), "{wrong}");
    }
    server.accepts(&there).await;

    let kept = server.post("/logout-all?keep_current=true", &here.access).await.expect(200);
    assert_eq!(kept.header("set-cookie"), None, "the current session's cookie is still good");
    server.refuses(&there).await;
    server.accepts(&here).await;
    let here = server.renew(&here).await;
    server.accepts(&here).await;

    let there = server.log_in("alice").await;
    server.post("/logout-all?keep_current=false&other=x", &here.access).await.expect(200);
    server.refuses(&here).await;
    server.refuses(&there).await;

    let again = server.log_in("alice").await;
    server.accepts(&again).await;
    let all = server.post("/logout-all", &again.access).await.expect(200);
    assert!(all.header("set-cookie").unwrap().starts_with("refresh_token=;"));
    server.refuses(&again).await;
    server.accepts(&bob).await;
}

async fn sessions_are_listed_and_ended_by_their_own_user_only(store: Store) {
    let server = store.server(&[]);
    let bob = server.log_in("bob").await;
    let here = server.log_in("alice").await;
    let labelled = server
        .call(Method::POST, "/login")
        .header("user-agent", "Firefox 150")
        .header("content-type", "application/json; charset=utf-8");
    let login = labelled.body(r#"{"username":"alice","password":"alice-password"}"#).send().await;
    let there = Tokens::of(&login.expect(200));

    let listed = server.get("/sessions", &here.access).await.expect(200);
    assert_eq!(listed.header("cache-control"), Some("no-store"));
    let listed = listed.json();
    let of = |tokens: &Tokens| {
        let sid = tokens.session_id();
        listed.as_array().unwrap().iter().find(|session| session["sid"] == sid.as_str()).cloned().unwrap()
    };
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    assert_eq!([of(&here)["current"].clone(), of(&there)["current"].clone()], [true, false]);
    assert_eq!(of(&there)["label"], "Firefox 150");
    let iat = claims_in(&there.access)["iat"].as_u64().unwrap();
    assert_eq!(of(&there)["opened_at"], iat);
    assert_eq!(of(&there)["last_rotated_at"], iat);
    assert_eq!(of(&there)["expires_at"], claims_in(&there.refresh)["exp"]);

    // Sessions of others and unknown sessions get the same answer, and nothing happens.
    for sid in [bob.session_id(), "AAAAAAAAAAAAAAAAAAAAAA".to_owned(), "g".to_owned(), "%00".to_owned()] {
        let path = format!("/sessions/{sid}");
        let answer = server.call(Method::DELETE, &path).bearer(&here.access).send().await.expect(404);
        assert_eq!(answer.error().as_deref(), Some("not_found"), "{sid}");
    }
    server.accepts(&bob).await;
    let path = format!("/sessions/{}", there.session_id());
    let end = || server.call(Method::DELETE, &path).bearer(&here.access).send();
    assert!(end().await.expect(204).body.is_empty());
    server.refuses(&there).await;
    end().await.expect(404);
    assert_eq!(server.get("/sessions", &here.access).await.expect(200).json().as_array().unwrap().len(), 1);

    // A user can also end the current session.
    let path = format!("/sessions/{}", here.session_id());
    server.call(Method::DELETE, &path).bearer(&here.access).send().await.expect(204);
    server.refuses(&here).await;
}

async fn ref_06_a_refresh_rotates_and_a_replay_within_the_grace_gets_the_same_successor(store: Store) {
    let server = store.server(&[]);
    let first = server.log_in("bob").await;
    let answer = server.refresh(&first.refresh).await.expect(200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.json()["scope"], "read");
    let second = Tokens::of(&answer);
    assert_ne!(second.refresh, first.refresh);
    assert_eq!(second.session_id(), first.session_id());

    let json = server.post_json("/refresh", serde_json::json!({ "refresh_token": first.refresh })).await;
    let replayed = Tokens::of(&json.expect(200));
    for part in ["jti", "iat", "exp", "sid"] {
        assert_eq!(claims_in(&replayed.refresh)[part], claims_in(&second.refresh)[part], "{part}");
        assert_eq!(claims_in(&replayed.access)[part], claims_in(&second.access)[part], "{part}");
    }
    server.accepts(&first).await;
    server.accepts(&second).await;

    // A token that is two rotations old counts as reuse, even within the grace.
    let third = server.renew(&second).await;
    assert!(is_invalid_grant(&server.refresh(&first.refresh).await));
    for tokens in [first, second, third] {
        server.refuses(&tokens).await;
    }
}

async fn ref_03_reuse_outside_the_grace_ends_the_session_and_its_access_tokens(store: Store) {
    let server = store.server(&[("REUSE_GRACE_SECONDS", "0")]);
    let (stolen, other) = (server.log_in("alice").await, server.log_in("alice").await);
    // The reuse ends the whole family, with the access tokens of every rotation.
    let older = server.renew(&stolen).await;
    let successor = server.renew(&older).await;
    for tokens in [&stolen, &older, &successor] {
        server.accepts(tokens).await;
    }
    assert!(is_invalid_grant(&server.refresh(&stolen.refresh).await));
    for tokens in [&successor, &older, &stolen] {
        server.refuses(tokens).await;
    }
    server.accepts(&other).await;
}

async fn neither_kind_of_token_passes_for_the_other(store: Store) {
    let server = store.server(&[]);
    let tokens = server.log_in("bob").await;
    assert!(is_invalid_token(&server.get("/me", &tokens.refresh).await));
    assert!(is_invalid_grant(&server.refresh(&tokens.access).await));
    for bad in ["", "abc", "a.b.c", &crate::forged(&tokens.refresh)] {
        assert!(is_invalid_grant(&server.refresh(bad).await), "{bad}");
    }
    // A token of the wrong type is no reuse.
    server.renew(&tokens).await;
}
