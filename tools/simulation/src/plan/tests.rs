use std::collections::BTreeSet;

use super::*;

#[test]
fn a_seed_repeats_its_run() {
    let text = |seed| format!("{:?}", draw(seed, 50, 7));
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
}

#[test]
fn a_longer_run_begins_like_a_shorter_one() {
    let (short, long) = (draw(3, 20, 7), draw(3, 40, 7));
    assert_eq!(format!("{short:?}"), format!("{:?}", &long[..20]));
}

#[test]
fn costs_use_every_form_and_ids_do_not_repeat() {
    let plans = draw(5, 3000, 20);
    let ids: BTreeSet<_> = plans.iter().flat_map(|plan| plan.ids).collect();
    assert_eq!(ids.len(), 6000);
    let kinds: BTreeSet<_> = plans
        .iter()
        .map(|plan| (plan.kind, plan.streamed))
        .collect();
    assert_eq!(kinds.len(), SHARES.len() + 5);
    assert!(
        plans
            .iter()
            .any(|plan| plan.price.charge.cost.contains('e'))
    );
    assert!(
        plans
            .iter()
            .any(|plan| plan.price.total.to_string().len() == 21),
        "19 decimals"
    );
    let mut tells = plans
        .iter()
        .filter(|it| it.behaviour == Behaviour::CacheHit);
    assert!(
        tells.any(|it| !it.cost_in_body),
        "a cache hit without a cost"
    );
    let by_token = plans.iter().filter(|it| it.is_by_token()).count();
    assert!((900..1100).contains(&by_token), "{by_token}");
    let several = plans.iter().filter(|it| it.part.is_some());
    assert!(several.clone().any(Plan::tells_its_whole_cost));
    assert!(several.clone().any(|it| !it.tells_its_whole_cost()));
    for plan in several {
        assert!(plan.part.as_ref().unwrap().total <= plan.price.total);
    }
    for plan in plans {
        assert!(plan.price.total < Amount::new(2, 2), "{:?}", plan.price);
    }
}
