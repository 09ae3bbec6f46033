//! The parts of a request: where it has message content, tools and plugins.

use super::name;

/// The meaning of a JSON value by the place that it stands at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Context {
    /// A request: the body, or one inside a batch.
    Request,
    /// Anything that is searched.
    Setting,
    /// Content, which is not.
    Content,
    /// The value of a member that names models: every string below it is one.
    Models,
    /// The value of `preset`.
    Presets,
    /// The value of `pin_model`.
    Pinning,
    /// A list of messages or of items, or text.
    Conversation,
    /// A message, an item, or a block of a message's content.
    Item,
    /// The content of a message: blocks, or text.
    Blocks,
    /// A tool that a block adds to the conversation.
    AddedTool,
    /// Text or a list of texts.
    Texts,
    /// Text, or the reference of a stored prompt.
    Prompt,
    /// The form that the answer takes.
    Format,
    /// A list of tools.
    Tools,
    /// A tool whose type is not known yet. One of a type that the gateway does not know is a setting.
    Tool,
    /// A tool that the client runs, of the type `function`.
    FunctionTool,
    /// The member `function` of such a tool, or an element of `functions`.
    Function,
    /// A tool that the client runs, without type or of the type `custom`.
    CustomTool,
    /// The list `functions`, which came before tools.
    Functions,
    /// A list of plugins.
    Plugins,
    /// A plugin.
    Plugin,
    /// A plugin's name.
    PluginId,
    /// A batch's requests.
    Requests,
    /// One of them.
    InlineRequest,
}

impl Context {
    /// The context of a member of an object in this one.
    pub(super) fn member(self, name: &str) -> Self {
        match (self, name) {
            (Self::Content | Self::Models | Self::Presets | Self::Pinning, _) => self,

            (Self::InlineRequest, "body" | "params") => Self::Request,
            (Self::Request | Self::InlineRequest, _) => Self::member_of_request(name),

            (Self::Item | Self::Blocks, "content") => Self::Blocks,
            (Self::Item | Self::Blocks, "tools") => Self::Tools,
            (Self::Item | Self::Blocks, "tool") => Self::AddedTool,
            (Self::AddedTool, "definition") => Self::Tool,

            (Self::FunctionTool, "function") => Self::Function,
            (Self::Item | Self::Blocks, _)
            | (Self::Function | Self::FunctionTool, "parameters" | "output_schema")
            | (
                Self::FunctionTool | Self::CustomTool,
                "input_schema" | "output_schema" | "input_examples",
            )
            | (Self::Format, "schema")
            | (Self::Prompt, "variables") => Self::Content,

            (Self::Format, "format" | "json_schema") => Self::Format,
            (Self::Plugin, "id") => Self::PluginId,

            (
                Self::Setting
                | Self::Conversation
                | Self::AddedTool
                | Self::Texts
                | Self::Prompt
                | Self::Format
                | Self::Tools
                | Self::Tool
                | Self::FunctionTool
                | Self::Function
                | Self::CustomTool
                | Self::Functions
                | Self::Plugins
                | Self::Plugin
                | Self::PluginId
                | Self::Requests,
                _,
            ) => Self::member_of_setting(name),
        }
    }

    fn member_of_request(name: &str) -> Self {
        match name {
            "messages" | "input" | "system" | "instructions" => Self::Conversation,
            "documents" | "query" => Self::Texts,
            "prompt" => Self::Prompt,
            "response_format" | "text" | "output_format" | "output_config" => Self::Format,
            "functions" => Self::Functions,
            "requests" => Self::Requests,
            _ => Self::member_of_setting(name),
        }
    }

    fn member_of_setting(member: &str) -> Self {
        if name::is_of_pinning(member) {
            Self::Pinning
        } else if name::is_of_models(member) {
            Self::Models
        } else if name::is_of_presets(member) {
            Self::Presets
        } else {
            match member {
                "tools" => Self::Tools,
                "plugins" => Self::Plugins,
                _ => Self::Setting,
            }
        }
    }

    /// The context of an element of an array in this one.
    pub(super) fn element(self) -> Self {
        match self {
            Self::Content | Self::Texts | Self::Prompt => Self::Content,
            Self::Models | Self::Presets | Self::Pinning => self,
            Self::Conversation | Self::Item | Self::Blocks => Self::Item,
            Self::Tools => Self::Tool,
            Self::Functions => Self::Function,
            Self::Plugins => Self::Plugin,
            Self::Requests => Self::InlineRequest,
            Self::Request
            | Self::Setting
            | Self::AddedTool
            | Self::Format
            | Self::Tool
            | Self::FunctionTool
            | Self::Function
            | Self::CustomTool
            | Self::Plugin
            | Self::PluginId
            | Self::InlineRequest => Self::Setting,
        }
    }
}
