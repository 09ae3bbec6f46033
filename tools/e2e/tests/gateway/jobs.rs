//! Videos and batches: the cost comes hours later, and belongs to the request that made the job.

use e2e::{
    user::User,
    world::{World, chat_body, with_world},
};
use serde_json::{Value, json};
use stub::scripted::{CUT_BYOK_TOTAL, CUT_COST_PLAIN};

use crate::{
    reconciliation::{books, run, summary},
    told::Told,
};

/// Creates a job and returns its row, as it stands then.
async fn create(user: &User<'_>, folder: &str, model: &str, id: &str) -> Value {
    let path = format!("/api/v1/openrouter/{folder}");
    let body = chat_body(model, false, id);
    let answer = user.post("proxy", &path, "application/json", body).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 202);
    assert_eq!(answer.json_value().await["id"], id);
    let row = user.row().await.unwrap();
    assert_eq!(
        (&row["status"], &row["cost_state"], &row["job_id"]),
        (&json!("completed"), &json!("pending"), &json!(id))
    );
    row
}

/// The user asks how far the job is, through the proxy.
async fn poll(user: &User<'_>, folder: &str, id: &str) -> String {
    let path = format!("/api/v1/openrouter/{folder}/{id}");
    let answer = user.get("proxy", &path).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json_value().await["status"].as_str().unwrap().into()
}

/// The row is due again, and its request was made so many hours ago.
fn age(world: &World, user: &User<'_>, hours: u32) {
    let did = user.did.as_str();
    world
        .sql(&format!(
            "UPDATE public.request_logs SET next_reconcile_at = NULL, request_time = now() - interval '{hours} hours',
               response_time = now() - interval '{hours} hours' + (response_time - request_time)
              WHERE did = '{did}'"
        ))
        .unwrap();
}

async fn settled(world: &World, user: &User<'_>, expected: &str) {
    for _ in 0..100 {
        if books(world, user) == expected {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(books(world, user), expected);
}

#[test]
fn the_users_own_question_settles_the_job_once() {
    with_world(async |world| {
        for (folder, id, tokens) in [
            ("videos", "gen-vid-1784822400-polled", "|"),
            ("batches", "batch_polled", "11|21"),
        ] {
            let user = world.user().unwrap();
            create(&user, folder, "stub/job-completes", id).await;
            assert_eq!(poll(&user, folder, id).await, "in_progress");
            assert_eq!(books(world, &user), "completed|pending||||||0|0");
            let total = CUT_COST_PLAIN;
            let closed = format!("completed|final|{total}|{tokens}|||{total}|0");
            for _ in 0..3 {
                assert_eq!(poll(&user, folder, id).await, "completed");
                settled(world, &user, &closed).await;
            }
            assert_eq!(run(world, "reconcile", &user).await, summary(0, 0, 0, 0));
            assert_eq!(user.rows().await.unwrap().len(), 1, "polls are free");

            // No user pays for another's job.
            let stranger = world.user().unwrap();
            let path = format!("/api/v1/openrouter/{folder}/{id}");
            let answer = stranger.get("proxy", &path).await.unwrap();
            assert_eq!(answer.status(), 404);
        }
    });
}

#[test]
fn reconciliation_asks_at_the_jobs_own_address_with_its_owners_key() {
    with_world(async |world| {
        for (folder, model, id, total, tokens) in [
            (
                "videos",
                "stub/job-completes",
                "gen-vid-asked",
                CUT_COST_PLAIN,
                "|",
            ),
            (
                "batches",
                "stub/job-completes",
                "batch_asked",
                CUT_COST_PLAIN,
                "11|21",
            ),
            (
                "batches",
                "stub/job-completes-byok",
                "batch_byok",
                CUT_BYOK_TOTAL,
                "11|21",
            ),
        ] {
            let user = world.user().unwrap();
            create(&user, folder, model, id).await;
            assert_eq!(run(world, "reconcile", &user).await, summary(1, 0, 0, 1));
            age(world, &user, 0);
            assert_eq!(run(world, "reconcile", &user).await, summary(1, 1, 0, 0));
            assert_eq!(
                books(world, &user),
                format!("completed|final|{total}|{tokens}|||{total}|0"),
                "{id}"
            );
            let asked = world
                .upstream
                .received(&format!("GET /api/v1/{folder}/{id}"));
            let key = format!("Bearer {}", user.api_key.expose_secret());
            assert!(asked.iter().all(|it| it.headers["authorization"] == key));
            assert_eq!(asked.len(), 2);
        }
    });
}

#[test]
fn a_video_on_the_users_own_provider_key_is_priced_by_its_generation() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let id = "gen-vid-byok";
        create(&user, "videos", "stub/job-completes-byok", id).await;
        world.upstream.bill(user.api_key.expose_secret(), id, true);
        poll(&user, "videos", id).await;
        // The job's state tells only OpenRouter's part of the cost, so the user's poll settles nothing.
        assert_eq!(poll(&user, "videos", id).await, "completed");
        for retried in [1, 0] {
            assert_eq!(
                run(world, "reconcile", &user).await,
                summary(1, 1 - retried, 0, retried)
            );
            age(world, &user, 0);
        }
        let total = CUT_BYOK_TOTAL;
        assert_eq!(
            books(world, &user),
            format!("completed|final|{total}|11|21|||{total}|0")
        );
    });
}

#[test]
fn a_job_that_came_to_nothing_was_free() {
    with_world(async |world| {
        for (folder, model) in [
            ("videos", "stub/job-fails"),
            ("videos", "stub/job-is-cancelled"),
            ("batches", "stub/job-expires"),
        ] {
            for polled in [false, true] {
                let user = world.user().unwrap();
                let id = format!("job-{}-{polled}", &model[5..]);
                create(&user, folder, model, &id).await;
                if polled {
                    poll(&user, folder, &id).await;
                } else {
                    assert_eq!(run(world, "reconcile", &user).await, summary(1, 1, 0, 0));
                }
                settled(world, &user, "completed|final|0|||||0|0").await;
            }
        }
    });
}

#[test]
fn a_job_that_goes_on_is_asked_for_again_for_a_week() {
    with_world(async |world| {
        let user = world.user().unwrap();
        create(&user, "batches", "stub/job-runs", "batch_runs").await;
        for hours in [0, 25, 167] {
            age(world, &user, hours);
            assert_eq!(
                run(world, "reconcile", &user).await,
                summary(1, 0, 0, 1),
                "{hours}"
            );
        }
        age(world, &user, 168);
        assert_eq!(run(world, "reconcile", &user).await, summary(1, 0, 1, 0));
        assert_eq!(
            books(world, &user),
            "completed|unknown|||||job_still_running|0|0"
        );
    });
}
