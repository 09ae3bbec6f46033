//! The users of the gateway.

use std::{ops::Deref, time::Duration};

use anyhow::{Result, anyhow};
use http::{HeaderValue, Method, header};
use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use shared::identity::signing::Nonce;
use stack::lambda::event;
use uuid::Uuid;

use crate::{
    signer::Signer,
    world::{CHAT, World, chat_body},
};

/// A user of the world's gateway.
#[derive(Debug)]
pub struct User<'a> {
    signer: Signer,
    world: &'a World,
}

impl Deref for User<'_> {
    type Target = Signer;

    fn deref(&self) -> &Signer {
        &self.signer
    }
}

impl World {
    /// A user with a DID and an OpenRouter key that the stub accepts.
    pub fn user(&self) -> Result<User<'_>> {
        let user = self.stranger()?;
        self.upstream.accept_key(user.api_key.expose_secret());
        self.vault
            .store_key(&self.database, &user.did, &user.api_key)?;
        Ok(user)
    }

    /// A user with a DID and no key.
    pub fn stranger(&self) -> Result<User<'_>> {
        Ok(User {
            signer: Signer::random()?,
            world: self,
        })
    }
}

impl User<'_> {
    /// A signed request to `function`.
    pub fn request(
        &self,
        function: &str,
        method: Method,
        path_and_query: &str,
        body: Vec<u8>,
    ) -> Result<RequestBuilder> {
        let url = self.world.url(function, path_and_query);
        self.request_at(&url, method, path_and_query, body)
    }

    /// A signed request to a function at `url`.
    pub fn request_at(
        &self,
        url: &str,
        method: Method,
        path_and_query: &str,
        body: Vec<u8>,
    ) -> Result<RequestBuilder> {
        let headers = self.headers(&method, path_and_query, &body)?;
        Ok(self
            .world
            .client
            .request(method, url)
            .headers(headers)
            .body(body))
    }

    /// A signed GET of `path_and_query` from `function`.
    pub async fn get(&self, function: &str, path_and_query: &str) -> Result<Response> {
        Ok(self
            .request(function, Method::GET, path_and_query, Vec::new())?
            .send()
            .await?)
    }

    /// A signed POST to `function`.
    pub async fn post(
        &self,
        function: &str,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<Response> {
        let request = self.request(function, Method::POST, path, body)?;
        Ok(request.header("content-type", content_type).send().await?)
    }

    /// A signed chat completion through `function`; `id` becomes the generation's.
    pub async fn chat(
        &self,
        function: &str,
        model: &str,
        stream: bool,
        id: &str,
    ) -> Result<Response> {
        self.post(
            function,
            CHAT,
            "application/json",
            chat_body(model, stream, id),
        )
        .await
    }

    /// The event that a REST API makes of a signed chat completion.
    pub fn chat_event(&self, model: &str, stream: bool, id: &str) -> Result<Vec<u8>> {
        let (_, event) = self.event(&Method::POST, CHAT, &chat_body(model, stream, id))?;
        Ok(event)
    }

    /// The event that a REST API makes of a signed request, and the platform's id of it.
    pub fn event(&self, method: &Method, path: &str, body: &[u8]) -> Result<(Uuid, Vec<u8>)> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let mut headers = self.signed(method, path, body, &Nonce::from_random(random))?;
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        let id = uuid::Builder::from_random_bytes(random).into_uuid();
        let event = event::rest(id, method, path, &headers, body);
        Ok((id, event))
    }

    /// This user's rows, once none is pending any more.
    pub async fn rows(&self) -> Result<Vec<Value>> {
        let sql = format!(
            "SELECT coalesce(json_agg(r ORDER BY request_time), '[]') FROM public.request_logs r WHERE did = '{}'",
            self.did.as_str()
        );
        for _ in 0..150 {
            let rows: Vec<Value> = serde_json::from_str(&self.world.sql(&sql)?)?;
            if rows.iter().all(|row| row["status"] != "pending") {
                return Ok(rows);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(anyhow!("a row is still pending after 15 s"))
    }

    /// This user's only row.
    pub async fn row(&self) -> Result<Value> {
        match self.rows().await?.as_slice() {
            [row] => Ok(row.clone()),
            rows => Err(anyhow!("{} rows instead of one", rows.len())),
        }
    }
}
