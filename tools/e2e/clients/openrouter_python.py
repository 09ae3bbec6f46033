"""PyPI's openrouter. Of refusals it repeats only 5xx."""

import asyncio
from importlib.metadata import version

import httpx
import openrouter
from common import AUDIO, BASE_URL, MESSAGES, WEATHER, auth, report
from openrouter.errors import OpenRouterError
from openrouter.utils import BackoffStrategy, RetryConfig


def client(identity: str = "IDENTITY") -> openrouter.OpenRouter:
    return openrouter.OpenRouter(
        server_url=BASE_URL,
        api_key="unused",
        client=httpx.Client(auth=auth(identity), timeout=60),
        async_client=httpx.AsyncClient(auth=auth(identity), timeout=60),
        retry_config=RetryConfig("backoff", BackoffStrategy(50, 500, 1.5, 5000), True),
    )


def refusal(ai: openrouter.OpenRouter, model: str) -> str:
    try:
        ai.chat.send(model=model, messages=MESSAGES)
    except OpenRouterError as error:
        return f"{type(error).__name__} {error.status_code} {error.message}"
    return "none"


def upload(model: str) -> str:
    name, content, content_type = AUDIO
    file = {"file_name": name, "content": content, "content_type": content_type}
    return ai.stt.create_transcription_multipart(model=model, file=file).text


async def asynchronous() -> str:
    stream = await ai.chat.send_async(model="sdk/chat", messages=MESSAGES, stream=True)
    return "".join([it.choices[0].delta.content or "" async for it in stream])


ai = client()
chat = ai.chat.send(model="sdk/chat", messages=MESSAGES)
with ai.chat.send(model="sdk/chat", messages=MESSAGES, stream=True) as events:
    stream = "".join(it.choices[0].delta.content or "" for it in events)
called = ai.chat.send(model="sdk/tools", messages=MESSAGES, tools=[WEATHER])
[call] = called.choices[0].message.tool_calls
vectors = ai.embeddings.generate(model="sdk/embeddings", input="hello")

report(
    version=version("openrouter"),
    chat=f"{chat.choices[0].message.content} ({chat.usage.total_tokens} tokens)",
    stream=stream,
    asynchronous=asyncio.run(asynchronous()),
    tool=f"{call.function.name}({call.function.arguments})",
    embedding=vectors.data[0].embedding,
    transcription=upload("sdk/transcription"),
    retried=ai.chat.send(model="sdk/once-503", messages=MESSAGES).choices[0].message.content,
    retried_upload=upload("sdk/once-503"),
    refused_upstream=refusal(ai, "sdk/unpaid"),
    refused_by_gateway=refusal(client("STRANGER"), "sdk/chat"),
)
