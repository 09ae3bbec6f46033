"""Features of SDKs that know a base URL and an access token, and nothing else."""

import json
import os
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

warnings.filterwarnings("ignore")

Features = dict[str, Callable[[], str]]

BASE = os.environ["BASE"]
# The tokens of the SDKs to drive.
TOKENS: dict[str, str] = json.loads(os.environ["TOKENS"])
REFUSED: dict[str, str] = json.loads(os.environ["REFUSED"])
PROMPT = "Say hello"
MESSAGES = [{"role": "user", "content": PROMPT}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}
AUDIO = ("hello.wav", b"RIFF\0 not really audio", "audio/wav")


def openai_features(base: str, key: str) -> Features:
    import openai

    ai = openai.OpenAI(base_url=f"{base}/v1", api_key=key, max_retries=0)
    chat, responses = ai.chat.completions, ai.responses

    def whole() -> str:
        answer = chat.create(model="sdk/chat", messages=MESSAGES)
        return f"{answer.choices[0].message.content} ({answer.usage.total_tokens} tokens)"

    def streamed() -> str:
        chunks = chat.create(model="sdk/chat", messages=MESSAGES, stream=True)
        return "".join(it.choices[0].delta.content or "" for it in chunks)

    def tools() -> str:
        answer = chat.create(model="sdk/tools", messages=MESSAGES, tools=[WEATHER])
        [call] = answer.choices[0].message.tool_calls
        return f"{call.function.name}({call.function.arguments})"

    def of_responses() -> str:
        answer = responses.create(model="sdk/chat", input=PROMPT)
        with responses.stream(model="sdk/chat", input=PROMPT) as events:
            streamed = events.get_final_response()
        return f"{answer.output_text} {streamed.output_text} ({streamed.usage.total_tokens} tokens)"

    def cancelled() -> str:
        with chat.create(model="sdk/slow", messages=MESSAGES, stream=True) as chunks:
            return next(it.choices[0].delta.content for it in chunks)

    return {
        "whole": whole,
        "streamed": streamed,
        "tools": tools,
        "responses": of_responses,
        "embeddings": lambda: str(
            ai.embeddings.create(model="sdk/embeddings", input="hello", encoding_format="float")
            .data[0]
            .embedding
        ),
        "transcription": lambda: ai.audio.transcriptions.create(
            model="sdk/transcription", file=AUDIO
        ).text,
        "models": lambda: " ".join(it.id for it in ai.models.list()),
        "cancelled": cancelled,
    }


def openrouter_features(base: str, key: str) -> Features:
    import openrouter
    from openrouter.utils import BackoffStrategy, RetryConfig

    ai = openrouter.OpenRouter(
        server_url=base,
        api_key=key,
        retry_config=RetryConfig("none", BackoffStrategy(1, 1, 1, 1), False),
    )

    def whole() -> str:
        answer = ai.chat.send(model="sdk/chat", messages=MESSAGES)
        return f"{answer.choices[0].message.content} ({answer.usage.total_tokens} tokens)"

    def streamed() -> str:
        with ai.chat.send(model="sdk/chat", messages=MESSAGES, stream=True) as chunks:
            return "".join(it.choices[0].delta.content or "" for it in chunks)

    def tools() -> str:
        answer = ai.chat.send(model="sdk/tools", messages=MESSAGES, tools=[WEATHER])
        [call] = answer.choices[0].message.tool_calls
        return f"{call.function.name}({call.function.arguments})"

    def of_responses() -> str:
        answer = ai.responses.send(model="sdk/chat", input=PROMPT)
        streamed = ""
        with ai.responses.send(model="sdk/chat", input=PROMPT, stream=True) as events:
            for event in events:
                if event.type == "response.output_text.delta":
                    streamed += event.delta
                if event.type == "response.completed":
                    tokens = event.response.usage.total_tokens
        return f"{answer.output[0].content[0].text} {streamed} ({tokens} tokens)"

    def transcription() -> str:
        name, content, content_type = AUDIO
        file = {"file_name": name, "content": content, "content_type": content_type}
        return ai.stt.create_transcription_multipart(model="sdk/transcription", file=file).text

    def quota() -> str:
        key, credits = ai.api_keys.get_current_key_metadata().data, ai.credits.get_credits().data
        [budget] = key.budgets
        rest = credits.total_credits - credits.total_usage
        is_one = rest == key.limit_remaining == budget.remaining_usd
        return f"{key.limit:g} {key.limit_reset} {json.dumps(is_one)}"

    def cancelled() -> str:
        with ai.chat.send(model="sdk/slow", messages=MESSAGES, stream=True) as chunks:
            return next(it.choices[0].delta.content for it in chunks)

    return {
        "whole": whole,
        "streamed": streamed,
        "tools": tools,
        "responses": of_responses,
        "embeddings": lambda: str(
            ai.embeddings.generate(model="sdk/embeddings", input="hello").data[0].embedding
        ),
        "transcription": transcription,
        "models": lambda: " ".join(it.id for it in ai.models.list().result.data),
        "quota": quota,
        "cancelled": cancelled,
    }


