//! Events as an API Gateway REST API makes them (format 1.0), with every body as base64: the
//! gateway's API takes every media type for binary.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, Method};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// The event of a request without a query.
#[must_use]
pub fn rest(id: Uuid, method: &Method, path: &str, headers: &HeaderMap, body: &[u8]) -> Vec<u8> {
    let (mut single, mut multiple) = (Map::new(), Map::new());
    for name in headers.keys() {
        let values: Vec<&str> = headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        // The plain members hold the last value of each name.
        single.insert(name.to_string(), json!(values.last()));
        multiple.insert(name.to_string(), json!(values));
    }
    let below = path.trim_start_matches("/api/v1/openrouter/");
    json!({
        "resource": "/api/v1/openrouter/{proxy+}",
        "path": path,
        "httpMethod": method.as_str(),
        "headers": single,
        "multiValueHeaders": multiple,
        "queryStringParameters": null,
        "multiValueQueryStringParameters": null,
        "pathParameters": {"proxy": below},
        "stageVariables": null,
        "requestContext": {
            "resourceId": "a1b2c3",
            "resourcePath": "/api/v1/openrouter/{proxy+}",
            "httpMethod": method.as_str(),
            "extendedRequestId": "Dg4XkHxVoAMEVcw=",
            "requestTime": "01/Jan/2025:00:00:00 +0000",
            "path": path,
            "accountId": "123456789012",
            "protocol": "HTTP/1.1",
            "stage": "prod",
            "domainPrefix": "gw",
            "requestTimeEpoch": 1_735_689_600_000_i64,
            "requestId": id.to_string(),
            "identity": identity(),
            "domainName": "gw.example.com",
            "deploymentId": "d4e5f6",
            "apiId": "abc123defg"
        },
        "body": if body.is_empty() { Value::Null } else { json!(STANDARD.encode(body)) },
        "isBase64Encoded": !body.is_empty(),
    })
    .to_string()
    .into_bytes()
}

fn identity() -> Value {
    let nothing = [
        "cognitoIdentityPoolId",
        "accountId",
        "cognitoIdentityId",
        "caller",
        "principalOrgId",
        "accessKey",
        "cognitoAuthenticationType",
        "cognitoAuthenticationProvider",
        "userArn",
        "userAgent",
        "user",
    ];
    let mut identity: Map<String, Value> = nothing
        .into_iter()
        .map(|name| (name.to_owned(), Value::Null))
        .collect();
    identity.insert("sourceIp".to_owned(), json!("203.0.113.7"));
    Value::Object(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The members of an object, and those of its members.
    fn shape(event: &Value) -> Vec<String> {
        let members = |value: &Value| -> Vec<String> {
            value
                .as_object()
                .map(|it| it.keys().cloned().collect())
                .unwrap_or_default()
        };
        let mut shape = members(event);
        shape.extend(members(&event["requestContext"]));
        shape.extend(members(&event["requestContext"]["identity"]));
        shape
    }

    #[test]
    fn it_has_the_members_of_the_samples() {
        let sample = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../events/proxy-chat-v1.json"
        );
        let sample: Value = serde_json::from_slice(&std::fs::read(sample).unwrap()).unwrap();
        let made = rest(
            Uuid::nil(),
            &Method::POST,
            "/api/v1/openrouter/chat/completions",
            &HeaderMap::new(),
            b"{}",
        );
        let made: Value = serde_json::from_slice(&made).unwrap();
        assert_eq!(shape(&made), shape(&sample));
        assert_eq!(made["pathParameters"], sample["pathParameters"]);
        assert_eq!(made["body"], "e30=");
    }
}
