//! Numbers in the pages are those of the code.

use std::fs;

use docs::{Page, root};

/// A page's statement, and the code that makes it true. Where the code gets another value, its line is
/// not found, and both have to be looked at.
const STATEMENTS: [(&str, &str, &str, &str); 25] = [
    (
        "docs/use/signing.md",
        "±300 s are accepted",
        "shared/src/identity/auth.rs",
        "SignedDuration = SignedDuration::from_secs(300);",
    ),
    (
        "docs/use/programs.md",
        "up to 6 MiB",
        "shared/src/request.rs",
        "usize = 6 * 1024 * 1024;",
    ),
    (
        "docs/use/usage.md",
        "the 2,000 most used",
        "migrations/functions/usage.sql",
        "2000",
    ),
    (
        "docs/use/usage.md",
        "More than 2,000 groups are refused",
        "shared/src/accounting/usage/summary.rs",
        "u32 = 2000;",
    ),
    (
        "docs/use/usage.md",
        "requests per page, 50 by default, at most 1,000",
        "shared/src/accounting/usage/requests.rs",
        "u16 = 50;",
    ),
    (
        "docs/use/usage.md",
        "requests per page, 50 by default, at most 1,000",
        "shared/src/accounting/usage/requests.rs",
        "u16 = 1000;",
    ),
    (
        "docs/operate/configuration.md",
        "from 1 to 300",
        "shared/src/vault/secrets_manager.rs",
        "SignedDuration = SignedDuration::from_secs(300);",
    ),
    (
        "docs/operate/configuration.md",
        "at least 35",
        "shared/src/storage/retention.rs",
        "u32 = 35;",
    ),
    (
        "docs/operate/configuration.md",
        "at most 4, comma-separated",
        "shared/src/identity/auth/audiences.rs",
        "usize = 4;",
    ),
    (
        "docs/operate/configuration.md",
        "| reconcile | 1200 |",
        "shared/src/accounting/reconcile.rs",
        "Duration = Duration::from_mins(20);",
    ),
    (
        "docs/operate/configuration.md",
        "| proxy | 60000 |",
        "shared/src/accounting/ledger.rs",
        "Duration = Duration::from_mins(1);",
    ),
    (
        "docs/operate/platform-limits.md",
        "3 s before",
        "shared/src/request.rs",
        "Duration = Duration::from_secs(3);",
    ),
    (
        "docs/operate/platform-limits.md",
        "200 MB for a response",
        "shared/src/relay/pump.rs",
        "usize = 200_000_000 - ",
    ),
    (
        "docs/operate/platform-limits.md",
        "`/usage` does so after 10 s",
        "functions/usage/src/lib.rs",
        "Duration = Duration::from_secs(10);",
    ),
    (
        "docs/operate/books.md",
        "over one second after",
        "shared/src/relay/pump.rs",
        "Duration = Duration::from_secs(1);",
    ),
    (
        "docs/operate/books.md",
        "`unknown` after 7 days",
        "shared/src/accounting/reconcile.rs",
        "Duration = Duration::from_hours(7 * 24);",
    ),
    (
        "docs/operate/reconciliation.md",
        "after 2, 5 and 15 minutes, then hourly",
        "shared/src/accounting/reconcile.rs",
        "Duration::from_mins(2), Duration::from_mins(5), Duration::from_mins(15), \
         Duration::from_hours(1),",
    ),
    (
        "docs/operate/reconciliation.md",
        "after 24 hours the cost becomes",
        "shared/src/accounting/reconcile.rs",
        "Duration = Duration::from_hours(24);",
    ),
    (
        "docs/operate/reconciliation.md",
        "Every five minutes",
        "template.yaml",
        "Default: rate(5 minutes)",
    ),
    (
        "docs/operate/retention.md",
        "stays 90 days longer",
        "migrations/functions/retention.sql",
        "interval '90 days'",
    ),
    (
        "docs/operate/limits.md",
        "last 20 requests to the same model",
        "migrations/functions/requests.sql",
        "[1:20]",
    ),
    (
        "docs/operate/keyset.md",
        "at most every 30 s",
        "shared/src/vault/secrets_manager/cache.rs",
        "SignedDuration = SignedDuration::from_secs(30);",
    ),
    (
        "docs/operate/scaling.md",
        "(200,000 requests every five minutes",
        "functions/reconcile/src/lib.rs",
        "u16 = 10_000;",
    ),
    (
        "docs/operate/scaling.md",
        "(200,000 requests every five minutes",
        "functions/reconcile/src/lib.rs",
        "u8 = 20;",
    ),
    (
        "docs/operate/scaling.md",
        "(100/s, `ThrottlingRateLimit`)",
        "template.yaml",
        "Default: 100",
    ),
];

#[test]
fn numbers_in_the_pages_are_those_of_the_code() {
    let mut wrong = Vec::new();
    for (page, statement, source, code) in STATEMENTS {
        let text = Page::read(page).unwrap().text();
        if !text.contains(statement) {
            wrong.push(format!("{page} does not say: {statement}"));
        }
        let text = fs::read_to_string(root().join(source)).unwrap();
        let text: Vec<&str> = text.split_whitespace().collect();
        if !text.join(" ").contains(code) {
            wrong.push(format!(
                "{source} does not say: {code} ({page}: {statement})"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