def anthropic_features(base: str, key: str) -> Features:
    import anthropic

    ai = anthropic.Anthropic(base_url=base, api_key=key, max_retries=0)
    # The same in the other header.
    bearer = anthropic.Anthropic(base_url=base, auth_token=key, max_retries=0)
    question = {"model": "sdk/chat", "messages": MESSAGES, "max_tokens": 64}

    def whole() -> str:
        answer = bearer.messages.create(**question)
        tokens = answer.usage.input_tokens + answer.usage.output_tokens
        return f"{answer.content[0].text} ({tokens} tokens)"

    def streamed() -> str:
        with ai.messages.stream(**question) as events:
            return "".join(events.text_stream)

    def tools() -> str:
        weather = {"name": "weather", "input_schema": PARAMETERS}
        [call] = ai.messages.create(**{**question, "model": "sdk/tools"}, tools=[weather]).content
        return f"{call.name}({json.dumps(call.input, ensure_ascii=False)})"

    def cancelled() -> str:
        with ai.messages.stream(**{**question, "model": "sdk/slow"}) as events:
            return next(iter(events.text_stream))

    return {
        "whole": whole,
        "streamed": streamed,
        "tools": tools,
        "models": lambda: " ".join(it.id for it in ai.models.list()),
        "cancelled": cancelled,
    }


def langchain_openai_features(base: str, key: str) -> Features:
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    options = {"base_url": base, "api_key": key, "max_retries": 0}

    def chat(model: str = "sdk/chat", **more: Any) -> ChatOpenAI:
        return ChatOpenAI(model=model, **options, **more)

    def tools() -> str:
        [call] = chat("sdk/tools").bind_tools([WEATHER]).invoke(PROMPT).tool_calls
        return f"{call['name']}({json.dumps(call['args'], ensure_ascii=False)})"

    def of_responses() -> str:
        ai = chat(use_responses_api=True)
        chunks = list(ai.stream(PROMPT))
        streamed = sum(chunks[1:], chunks[0])
        tokens = streamed.usage_metadata["total_tokens"]
        return f"{ai.invoke(PROMPT).text} {streamed.text} ({tokens} tokens)"

    def embeddings() -> str:
        # Else it fetches the tokens of OpenAI's models.
        ai = OpenAIEmbeddings(model="sdk/embeddings", check_embedding_ctx_length=False, **options)
        return str(ai.embed_query("hello"))

    return langchain_features(chat) | {
        "tools": tools,
        "responses": of_responses,
        "embeddings": embeddings,
    }


def langchain_openrouter_features(base: str, key: str) -> Features:
    from langchain_openrouter import ChatOpenRouter

    def chat(model: str = "sdk/chat") -> ChatOpenRouter:
        ai = ChatOpenRouter(model=model, base_url=base, api_key=key)
        # `max_retries=0` leaves the SDK's own, which last for an hour.
        from openrouter.utils import BackoffStrategy, RetryConfig

        none = RetryConfig("none", BackoffStrategy(1, 1, 1, 1), False)
        ai.client.sdk_configuration.retry_config = none
        return ai

    def tools() -> str:
        [call] = chat("sdk/tools").bind_tools([WEATHER]).invoke(PROMPT).tool_calls
        return f"{call['name']}({json.dumps(call['args'], ensure_ascii=False)})"

    return langchain_features(chat) | {"tools": tools}


