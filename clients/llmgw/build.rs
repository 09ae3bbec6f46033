//! Puts the migrations into the program: `llmgw admin doctor` looks for what they make.

#![expect(
    clippy::disallowed_methods,
    reason = "a build script is configured by cargo through its environment"
)]

use std::{env, error::Error, fmt::Write, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../migrations");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            files.push(path.canonicalize()?);
        }
    }
    files.sort();
    let mut source = "&[\n".to_owned();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let path = file.to_string_lossy();
        writeln!(source, "    ({name:?}, include_str!({path:?})),")?;
    }
    source.push(']');
    fs::write(
        Path::new(&env::var("OUT_DIR")?).join("migrations.rs"),
        source,
    )?;
    Ok(())
}
