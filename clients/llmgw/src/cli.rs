//! What can be typed: the commands and their arguments.

use std::{convert::Infallible, path::PathBuf, str::FromStr};

use clap::{Args, ColorChoice, Parser, Subcommand};
use http::{HeaderName, HeaderValue, Method};
use shared::identity::signing::Audience;

use crate::{
    admin::cli::AdminArgs,
    books::BooksCommand,
    commands::{
        chat::ChatArgs,
        completions::CompletionsArgs,
        doctor::DoctorArgs,
        identity::IdentityCommand,
        keys::{ConnectArgs, KeysArgs},
        models::ModelsArgs,
        profile::ProfileCommand,
        usage::UsageArgs,
    },
    config::ProfileName,
    serve::ServeArgs,
    target::Target,
};

/// Call LLM Gateway as yourself: requests are signed with the key of your DID.
#[derive(Debug, Parser)]
#[command(name = "llmgw", version, color = ColorChoice::Never, after_help = EXAMPLES)]
pub struct Cli {
    /// The identity file.
    #[arg(long, global = true, env = "LLMGW_IDENTITY", value_name = "PATH", help = IDENTITY_HELP)]
    pub identity: Option<PathBuf>,
    /// The profile to use, one of `llmgw profile list` [default: the one chosen by `profile use`]
    #[arg(long, global = true, env = "LLMGW_PROFILE", value_name = "NAME")]
    pub profile: Option<ProfileName>,
    /// Tell on stderr what is being done
    #[arg(long, global = true)]
    pub debug: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const IDENTITY_HELP: &str = "The identity file [default: the profile's, or llmgw/identity.json in \
     $XDG_CONFIG_HOME or ~/.config]";

const EXAMPLES: &str = r#"Examples:
  llmgw identity new
  llmgw profile add home https://gw.example.com
  llmgw doctor
  llmgw connect
  llmgw chat -m openai/gpt-4o-mini
  llmgw serve
  llmgw request -d '{"model":"openai/gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"Hello!"}]}' \
      openrouter/chat/completions

A gateway, an audience and an identity are taken from arguments, or else from variables, or else
from the profile. Data goes to stdout, everything else to stderr; with NO_COLOR set, or where that is
no terminal, without colours. Exit status: 0 for an answer below 400, 1 for any other and for
failures, 2 for wrong arguments."#;

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make, show, import or export the identity that signs
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// Keep several gateways and identities by name
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// Give the gateway your OpenRouter key, or have it make one
    Connect(ConnectArgs),
    /// Show or revoke your OpenRouter key at the gateway
    Keys(KeysArgs),
    /// List models and their prices
    Models(ModelsArgs),
    /// Talk to a model
    Chat(ChatArgs),
    /// Show what you have used and what it cost
    Usage(UsageArgs),
    /// Find out what does not work
    Doctor(DoctorArgs),
    /// Sign a request, send it, and print the answer as it arrives
    Request(RequestArgs),
    /// Sign a request and print its headers, for another program to send
    Sign(SignArgs),
    /// Sign other programs' requests: a local OpenAI, Anthropic and OpenRouter API
    Serve(ServeArgs),
    /// Keep the gateway's books in order (for operators)
    #[command(subcommand)]
    Books(BooksCommand),
    /// Operate a gateway: its keyset, its users' keys, its health
    Admin(AdminArgs),
    /// Print a script that completes commands in a shell
    Completions(CompletionsArgs),
}

/// Arguments of `request`.
#[derive(Debug, Args)]
#[command(after_help = REQUEST_EXAMPLES)]
pub struct RequestArgs {
    /// The request.
    #[command(flatten)]
    pub draft: DraftArgs,
    /// Print the status line and the headers of the answer, too
    #[arg(short, long)]
    pub include: bool,
}

const REQUEST_EXAMPLES: &str = r"Examples:
  llmgw request '/api/v1/usage?start_date=2026-01-01'
  llmgw request -d @chat.json openrouter/chat/completions
  jq -n '{model: $m, input: $t}' --arg m MODEL --arg t TEXT | llmgw request -d @- openrouter/embeddings
  llmgw request -i -X DELETE keys";

/// Arguments of `sign`.
#[derive(Debug, Args)]
pub struct SignArgs {
    /// The request.
    #[command(flatten)]
    pub draft: DraftArgs,
    /// Print a curl command that sends the request; it works once, within five minutes
    #[arg(long)]
    pub curl: bool,
}

