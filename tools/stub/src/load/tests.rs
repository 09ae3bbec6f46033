use super::*;

#[test]
fn a_request_names_its_load() {
    for load in [
        Load::Json,
        Load::Stream,
        Load::Paced,
        Load::Bulk(7),
        Load::Events(3),
    ] {
        assert_eq!(Load::named_in(&load.request()), load);
        let path = format!("/api/v1/models/x/{}/endpoints", load.name());
        assert_eq!(Load::named_in(path.as_bytes()), load);
    }
}

#[test]
fn events_tell_their_numbers() {
    let text = [event(3), event(41)].concat();
    assert_eq!(numbers_in(&text).collect::<Vec<_>>(), [3, 41]);
}
