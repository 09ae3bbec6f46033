//! Instructions of a request, by the way in which its sender is told. Valgrind counts them the same each time, on a
//! machine that is busy with something else, too.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use e2e::signer::{AUDIENCE, Signer};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use llmgw::{
    gateway::{Draft, Gateway},
    identity::Identity,
    target::Target,
};
use rustix::process::{Signal, kill_process};
use serde_json::json;
use shared::{
    clock::Clock,
    identity::{
        access_token::AccessToken,
        auth::Scheme,
        did::Did,
        signing::{Audience, Nonce},
    },
};
use stack::{RunDir, process::find};
use stub::load::Load;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{
    crowd::Crowd,
    figures::Figures,
    stubs::Stubs,
    subject::{PROXY, event_of, random},
};

/// Requests of a shorter and of a longer run. The difference leaves out the start and the first requests.
const SHORTER: u64 = 50;
const LONGER: u64 = 250;
/// The time in which Valgrind writes its counts.
const WRITTEN: Duration = Duration::from_secs(30);

/// A sender, and the way in which its requests tell so.
#[derive(Debug)]
pub enum Sender {
    /// Signs each request.
    Signer(&'static str, Box<(Identity, Gateway)>),
    /// Holds a token: the value of `authorization`.
    Holder(HeaderValue),
}

impl Sender {
    /// One for each way; `user` owns the token.
    pub fn all(user: &Signer) -> Result<Vec<Self>> {
        let gateway = |scheme| -> Result<Gateway> {
            Ok(Gateway::new(Audience::parse(AUDIENCE)?).with_scheme(scheme))
        };
        let ed25519 = || Ok(Identity::from_seed(&random()?));
        let p256 = || Identity::from_p256(&random()?).context("no secret of P-256");
        let signer = |name, identity: Result<Identity>, scheme| -> Result<Self> {
            Ok(Self::Signer(name, Box::new((identity?, gateway(scheme)?))))
        };
        let token = AccessToken::from_randomness(random()?).expose();
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", *token))?;
        bearer.set_sensitive(true);
        Ok(vec![
            signer(
                "x-did-v1, Ed25519",
                Ok(Identity::from_seed(&user.seed)),
                Scheme::XDidV1,
            )?,
            signer("x-did-v1, P-256", p256(), Scheme::XDidV1)?,
            signer("RFC 9421, Ed25519", ed25519(), Scheme::Rfc9421)?,
            signer("RFC 9421, P-256", p256(), Scheme::Rfc9421)?,
            Self::Holder(bearer),
        ])
    }

    /// The DID that signs.
    #[must_use]
    pub fn did(&self) -> Option<&Did> {
        match self {
            Self::Signer(_, signer) => Some(signer.0.did()),
            Self::Holder(_) => None,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Signer(name, _) => name,
            Self::Holder(_) => "token",
        }
    }

    /// API Gateway's event of a chat, and its id.
    fn event(&self, body: &[u8]) -> Result<(Uuid, Vec<u8>)> {
        let path = format!("{PROXY}/chat/completions");
        let random = random()?;
        let mut headers = HeaderMap::new();
        match self {
            Self::Signer(_, signer) => {
                let (identity, gateway) = &**signer;
                let draft = Draft::post(Target::parse(&path)?, body.to_vec());
                let (now, nonce) = (Clock::system().now(), Nonce::from_random(random));
                for (name, value) in gateway.sign(identity, &draft, now, &nonce)? {
                    headers.insert(HeaderName::from_static(name), value.parse()?);
                }
            }
            Self::Holder(bearer) => {
                headers.insert(header::AUTHORIZATION, bearer.clone());
            }
        }
        Ok(event_of(random, &Method::POST, &path, headers, body))
    }
}

/// Counts the instructions of a request to a proxy that is answered with JSON, its books included.
#[derive(Debug)]
pub struct Counter<'a> {
    /// The executable.
    pub proxy: &'a Path,
    pub stubs: &'a Stubs,
    pub run: &'a RunDir,
}

impl Counter<'_> {
    /// Adds a line for each sender.
    pub async fn count(&self, senders: &[Sender], figures: &mut Figures) -> Result<()> {
        let Some(valgrind) = find(&["valgrind"]) else {
            eprintln!("  valgrind is not here");
            return Ok(());
        };
        let mut counts = Vec::new();
        for sender in senders {
            // What an older proxy does not know has no figure.
            match self.instructions(&valgrind, sender).await {
                Ok(count) => counts.push((sender.name(), count)),
                Err(error) => eprintln!("  {}: {error:#}", sender.name()),
            }
        }
        let signed = counts.first().map(|(_, count)| *count);
        for (name, count) in &counts {
            let most = signed.filter(|_| *name == "token");
            figures.add(
                format!("instructions of a request: {name}"),
                most.map(|most| format!("< {}", millions(most)))
                    .unwrap_or_default(),
                millions(*count),
                most.map(|most| *count < most),
            );
        }
        figures.keep("instructions", json!(counts));
        Ok(())
    }

    async fn instructions(&self, valgrind: &Path, sender: &Sender) -> Result<u64> {
        let shorter = self.of_run(valgrind, sender, SHORTER).await?;
        let longer = self.of_run(valgrind, sender, LONGER).await?;
        ensure!(longer > shorter, "more requests took fewer instructions");
        Ok((longer - shorter) / (LONGER - SHORTER))
    }

    /// The instructions of an environment that answers so many requests.
    async fn of_run(&self, valgrind: &Path, sender: &Sender, requests: u64) -> Result<u64> {
        let folder = tempfile::tempdir_in(self.run.path())?;
        let counts = folder.path().join("counts");
        let start = folder.path().join("start");
        let script = format!(
            "#!/bin/sh\nexec '{}' --quiet --tool=callgrind --callgrind-out-file='{}' '{}'\n",
            valgrind.display(),
            counts.display(),
            self.proxy.display()
        );
        fs::write(&start, script)?;
        fs::set_permissions(&start, fs::Permissions::from_mode(0o700))?;
        let crowd = Crowd::start(&start, &self.stubs.env(), folder.path(), 1).await?;
        for _ in 0..requests {
            let (id, event) = sender.event(&Load::Json.request())?;
            crowd.invoke(id, event).await?;
        }
        kill_process(crowd.process, Signal::TERM)?;
        let deadline = Instant::now() + WRITTEN;
        loop {
            let text = fs::read_to_string(&counts).unwrap_or_default();
            let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
            if let Some(total) = total {
                return Ok(total.trim().parse()?);
            }
            ensure!(Instant::now() < deadline, "valgrind has written no counts");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn millions(count: u64) -> String {
    format!("{:.3} million", count as f64 / 1e6)
}
