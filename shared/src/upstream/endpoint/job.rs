//! Asynchronous jobs: what `POST /videos` and `POST /batches` create.

use super::{Endpoint, unwrapped};

/// Longer ids are not followed. Real ones have about 40 characters.
const LONGEST_ID: usize = 255;

/// An asynchronous job at OpenRouter. Its id is checked: it came out of an answer or a path, and a
/// path is made of it.
///
/// <https://openrouter.ai/docs/batch-quickstart>; `VideoGenerationResponse` and `BatchObject` in
/// OpenRouter's own SDKs (npm `@openrouter/sdk` 1.3.19, PyPI `openrouter`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    endpoint: Endpoint,
    id: String,
}

impl Job {
    /// The job `id` of an endpoint; `None` where the endpoint makes no jobs, or the id is none that
    /// stays one segment of a path as it is.
    #[must_use]
    pub fn new(endpoint: Endpoint, id: &str) -> Option<Self> {
        let is_id = (1..=LONGEST_ID).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
            && id.bytes().any(|byte| byte != b'.');
        (endpoint.creates_jobs() && is_id).then(|| Self {
            endpoint,
            id: id.to_owned(),
        })
    }

    /// The job of a row of `request_logs`.
    pub(crate) fn of_row(endpoint: &str, id: &str) -> Option<Self> {
        Endpoint::all_with_jobs()
            .find(|it| it.as_str() == endpoint)
            .and_then(|endpoint| Self::new(endpoint, id))
    }

    /// The job that a path without its leading slash is the address of, in each spelling that
    /// OpenRouter may take for it: whoever reads a job unseen could delete it before its cost is known.
    pub(super) fn at(path: &str) -> Option<Self> {
        let path = path.trim_start_matches("v1/").trim_end_matches('/');
        let (folder, id) = unwrapped(path).split_once('/')?;
        let endpoint = Endpoint::all_with_jobs().find(|it| {
            it.folder_of_jobs()
                .is_some_and(|jobs| jobs.eq_ignore_ascii_case(folder))
        })?;
        // A list of models, not a job.
        if endpoint == Endpoint::Videos && id == "models" {
            return None;
        }
        Self::new(endpoint, id)
    }

    /// The endpoint that created it.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// OpenRouter's name for it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The path of its state, below OpenRouter's base URL.
    #[must_use]
    pub fn path(&self) -> String {
        let folder = self.endpoint.folder_of_jobs().unwrap_or_default();
        format!("/{folder}/{}", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_one_segment_of_the_path() {
        let job = Job::new(Endpoint::Videos, "gen-vid-1784822400-Ab_9.~").unwrap();
        assert_eq!(job.path(), "/videos/gen-vid-1784822400-Ab_9.~");
        for id in [
            "", ".", "..", "a/b", "a?b", "a#b", "a%2fb", "a b", "ä", "a\0b",
        ] {
            assert_eq!(Job::new(Endpoint::Batches, id), None, "{id:?}");
        }
        assert_eq!(Job::new(Endpoint::Videos, &"x".repeat(256)), None);
        assert_eq!(Job::new(Endpoint::ChatCompletions, "gen-1"), None);
    }

    #[test]
    fn a_path_names_a_job_only_if_it_is_exactly_its_address() {
        assert_eq!(
            Job::at("batches/batch_1"),
            Job::new(Endpoint::Batches, "batch_1")
        );
        assert_eq!(
            Job::of_row("videos", "gen-vid-1"),
            Job::at("videos/gen-vid-1")
        );
        for path in [
            "videos",
            "videos/",
            "videos/models",
            "videos/gen-vid-1/content",
            "video/gen-vid-1",
            "presets/p/videos/gen-vid-1",
            "chat/completions",
        ] {
            assert_eq!(Job::at(path), None, "{path}");
        }
        assert_eq!(Job::of_row("chat.completions", "gen-1"), None);
    }
}
