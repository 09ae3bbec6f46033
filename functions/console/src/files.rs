//! The console's files, compiled in.

use http::HeaderMap;

/// A file with its compressed variants.
#[derive(Debug)]
pub(crate) struct File {
    /// The path below `dist/`.
    pub(crate) name: &'static str,
    /// Names the content.
    etag: &'static str,
    plain: &'static [u8],
    brotli: Option<&'static [u8]>,
    gzip: Option<&'static [u8]>,
}

/// Every file.
static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// The page; other paths of the console lead to the same program.
const PAGES: [(&str, &str); 2] = [("", "index.html"), ("approve", "approve.html")];

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Brotli,
    Gzip,
    Identity,
}

impl Coding {
    /// The value of `Content-Encoding`, where there is one.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Brotli => Some("br"),
            Self::Gzip => Some("gzip"),
            Self::Identity => None,
        }
    }
}

impl File {
    /// The file of a path below `/console`, without the slash between.
    pub(crate) fn at(path: &str) -> Option<&'static Self> {
        let page = PAGES.iter().find(|(page, _)| *page == path);
        let name = match page {
            Some((_, name)) => name,
            // Pages have no second address.
            None if PAGES.iter().any(|(_, name)| *name == path) => return None,
            None => path,
        };
        FILES.iter().find(|it| it.name == name)
    }

    /// Whether the name changes with the content.
    pub(crate) fn is_hashed(&self) -> bool {
        self.name.starts_with("assets/")
    }

    pub(crate) fn media_type(&self) -> &'static str {
        match self.name.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            Some("txt") => "text/plain; charset=utf-8",
            Some(_) | None => "application/octet-stream",
        }
    }

    /// The smallest variant that a client accepts.
    pub(crate) fn variant(&self, headers: &HeaderMap) -> (Coding, &'static [u8]) {
        let variants = [(Coding::Brotli, self.brotli), (Coding::Gzip, self.gzip)];
        variants
            .into_iter()
            .filter_map(|(coding, bytes)| Some((coding, bytes?)))
            .find(|(coding, _)| accepts(headers, *coding))
            .unwrap_or((Coding::Identity, self.plain))
    }

    /// The entity tag of a variant (RFC 9110 §8.8.3): each coding has its own.
    pub(crate) fn etag(&self, coding: Coding) -> String {
        match coding.name() {
            Some(name) => format!("\"{}-{name}\"", self.etag),
            None => format!("\"{}\"", self.etag),
        }
    }
}

/// Whether `Accept-Encoding` names the coding, with a weight above zero (RFC 9110 §12.5.3).
fn accepts(headers: &HeaderMap, coding: Coding) -> bool {
    let Some(name) = coding.name() else {
        return true;
    };
    let values = headers.get_all(http::header::ACCEPT_ENCODING);
    values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|choice| {
            let mut parts = choice.split(';').map(str::trim);
            let is_named = parts.next().is_some_and(|it| it.eq_ignore_ascii_case(name));
            let weight = parts.find_map(|it| it.strip_prefix("q=")).unwrap_or("1");
            is_named && weight.parse::<f32>().is_ok_and(|weight| weight > 0.0)
        })
}
