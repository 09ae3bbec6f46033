/** Every page of a CSV, in one text: each response names the next page in `Link` (RFC 8288), and has a header line. */
export async function joined(ask: (cursor: string | undefined) => Promise<Response>): Promise<string> {
  const parts: string[] = [];
  let cursor: string | undefined;
  do {
    const answer = await ask(cursor);
    const page = await answer.text();
    parts.push(parts.length === 0 ? page : page.slice(page.indexOf("\r\n") + 2));
    const next = /<\?([^>]*)>/.exec(answer.headers.get("link") ?? "")?.[1];
    cursor = next === undefined ? undefined : (new URLSearchParams(next).get("cursor") ?? undefined);
  } while (cursor !== undefined);
  return parts.join("");
}
