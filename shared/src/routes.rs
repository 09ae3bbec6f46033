//! The gateway's routes: which function answers a path, to which methods, and for whom.
//!
//! The functions route by this table. The template, the router of `cargo lambda watch` and the
//! documentation are held against it (`tests/routes.rs`).

use http::Method;

/// A route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The service's name and version.
    Banner,
    /// Whether the gateway works.
    Health,
    /// Whether the database answers with the deployed key.
    DatabaseHealth,
    /// OpenRouter's own endpoints.
    OpenRouter,
    /// Sums over the caller's requests.
    Usage,
    /// The caller's requests, one by one.
    UsageRequests,
    /// The caller's key.
    Keys,
    /// The caller's access tokens.
    Tokens,
    /// One of them.
    Token,
    /// The console's page.
    Console,
    /// The console's files.
    ConsoleFile,
}

/// A deployed function that answers requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the functions' names")]
pub enum Function {
    Health,
    Proxy,
    Usage,
    Keys,
    Tokens,
    Console,
}

impl Function {
    /// The package's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Proxy => "proxy",
            Self::Usage => "usage",
            Self::Keys => "keys",
            Self::Tokens => "tokens",
            Self::Console => "console",
        }
    }
}

/// The function that answers every path without a route. It knows no secret.
pub const FALLBACK: Function = Function::Health;

/// The methods that OpenRouter is asked with. Others (`TRACE`, `CONNECT`, odd spellings) would carry the
/// user's key to who knows what.
const PASSED_ON: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// The proof that a route asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// None.
    Open,
    /// A signature.
    Signed,
    /// A signature. Requests that cost money get a row in the books.
    SignedAndBooked,
}

/// A route's row in the table.
struct Description {
    /// The path below the gateway's base URL. `{path}` at the end stands for anything.
    path: &'static str,
    /// The methods, as the header `Allow` lists them.
    methods: &'static str,
    function: Function,
    access: Access,
}

impl Route {
    /// Every route.
    pub const ALL: [Self; 11] = [
        Self::Banner,
        Self::Health,
        Self::DatabaseHealth,
        Self::OpenRouter,
        Self::Usage,
        Self::UsageRequests,
        Self::Keys,
        Self::Tokens,
        Self::Token,
        Self::Console,
        Self::ConsoleFile,
    ];

    fn description(self) -> Description {
        use Access::{Open, Signed, SignedAndBooked};
        use Function::{Console, Health, Keys, Proxy, Tokens, Usage};
        let row = |path, methods, function, access| Description {
            path,
            methods,
            function,
            access,
        };
        match self {
            Self::Banner => row("/", "GET, HEAD", Health, Open),
            Self::Health => row("/api/v1/health", "GET, HEAD", Health, Open),
            Self::DatabaseHealth => row("/api/v1/health/database", "GET, HEAD", Usage, Open),
            Self::OpenRouter => row(
                "/api/v1/openrouter/{path}",
                PASSED_ON,
                Proxy,
                SignedAndBooked,
            ),
            Self::Usage => row("/api/v1/usage", "GET", Usage, Signed),
            Self::UsageRequests => row("/api/v1/usage/requests", "GET", Usage, Signed),
            Self::Keys => row("/api/v1/keys", "GET, PUT, POST, DELETE", Keys, Signed),
            Self::Tokens => row("/api/v1/tokens", "GET, POST", Tokens, Signed),
            Self::Token => row(
                "/api/v1/tokens/{path}",
                "GET, PATCH, DELETE, POST",
                Tokens,
                Signed,
            ),
            Self::Console => row("/console", "GET, HEAD", Console, Open),
            Self::ConsoleFile => row("/console/{path}", "GET, HEAD", Console, Open),
        }
    }

    /// The route of a whole path that `function` answers. No route ends in a placeholder there: what
    /// stands for it is the function's to read.
    #[must_use]
    pub fn of(function: Function, path: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|it| it.function() == function && it.path() == path)
    }

    /// The route that a path below the gateway's base URL leads to, whichever function answers it.
    #[must_use]
    pub fn at(path: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|it| match it.path().strip_suffix("{path}") {
                Some(prefix) => path.starts_with(prefix),
                None => path == it.path(),
            })
    }

    /// The path below the gateway's base URL. `{path}` at the end stands for anything.
    #[must_use]
    pub fn path(self) -> &'static str {
        self.description().path
    }

    /// The methods, as the header `Allow` lists them.
    #[must_use]
    pub fn methods(self) -> &'static str {
        self.description().methods
    }

    /// The function that answers it.
    #[must_use]
    pub fn function(self) -> Function {
        self.description().function
    }

    /// The proof that it asks for.
    #[must_use]
    pub fn access(self) -> Access {
        self.description().access
    }

    /// Refuses a method that the route does not have.
    pub fn check_method(self, method: &Method) -> Result<(), MethodNotAllowed> {
        let allow = self.methods();
        if allow.split(", ").any(|it| it == method.as_str()) {
            return Ok(());
        }
        Err(MethodNotAllowed {
            method: method.clone(),
            allow,
        })
    }
}

/// A method that a route does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{method} is not allowed here")]
pub struct MethodNotAllowed {
    /// The request's method.
    pub method: Method,
    /// The route's methods, as the header `Allow` lists them.
    pub allow: &'static str,
}

impl MethodNotAllowed {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        "method_not_allowed"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_methods_are_not_passed_on() {
        for method in [
            "TRACE", "CONNECT", "post", "Post", "BREW", "PROPFIND", "GET,",
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::TRACE);
            let refused = Route::OpenRouter.check_method(&method).unwrap_err();
            assert_eq!(refused.allow, PASSED_ON, "{method}");
        }
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(Route::OpenRouter.check_method(&method), Ok(()), "{method}");
        }
    }
}
