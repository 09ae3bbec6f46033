use std::collections::BTreeSet;
use std::fs;

use stack::Workspace;

use super::STEPS;

fn read(path: &str) -> String {
    fs::read_to_string(Workspace::locate().root().join(path)).unwrap()
}

fn steps() -> BTreeSet<&'static str> {
    STEPS.iter().map(|step| step.0).collect()
}

#[test]
fn steps_are_documented() {
    let page = read("docs/develop/testing.md");
    let (_, table) = page.split_once("| step | what it checks |").unwrap();
    let documented = table
        .lines()
        .skip(2)
        .map_while(|row| row.split('`').nth(1))
        .collect();
    assert_eq!(steps(), documented);
}

#[test]
fn github_runs_every_step() {
    let workflow = read(".github/workflows/test.yml");
    let mut run: Vec<String> = Vec::new();
    for line in workflow.lines().map(str::trim) {
        if let Some((_, list)) = line.split_once("step: [") {
            run.extend(list.trim_end_matches(']').split(", ").map(str::to_owned));
        } else if let Some((_, arguments)) = line.split_once("run: cargo xtask test ") {
            // Between quotes is one argument, outside of them each word.
            for (index, piece) in arguments.split('"').enumerate() {
                if index % 2 == 1 {
                    run.push(piece.to_owned());
                } else {
                    run.extend(piece.split_whitespace().map(str::to_owned));
                }
            }
        }
    }
    run.retain(|it| it != "$STEP");
    assert_eq!(steps(), run.iter().map(String::as_str).collect());
}
