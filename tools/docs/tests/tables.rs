//! Tables that repeat the code agree with it.

#![expect(
    clippy::unwrap_used,
    reason = "in tests' helpers, too, what does not work fails the test"
)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use clap::CommandFactory;
use docs::{Page, files, pages, root, spans};
use serde_json::Value;
use shared::config::{
    AccountConfig, ConsoleConfig, Env, HealthConfig, KeysConfig, ProxyConfig, ReconcileConfig,
};
use shared::identity::auth::Scheme;
use shared::identity::did::Method;
use shared::routes::{Access, Route};

type Names = BTreeSet<String>;

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn names<const N: usize>(names: [&str; N]) -> Names {
    names.map(str::to_owned).into()
}

/// The code spans of a column.
fn column(page: &Page, heading: &str, index: usize) -> Names {
    let rows = page.table(heading);
    assert!(!rows.is_empty(), "there is no table {heading:?}");
    rows.iter().flat_map(|row| spans(&row[index])).collect()
}

const FUNCTIONS: [&str; 7] = [
    "console",
    "health",
    "keys",
    "proxy",
    "reconcile",
    "tokens",
    "usage",
];

/// The variables that each function asks for.
fn variables_read() -> BTreeMap<&'static str, Names> {
    // Once with nothing, and once with the values on which others depend.
    let values = |name: &str| {
        let value = match name {
            "PROVISION_ON_FIRST_REQUEST" => "true",
            "PROVISION_KEYS_FOR" => "anyone",
            // The keyset, in whose region the management key's secret is.
            "AWS_REGION" | "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" | "KEYSET_SECRET_NAME" => {
                "x"
            }
            _ => return None,
        };
        Some(value.to_owned())
    };
    let of = |start: &dyn Fn(Env<'_>)| {
        let asked = RefCell::new(names(["RUST_LOG"]));
        for is_complete in [false, true] {
            start(Env::new(|name| {
                asked.borrow_mut().insert(name.to_owned());
                is_complete.then(|| values(name)).flatten()
            }));
        }
        asked.into_inner()
    };
    BTreeMap::from([
        ("proxy", of(&|env| drop(ProxyConfig::read(env)))),
        ("usage", of(&|env| drop(AccountConfig::read(env)))),
        ("keys", of(&|env| drop(KeysConfig::read(env)))),
        ("tokens", of(&|env| drop(AccountConfig::read(env)))),
        ("health", of(&|env| drop(HealthConfig::read(env)))),
        ("console", of(&|env| drop(ConsoleConfig::read(env)))),
        ("reconcile", of(&|env| drop(ReconcileConfig::read(env)))),
    ])
}

#[test]
fn variables_are_documented_with_their_readers() {
    let page = Page::read("docs/operate/configuration.md").unwrap();
    let mut documented: BTreeMap<&str, Names> = BTreeMap::new();
    for row in page.table("variable") {
        let readers: Vec<&str> = row[1].split(", ").collect();
        for function in FUNCTIONS {
            if row[1] == "all" || readers.contains(&function) {
                documented
                    .entry(function)
                    .or_default()
                    .extend(spans(&row[0]));
            }
        }
    }
    assert_eq!(documented, variables_read());
}

#[test]
fn variables_that_the_template_sets_are_marked() {
    let environment: Value =
        serde_json::from_str(&read("tools/template/environment.json")).unwrap();
    let set: Names = environment["set"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|it| it.as_array().unwrap())
        .map(|it| it.as_str().unwrap().to_owned())
        .collect();
    let page = Page::read("docs/operate/configuration.md").unwrap();
    let marked: Names = page
        .table("variable")
        .iter()
        .filter(|row| row[0].ends_with('*'))
        .flat_map(|row| spans(&row[0]))
        .collect();
    assert_eq!(marked, set);
}

