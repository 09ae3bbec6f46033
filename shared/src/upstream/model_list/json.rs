//! The reader of a JSON body: once through, keeping the names of open objects, as hashes, and the models.

use std::{
    borrow::Cow,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    str,
};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    context::Context,
    mention::{Fault, Mentions, UnreadableModels},
    tool::{self, Tool},
};

/// Most containers open at once; `serde_json` itself follows 127.
const DEPTH_LIMIT: usize = 100;
/// Lists of tools inside tools that are read as such. Each is read once more, to know a tool's type first;
/// in deeper ones everything is searched.
const TOOL_LISTS_LIMIT: usize = 4;
/// Most characters of a member's name in a place.
const SHOWN_NAME: usize = 64;

/// The facts about a request itself.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// It has a `model` or `models` that name one.
    pub(super) a_model: bool,
    /// It has requests inside, as a batch does.
    pub(super) inline_requests: bool,
    /// It refers to requests in a file.
    pub(super) a_file: bool,
}

/// Reads a whole body, which must be an object.
pub(super) fn read_body(body: &[u8], mentions: &mut Mentions) -> Result<Named, UnreadableModels> {
    let text = str::from_utf8(body).map_err(|_| Fault::NotJson.at(""))?;
    if !text.trim_start_matches(is_blank).starts_with('{') {
        return Err(Fault::NotAnObject.at(""));
    }
    let mut reader = Reader::new(mentions);
    reader.read(text, Context::Request)?;
    Ok(reader.named)
}

