//! Compiles the console's built files in: `clients/console/dist`, each with the compressed variants
//! (`.br`, `.gz`) that lie beside it. Without them the page says that the console was not built.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

#[expect(
    clippy::disallowed_methods,
    reason = "cargo gives a build script its folders so"
)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let package = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let built = package.join("../../clients/console/dist");
    let unbuilt = package.join("unbuilt.html");
    println!("cargo:rerun-if-changed={}", built.display());
    println!("cargo:rerun-if-changed={}", unbuilt.display());
    let mut table = String::from("&[\n");
    if built.join("index.html").is_file() {
        let mut files = Vec::new();
        find(&built, &mut files)?;
        files.sort();
        for file in files {
            let name = file.strip_prefix(&built)?.to_string_lossy().into_owned();
            describe(&mut table, &name, &file)?;
        }
    } else {
        describe(&mut table, "index.html", &unbuilt)?;
    }
    table.push_str("]\n");
    let target = PathBuf::from(std::env::var("OUT_DIR")?).join("files.rs");
    fs::write(target, table)?;
    Ok(())
}

/// Adds all files below a folder but for the compressed variants.
fn find(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|it| it.to_str());
        if path.is_dir() {
            find(&path, files)?;
        } else if !matches!(extension, Some("br" | "gz")) {
            files.push(path);
        }
    }
    Ok(())
}

/// Writes a file's row of the table.
fn describe(table: &mut String, name: &str, file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let digest = hex::encode(Sha256::digest(fs::read(file)?));
    let etag = digest.get(..16).unwrap_or_default();
    let variant = |suffix: &str| {
        let path = PathBuf::from(format!("{}.{suffix}", file.display()));
        if path.is_file() {
            format!("Some({})", included(&path))
        } else {
            "None".to_owned()
        }
    };
    writeln!(
        table,
        "File {{ name: {name:?}, etag: {etag:?}, plain: {}, brotli: {}, gzip: {} }},",
        included(file),
        variant("br"),
        variant("gz"),
    )?;
    Ok(())
}

/// The expression of a file's content.
fn included(file: &Path) -> String {
    format!("include_bytes!({:?})", file.to_string_lossy())
}
