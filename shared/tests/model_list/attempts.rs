//! Requests that try to have a model run that the list does not allow.

use crate::{Request, chat, form, messages, responses};

/// Each with a name of its own.
pub(crate) fn all() -> Vec<(&'static str, Request)> {
    let mut all = members();
    all.extend(names_of_models());
    all.extend(stand_ins());
    all.extend(tools_and_plugins());
    all.extend(conversation());
    all.extend(batches());
    all.extend(repeated());
    all.extend(malformed());
    all.extend(targets());
    all.extend(forms());
    all
}

fn members() -> Vec<(&'static str, Request)> {
    vec![
        ("another model", chat(r#"{"model":"openai/gpt-5"}"#)),
        ("no model", chat(r#"{"messages":[]}"#)),
        ("no body", chat("")),
        ("an empty object", chat("{}")),
        ("null as model", chat(r#"{"model":null}"#)),
        ("a number as model", chat(r#"{"model":5}"#)),
        ("an empty model", chat(r#"{"model":""}"#).list(&["*"])),
        (
            "an object as model",
            chat(r#"{"model":{"id":"openai/gpt-5"}}"#),
        ),
        (
            "a model in an array",
            chat(r#"{"model":["openai/gpt-5-mini","openai/gpt-5"]}"#),
        ),
        ("no fallback", chat(r#"{"models":[]}"#)),
        (
            "a fallback",
            chat(r#"{"model":"openai/gpt-5-mini","models":["openai/gpt-5"]}"#),
        ),
        (
            "the last of many fallbacks",
            chat(&format!(
                r#"{{"model":"openai/gpt-5-mini","models":[{}"openai/gpt-5"]}}"#,
                r#""openai/gpt-5-mini","#.repeat(100_000)
            )),
        ),
        (
            "more models than are kept",
            chat(&format!(
                r#"{{"model":"a/0:free","models":["{}"]}}"#,
                (0..1000)
                    .map(|n| format!("a/{n}:free"))
                    .collect::<Vec<_>>()
                    .join("\",\"")
            )),
        ),
        (
            "a fallback as text",
            chat(r#"{"model":"openai/gpt-5-mini","models":"openai/gpt-5"}"#),
        ),
        (
            "Anthropic's fallbacks",
            messages(r#"{"model":"openai/gpt-5-mini","fallbacks":[{"model":"openai/gpt-5"}]}"#),
        ),
        (
            "a draft model",
            chat(r#"{"model":"openai/gpt-5-mini","speculation":{"draft_model":"openai/gpt-5"}}"#),
        ),
        (
            "a provider's options",
            chat(
                r#"{"model":"openai/gpt-5-mini","provider":{"options":{"openai":{"model":"openai/gpt-5"}}}}"#,
            ),
        ),
        (
            "only a decoy below",
            chat(r#"{"settings":{"model":"openai/gpt-5-mini"}}"#),
        ),
        (
            "capitals in the name",
            chat(r#"{"model":"openai/gpt-5-mini","Model":"openai/gpt-5"}"#),
        ),
        (
            "a name in camel case",
            chat(r#"{"model":"openai/gpt-5-mini","x":{"fallbackModels":["openai/gpt-5"]}}"#),
        ),
        (
            "a blank behind the name",
            chat(r#"{"model":"openai/gpt-5-mini","model ":"openai/gpt-5"}"#),
        ),
        (
            "a path as name",
            chat(r#"{"model":"openai/gpt-5-mini","options.model":"openai/gpt-5"}"#),
        ),
        (
            "a prototype",
            chat(r#"{"model":"openai/gpt-5-mini","__proto__":{"models":["openai/gpt-5"]}}"#),
        ),
    ]
}

fn names_of_models() -> Vec<(&'static str, Request)> {
    vec![
        (
            "another case of the model",
            chat(r#"{"model":"OpenAI/GPT-5-mini"}"#),
        ),
        (
            "a blank before the model",
            chat(r#"{"model":" openai/gpt-5-mini"}"#),
        ),
        (
            "two models in one text",
            chat(r#"{"model":"openai/text-1,openai/gpt-5"}"#),
        ),
        (
            "dots in the model",
            chat(r#"{"model":"openai/text-/../../openai/gpt-5"}"#),
        ),
        (
            "a model longer than any",
            chat(&format!(r#"{{"model":"openai/text-{}"}}"#, "x".repeat(300))),
        ),
    ]
}

fn stand_ins() -> Vec<(&'static str, Request)> {
    let all = |body| chat(body).list(&["*"]);
    vec![
        ("a preset as model", all(r#"{"model":"@preset/cheap"}"#)),
        ("a preset behind a model", all(r#"{"model":"openai/gpt-5-mini@preset/cheap"}"#)),
        ("a preset as fallback", all(r#"{"model":"openai/gpt-5-mini","models":["@preset/cheap"]}"#)),
        ("a preset as member", all(r#"{"model":"openai/gpt-5-mini","preset":"cheap"}"#)),
        ("a preset in an object", all(r#"{"model":"openai/gpt-5-mini","preset":{"slug":"cheap"}}"#)),
        ("an escaped preset", all(r#"{"model":"openai/gpt-5-mini","pr\u0065set":"cheap"}"#)),
        ("a pattern of presets", chat(r#"{"model":"@preset/cheap"}"#).list(&["@preset/*"])),
        ("a router", all(r#"{"model":"openrouter/auto"}"#)),
        ("a router with a variant", all(r#"{"model":"openrouter/auto:free"}"#)),
        ("a router in capitals", all(r#"{"model":"OpenRouter/Auto"}"#)),
        ("a router that is free", chat(r#"{"model":"openrouter/anything:free"}"#)),
        ("a router by a pattern", chat(r#"{"model":"openrouter/auto"}"#).list(&["openrouter/*"])),
        ("a router as fallback", all(r#"{"model":"openai/gpt-5-mini","models":["openrouter/auto"]}"#)),
        ("another author's router", all(r#"{"model":"switchpoint/router"}"#)),
        ("fusion as model", all(r#"{"model":"openrouter/fusion"}"#)),
        (
            "a router's models",
            chat(r#"{"model":"openrouter/auto","plugins":[{"id":"auto-router","allowed_models":["anthropic/*"]}]}"#)
                .list(&["openrouter/auto", "openai/*"]),
        ),
        (
            "a wider pattern for a router",
            chat(r#"{"model":"openrouter/auto","plugins":[{"id":"auto-router","allowed_models":["openai/*"]}]}"#)
                .list(&["openrouter/auto", "openai/gpt-5-*"]),
        ),
        (
            "a router's judge",
            chat(r#"{"model":"openrouter/auto","plugins":[{"id":"auto-router","judge_model":"openai/gpt-5"}]}"#)
                .list(&["openrouter/auto"]),
        ),
        (
            "a pinned model",
            chat(
                r#"{"model":"openrouter/auto","plugins":[{"id":"auto-router","pin_model":true}],"messages":[{"role":"assistant","model":"openai/gpt-5","content":"x"}]}"#,
            )
            .list(&["openrouter/auto"]),
        ),
    ]
}

fn tools_and_plugins() -> Vec<(&'static str, Request)> {
    let tool = |tool: &str| {
        chat(&format!(
            r#"{{"model":"openai/gpt-5-mini","tools":[{tool}]}}"#
        ))
    };
    let plugin = |plugin: &str| {
        chat(&format!(
            r#"{{"model":"openai/gpt-5-mini","plugins":[{plugin}]}}"#
        ))
    };
    vec![
        ("a subagent's model", tool(r#"{"type":"openrouter:subagent","parameters":{"model":"openai/gpt-5"}}"#)),
        ("settings before the type", tool(r#"{"parameters":{"model":"openai/gpt-5"},"type":"openrouter:subagent"}"#)),
        ("an escaped type", tool(r#"{"ty\u0070e":"openrouter:subagent","parameters":{"model":"openai/gpt-5"}}"#)),
        (
            "a type twice",
            tool(r#"{"type":"function","parameters":{"model":"openai/gpt-5"},"type":"openrouter:subagent"}"#),
        ),
        (
            "an escaped type twice",
            tool(r#"{"type":"function","parameters":{"model":"openai/gpt-5"},"\u0074ype":"openrouter:subagent"}"#),
        ),
        ("a type in capitals", tool(r#"{"type":"Function","parameters":{"model":"openai/gpt-5"}}"#)),
        ("a type in an array", tool(r#"{"type":["function"],"parameters":{"model":"openai/gpt-5"}}"#)),
        ("an advisor's model", tool(r#"{"type":"openrouter:advisor","parameters":{"model":"openai/gpt-5"}}"#)),
        ("an advisor that the model chooses", tool(r#"{"type":"openrouter:advisor"}"#).list(&["*"])),
        (
            "an advisor with a decoy",
            tool(r#"{"type":"openrouter:advisor","model":"a/b:free","parameters":{"x":{"model":"a/b:free"}}}"#),
        ),
        ("an advisor by its short name", tool(r#"{"type":"advisor","parameters":{}}"#).list(&["*"])),
        (
            "Anthropic's advisor",
            messages(
                r#"{"model":"openai/gpt-5-mini","tools":[{"type":"advisor_20260301","name":"advisor","model":"anthropic/claude-opus-4.6"}]}"#,
            ),
        ),
        ("images by default", tool(r#"{"type":"openrouter:image_generation"}"#).list(&["*"])),
        ("OpenAI's images by default", responses(r#"{"model":"openai/gpt-5-mini","tools":[{"type":"image_generation"}]}"#)),
        ("fusion as tool", tool(r#"{"type":"openrouter:fusion"}"#).list(&["*"])),
        (
            "fusion with a panel",
            tool(r#"{"type":"openrouter:fusion","parameters":{"analysis_models":["openai/gpt-5","a/b:free"]}}"#),
        ),
        ("fusion by its short name", tool(r#"{"type":"fusion"}"#).list(&["*"])),
        ("a tool of tomorrow", tool(r#"{"type":"openrouter:committee"}"#).list(&["*"])),
        (
            "a tool within a subagent",
            tool(
                r#"{"type":"openrouter:subagent","parameters":{"model":"a/b:free","tools":[{"type":"openrouter:advisor","parameters":{"model":"openai/gpt-5"}}]}}"#,
            ),
        ),
        (
            "a tool in a namespace",
            responses(
                r#"{"model":"openai/gpt-5-mini","tools":[{"type":"namespace","name":"n","tools":[{"type":"openrouter:advisor"}]}]}"#,
            )
            .list(&["*"]),
        ),
        (
            "tools below tools",
            tool(&format!(
                r#"{}{{"type":"function","parameters":{{"model":"openai/gpt-5"}}}}{}"#,
                r#"{"tools":["#.repeat(8),
                "]}".repeat(8)
            )),
        ),
        (
            "a function beside its settings",
            tool(r#"{"type":"function","function":{"name":"f"},"model":"openai/gpt-5"}"#),
        ),
        ("tools as an object", chat(r#"{"model":"openai/gpt-5-mini","tools":{"type":"function","parameters":{"model":"openai/gpt-5"}}}"#)),
        ("fusion as plugin", plugin(r#"{"id":"fusion"}"#).list(&["*"])),
        ("a plugin's panel", plugin(r#"{"id":"fusion","analysis_models":["openai/gpt-5"]}"#).list(&["openai/gpt-5-mini", "fusion"])),
        ("a plugin's preset", plugin(r#"{"id":"fusion","preset":"general-high"}"#).list(&["*", "fusion"])),
        ("a plugin of tomorrow", plugin(r#"{"id":"committee"}"#).list(&["*"])),
        ("a plugin's nested model", plugin(r#"{"id":"web","engine":{"options":[{"summary_model":"openai/gpt-5"}]}}"#)),
    ]
}

fn conversation() -> Vec<(&'static str, Request)> {
    vec![
        (
            "a tool that an item adds",
            responses(
                r#"{"model":"openai/gpt-5-mini","input":[{"type":"additional_tools","role":"developer","tools":[{"type":"openrouter:subagent","parameters":{"model":"openai/gpt-5"}}]}]}"#,
            ),
        ),
        (
            "a tool that a block adds",
            messages(
                r#"{"model":"openai/gpt-5-mini","messages":[{"role":"system","content":[{"type":"tool_addition","tool":{"type":"tool_definition","definition":{"type":"advisor_20260301","name":"advisor","model":"openai/gpt-5"}}}]}]}"#,
            ),
        ),
        (
            "an advisor that a block adds",
            messages(
                r#"{"model":"openai/gpt-5-mini","messages":[{"role":"system","content":[{"type":"tool_addition","tool":{"type":"tool_definition","definition":{"type":"openrouter:advisor"}}}]}]}"#,
            )
            .list(&["*"]),
        ),
        ("an object as input", responses(r#"{"model":"openai/gpt-5-mini","input":{"model":"openai/gpt-5"}}"#)),
        ("an object as messages", chat(r#"{"model":"openai/gpt-5-mini","messages":{"model":"openai/gpt-5"}}"#)),
        ("an object as prompt", responses(r#"{"model":"openai/gpt-5-mini","prompt":{"id":"p","model":"openai/gpt-5"}}"#)),
        ("messages in capitals", chat(r#"{"model":"openai/gpt-5-mini","Messages":[{"model":"openai/gpt-5"}]}"#)),
        ("messages elsewhere", chat(r#"{"model":"openai/gpt-5-mini","x":{"messages":[{"model":"openai/gpt-5"}]}}"#)),
        ("a schema elsewhere", chat(r#"{"model":"openai/gpt-5-mini","x":{"schema":{"model":"openai/gpt-5"}}}"#)),
    ]
}

fn batches() -> Vec<(&'static str, Request)> {
    let batch = |body: &str| Request::new("/batches", body);
    vec![
        (
            "a request in a batch",
            batch(
                r#"{"model":"openai/gpt-5-mini","requests":[{"custom_id":"a","body":{}},{"custom_id":"b","body":{"model":"openai/gpt-5","messages":[]}}]}"#,
            ),
        ),
        (
            "a fallback in a batch",
            batch(
                r#"{"model":"openai/gpt-5-mini","requests":[{"custom_id":"a","body":{"models":["openai/gpt-5"]}}]}"#,
            ),
        ),
        (
            "Anthropic's form of a batch",
            batch(
                r#"{"model":"openai/gpt-5-mini","requests":[{"custom_id":"a","params":{"model":"openai/gpt-5"}}]}"#,
            ),
        ),
        (
            "a tool in a batch",
            batch(
                r#"{"model":"openai/gpt-5-mini","requests":[{"custom_id":"a","body":{"tools":[{"type":"openrouter:subagent","parameters":{"model":"openai/gpt-5"}}]}}]}"#,
            ),
        ),
        (
            "a batch in a file",
            batch(
                r#"{"model":"openai/gpt-5-mini","input_file_id":"file-1","endpoint":"/v1/chat/completions"}"#,
            ),
        ),
        (
            "a batch in a file, too",
            batch(
                r#"{"model":"openai/gpt-5-mini","requests":[{"body":{}}],"input_file_id":"file-1"}"#,
            ),
        ),
        (
            "a batch without a model of its own",
            batch(r#"{"requests":[{"body":{"model":"openai/gpt-5-mini"}},{"body":{}}]}"#),
        ),
        (
            "a batch without requests",
            batch(r#"{"model":"openai/gpt-5-mini","requests":[]}"#),
        ),
    ]
}

fn repeated() -> Vec<(&'static str, Request)> {
    vec![
        (
            "a model twice",
            chat(r#"{"model":"openai/gpt-5-mini","model":"openai/gpt-5-mini"}"#),
        ),
        (
            "two models",
            chat(r#"{"model":"openai/gpt-5","model":"openai/gpt-5-mini"}"#),
        ),
        (
            "an escaped name twice",
            chat(r#"{"model":"openai/gpt-5-mini","m\u006fdel":"openai/gpt-5-mini"}"#),
        ),
        (
            "an escaped name",
            chat(
                r#"{"models":["openai/gpt-5-mini"],"\u006d\u006f\u0064\u0065\u006c":"openai/gpt-5"}"#,
            ),
        ),
        (
            "messages twice",
            chat(r#"{"model":"openai/gpt-5-mini","messages":[],"messages":[]}"#),
        ),
        (
            "a member of content twice",
            chat(r#"{"model":"openai/gpt-5-mini","messages":[{"role":"user","role":"user"}]}"#),
        ),
    ]
}

fn malformed() -> Vec<(&'static str, Request)> {
    let honest = r#"{"model":"openai/gpt-5-mini"}"#;
    let utf16 = |text: &str, bytes: fn(u16) -> [u8; 2]| {
        text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>()
    };
    let evil = r#"{"model":"openai/gpt-5"}"#;
    vec![
        ("a byte order mark", chat(&format!("\u{feff}{honest}"))),
        (
            "UTF-16, the small end first",
            Request::new("/chat/completions", utf16(evil, u16::to_le_bytes)),
        ),
        (
            "UTF-16, the large end first",
            Request::new("/chat/completions", utf16(evil, u16::to_be_bytes)),
        ),
        (
            "a comment",
            chat(r#"{/* "model":"openai/gpt-5", */"model":"openai/gpt-5-mini"}"#),
        ),
        (
            "a comment to the line's end",
            chat("{\"model\":\"openai/gpt-5-mini\"//\n}"),
        ),
        (
            "a comma at the end",
            chat(r#"{"model":"openai/gpt-5-mini",}"#),
        ),
        ("single quotes", chat("{'model':'openai/gpt-5-mini'}")),
        ("something behind the end", chat(&format!("{honest}{evil}"))),
        ("a NUL behind the end", chat(&format!("{honest}\0"))),
        ("JSON lines", chat(&format!("{honest}\n{evil}\n"))),
        (
            "NaN",
            chat(r#"{"model":"openai/gpt-5-mini","temperature":NaN}"#),
        ),
        (
            "a number like no other",
            chat(r#"{"model":"openai/gpt-5-mini","n":01}"#),
        ),
        (
            "a line break in a text",
            chat("{\"model\":\"openai/gpt-5-mini\",\"user\":\"a\nb\"}"),
        ),
        (
            "half a surrogate pair",
            chat(r#"{"model":"openai/gpt-5-mini","user":"\ud800"}"#),
        ),
        (
            "half a surrogate pair in a name",
            chat(r#"{"model":"openai/gpt-5-mini","\udc00":"x"}"#),
        ),
        (
            "bytes that are no UTF-8",
            Request::new(
                "/chat/completions",
                b"{\"model\":\"openai/gpt-5-mini\",\"\xff\":1}".to_vec(),
            ),
        ),
        (
            "an overlong encoding",
            Request::new(
                "/chat/completions",
                b"{\"model\":\"openai/gpt-5-mini\",\"\xc1\xad\":1}".to_vec(),
            ),
        ),
        ("an end too early", chat(r#"{"model":"openai/gpt-5-mini""#)),
        ("an array", chat(&format!("[{honest}]"))),
        (
            "a text of JSON",
            chat(r#""{\"model\":\"openai/gpt-5-mini\"}""#),
        ),
        (
            "a model at the bottom",
            chat(&format!(
                r#"{{"model":"openai/gpt-5-mini","x":{}{evil}{}}}"#,
                "[".repeat(5000),
                "]".repeat(5000)
            )),
        ),
        (
            "a model just above the bottom",
            chat(&format!(
                r#"{{"model":"openai/gpt-5-mini","x":{}{evil}{}}}"#,
                r#"{"x":"#.repeat(90),
                "}".repeat(90)
            )),
        ),
        (
            "a model at the end of a huge body",
            chat(&format!(
                r#"{{"model":"openai/gpt-5-mini","user":"{}","models":["openai/gpt-5"]}}"#,
                "x".repeat(5_000_000)
            )),
        ),
    ]
}

fn targets() -> Vec<(&'static str, Request)> {
    let honest = r#"{"model":"openai/gpt-5-mini"}"#;
    vec![
        (
            "a model in the query",
            chat(honest).query("model=openai/gpt-5"),
        ),
        (
            "an escaped model in the query",
            chat(honest).query("%6Dodel=openai%2Fgpt-5"),
        ),
        (
            "models in the query",
            chat(honest).query("models[]=openai/gpt-5"),
        ),
        (
            "two models in the query",
            chat(honest).query("model=openai/gpt-5-mini&model=openai/gpt-5"),
        ),
        (
            "only a model in the query",
            chat("{}").query("model=openai/gpt-5-mini"),
        ),
        (
            "a preset in the query",
            chat(honest).query("preset=cheap").list(&["*"]),
        ),
        (
            "an intern",
            Request::new("/interns/anna/chat/completions", honest).list(&["*"]),
        ),
        (
            "a preset that is written",
            Request::new("/presets/cheap/chat/completions", honest).list(&["*"]),
        ),
        (
            "a path that nobody knows",
            Request::new("/panel", honest).list(&["*"]),
        ),
        (
            "a path in capitals",
            Request::new("/Chat/Completions", honest).list(&["*"]),
        ),
        (
            "a form in the URL's encoding",
            chat("model=openai/gpt-5-mini").content_type("application/x-www-form-urlencoded"),
        ),
        (
            "another character set",
            chat(honest).content_type("application/json; charset=utf-7"),
        ),
        (
            "UTF-16 by its name",
            chat(honest).content_type("application/json;charset=\"UTF-16\""),
        ),
        (
            "two types",
            chat(honest).content_type("application/json, multipart/form-data; boundary=b"),
        ),
        (
            "a related form",
            chat(honest).content_type("multipart/related; boundary=b"),
        ),
        (
            "JSON called a form",
            chat(honest).content_type("multipart/form-data; boundary=b"),
        ),
    ]
}

const MODEL: &str = "--b\nContent-Disposition: form-data; name=\"model\"\n\nopenai/text-small\n";

fn forms() -> Vec<(&'static str, Request)> {
    let transcription = |body: &str| form("/audio/transcriptions", body);
    let field = |name: &str, value: &str| {
        format!("--b\nContent-Disposition: form-data; name={name}\n\n{value}\n")
    };
    let with = |more: &str| transcription(&format!("{MODEL}{more}--b--\n"));
    vec![
        ("a form with another model", transcription(&format!("{}--b--\n", field("\"model\"", "openai/gpt-5")))),
        ("a form with two models", with(&field("\"model\"", "openai/gpt-5"))),
        ("a form with one model twice", with(MODEL)),
        ("a form without model", transcription("--b\nContent-Disposition: form-data; name=\"language\"\n\nen\n--b--\n")),
        ("a form with a file as model", transcription("--b\nContent-Disposition: form-data; name=\"model\"; filename=\"m\"\n\nopenai/text-small\n--b--\n")),
        ("a form with fallbacks", with(&field("\"models[]\"", "openai/gpt-5"))),
        ("a form with a name in capitals", with(&field("\"MODEL\"", "openai/gpt-5"))),
        ("a form with an escaped name", with(&field("\"mod\\el\"", "openai/gpt-5"))),
        ("a form with a name in percent", with(&field("\"mod%65l\"", "openai/gpt-5"))),
        ("a form with a bare name", with(&field("model", "openai/gpt-5"))),
        ("a form with an encoded name", with(&field("\"x\"; name*=utf-8''model", "openai/gpt-5"))),
        ("a form with two names", with(&field("\"x\"; name=\"model\"", "openai/gpt-5"))),
        ("a form with a name in single quotes", with(&field("'model'", "openai/gpt-5"))),
        ("a form with a preset", with(&field("\"preset\"", "cheap"))),
        ("a form with plugins", with(&field("\"plugins\"", "[{\"id\":\"fusion\"}]"))),
        ("a form with settings", with(&field("\"provider\"", "{\"options\":{\"model\":\"openai/gpt-5\"}}"))),
        ("a form with malformed settings", with(&field("\"provider\"", "{\"options\":{model:\"openai/gpt-5\"}}"))),
        (
            "a form with line feeds",
            Request::new(
                "/audio/transcriptions",
                format!("{}--b--\n", MODEL.replace("text-small", "gpt-5")),
            )
            .content_type("multipart/form-data; boundary=b"),
        ),
        (
            "a form with a delimiter behind a line feed",
            Request::new(
                "/audio/transcriptions",
                format!(
                    "{}--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\nx\n--b\nContent-Disposition: form-data; name=\"model\"\n\nopenai/gpt-5\n\r\n--b--\r\n",
                    MODEL.replace('\n', "\r\n")
                ),
            )
            .content_type("multipart/form-data; boundary=b"),
        ),
        ("a form with a folded header", with("--b\nContent-Disposition: form-data;\n name=\"model\"\n\nopenai/gpt-5\n")),
        (
            "a form with two dispositions",
            with("--b\nContent-Disposition: form-data; name=\"x\"\nContent-Disposition: form-data; name=\"model\"\n\nopenai/gpt-5\n"),
        ),
        (
            "a form in base64",
            transcription("--b\nContent-Disposition: form-data; name=\"model\"\nContent-Transfer-Encoding: base64\n\nb3BlbmFpL2dwdC01\n--b--\n"),
        ),
        ("a form with a preamble", transcription(&format!("x\n{MODEL}--b--\n"))),
        ("a form with an epilogue", transcription(&format!("{MODEL}--b--\n{}", field("\"model\"", "openai/gpt-5")))),
        ("a form without end", transcription(MODEL)),
        (
            "a form with two boundaries",
            with("").content_type("multipart/form-data; boundary=b; boundary=c"),
        ),
        ("a form without boundary", with("").content_type("multipart/form-data")),
    ]
}
