use super::*;

#[test]
fn prices() {
    for (token, million) in [
        ("0", "0.00"),
        ("0.00000015", "0.15"),
        ("0.000003", "3.00"),
        ("0.0000005625", "0.5625"),
        ("1e-7", "0.10"),
        ("2", "2000000.00"),
        ("1.5", "1500000.00"),
        ("-1", "varies"),
        ("", "varies"),
    ] {
        assert_eq!(per_million(token), million, "{token}");
    }
}