#[test]
fn routes_are_documented() {
    let routes: BTreeSet<(String, bool)> = Route::ALL
        .into_iter()
        .flat_map(|route| {
            let path = route.path().replace("{path}", "*");
            let is_signed = route.access() != Access::Open;
            let methods = route.methods().split(", ");
            // Where there is GET.
            let methods = methods.filter(|it| *it != "HEAD");
            methods.map(move |method| (format!("{method} {path}"), is_signed))
        })
        .collect();
    let mut documented = BTreeSet::new();
    for row in Page::read("docs/use/api.md").unwrap().table("route") {
        // `GET` `PUT /path`, or any method, `/path`.
        let cell = row[0].replace(['`', ','], " ");
        let mut words: Vec<&str> = cell.split_whitespace().collect();
        let path = words.pop().unwrap();
        words.retain(|it| *it != "method");
        for method in words {
            documented.insert((format!("{method} {path}"), row[1] == "yes"));
        }
    }
    assert_eq!(documented, routes);
}

/// Also in the parameter that names DIDs.
#[test]
fn did_methods_are_documented() {
    let page = Page::read("docs/use/signing.md").unwrap();
    let rows = page.table("header");
    let row = rows.iter().find(|row| row[0] == "`x-did`").unwrap();
    let names: Vec<&str> = Method::ALL.into_iter().map(Method::name).collect();
    for name in &names {
        assert!(row[1].contains(&format!("did:{name}")), "{name}");
    }
    let pattern = format!("did:({}):", names.join("|"));
    assert!(read("template.yaml").contains(&pattern), "{pattern}");
}

#[test]
fn headers_of_signatures_are_documented() {
    let page = Page::read("docs/use/signing.md").unwrap();
    let headers = Scheme::ALL.into_iter().flat_map(Scheme::headers);
    let headers: Names = headers.map(|it| (*it).to_owned()).collect();
    assert_eq!(column(&page, "header", 0), headers);
}

#[test]
fn refused_families_are_documented() {
    let families = listed(
        "shared/src/upstream/endpoint/families.rs",
        "const REFUSED_FAMILIES",
    );
    let page = Page::read("docs/use/api.md").unwrap();
    assert_eq!(page.marked("families"), literals(&families).collect());
}

#[test]
fn shared_families_are_documented() {
    let families = listed(
        "shared/src/upstream/endpoint/families.rs",
        "const SHARED_FAMILIES",
    );
    let page = Page::read("docs/operate/provisioning.md").unwrap();
    assert_eq!(page.marked("shared"), literals(&families).collect());
}

#[test]
fn free_posts_are_documented() {
    let posts = listed("shared/src/upstream/endpoint/route.rs", "const FREE_POSTS");
    let page = Page::read("docs/use/api.md").unwrap();
    assert_eq!(page.marked("free"), literals(&posts).collect());
}

#[test]
fn endpoints_are_documented() {
    let source = read("shared/src/upstream/endpoint.rs");
    let (_, list) = source.split_once("const ENDPOINTS").unwrap();
    let (list, _) = list.split_once("\n};").unwrap();
    let texts: Vec<String> = literals(list).collect();
    let mut defined: BTreeMap<String, String> = texts
        .chunks_exact(2)
        .map(|pair| (pair[1].clone(), format!("/{}", pair[0])))
        .collect();
    // Any other path.
    defined.remove("other").unwrap();
    let documented = Page::read("docs/use/api.md")
        .unwrap()
        .table("endpoint")
        .iter()
        .map(|row| (spans(&row[0]).remove(0), spans(&row[1]).remove(0)))
        .collect();
    assert_eq!(defined, documented);
}

/// The array in a source that a declaration begins.
fn listed(file: &str, declaration: &str) -> String {
    let source = read(file);
    let (_, list) = source.split_once(declaration).unwrap();
    list.split_once("];").unwrap().0.to_owned()
}

/// A source without its tests.
fn production(path: &str) -> String {
    let source = read(path);
    let end = source.find("#[cfg(test)]").unwrap_or(source.len());
    source[..end].to_owned()
}

/// The string literals of a piece of source, without those that span lines.
fn literals(source: &str) -> impl Iterator<Item = String> {
    source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .map(str::to_owned)
}

fn is_reason(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_lowercase() || it == b'_')
}

