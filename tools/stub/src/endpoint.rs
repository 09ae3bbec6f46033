//! OpenRouter's billable endpoints.

/// A billable endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// `POST /chat/completions`
    Chat,
    /// `POST /completions`
    Completion,
    /// `POST /responses`
    Responses,
    /// `POST /messages`
    Messages,
    /// `POST /embeddings`
    Embeddings,
    /// `POST /rerank`
    Rerank,
    /// `POST /images`
    Images,
    /// `POST /audio/transcriptions`
    Transcription,
    /// `POST /audio/speech`
    Speech,
    /// `POST /videos`
    Video,
    /// `POST /batches`
    Batch,
    /// `POST /systemone`
    Systemone,
    /// An endpoint that the gateway does not know.
    Unknown,
}

impl Endpoint {
    /// All endpoints.
    pub const ALL: [Self; 13] = [
        Self::Chat,
        Self::Completion,
        Self::Responses,
        Self::Messages,
        Self::Embeddings,
        Self::Rerank,
        Self::Images,
        Self::Transcription,
        Self::Speech,
        Self::Video,
        Self::Batch,
        Self::Systemone,
        Self::Unknown,
    ];

    /// The path below OpenRouter's root.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "chat/completions",
            Self::Completion => "completions",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::Embeddings => "embeddings",
            Self::Rerank => "rerank",
            Self::Images => "images",
            Self::Transcription => "audio/transcriptions",
            Self::Speech => "audio/speech",
            Self::Video => "videos",
            Self::Batch => "batches",
            Self::Systemone => "systemone",
            Self::Unknown => "brand/new",
        }
    }

    /// The endpoint with this path.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.path() == path)
    }

    /// Whether it can answer with an event stream.
    #[must_use]
    pub fn streams(self) -> bool {
        matches!(
            self,
            Self::Chat | Self::Completion | Self::Responses | Self::Messages | Self::Images
        )
    }

    /// Whether it only accepts a job, which is billed on completion.
    #[must_use]
    pub fn is_job(self) -> bool {
        matches!(self, Self::Video | Self::Batch)
    }

    /// Whether the answer's body names the generation; otherwise only `x-generation-id` does.
    #[must_use]
    pub fn names_generation(self) -> bool {
        !matches!(self, Self::Transcription | Self::Speech | Self::Systemone)
    }

    /// Whether its answers name the model that served, which may differ from the requested one.
    #[must_use]
    pub fn names_model(self) -> bool {
        !self.is_job()
    }
}