def langchain_features(chat: Callable[..., Any]) -> Features:
    """The features of both of LangChain's chat models."""

    def whole() -> str:
        answer = chat().invoke(PROMPT)
        return f"{answer.text} ({answer.usage_metadata['total_tokens']} tokens)"

    def cancelled() -> str:
        chunks = chat("sdk/slow").stream(PROMPT)
        first = next(it.text for it in chunks if it.text)
        chunks.close()
        return first

    return {
        "whole": whole,
        "streamed": lambda: "".join(it.text for it in chat().stream(PROMPT)),
        "cancelled": cancelled,
    }


def litellm_features(base: str, key: str) -> Features:
    import litellm

    # Otherwise it prints advice to stdout.
    litellm.suppress_debug_info = True
    options = {"api_base": base, "api_key": key, "max_retries": 0}

    def ask(model: str, **more: Any) -> Any:
        return litellm.completion(f"openai/{model}", MESSAGES, **options, **more)

    def whole() -> str:
        answer = ask("sdk/chat")
        return f"{answer.choices[0].message.content} ({answer.usage.total_tokens} tokens)"

    def tools() -> str:
        [call] = ask("sdk/tools", tools=[WEATHER]).choices[0].message.tool_calls
        return f"{call.function.name}({call.function.arguments})"

    def of_responses() -> str:
        answer = litellm.responses(model="openai/sdk/chat", input=PROMPT, **options)
        streamed = ""
        for event in litellm.responses(
            model="openai/sdk/chat", input=PROMPT, stream=True, **options
        ):
            if event.type == "response.output_text.delta":
                streamed += event.delta
            if event.type == "response.completed":
                tokens = event.response.usage.total_tokens
        return f"{answer.output[0].content[0].text} {streamed} ({tokens} tokens)"

    def embeddings() -> str:
        answer = litellm.embedding(
            model="openai/sdk/embeddings", input=["hello"], encoding_format="float", **options
        )
        return str(answer.data[0]["embedding"])

    return {
        "whole": whole,
        "streamed": lambda: "".join(
            it.choices[0].delta.content or "" for it in ask("sdk/chat", stream=True)
        ),
        "tools": tools,
        "responses": of_responses,
        "embeddings": embeddings,
        "transcription": lambda: litellm.transcription(
            model="openai/sdk/transcription", file=AUDIO, **options
        ).text,
        "cancelled": lambda: next(
            text
            for it in ask("sdk/slow", stream=True)
            if (text := it.choices[0].delta.content)
        ),
    }


SDKS: dict[str, Callable[[str, str], Features]] = {
    "openai": openai_features,
    "openrouter": openrouter_features,
    "anthropic": anthropic_features,
    "langchain-openai": langchain_openai_features,
    "langchain-openrouter": langchain_openrouter_features,
    "litellm": litellm_features,
}


def outcome(feature: Callable[[], str]) -> str:
    """What a program sees of a feature."""
    try:
        return feature()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def drive(sdk: str) -> tuple[str, str, dict[str, str]]:
    of = SDKS[sdk]
    seen = {name: outcome(feature) for name, feature in of(BASE, TOKENS[sdk]).items()}
    # The list of models comes from a gateway whose OpenRouter has one.
    if "models" in seen:
        seen["models"] = outcome(of(os.environ["MODELS_BASE"], TOKENS[sdk])["models"])
    for status, token in REFUSED.items():
        whole = of(BASE, token)["whole"]
        if status == "429":
            # One in a minute passes.
            outcome(whole)
        seen[status] = outcome(whole)
    return sdk, version(sdk), seen


# One after the other: SDKs import parts of themselves at their first use, and threads that do so at once can
# stop each other.
json.dump([drive(sdk) for sdk in TOKENS], sys.stdout, ensure_ascii=False)
