"""The ends of broken streams, as each SDK of this environment tells its user."""

import importlib.util
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

warnings.filterwarnings("ignore")
MESSAGES = [{"role": "user", "content": "Say hello"}]
# What becomes of the answer: it is cut, says itself that it failed, or never comes.
CASES = os.environ["CASES"].split(",")


def of_object(error: Any) -> str:
    """The error of a chunk or an event."""
    error = error if isinstance(error, dict) else vars(error)
    return f"{error.get('code')} {error['message']}"


def openai_chat(model: str) -> Iterator[Any]:
    import openai

    yield from openai.OpenAI().chat.completions.create(model=model, messages=MESSAGES, stream=True)


def openai_responses(model: str) -> Iterator[str | None]:
    import openai

    for event in openai.OpenAI().responses.create(model=model, input="Say hello", stream=True):
        if event.type == "response.failed":
            yield f"{event.type}: {of_object(event.response.error)}"
        if event.type == "error":
            yield f"{event.type}: {event.code} {event.message}"


def openai_responses_helper(model: str) -> Iterator[str | None]:
    import openai

    with openai.OpenAI().responses.stream(model=model, input="Say hello") as events:
        for event in events:
            if event.type == "response.failed":
                yield f"{event.type}: {of_object(event.response.error)}"
            if event.type == "error":
                yield f"{event.type}: {event.code} {event.message}"
        events.get_final_response()


def no_retries() -> Any:
    """Else OpenRouter's SDK repeats what fails for an hour."""
    from openrouter.utils import BackoffStrategy, RetryConfig

    return RetryConfig("none", BackoffStrategy(1, 1, 1, 1), False)


def openrouter_client() -> Any:
    import openrouter

    return openrouter.OpenRouter(
        server_url=os.environ["OPENROUTER_BASE_URL"],
        api_key=os.environ["OPENROUTER_API_KEY"],
        retry_config=no_retries(),
    )


def openrouter_chat(model: str) -> Iterator[str | None]:
    with openrouter_client().chat.send(model=model, messages=MESSAGES, stream=True) as events:
        for chunk in events:
            if chunk.error:
                yield f"chunk.error: {of_object(chunk.error)}"
            elif chunk.choices and chunk.choices[0].finish_reason == "error":
                yield "finish_reason: error"


def openrouter_responses(model: str) -> Iterator[str | None]:
    ai = openrouter_client()
    api = getattr(ai, "responses", None) or ai.beta.responses
    with api.send(model=model, input="Say hello", stream=True) as events:
        for event in events:
            if event.type == "response.failed":
                yield f"{event.type}: {of_object(event.response.error)}"
            if event.type == "error":
                yield f"{event.type}: {event.code} {event.message}"


def anthropic_messages(model: str) -> Iterator[str | None]:
    import anthropic

    yield from anthropic.Anthropic().messages.create(
        model=model, messages=MESSAGES, max_tokens=64, stream=True
    )


def anthropic_helper(model: str) -> Iterator[str | None]:
    import anthropic

    question = {"model": model, "messages": MESSAGES, "max_tokens": 64}
    with anthropic.Anthropic().messages.stream(**question) as events:
        yield from events


def langchain_openai(model: str) -> Iterable[Any]:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model=model).stream("Say hello")


def langchain_responses(model: str) -> Iterable[Any]:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model=model, use_responses_api=True).stream("Say hello")


def langchain_openrouter(model: str) -> Iterable[Any]:
    from langchain_openrouter import ChatOpenRouter

    ai = ChatOpenRouter(model=model, base_url=os.environ["OPENROUTER_BASE_URL"])
    # `max_retries=0` leaves the SDK's own.
    ai.client.sdk_configuration.retry_config = no_retries()
    return ai.stream("Say hello")


def litellm_stream(model: str, **options: Any) -> Iterable[Any]:
    import litellm

    litellm.suppress_debug_info = True
    return litellm.completion(model, MESSAGES, stream=True, **options)


def litellm_openai(model: str) -> Iterable[Any]:
    return litellm_stream(f"openai/{model}")


def litellm_openrouter(model: str) -> Iterable[Any]:
    return litellm_stream(f"openrouter/{model}", api_base=os.environ["OPENROUTER_BASE_URL"])


def litellm_anthropic(model: str) -> Iterable[Any]:
    return litellm_stream(f"anthropic/{model}", max_tokens=64)


Reader = Callable[[str], Iterable[Any]]
READERS: dict[str, dict[str, Reader]] = {
    "openai": {
        "chat": openai_chat,
        "responses": openai_responses,
        "responses.stream": openai_responses_helper,
    },
    "openrouter": {"chat": openrouter_chat, "responses": openrouter_responses},
    "anthropic": {"messages": anthropic_messages, "messages.stream": anthropic_helper},
    "langchain-openai": {"chat": langchain_openai, "responses": langchain_responses},
    "langchain-openrouter": {"chat": langchain_openrouter},
    "litellm": {
        "openai/": litellm_openai,
        "openrouter/": litellm_openrouter,
        "anthropic/": litellm_anthropic,
    },
}


def outcome(read: Reader, model: str) -> str:
    """What a program that only reads the answer learns."""
    try:
        told = [it for it in read(model) if isinstance(it, str)]
    except Exception as error:
        return f"raises {type(error).__name__}: {error}"
    return f"yields {told[-1]}" if told else "ends silently"


def run(job: tuple[str, str, str, Reader]) -> list[str]:
    way, case, model, read = job
    return [way, case, model, outcome(read, model)]


# Each model has a name of its own, so that the test can count the requests.
jobs = [
    (f"{package} {version(package)} {way}", case, f"sdk/{case}--{os.environ['NAME']}-{number}-", read)
    for number, (package, way, read) in enumerate(
        (package, way, read)
        for package, ways in READERS.items()
        if importlib.util.find_spec(package.replace("-", "_"))
        for way, read in ways.items()
    )
    for case in CASES
]
# SDKs import parts of themselves at their first use, and threads that do so at once can stop each other.
# Only the answers that never come are waited for side by side.
seen = [run(job) for job in jobs if job[1] != "silent"]
silent = [job for job in jobs if job[1] == "silent"]
with ThreadPoolExecutor(len(silent)) as pool:
    seen += pool.map(run, silent)
json.dump(seen, sys.stdout, ensure_ascii=False)
