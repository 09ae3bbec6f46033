use std::time::Duration;

use futures_util::future::join_all;
use shared::{
    http_client,
    vault::secrets_manager::{AwsCredentials, KEYSET_LIFETIME, SecretLocation},
};
use stack::{Moto, Port, RunDir, Tools, Workspace};

use super::*;

/// All of them look before any of them writes, so only the derived id keeps them apart.
#[tokio::test]
#[ignore = "needs TOOLS"]
async fn of_writers_at_the_same_time_one_is_let_through() {
    let workspace = Workspace::locate();
    let tools = Tools::install(&workspace).unwrap();
    let run = RunDir::unique(&workspace, "admin-secret").unwrap();
    let moto = Moto::start(&tools, &run, Port::free().unwrap()).unwrap();
    let location = SecretLocation {
        secret_id: "admin/race".to_owned(),
        region: "us-east-1".to_owned(),
        endpoint_url: Some(moto.url()),
        lifetime: KEYSET_LIFETIME,
    };
    let credentials = AwsCredentials {
        access_key_id: "local".to_owned(),
        secret_access_key: Zeroizing::new("local".to_owned()),
        session_token: None,
    };
    let http = http_client::without_tls(Duration::from_secs(5)).unwrap();
    let source = SecretSource::new(http, location, &credentials);

    let missing = read(&source).await.unwrap_err();
    assert!(is_missing(&missing), "{missing:?}");
    let (client, name) = source.client();
    client.create_secret().name(name).send().await.unwrap();
    let empty = read(&source).await.unwrap_err();
    assert!(is_missing(&empty), "{empty:?}");
    create(&source, "first").await.unwrap();
    let again = create(&source, "again").await;
    assert!(matches!(again, Err(ReplaceError::Exists)), "{again:?}");
    let first = read(&source).await.unwrap();
    let texts = ["a", "b", "c", "d", "e", "f"];
    let outcomes = join_all(texts.map(|text| replace(&source, &first, text))).await;
    let conflicts = outcomes
        .iter()
        .filter(|it| matches!(it, Err(ReplaceError::Conflict)));
    assert_eq!(conflicts.count(), texts.len() - 1, "{outcomes:?}");
    let winner = outcomes.iter().position(Result::is_ok).unwrap();
    let second = read(&source).await.unwrap();
    assert_eq!(second.text.as_str(), texts[winner]);
    replace(&source, &second, "third").await.unwrap();
}

#[test]
fn a_version_has_one_successor_that_secrets_manager_accepts() {
    let successor = successor("4b1c8a7e-5f0e-4f7e-9f6d-0d6c3f1f8a11");
    assert_eq!(successor.len(), 64);
    assert_eq!(
        successor,
        super::successor("4b1c8a7e-5f0e-4f7e-9f6d-0d6c3f1f8a11")
    );
    assert_ne!(successor, super::successor(&successor));
}
