use super::*;

#[test]
fn refuses_a_path_that_the_url_would_change() {
    let openrouter = OpenRouter::new(
        crate::http_client::build(crate::http_client::web_roots(), Duration::from_secs(1)).unwrap(),
        Url::parse("https://openrouter.ai/api/v1").unwrap(),
        Timeouts {
            first_byte: Duration::from_secs(1),
            idle: Duration::from_secs(1),
        },
    );
    let url = openrouter
        .url("/models/deepseek/deepseek-r1:free/endpoints", "a=b%20c")
        .unwrap();
    assert_eq!(
        url.as_str(),
        "https://openrouter.ai/api/v1/models/deepseek/deepseek-r1:free/endpoints?a=b%20c"
    );
    assert!(openrouter.url("/a/../keys", "").is_err());
    assert!(openrouter.url("/a b", "").is_err());
}
