"""PyPI's openrouter, as any program uses it: with nothing but a base URL and a key."""

import json
import os
import sys
from importlib.metadata import version

import openrouter
from openrouter.errors import OpenRouterError
from openrouter.utils import BackoffStrategy, RetryConfig

MESSAGES = [{"role": "user", "content": "Say hello"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
AUDIO = {"file_name": "hello.wav", "content": b"RIFF\0\xff not really audio", "content_type": "audio/wav"}
RETRIES = RetryConfig("backoff", BackoffStrategy(50, 500, 1.5, 5000), True)
KEY = os.environ["OPENROUTER_API_KEY"]


def client(url: str, key: str = KEY) -> openrouter.OpenRouter:
    return openrouter.OpenRouter(server_url=url, api_key=key, retry_config=RETRIES)


def refusal(ai: openrouter.OpenRouter, model: str = "sdk/chat") -> str:
    try:
        ai.chat.send(model=model, messages=MESSAGES)
    except OpenRouterError as error:
        return f"{type(error).__name__} {error.status_code} {error.message}"
    return "none"


own = os.environ["OPENROUTER_BASE_URL"]
ai = client(own)
chat = ai.chat.send(model="sdk/chat", messages=MESSAGES)
with ai.chat.send(model="sdk/chat", messages=MESSAGES, stream=True) as events:
    stream = "".join(it.choices[0].delta.content or "" for it in events)
called = ai.chat.send(model="sdk/tools", messages=MESSAGES, tools=[WEATHER])
[call] = called.choices[0].message.tool_calls
vectors = ai.embeddings.generate(model="sdk/embeddings", input="hello")
seen = {
    "version": version("openrouter"),
    "chat": f"{chat.choices[0].message.content} ({chat.usage.total_tokens} tokens)",
    "stream": stream,
    "embedding": vectors.data[0].embedding,
    "tool": f"{call.function.name}({call.function.arguments})",
    "transcription": ai.stt.create_transcription_multipart(model="sdk/transcription", file=AUDIO).text,
    # It retries only 5xx.
    "retried": ai.chat.send(model="sdk/once-503", messages=MESSAGES).choices[0].message.content,
    "refused_upstream": refusal(ai, "sdk/unpaid"),
    "wrong_token": refusal(client(own, "sk-wrong")),
}
json.dump(seen, sys.stdout, ensure_ascii=False)
