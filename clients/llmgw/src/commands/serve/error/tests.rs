use super::*;

#[test]
fn each_dialect_has_its_own_words() {
    for (error, status, openai, anthropic) in [
        (
            AccessDenied::Token.into(),
            401,
            ["authentication_error", "invalid_local_token"],
            "authentication_error",
        ),
        (
            AccessDenied::Origin.into(),
            403,
            ["permission_error", "origin_not_allowed"],
            "permission_error",
        ),
        (
            ProxyError::Route(RouteError::NotFound),
            404,
            ["invalid_request_error", "not_found"],
            "not_found_error",
        ),
        (
            ProxyError::BodyTooLarge,
            413,
            ["invalid_request_error", "body_too_large"],
            "request_too_large",
        ),
        (
            ProxyError::ContentEncoding,
            415,
            ["invalid_request_error", "content_encoding_not_supported"],
            "invalid_request_error",
        ),
        (
            ProxyError::Undecodable(Coding::Brotli),
            400,
            ["invalid_request_error", "malformed_body"],
            "invalid_request_error",
        ),
        (
            ProxyError::WebSocket,
            426,
            ["invalid_request_error", "websocket_not_supported"],
            "invalid_request_error",
        ),
        (
            ProxyError::Redirected {
                location: "https://other".to_owned(),
            },
            502,
            ["server_error", "gateway_redirects"],
            "api_error",
        ),
    ] {
        assert_eq!(error.status(), status);
        let message = error.message();
        assert!(message.ends_with('.'), "{message}");
        let [kind, code] = openai;
        assert_eq!(
            error.body(Dialect::OpenAi),
            json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
        );
        assert_eq!(
            error.body(Dialect::OpenRouter),
            json!({"error": {"code": status, "message": message, "metadata": {"reason": code}}})
        );
        assert_eq!(
            error.body(Dialect::Anthropic),
            json!({"type": "error", "error": {"type": anthropic, "message": message}})
        );
    }
}
