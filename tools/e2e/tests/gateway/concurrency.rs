//! Many requests in one environment, as on Managed Instances.

use std::collections::BTreeSet;

use e2e::world::with_world;
use futures_util::future::join_all;
use stub::scripted::{COST_PLAIN, stream_bytes};

#[test]
fn concurrent_requests_in_one_environment_stay_apart() {
    with_world(async |world| {
        let users: Vec<_> = (0..8).map(|_| world.user().unwrap()).collect();
        let requests = (0..48).map(|number| {
            let user = &users[number % users.len()];
            async move {
                let id = format!("gen-shared-{number}");
                let model = ["stub/slow", "stub/ok"][number % 2];
                let answer = user.chat("proxy-shared", model, true, &id).await.unwrap();
                assert_eq!(answer.status(), 200);
                assert_eq!(answer.bytes().await.unwrap(), stream_bytes(&id), "{id}");
            }
        });
        join_all(requests).await;
        for (number, user) in users.iter().enumerate() {
            let rows = user.rows().await.unwrap();
            let generations: BTreeSet<_> = rows
                .iter()
                .map(|row| row["generation_id"].as_str().unwrap().to_owned())
                .collect();
            let expected: BTreeSet<_> = (0..48)
                .filter(|request| request % users.len() == number)
                .map(|request| format!("gen-shared-{request}"))
                .collect();
            assert_eq!(generations, expected);
            let did = user.did.as_str();
            let sums = format!(
                "SELECT count(*), sum(total_cost) = {COST_PLAIN} * count(*), count(*) FILTER (WHERE status <> 'completed')
                   FROM public.request_logs WHERE did = '{did}'"
            );
            assert_eq!(world.sql(&sums).unwrap(), "6|t|0");
        }
    });
}
