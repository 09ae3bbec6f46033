/** A chat completion, as it streams in. */

import { GatewayError, send } from "./api.js";
import type { Turn } from "./database.js";
import { texts } from "./texts.js";

export interface Answering {
  readonly requestId: string;
  readonly text: string;
}

/** Asks, and calls `progress` with the whole text so far. Rejects where the answer breaks off. */
export async function complete(
  model: string,
  turns: readonly Turn[],
  signal: AbortSignal,
  progress: (answering: Answering) => void,
): Promise<void> {
  const messages = turns
    .filter((it) => it.content !== "")
    .map(({ role, content }) => ({ role, content }));
  const body = { model, stream: true, messages };
  const response = await send("POST", "/api/v1/openrouter/chat/completions", body, signal);
  const requestId = response.headers.get("x-gateway-request-id") ?? "";
  let text = "";
  progress({ requestId, text });
  for await (const event of events(response)) {
    if (event === "[DONE]") {
      return;
    }
    const { delta, failure } = read(event);
    if (failure) {
      throw new GatewayError(failure.message, response.status, failure.reason, requestId);
    }
    text += delta;
    progress({ requestId, text });
  }
  throw new GatewayError(texts.chat.broken, response.status, "", requestId);
}

/** The data of each server-sent event. */
async function* events(response: Response): AsyncGenerator<string> {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = (await reader?.read()) ?? { done: true, value: undefined };
    if (done) {
      return;
    }
    const parts = (rest + value).split(/\r?\n\r?\n/);
    rest = parts.pop() ?? "";
    for (const part of parts) {
      const lines = part.split(/\r?\n/).filter((it) => it.startsWith("data:"));
      if (lines.length > 0) {
        yield lines.map((it) => it.slice(5).replace(/^ /, "")).join("\n");
      }
    }
  }
}

interface Chunk {
  readonly choices?: readonly { readonly delta?: { readonly content?: unknown } }[];
  readonly error?: { readonly message?: unknown; readonly metadata?: { readonly reason?: unknown } };
}

export function read(event: string): { delta: string; failure?: { message: string; reason: string } } {
  let chunk: Chunk;
  try {
    chunk = JSON.parse(event) as Chunk;
  } catch {
    return { delta: "" };
  }
  if (chunk.error) {
    const { message, metadata } = chunk.error;
    return {
      delta: "",
      failure: {
        message: typeof message === "string" ? message : texts.chat.broken,
        reason: typeof metadata?.reason === "string" ? metadata.reason : "",
      },
    };
  }
  const content = chunk.choices?.[0]?.delta?.content;
  return { delta: typeof content === "string" ? content : "" };
}
