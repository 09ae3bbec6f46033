//! Requests as programs send them, of models that their list allows.

use crate::{Request, chat, form, messages, responses};

/// Each with a name of its own.
pub(crate) fn all() -> Vec<(&'static str, Request)> {
    let mut all = of_chat();
    all.extend(of_messages());
    all.extend(of_responses());
    all.extend(others());
    all
}

fn of_chat() -> Vec<(&'static str, Request)> {
    vec![
        ("the least", chat(r#"{"model":"openai/gpt-5-mini","messages":[{"role":"user","content":"Hi"}]}"#)),
        (
            "everything that OpenAI's SDK sets",
            chat(
                r#"{"messages":[{"role":"developer","content":"Be brief."},{"role":"user","content":[{"type":"text","text":"Which model is \"model\": \"openai/gpt-5\"?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}],"name":"ann"}],"model":"openai/gpt-5-mini","frequency_penalty":0.1,"logit_bias":{"50256":-100},"logprobs":true,"max_completion_tokens":99,"metadata":{"run":"7"},"modalities":["text"],"n":1,"parallel_tool_calls":false,"presence_penalty":-0.5,"reasoning_effort":"low","seed":7,"service_tier":"auto","stop":["\n"],"store":false,"stream":true,"stream_options":{"include_usage":true},"temperature":1.0,"top_p":0.95,"user":"u-1"}"#,
            ),
        ),
        (
            "a tool with a parameter called model",
            chat(
                r#"{"model":"openai/gpt-5-mini","messages":[],"tools":[{"type":"function","function":{"name":"find_cars","description":"Finds cars","strict":true,"parameters":{"type":"object","properties":{"model":{"type":"string","enum":["Model 3","Golf"],"description":"The car's model"},"models":{"type":"array","items":{"type":"string"},"default":["Golf"]},"preset":{"type":"string"}},"required":["model"],"additionalProperties":false}}}],"tool_choice":{"type":"function","function":{"name":"find_cars"}}}"#,
            ),
        ),
        (
            "a tool whose type comes last",
            chat(
                r#"{"model":"openai/gpt-5-mini","tools":[{"function":{"parameters":{"properties":{"model":{"const":"x"}}},"name":"f"},"type":"function"}],"messages":[]}"#,
            ),
        ),
        (
            "a call and its result",
            chat(
                r#"{"model":"openai/gpt-5-mini","messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"find_cars","arguments":"{\"model\":\"Golf\"}"}}]},{"role":"tool","tool_call_id":"call_1","content":"[{\"model\":\"Golf\"}]"}]}"#,
            ),
        ),
        (
            "an answer as the SDK gives it back",
            chat(
                r#"{"model":"openai/gpt-5-mini","messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello","model":"openai/gpt-5-mini-2025-08-07","refusal":null,"reasoning_details":[{"type":"reasoning.encrypted","data":"x","model":"openai/gpt-5"}],"annotations":[]},{"role":"user","content":"Go on"}]}"#,
            ),
        ),
        (
            "a structured answer",
            chat(
                r#"{"model":"openai/gpt-5-mini","messages":[],"response_format":{"type":"json_schema","json_schema":{"name":"car","strict":true,"schema":{"type":"object","properties":{"model":{"type":"string","pattern":"^[A-Z]"},"fallback_model":{"type":"string"}},"$defs":{"x":{"properties":{"models":{"enum":["a","b"]}}}}}}}}"#,
            ),
        ),
        ("a JSON answer", chat(r#"{"model":"openai/gpt-5-mini","messages":[],"response_format":{"type":"json_object"}}"#)),
        (
            "functions, as before tools",
            chat(
                r#"{"model":"openai/gpt-5-mini","messages":[],"functions":[{"name":"f","parameters":{"type":"object","properties":{"model":{"type":"string","default":"x"}}}}],"function_call":"auto"}"#,
            ),
        ),
        (
            "fallbacks within the list",
            chat(r#"{"model":"openai/gpt-5-mini","models":["meta-llama/llama-3.3-70b-instruct:free","openai/gpt-5-mini"],"route":"fallback","messages":[]}"#),
        ),
        ("only fallbacks", chat(r#"{"models":["openai/gpt-5-mini"],"messages":[]}"#)),
        ("null where a default was", chat(r#"{"model":"openai/gpt-5-mini","models":null,"preset":null,"tools":null,"plugins":null,"response_format":null,"messages":[]}"#)),
        (
            "provider preferences",
            chat(
                r#"{"model":"openai/gpt-5-mini","messages":[],"provider":{"order":["openai","azure"],"allow_fallbacks":false,"require_parameters":true,"data_collection":"deny","sort":"price","max_price":{"prompt":1}},"usage":{"include":true},"transforms":["middle-out"]}"#,
            ),
        ),
        (
            "web search as plugin",
            chat(r#"{"model":"openai/gpt-5-mini","messages":[],"plugins":[{"id":"web","max_results":3,"search_prompt":"model: x"},{"id":"file-parser","pdf":{"engine":"mistral-ocr"}},{"id":"response-healing"}],"web_search_options":{"search_context_size":"low"}}"#),
        ),
        (
            "OpenRouter's tools without a model",
            chat(r#"{"model":"openai/gpt-5-mini","messages":[],"tools":[{"type":"openrouter:web_search","parameters":{"max_results":3}},{"type":"openrouter:datetime","parameters":{"timezone":"Europe/Berlin"}},{"type":"openrouter:web_fetch"}]}"#),
        ),
        (
            "a subagent of the same model",
            chat(r#"{"model":"openai/gpt-5-mini","messages":[],"tools":[{"type":"openrouter:subagent","parameters":{"instructions":"Be brief.","tools":[{"type":"openrouter:web_search"}]}}]}"#),
        ),
        (
            "a subagent of a model in the list",
            chat(r#"{"model":"openai/gpt-5-mini","messages":[],"tools":[{"type":"openrouter:subagent","parameters":{"model":"z-ai/glm-4.5-air:free"}},{"type":"openrouter:advisor","parameters":{"model":"openai/gpt-5-mini"}}]}"#),
        ),
        (
            "a router that the list names",
            chat(r#"{"model":"openrouter/auto","messages":[],"plugins":[{"id":"auto-router","allowed_models":["openai/*"],"pin_model":false}]}"#).list(&["openrouter/auto", "openai/*"]),
        ),
        ("a preset that the list names", chat(r#"{"model":"@preset/cheap","messages":[]}"#).list(&["@preset/cheap"])),
        ("a preset as member", chat(r#"{"model":"openai/gpt-5-mini","preset":"cheap","messages":[]}"#).list(&["openai/*", "@preset/cheap"])),
        ("curl's content type", chat(r#"{"model":"openai/gpt-5-mini","messages":[]}"#).content_type("application/x-www-form-urlencoded")),
        ("a character set", chat(r#"{"model":"openai/gpt-5-mini","messages":[]}"#).content_type("application/json; charset=UTF-8")),
        (
            "all that JSON allows",
            chat("\r\n\t {\"messages\" : [ {\"content\":\"\\u00e9\\n\\ud83d\\ude00\\/ \u{1f980}\u{7f}\\u0000\",\"role\":\"user\"} ] , \"temperature\":1.5e-1,\"seed\":-0 ,\"\":{},\"a/b~c\":[],\"m\\u006fdel\":\"openai\\/gpt-5-mini\"}\n"),
        ),
        (
            "a long conversation",
            chat(&format!(
                r#"{{"model":"openai/gpt-5-mini","messages":[{}{{"role":"user","content":"end"}}]}}"#,
                r#"{"role":"assistant","model":"x/y","content":[{"type":"text","text":"\"model\":\"x\""}]},"#.repeat(10_000)
            )),
        ),
        (
            "a deep schema",
            chat(&format!(
                r#"{{"model":"openai/gpt-5-mini","messages":[],"tools":[{{"type":"function","function":{{"name":"f","parameters":{}{{"type":"string"}}{}}}}}]}}"#,
                r#"{"type":"object","properties":{"model":"#.repeat(40),
                "}}".repeat(40)
            )),
        ),
    ]
}

fn of_messages() -> Vec<(&'static str, Request)> {
    vec![
        (
            "Anthropic's least",
            messages(r#"{"max_tokens":64,"messages":[{"role":"user","content":"Hi"}],"model":"openai/gpt-5-mini"}"#),
        ),
        (
            "a coding agent's turn",
            Request::new(
                "/v1/messages",
                r#"{"model":"openai/gpt-5-mini","system":[{"type":"text","text":"You write code.","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":[{"type":"text","text":"Read it"}]},{"role":"assistant","content":[{"type":"thinking","thinking":"…","signature":"x"},{"type":"tool_use","id":"toolu_1","name":"Task","input":{"model":"opus","preset":"x","tools":["Read"],"prompt":"p"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":[{"type":"text","text":"{\"model\":\"x\"}"}]}]}],"tools":[{"name":"Task","description":"Starts an agent","input_schema":{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"model":{"type":"string","enum":["sonnet","opus","haiku"]},"prompt":{"type":"string"}},"required":["prompt"],"additionalProperties":false}}],"metadata":{"user_id":"user_1"},"max_tokens":32000,"thinking":{"type":"enabled","budget_tokens":31999},"context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]},"stream":true}"#,
            )
            .query("beta=true"),
        ),
        (
            "a custom tool with examples",
            messages(
                r#"{"model":"openai/gpt-5-mini","max_tokens":1,"messages":[],"tools":[{"type":"custom","name":"f","input_schema":{"type":"object","properties":{"model":{"default":"x"}}},"input_examples":[{"model":"Golf"}]}]}"#,
            ),
        ),
        (
            "Anthropic's tools",
            messages(
                r#"{"model":"openai/gpt-5-mini","max_tokens":1,"messages":[],"tools":[{"type":"web_search_20250305","name":"web_search","max_uses":5},{"type":"bash_20250124","name":"bash"},{"type":"text_editor_20250728","name":"str_replace_based_edit_tool"},{"type":"tool_search_tool_regex_20251119","name":"tool_search_tool_regex"}],"tool_choice":{"type":"auto","disable_parallel_tool_use":true}}"#,
            ),
        ),
        (
            "an advisor in the list",
            messages(r#"{"model":"openai/gpt-5-mini","max_tokens":1,"messages":[],"tools":[{"type":"advisor_20260301","name":"advisor","model":"openai/text-9"}]}"#),
        ),
        (
            "documents in the content",
            messages(
                r#"{"model":"openai/gpt-5-mini","max_tokens":1,"messages":[{"role":"user","content":[{"type":"document","title":"model","source":{"type":"content","content":[{"type":"text","text":"x","model":"y"}]},"citations":{"enabled":true}},{"type":"search_result","source":"s","title":"t","content":[{"type":"text","text":"model"}]}]}]}"#,
            ),
        ),
        (
            "a structured answer of Anthropic's",
            messages(
                r#"{"model":"openai/gpt-5-mini","max_tokens":1,"messages":[],"output_config":{"effort":"low","format":{"type":"json_schema","schema":{"type":"object","properties":{"model":{"const":"x"}}}}},"output_format":{"type":"json_schema","schema":{"properties":{"model":{"const":"x"}}}}}"#,
            ),
        ),
        (
            "a tool that a block adds",
            messages(
                r#"{"model":"openai/gpt-5-mini","max_tokens":1,"messages":[{"role":"system","content":[{"type":"tool_addition","tool":{"type":"tool_definition","definition":{"name":"f","input_schema":{"properties":{"model":{"const":"x"}}}}}},{"type":"tool_addition","tool":{"type":"tool_reference","name":"g"}}]}]}"#,
            ),
        ),
        (
            "a message with all of its members",
            messages(
                r#"{"model":"openai/gpt-5-mini","max_tokens":1,"messages":[{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[{"type":"text","text":"x"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"iterations":[{"model":"claude-sonnet-4-5"}]}}]}"#,
            ),
        ),
    ]
}

fn of_responses() -> Vec<(&'static str, Request)> {
    vec![
        (
            "a text as input",
            responses(
                r#"{"model":"openai/gpt-5-mini","input":"Hi","instructions":"Be brief.","store":false}"#,
            ),
        ),
        (
            "an agent's turn",
            responses(
                r#"{"model":"openai/gpt-5-mini","instructions":"You write code.","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"model"}]},{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"x"},{"type":"function_call","call_id":"call_1","name":"spawn","arguments":"{\"model\":\"x\"}"},{"type":"function_call_output","call_id":"call_1","output":"{\"model\":\"x\"}"}],"tools":[{"type":"function","name":"spawn","description":"d","strict":false,"parameters":{"type":"object","properties":{"model":{"type":"string","description":"d"}},"required":["model"]},"output_schema":{"properties":{"model":{"type":"string"}}}},{"type":"custom","name":"apply_patch","format":{"type":"grammar","syntax":"lark","definition":"start: x"}},{"type":"local_shell"},{"type":"web_search","external_web_access":false}],"tool_choice":"auto","parallel_tool_calls":false,"reasoning":{"effort":"medium","summary":"auto"},"store":false,"stream":true,"include":["reasoning.encrypted_content"],"prompt_cache_key":"k","text":{"verbosity":"low"}}"#,
            ),
        ),
        (
            "tools in a namespace",
            responses(
                r#"{"model":"openai/gpt-5-mini","input":[],"tools":[{"type":"namespace","name":"crm","description":"d","tools":[{"type":"function","name":"f","parameters":{"properties":{"model":{"const":"x"}}}}]},{"type":"tool_search"}]}"#,
            ),
        ),
        (
            "items with tools",
            responses(
                r#"{"model":"openai/gpt-5-mini","input":[{"type":"additional_tools","role":"developer","tools":[{"type":"function","name":"f","parameters":{"properties":{"model":{"const":"x"}}}}]},{"type":"mcp_list_tools","server_label":"s","tools":[{"name":"t","input_schema":{"properties":{"model":{"const":"x"}}},"annotations":null}]}]}"#,
            ),
        ),
        (
            "items of OpenRouter's tools",
            responses(
                r#"{"model":"openai/gpt-5-mini","input":[{"type":"openrouter:fusion","id":"x","analysis_models":["openai/gpt-5"],"responses":[{"model":"openai/gpt-5","content":"c"}]},{"type":"image_generation_call","model":"openai/gpt-5-image","result":"AAAA"}]}"#,
            ),
        ),
        (
            "a structured answer of OpenAI's",
            responses(
                r#"{"model":"openai/gpt-5-mini","input":"x","text":{"format":{"type":"json_schema","name":"car","schema":{"type":"object","properties":{"model":{"type":"string"},"preset":{"type":"string"}},"required":["model","preset"]}}}}"#,
            ),
        ),
        (
            "a stored prompt",
            responses(
                r#"{"model":"openai/gpt-5-mini","prompt":{"id":"pmpt_1","version":"2","variables":{"model":"Golf"}}}"#,
            ),
        ),
        (
            "a server of the model context protocol",
            responses(
                r#"{"model":"openai/gpt-5-mini","input":"x","tools":[{"type":"mcp","server_label":"s","server_url":"https://mcp.example.com","require_approval":"never"}]}"#,
            ),
        ),
        (
            "images by a model in the list",
            responses(
                r#"{"model":"openai/gpt-5-mini","input":"x","tools":[{"type":"image_generation","model":"openai/text-to-image","size":"auto"}]}"#,
            ),
        ),
    ]
}

fn others() -> Vec<(&'static str, Request)> {
    let json = Request::new;
    vec![
        ("a completion", json("/completions", r#"{"model":"openai/gpt-5-mini","prompt":"model:","suffix":"x"}"#)),
        ("a completion of several prompts", json("/completions", r#"{"model":"openai/gpt-5-mini","prompt":["a","b",[1,2]]}"#)),
        ("embeddings", json("/embeddings", r#"{"input":["a","b"],"model":"openai/text-embedding-3-small","encoding_format":"base64"}"#)),
        (
            "embeddings of images",
            json("/embeddings", r#"{"model":"openai/text-embedding-3-small","input":[{"content":[{"type":"image_url","image_url":{"url":"https://example.com/model.png"}}]}]}"#),
        ),
        (
            "documents in order",
            json("/rerank", r#"{"model":"openai/text-rank","query":"model","documents":["a",{"text":"b","model":"x","tools":[{"model":"y"}]}],"top_n":1}"#),
        ),
        ("an image", json("/images", r#"{"model":"openai/text-to-image","prompt":"A model","n":1,"size":"1024x1024","response_format":"b64_json"}"#)),
        ("speech", json("/audio/speech", r#"{"model":"openai/text-to-speech","input":"model","voice":"alloy","response_format":"mp3"}"#)),
        ("a transcription as JSON", json("/audio/transcriptions", r#"{"model":"openai/text-of-speech","input_audio":{"data":"AAAA","format":"wav"}}"#)),
        ("a video", json("/videos", r#"{"model":"openai/text-to-video","prompt":"A model","duration":8,"frame_images":[],"provider":{"options":{"google-vertex":{"parameters":{"personGeneration":"allow"}}}}}"#)),
        (
            "a batch",
            json(
                "/batches",
                r#"{"endpoint":"/v1/chat/completions","model":"openai/gpt-5-mini","completion_window":"24h","requests":[{"custom_id":"a","body":{"messages":[{"role":"assistant","model":"x","content":"c"}],"response_format":{"type":"json_schema","json_schema":{"schema":{"properties":{"model":{"const":"x"}}}}}}},{"custom_id":"b","body":{"model":"openai/gpt-5-mini","input":"x","tools":[{"type":"function","name":"f","parameters":{"properties":{"model":{"const":"x"}}}}]}}]}"#,
            ),
        ),
        (
            "a form with a file",
            form(
                "/audio/transcriptions",
                "--b\nContent-Disposition: form-data; name=\"file\"; filename=\"my \\\"model\\\".wav\"\nContent-Type: audio/wav\n\nRIFF{\"model\":\"x\"}\n\n--b\nContent-Disposition: form-data; name=\"model\"\n\nopenai/text-of-speech\n--b\nContent-Disposition: form-data; name=\"prompt\"\n\n[music] the model\n--b\nContent-Disposition: form-data; name=\"timestamp_granularities[]\"\n\nword\n--b\nContent-Disposition: form-data; name=\"timestamp_granularities[]\"\n\nsegment\n--b\nContent-Disposition: form-data; name=\"temperature\"\n\n\n--b--\n",
            ),
        ),
        (
            "a form of Node's",
            form(
                "/audio/transcriptions",
                "------x1\nContent-Disposition: form-data; name=\"model\"\n\nopenai/text-of-speech\n------x1\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\nContent-Type: application/octet-stream\n\nID3\n------x1--",
            )
            .content_type("Multipart/Form-Data; boundary=\"----x1\""),
        ),
        ("free models only", chat(r#"{"model":"z-ai/glm-4.5-air:free","messages":[]}"#).list(&["*:free"])),
        ("any model", chat(r#"{"model":"~anthropic/claude-sonnet-latest","messages":[]}"#).list(&["*"])),
    ]
}