/// The stable names of failures: those that certain functions return, that a constant `REASON` holds,
/// and that stand beside a status.
fn reasons() -> Names {
    const NAMING: [&str; 4] = [
        "fn reason(",
        "fn malformed(",
        "fn failure(",
        "fn end_too_long(",
    ];
    let mut found = Names::new();
    for path in files("rs").unwrap() {
        if !path.starts_with("shared/src") || path.ends_with("tests.rs") {
            continue;
        }
        let source = production(path.to_str().unwrap());
        for (at, _) in NAMING.iter().flat_map(|name| source.match_indices(name)) {
            // rustfmt ends a method with a brace at its own depth.
            let line = &source[source[..at].rfind('\n').map_or(0, |it| it + 1)..at];
            let depth = line.len() - line.trim_start().len();
            let end = format!("\n{}}}\n", " ".repeat(depth));
            let body = source[at..].split(&end).next().unwrap();
            found.extend(literals(body).filter(|it| is_reason(it)));
        }
        for (at, _) in source.match_indices("REASON: &") {
            let line = source[at..].lines().next().unwrap();
            found.extend(literals(line));
        }
        for (at, _) in source.match_indices("StatusCode::") {
            let rest = source[at..].split_once(',').map_or("", |it| it.1);
            let next = rest.trim_start();
            if next.starts_with('"') {
                found.extend(literals(next.lines().next().unwrap()).take(1));
            }
        }
    }
    // The name of the field.
    found.remove("reason");
    found.retain(|it| is_reason(it));
    // API Gateway's own errors.
    for piece in read("template.yaml").split("\"reason\":\"").skip(1) {
        found.insert(piece.split('"').next().unwrap().to_owned());
    }
    found
}

#[test]
fn reasons_are_documented() {
    // Never written: a later run always asks.
    let internal = names(["not_asked"]);
    let code: Names = &reasons() - &internal;
    assert!(code.len() > 40, "{code:?}");

    let api = Page::read("docs/use/api.md").unwrap();
    let books = Page::read("docs/operate/books.md").unwrap();
    let reconciliation = Page::read("docs/operate/reconciliation.md").unwrap();
    let mut documented = column(&api, "reason", 0);
    documented.extend(column(&reconciliation, "`unknown_cost_reason`", 0));
    for row in api.table("status") {
        // Behind a reason, in parentheses, stand the fields of its metadata.
        let text: String = row[1]
            .split('(')
            .map(|it| it.rsplit(')').next().unwrap())
            .collect();
        documented.extend(spans(&text).into_iter().filter(|it| is_reason(it)));
    }
    // Reasons of the books alone, such as `upstream_status`, and a status.
    let booked = column(&books, "event", 2);
    let statuses = names(["completed", "failed", "pending", "job_id"]);
    // Written by the database.
    let abandoned = names(["abandoned"]);
    documented.extend(&(&booked - &statuses) - &abandoned);
    assert_eq!(documented, code);
    assert!(read_migrations().contains("'abandoned'"));
}

fn read_migrations() -> String {
    let sources = files("sql").unwrap().into_iter();
    sources
        .map(|path| fs::read_to_string(root().join(path)).unwrap())
        .collect()
}

#[test]
fn cost_states_are_documented() {
    let page = Page::read("docs/operate/books.md").unwrap();
    let schema = read("migrations/20260102000000_gateway.sql");
    let (_, check) = schema.split_once("CHECK (cost_state IN (").unwrap();
    let (states, _) = check.split_once(')').unwrap();
    let states = states
        .split(',')
        .map(|it| it.trim().trim_matches('\'').to_owned());
    assert_eq!(column(&page, "`cost_state`", 0), states.collect());
}

#[test]
fn usage_parameters_are_documented() {
    let mut known = Names::new();
    for file in ["requests", "summary"] {
        let list = listed(
            &format!("shared/src/accounting/usage/{file}.rs"),
            "const KNOWN",
        );
        known.extend(literals(&list));
    }
    known.insert("cursor".to_owned());
    let page = Page::read("docs/use/usage.md").unwrap();
    assert_eq!(column(&page, "parameter", 0), known);
}

#[test]
fn log_fields_are_documented() {
    let page = Page::read("docs/operate/monitoring.md").unwrap();
    let source = production("shared/src/observe.rs");
    let (_, span) = source.split_once("info_span!(").unwrap();
    let (span, _) = span.split_once("\n    )").unwrap();
    let recorded: Names = span
        .lines()
        .filter_map(|line| line.split_once(['=', ',']))
        .map(|(name, _)| name.trim().to_owned())
        .filter(|name| name.contains('.'))
        .collect();
    // Fields that the log adds to them.
    let added = names(["faas.name", "request.duration_ms", "usage.cost_usd"]);
    assert_eq!(column(&page, "field", 0), &recorded | &added);
}

