//! `llmgw request`.

use std::{fs, io::Read, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, Method};
use shared::request::MAX_BODY;

use crate::{
    args::{Data, Header, RequestArgs},
    context::{Context, Outcome, block_on},
    gateway::{Draft, Gateway},
    response,
};

/// Arguments of `request`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RequestCommandArgs {
    /// The request.
    #[command(flatten)]
    pub request: RequestArgs,
    /// Print the status line and the headers of the response, too
    #[arg(short, long)]
    pub include: bool,
}

const EXAMPLES: &str = r"Examples:
  llmgw request '/api/v1/usage?start_date=2026-01-01'
  llmgw request -d @chat.json openrouter/chat/completions
  jq -n '{model: $m, input: $t}' --arg m MODEL --arg t TEXT | llmgw request -d @- openrouter/embeddings
  llmgw request -i -X DELETE keys";

/// Signs and sends a request, and prints the response.
pub(super) fn run(args: RequestCommandArgs, context: &mut Context<'_>) -> Result<Outcome> {
    let Prepared { gateway, draft, .. } = Prepared::new(args.request, context)?;
    let client = context.client_of(gateway)?;
    let out = &mut *context.stdout;
    let error = block_on(async {
        let response = client.send(draft).await?;
        anyhow::Ok(response::relay(response, args.include, out).await?)
    })?;
    match error {
        None => Ok(Outcome::Success),
        Some(error) => {
            writeln!(context.stderr, "llmgw: {error}")?;
            Ok(Outcome::Failure)
        }
    }
}

/// A request and its gateway.
pub(super) struct Prepared {
    pub(super) gateway: Gateway,
    pub(super) draft: Draft,
    /// The file that holds the body, if one does.
    pub(super) body_file: Option<PathBuf>,
}

impl Prepared {
    pub(super) fn new(args: RequestArgs, context: &mut Context<'_>) -> Result<Self> {
        let gateway = context.settings.gateway(args.gateway)?;
        let default_method = match args.data {
            Some(_) => Method::POST,
            None => Method::GET,
        };
        let headers: HeaderMap = args
            .headers
            .into_iter()
            .map(|Header { name, value }| (name, value))
            .collect();
        let body = args.data.as_ref().map(|data| read(data, context.stdin));
        let draft = Draft::new(
            args.method.unwrap_or(default_method),
            args.path,
            headers,
            body.transpose()?.unwrap_or_default(),
        );
        let body_file = match args.data {
            Some(Data::File(path)) => Some(path),
            Some(Data::Text(_) | Data::Stdin) | None => None,
        };
        Ok(Self {
            gateway,
            draft,
            body_file,
        })
    }
}

/// Reads a body. Unlike curl's `-d`, it keeps the line feeds of a file.
fn read(data: &Data, stdin: &mut dyn Read) -> Result<Bytes> {
    match data {
        Data::Text(text) => Ok(text.clone().into()),
        Data::File(path) => {
            let body = fs::read(path);
            let body = body.with_context(|| format!("cannot read the body {}", path.display()))?;
            Ok(body.into())
        }
        Data::Stdin => {
            let mut body = Vec::new();
            stdin
                .take(u64::try_from(MAX_BODY).unwrap_or(u64::MAX) + 1)
                .read_to_end(&mut body)
                .context("cannot read the body from stdin")?;
            ensure!(
                body.len() <= MAX_BODY,
                "the body on stdin is larger than the {} MiB that a gateway accepts",
                MAX_BODY >> 20
            );
            Ok(body.into())
        }
    }
}
