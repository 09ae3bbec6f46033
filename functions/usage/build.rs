//! Tells the program the version of the schema that it was built with: the date of the last
//! migration. `llmgw admin doctor` compares it with the database's.

#![expect(
    clippy::disallowed_methods,
    reason = "a build script is configured by cargo through its environment"
)]

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../migrations");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut last = String::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            last = last.max(name.into_owned());
        }
    }
    let (version, _) = last.split_once('_').ok_or("there are no migrations")?;
    println!("cargo::rustc-env=SCHEMA_VERSION={version}");
    Ok(())
}
