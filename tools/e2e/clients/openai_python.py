"""openai-python: 2.x, which is built on httpx, and 3.x, which is built on httpx2."""

import asyncio
from importlib import import_module

import openai
from common import AUDIO, BASE_URL, MESSAGES, WEATHER, auth, report

httpx = import_module("httpx" if openai.VERSION.startswith("2.") else "httpx2")


def client(identity: str = "IDENTITY", ahead: float = 0) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=BASE_URL,
        api_key="unused",
        http_client=httpx.Client(auth=auth(identity, ahead), timeout=60),
    )


def refusal(ai: openai.OpenAI, model: str) -> str:
    try:
        ai.chat.completions.create(model=model, messages=MESSAGES)
    except openai.APIStatusError as error:
        return f"{type(error).__name__} {error.status_code} {error.body['message']}"
    return "none"


async def asynchronous() -> str:
    async with httpx.AsyncClient(auth=auth("IDENTITY"), timeout=60) as http:
        ai = openai.AsyncOpenAI(base_url=BASE_URL, api_key="unused", http_client=http)
        stream = await ai.chat.completions.create(model="sdk/chat", messages=MESSAGES, stream=True)
        return "".join([it.choices[0].delta.content or "" async for it in stream])


ai = client()
raw = ai.chat.completions.with_raw_response.create(model="sdk/chat", messages=MESSAGES)
chat = raw.parse()
streaming = ai.chat.completions.with_streaming_response
with streaming.create(model="sdk/chat", messages=MESSAGES, stream=True) as response:
    stream_body = b"".join(response.iter_bytes())
stream = ai.chat.completions.create(model="sdk/chat", messages=MESSAGES, stream=True)
called = ai.chat.completions.create(model="sdk/tools", messages=MESSAGES, tools=[WEATHER])
[call] = called.choices[0].message.tool_calls
vectors = ai.embeddings.create(model="sdk/embeddings", input="hello", encoding_format="float")
heard = ai.audio.transcriptions.create(model="sdk/transcription", file=AUDIO)
model = ai.models.retrieve("sdk/chat:free")
skewed = client(ahead=3600).chat.completions.create(model="sdk/chat", messages=MESSAGES)
retried = ai.chat.completions.create(model="sdk/once-429", messages=MESSAGES)
retried_upload = ai.audio.transcriptions.create(model="sdk/once-429", file=AUDIO)

report(
    version=openai.VERSION,
    chat_body=raw.http_response.text,
    stream_body=stream_body.decode(),
    chat=f"{chat.choices[0].message.content} ({chat.usage.total_tokens} tokens)",
    stream="".join(it.choices[0].delta.content or "" for it in stream),
    asynchronous=asyncio.run(asynchronous()),
    tool=f"{call.function.name}({call.function.arguments})",
    embedding=vectors.data[0].embedding,
    transcription=heard.text,
    model=model.id,
    wrong_clock=skewed.choices[0].message.content,
    retried=retried.choices[0].message.content,
    retried_upload=retried_upload.text,
    refused_upstream=refusal(ai, "sdk/unpaid"),
    refused_by_gateway=refusal(client("STRANGER"), "sdk/chat"),
)
