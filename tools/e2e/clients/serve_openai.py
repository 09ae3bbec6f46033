"""openai-python, 2.x and 3.x, as any program uses it: with nothing but its two variables."""

import json
import os
import sys

import openai

MESSAGES = [{"role": "user", "content": "Say hello"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
AUDIO = ("hello.wav", b"RIFF\0\xff not really audio", "audio/wav")


def refusal(ai: openai.OpenAI, model: str) -> str:
    try:
        ai.chat.completions.create(model=model, messages=MESSAGES)
    except openai.APIStatusError as error:
        return f"{type(error).__name__} {error.status_code} {error.body['message']}"
    return "none"


ai = openai.OpenAI()
raw = ai.chat.completions.with_raw_response.create(model="sdk/chat", messages=MESSAGES)
chat = raw.parse()
streaming = ai.chat.completions.with_streaming_response
with streaming.create(model="sdk/chat", messages=MESSAGES, stream=True) as response:
    stream_body = b"".join(response.iter_bytes())
stream = ai.chat.completions.create(model="sdk/chat", messages=MESSAGES, stream=True)
called = ai.chat.completions.create(model="sdk/tools", messages=MESSAGES, tools=[WEATHER])
[call] = called.choices[0].message.tool_calls
heard = ai.audio.transcriptions.create(model="sdk/transcription", file=AUDIO)
model = ai.models.retrieve("sdk/chat:free")
retried = ai.chat.completions.create(model="sdk/once-429", messages=MESSAGES)

json.dump(
    {
        "version": openai.VERSION,
        "chat_body": raw.http_response.text,
        "stream_body": stream_body.decode(),
        "chat": f"{chat.choices[0].message.content} ({chat.usage.total_tokens} tokens)",
        "stream": "".join(it.choices[0].delta.content or "" for it in stream),
        "tool": f"{call.function.name}({call.function.arguments})",
        "transcription": heard.text,
        "model": model.id,
        "retried": retried.choices[0].message.content,
        "refused_upstream": refusal(ai, "sdk/unpaid"),
        "refused_by_gateway": refusal(openai.OpenAI(base_url=os.environ["STRANGER"]), "sdk/chat"),
        "wrong_token": refusal(openai.OpenAI(api_key="sk-wrong"), "sdk/chat"),
        "gateway_down": refusal(
            openai.OpenAI(base_url=os.environ["DOWN"], max_retries=0), "sdk/chat"
        ),
    },
    sys.stdout,
)
