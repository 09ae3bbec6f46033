//! Compiles the console's built files in: `clients/console/dist`, each with the compressed variants
//! (`.br`, `.gz`) that lie beside it. Without them the page says that the console was not built.
//!
//! The style sheet is in the page, so that it is painted without a second round trip. `STYLE_SOURCES` permits it,
//! and no other, by its digest.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::{Engine as _, prelude::BASE64_STANDARD};
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
    let page = if built.join("index.html").is_file() {
        built.join("index.html")
    } else {
        unbuilt
    };
    let sources = style_sources(&fs::read_to_string(page)?);
    println!("cargo:rustc-env=STYLE_SOURCES={sources}");
    let target = PathBuf::from(std::env::var("OUT_DIR")?).join("files.rs");
    fs::write(target, table)?;
    Ok(())
}

/// The sources of `style-src`: the function's own files, and the page's style sheet by its digest (CSP 3 §8.3).
fn style_sources(page: &str) -> String {
    let style = page.split_once("<style>");
    let style = style.and_then(|(_, rest)| rest.split_once("</style>"));
    let digest = |style: &str| BASE64_STANDARD.encode(Sha256::digest(style));
    match style {
        Some((style, _)) => format!("'self' 'sha256-{}'", digest(style)),
        None => "'self'".to_owned(),
    }
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