/// Reads the JSON in a form's field.
pub(super) fn read_field(
    field: &str,
    value: &str,
    mentions: &mut Mentions,
) -> Result<(), UnreadableModels> {
    let mut reader = Reader::new(mentions);
    reader.place.push(Step::Member(Cow::Borrowed(field)));
    reader.read(value, Context::Request.member(field))
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

struct Reader<'m, 'de> {
    mentions: &'m mut Mentions,
    named: Named,
    /// The way to the current value.
    place: Vec<Step<'de>>,
    /// Hashes of the names in all open objects. Should two differing names ever have one hash, their
    /// request is refused.
    names: Vec<u64>,
    tool_lists: usize,
    fault: Option<UnreadableModels>,
}

enum Step<'de> {
    Member(Cow<'de, str>),
    Index(usize),
}

impl<'m, 'de> Reader<'m, 'de> {
    fn new(mentions: &'m mut Mentions) -> Self {
        Self {
            mentions,
            named: Named::default(),
            place: Vec::new(),
            names: Vec::new(),
            tool_lists: 0,
            fault: None,
        }
    }

    fn read(&mut self, text: &'de str, context: Context) -> Result<(), UnreadableModels> {
        let mut json = serde_json::Deserializer::from_str(text);
        let value = Value {
            reader: self,
            context,
        };
        if value
            .deserialize(&mut json)
            .and_then(|()| json.end())
            .is_ok()
        {
            return Ok(());
        }
        let fault = self.fault.take();
        Err(fault.unwrap_or_else(|| Fault::NotJson.at(pointer(&self.place))))
    }

    fn fail<E: de::Error>(&mut self, fault: UnreadableModels) -> E {
        let error = E::custom(&fault);
        self.fault.get_or_insert(fault);
        error
    }

    fn fail_here<E: de::Error>(&mut self, fault: Fault) -> E {
        self.fail(fault.at(pointer(&self.place)))
    }

    /// Notes a string that names a model where it stands.
    fn note<E: de::Error>(&mut self, context: Context, text: &str) -> Result<(), E> {
        let place = || pointer(&self.place);
        let noted = if context == Context::Models {
            self.named.a_model |= !text.is_empty() && is_the_requests_own(&self.place);
            self.mentions.add(text, place)
        } else if context == Context::Presets {
            self.mentions.add_preset(text, place)
        } else if matches!(context, Context::Plugin | Context::PluginId)
            && !tool::is_plain_plugin(text)
        {
            self.mentions.add_literal(text, place)
        } else if context == Context::Pinning {
            Err(Fault::PinnedModel.at(place()))
        } else {
            Ok(())
        };
        noted.map_err(|fault| self.fail(fault))
    }

    /// Notes a tool that runs a model which it does not name.
    fn note_tool<E: de::Error>(&mut self, kind: &str) -> Result<(), E> {
        let place = || format!("{}/type", pointer(&self.place));
        let noted = self.mentions.add_literal(kind, place);
        noted.map_err(|fault| self.fail(fault))
    }

    fn check_depth<E: de::Error>(&mut self) -> Result<(), E> {
        if self.place.len() < DEPTH_LIMIT {
            Ok(())
        } else {
            Err(self.fail_here(Fault::TooDeep))
        }
    }

    /// Notes the name of a member of the request itself.
    fn note_member(&mut self, name: &str) {
        self.named.a_file |= self.place.is_empty() && name == "input_file_id";
    }

    /// Checks the names of an object that ends: those from `first` on.
    fn end_object<E: de::Error>(&mut self, first: usize) -> Result<(), E> {
        let names = self.names.get_mut(first..).unwrap_or_default();
        names.sort_unstable();
        if names.array_windows().any(|[a, b]| a == b) {
            return Err(self.fail_here(Fault::Repeated));
        }
        self.names.truncate(first);
        Ok(())
    }
}

/// Whether a place is `/model` or an element of `/models`.
fn is_the_requests_own(place: &[Step<'_>]) -> bool {
    match place {
        [Step::Member(name)] => name == "model",
        [Step::Member(name), Step::Index(_)] => name == "models",
        _ => false,
    }
}

/// A place as a JSON Pointer (RFC 6901), with long names cut.
fn pointer(place: &[Step<'_>]) -> String {
    let mut pointer = String::new();
    for step in place {
        pointer.push('/');
        match step {
            Step::Index(index) => pointer.push_str(&index.to_string()),
            Step::Member(name) => {
                let end = name.char_indices().nth(SHOWN_NAME);
                let (shown, hidden) = name.split_at(end.map_or(name.len(), |(at, _)| at));
                pointer.push_str(&shown.replace('~', "~0").replace('/', "~1"));
                if !hidden.is_empty() {
                    pointer.push('…');
                }
            }
        }
    }
    pointer
}

fn hash_of(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// The next value, and what it means.
struct Value<'r, 'm, 'de> {
    reader: &'r mut Reader<'m, 'de>,
    context: Context,
}

impl<'de> Value<'_, '_, 'de> {
    /// Reads a tool. Its type, wherever it stands, says what its other members are.
    fn tool<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        let Self { reader, .. } = self;
        let raw = <&'de RawValue>::deserialize(json)?.get();
        let tool = Tool::read(raw);
        if let Some(kind) = tool.as_ref().and_then(Tool::unnamed_model) {
            reader.note_tool(&kind)?;
        }
        let context = tool.map_or(Context::Setting, |tool| tool.context());
        Value { reader, context }
            .deserialize(&mut serde_json::Deserializer::from_str(raw))
            .map_err(de::Error::custom)
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        if self.context == Context::Tool && self.reader.tool_lists <= TOOL_LISTS_LIMIT {
            self.tool(json)
        } else {
            json.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Value<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        if value && self.context == Context::Pinning {
            return Err(self.reader.fail_here(Fault::PinnedModel));
        }
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.visit_bool(value != 0)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.visit_bool(value != 0)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.visit_bool(value != 0.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.reader.note(self.context, text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let Self { reader, context } = self;
        reader.check_depth()?;
        let is_tools = usize::from(context == Context::Tools);
        reader.tool_lists += is_tools;
        let element = context.element();
        for index in 0.. {
            reader.place.push(Step::Index(index));
            let value = Value {
                reader: &mut *reader,
                context: element,
            };
            let is_more = elements.next_element_seed(value)?.is_some();
            reader.place.pop();
            if !is_more {
                break;
            }
            // Only the request's own: those of a request inside another are not carried out.
            reader.named.inline_requests |= context == Context::Requests && reader.place.len() == 1;
        }
        reader.tool_lists -= is_tools;
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { reader, context } = self;
        reader.check_depth()?;
        let first = reader.names.len();
        while let Some(name) = members.next_key_seed(Name)? {
            reader.note_member(&name);
            reader.names.push(hash_of(&name));
            let context = context.member(&name);
            reader.place.push(Step::Member(name));
            let value = Value {
                reader: &mut *reader,
                context,
            };
            members.next_value_seed(value)?;
            reader.place.pop();
        }
        reader.end_object(first)
    }
}

/// The name of a member, unescaped.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}