const GATEWAY_HELP: &str =
    "The gateway's base URL, like https://gw.example.com [default: the profile's]";

/// The gateway that requests are for.
#[derive(Debug, Args)]
pub struct GatewayArgs {
    /// The gateway's base URL.
    #[arg(long, env = "LLMGW_GATEWAY", value_name = "URL", help = GATEWAY_HELP)]
    pub gateway: Option<Audience>,
    /// The base URL that the gateway knows itself by, where it is another
    #[arg(long, env = "LLMGW_AUDIENCE", value_name = "URL")]
    pub audience: Option<Audience>,
}

/// A request, and the gateway that it is for.
#[derive(Debug, Args)]
pub struct DraftArgs {
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// The method [default: GET, or POST with a body]
    #[arg(short = 'X', long = "request", value_name = "METHOD", value_parser = method)]
    pub method: Option<Method>,
    /// The body: text, @FILE, or @- for stdin; sent as it is, as JSON unless -H says otherwise
    #[arg(short, long, value_name = "BODY", allow_hyphen_values = true)]
    pub data: Option<Data>,
    /// A header, like 'X-Title: My app'; may be repeated
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub headers: Vec<Header>,
    /// The path with its query: /api/v1/usage, or below /api/v1/: openrouter/chat/completions
    pub path: Target,
}

/// Where a body comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// It was typed.
    Text(String),
    /// `@FILE`.
    File(PathBuf),
    /// `@-`.
    Stdin,
}

impl FromStr for Data {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.strip_prefix('@') {
            Some("-") => Self::Stdin,
            Some(path) => Self::File(path.into()),
            None => Self::Text(text.to_owned()),
        })
    }
}

/// A header of the user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: HeaderValue,
}

impl FromStr for Header {
    type Err = HeaderError;

    fn from_str(text: &str) -> Result<Self, HeaderError> {
        let (name, value) = text.split_once(':').ok_or(HeaderError::Form)?;
        let name: HeaderName = name.parse().map_err(|_| HeaderError::Form)?;
        if name.as_str().starts_with("x-did") {
            return Err(HeaderError::SetBySigning);
        }
        // Not only ASCII: titles of apps are sent in headers.
        let value =
            HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|_| HeaderError::Form)?;
        Ok(Self { name, value })
    }
}

/// Why a text is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// No name, or something that cannot be sent.
    #[error("a header is of the form 'Name: value'")]
    Form,
    /// One of the scheme's own.
    #[error("the x-did headers are set by signing")]
    SetBySigning,
}

/// The methods that are in use are all in upper case, and a signature tells the cases apart.
fn method(text: &str) -> Result<Method, &'static str> {
    let upper_case = text.to_ascii_uppercase();
    Method::from_bytes(upper_case.as_bytes()).map_err(|_| "a method is a word like GET")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bodies() {
        let parsed = |text: &str| text.parse::<Data>().unwrap();
        assert_eq!(parsed("@-"), Data::Stdin);
        assert_eq!(parsed("@a b.json"), Data::File("a b.json".into()));
        assert_eq!(parsed("{}"), Data::Text("{}".to_owned()));
        assert_eq!(parsed(""), Data::Text(String::new()));
    }

    #[test]
    fn headers() {
        for (text, name, value) in [
            ("X-Title: My app", "x-title", "My app"),
            ("x-title:a:b", "x-title", "a:b"),
            ("x-title:", "x-title", ""),
            ("x-title: 你好", "x-title", "你好"),
        ] {
            let header: Header = text.parse().unwrap();
            assert_eq!(header.name, name);
            assert_eq!(header.value.as_bytes(), value.as_bytes());
        }
        for text in ["", "x-title", ": a", "a b: c", "x: a\nb"] {
            assert_eq!(text.parse::<Header>(), Err(HeaderError::Form), "{text}");
        }
        for text in ["X-DID: did:key:z", "x-did-nonce: 0123456789abcdef"] {
            assert_eq!(text.parse::<Header>(), Err(HeaderError::SetBySigning));
        }
    }

    #[test]
    fn methods() {
        assert_eq!(method("patch"), Ok(Method::PATCH));
        assert!(method("GET /").is_err());
        assert!(method("").is_err());
    }
}