#[test]
fn metrics_are_documented() {
    let page = Page::read("docs/operate/monitoring.md").unwrap();
    let list = listed("functions/adapter/src/log/line.rs", "static METRICS");
    let list = list.replace("COST_METRIC", "\"usage.cost_usd\"");
    let pairs: Vec<String> = literals(&list).collect();
    let declared: BTreeMap<&str, &str> = pairs
        .chunks_exact(2)
        .map(|pair| (pair[0].as_str(), pair[1].as_str()))
        .collect();
    let rows = page.table("metric");
    let metrics: Vec<(Vec<String>, &str)> = rows
        .iter()
        .map(|row| (spans(&row[0]), row[1].as_str()))
        .collect();
    let documented = metrics
        .iter()
        .flat_map(|(names, unit)| names.iter().map(|name| (name.as_str(), *unit)))
        .collect();
    assert_eq!(declared, documented);
}

#[test]
fn alarms_are_documented() {
    let page = Page::read("docs/operate/monitoring.md").unwrap();
    let template = read("template.yaml");
    let defined: Names = template
        .split("AlarmName: !Sub \"${AWS::StackName}-")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect();
    assert_eq!(column(&page, "alarm", 0), defined);
}

#[test]
fn settings_of_the_deployment_are_documented() {
    let workflow = read(".github/workflows/deploy.yml");
    let settings: Names = ["${{ vars.", "${{ secrets."]
        .iter()
        .flat_map(|kind| workflow.split(kind).skip(1))
        .filter_map(|rest| rest.split(' ').next())
        .map(str::to_owned)
        .collect();
    let page = Page::read("docs/operate/update.md").unwrap();
    assert_eq!(column(&page, "name", 0), settings);
}

#[test]
fn commands_are_documented() {
    let page = Page::read("docs/use/command-line.md").unwrap();
    let defined: Names = llmgw::commands::Cli::command()
        .get_subcommands()
        .map(|it| format!("llmgw {}", it.get_name()))
        .collect();
    assert_eq!(column(&page, "command", 0), defined);
}

