//! The recorded session in the documentation.

use std::process::Command;

use clap::Parser as _;
use llmgw::commands::Cli;

const SESSION: &str = include_str!("../../../../docs/use/session.md");

/// The words of a command, as a shell splits them.
fn words(command: &str) -> Vec<String> {
    let output = Command::new("sh")
        .args(["-c", &format!("printf '%s\\0' {command}")])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let words = text.split_terminator('\0');
    words.map(str::to_owned).collect()
}

#[test]
fn its_commands_are_those_of_the_program() {
    let commands: Vec<_> = SESSION
        .lines()
        .filter_map(|line| line.strip_prefix("$ "))
        .flat_map(|line| {
            // A quoted pipe belongs to a program that `run` runs.
            if line.contains('\'') {
                vec![line]
            } else {
                line.split(" | ").collect()
            }
        })
        .filter(|command| command.starts_with("llmgw "))
        .collect();
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands {
        let parsed = Cli::try_parse_from(words(command));
        assert!(parsed.is_ok(), "{command}: {:?}", parsed.err());
    }
}
