use super::*;

#[test]
fn settings() {
    assert_eq!(parse_limit("none"), Ok(Setting(None)));
    assert_eq!(
        parse_limit("0.50"),
        Ok(Setting(Some("0.5".parse().unwrap())))
    );
    assert!(parse_limit("-1").is_err());
    assert!(parse_limit("lots").is_err());
    assert_eq!(parse_rate("none"), Ok(Setting(None)));
    assert_eq!(parse_rate("60"), Ok(Setting(NonZeroU32::new(60))));
    assert!(parse_rate("0").is_err());
    assert!(parse_rate("1000001").is_err());
}

#[test]
fn dids() {
    assert!(parse_did("did:key:z6Mk").is_ok());
    assert!(parse_did("nobody").is_err());
}
