use super::*;

#[test]
fn dates_are_those_of_http() {
    let mut headers = HeaderMap::new();
    assert_eq!(date(&headers), None);
    headers.insert(
        header::DATE,
        "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap(),
    );
    assert_eq!(date(&headers), Some(Timestamp::constant(784_111_777, 0)));
}