/// Every command that is named can be run.
#[test]
fn every_command_that_is_named_exists() {
    let cli = llmgw::commands::Cli::command();
    let mut wrong = Vec::new();
    for path in pages().unwrap() {
        let page = Page::read(&path).unwrap();
        let named = page.spans();
        let code = page.code().map(str::to_owned);
        for text in named.into_iter().chain(code) {
            for rest in text.split("llmgw ").skip(1) {
                let mut command = &cli;
                for word in rest.split_whitespace() {
                    let is_word = word.bytes().all(|it| it.is_ascii_lowercase() || it == b'-');
                    if !is_word || word.starts_with('-') || !command.has_subcommands() {
                        break;
                    }
                    let Some(next) = command.find_subcommand(word) else {
                        wrong.push(format!("{}: llmgw {rest}", path.display()));
                        break;
                    };
                    command = next;
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_task_that_is_named_exists() {
    let source = read("tools/xtask/src/main.rs");
    let (_, tasks) = source.split_once("enum Task {").unwrap();
    let tasks: Names = tasks
        .split("\n}")
        .next()
        .unwrap()
        .lines()
        .filter_map(|line| line.trim().split(['(', ',']).next())
        .filter(|name| name.starts_with(|it: char| it.is_ascii_uppercase()))
        .map(kebab)
        .collect();
    assert!(tasks.contains("bench-database"), "{tasks:?}");
    let mut wrong = Vec::new();
    for path in pages().unwrap() {
        let page = Page::read(&path).unwrap();
        let named = page.spans();
        let code = page.code().map(str::to_owned);
        for text in named.into_iter().chain(code) {
            for rest in text.split("cargo xtask ").skip(1) {
                let is_word = |it: &char| it.is_ascii_lowercase() || *it == '-';
                let task: String = rest.chars().take_while(is_word).collect();
                if !task.is_empty() && !tasks.contains(&task) {
                    wrong.push(format!("{}: cargo xtask {task}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `BenchDatabase` as clap names it: `bench-database`.
fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.push(letter.to_ascii_lowercase());
    }
    kebab
}

/// The versions in the table are those that the tests install.
#[test]
fn versions_of_clients_are_those_that_are_tested() {
    let python: String = ["openai-2", "openai-3", "programs"]
        .iter()
        .map(|it| read(&format!("tools/e2e/clients/{it}.txt")))
        .collect();
    let node: Value = serde_json::from_str(&read("tools/e2e/clients/package.json")).unwrap();
    let lock: toml::Table = read("Cargo.lock").parse().unwrap();
    let rust = lock["package"].as_array().unwrap();
    for row in Page::read("docs/use/programs.md").unwrap().table("client") {
        let (package, version) = (&spans(&row[0])[0], row[1].as_str());
        let is_tested = if row[0].ends_with("(Python)") {
            python
                .lines()
                .any(|line| line.starts_with(&format!("{package}=={version} ")))
        } else if row[0].ends_with("(Node)") {
            node["dependencies"][package] == version
        } else {
            rust.iter().any(|it| {
                it["name"].as_str() == Some(package) && it["version"].as_str() == Some(version)
            })
        };
        assert!(is_tested, "{package} {version}");
    }
}

/// The programs in the tables are those that `cargo xtask clients` runs, in the versions that it installs.
#[test]
fn programs_are_those_that_are_run() {
    let source = read("tools/xtask/src/clients/programs.rs");
    let values = |field: &str| {
        let field = format!("{field}: \"");
        let lines = source.lines().map(str::trim);
        let values = lines.filter_map(|line| line.strip_prefix(&field)?.strip_suffix("\","));
        values.map(str::to_owned).collect::<Vec<_>>()
    };
    let (names, packages, versions) = (values("name"), values("package"), values("version"));
    let (mut run, mut recipes) = (Vec::new(), Vec::new());
    for row in Page::read("docs/use/programs.md").unwrap().table("program") {
        if row.len() == 2 {
            recipes.push(row[0].clone());
        } else {
            run.push((row[0].clone(), spans(&row[1])[0].clone(), row[2].clone()));
        }
    }
    let locks: String = ["aider", "openai-2", "openai-3"]
        .iter()
        .map(|it| read(&format!("tools/xtask/clients/{it}.txt")))
        .collect();
    assert_eq!(recipes, names);
    let mut locked = 0;
    for (at, (name, package, version)) in run.iter().enumerate() {
        assert_eq!(
            (name, package, version),
            (&names[at], &packages[at], &versions[at])
        );
        locked += usize::from(locks.contains(&format!("{package}=={version} ")));
    }
    assert_eq!(run.len(), names.len());
    // Those of npm have no lock file.
    assert_eq!(locked, source.matches("source: Source::PyPI,").count());
}

/// The sample output is that of the stand-in for OpenRouter.
#[test]
fn the_readme_shows_what_the_demonstration_prints() {
    let source = read("tools/stub/src/demo.rs");
    let (_, reply) = source.split_once("const HELLO").unwrap();
    let reply: Vec<String> = literals(reply.split("\n};").next().unwrap()).collect();
    let readme = Page::read("README.md").unwrap();
    let shown: Vec<&str> = readme.code().collect();
    for text in reply {
        assert!(shown.iter().any(|line| line.contains(&text)), "{text}");
    }
}

/// Platform limits that the code sets itself.
#[test]
fn limits_of_time_are_those_of_the_code() {
    let page = Page::read("docs/operate/configuration.md").unwrap();
    let default = |variable: &str| {
        let rows = page.table("variable");
        let row = rows.iter().find(|row| spans(&row[0]) == [variable]);
        row.unwrap()[2].clone()
    };
    let limits = read("docs/operate/platform-limits.md");
    for (variable, since) in [
        ("UPSTREAM_FIRST_BYTE_TIMEOUT_MS", "after the request"),
        ("UPSTREAM_IDLE_TIMEOUT_MS", "after the last piece"),
    ] {
        let seconds = default(variable).parse::<u32>().unwrap() / 1000;
        assert!(
            limits.contains(&format!("{seconds} s {since}")),
            "{variable}"
        );
    }
}
