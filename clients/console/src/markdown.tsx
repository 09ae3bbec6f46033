/**
 * Markdown as nodes. A model's answer is untrusted text: no part of it becomes markup, an address that is not
 * https, http or mailto stays text, a link says where it leads, and characters that reorder text are shown.
 */

import type { ComponentChildren, JSX } from "preact";

import { texts } from "./texts.js";

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)\s*$/;
const HEADING = /^ {0,3}(#{1,6}) +(.*?)(?: +#+)? *$/;
const ITEM = /^( *)(?:[-*+]|(\d{1,9})[.)]) +(.*)$/;
const RULE = /^ {0,3}(?:- *){3,}$|^ {0,3}(?:\* *){3,}$|^ {0,3}(?:_ *){3,}$/;
const QUOTE = /^ {0,3}> ?(.*)$/;
const ROW = /^ *\|.*\| *$/;
/** Deeper nesting is shown flat. */
const DEEPEST = 8;

export function Markdown({ text }: { text: string }): JSX.Element {
  return <div class="markdown">{blocks(text.split("\n"), 0)}</div>;
}

function blocks(lines: readonly string[], depth: number): ComponentChildren[] {
  const out: ComponentChildren[] = [];
  let at = 0;
  const takeWhile = (test: (line: string) => boolean): string[] => {
    const from = at;
    while (at < lines.length && test(lines[at] ?? "")) {
      at += 1;
    }
    return lines.slice(from, at);
  };
  while (at < lines.length) {
    const line = lines[at] ?? "";
    const fence = FENCE.exec(line);
    const heading = HEADING.exec(line);
    if (fence) {
      at += 1;
      const mark = fence[1] ?? "```";
      const code = takeWhile((it) => !it.trim().startsWith(mark));
      at += 1;
      out.push(<Code text={code.join("\n")} language={fence[2] ?? ""} />);
    } else if (line.trim() === "") {
      at += 1;
    } else if (heading) {
      at += 1;
      // Below the page's own headings.
      out.push(
        <p class="heading" role="heading" aria-level={Math.min(6, (heading[1]?.length ?? 1) + 3)}>
          {inline(heading[2] ?? "")}
        </p>,
      );
    } else if (RULE.test(line)) {
      at += 1;
      out.push(<hr />);
    } else if (QUOTE.test(line) && depth < DEEPEST) {
      const quoted = takeWhile((it) => QUOTE.test(it)).map((it) => QUOTE.exec(it)?.[1] ?? "");
      out.push(<blockquote>{blocks(quoted, depth + 1)}</blockquote>);
    } else if (ITEM.test(line) && depth < DEEPEST) {
      out.push(list(takeWhile((it) => ITEM.test(it) || /^ {2,}\S/.test(it)), depth));
    } else if (ROW.test(line) && /^[ |:-]+$/.test(lines[at + 1] ?? "") && (lines[at + 1] ?? "").includes("-")) {
      out.push(table(takeWhile((it) => ROW.test(it))));
    } else {
      const first = at;
      at += 1;
      takeWhile((it) => it.trim() !== "" && !FENCE.test(it) && !HEADING.test(it) && !ITEM.test(it) && !QUOTE.test(it));
      out.push(<p>{inline(lines.slice(first, at).join("\n"))}</p>);
    }
  }
  return out;
}

function list(lines: readonly string[], depth: number): JSX.Element {
  const first = ITEM.exec(lines[0] ?? "");
  const indent = first?.[1]?.length ?? 0;
  const items: string[][] = [];
  for (const line of lines) {
    const item = ITEM.exec(line);
    const last = items.at(-1);
    if (item && (item[1]?.length ?? 0) <= indent + 1) {
      items.push([item[3] ?? ""]);
    } else {
      last?.push(line.slice(Math.min(indent + 2, line.length - line.trimStart().length)));
    }
  }
  const entries = items.map((it) => (
    <li>{it.length === 1 ? inline(it[0] ?? "") : blocks(it, depth + 1)}</li>
  ));
  const start = Number(first?.[2] ?? 1);
  return first?.[2] === undefined ? <ul>{entries}</ul> : <ol start={start}>{entries}</ol>;
}

function table(lines: readonly string[]): JSX.Element {
  const cells = (line: string) => line.trim().slice(1, -1).split("|");
  const [head = "", , ...rows] = lines;
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label={texts.chat.table}>
      <table>
        <thead>
          <tr>
            {cells(head).map((it) => (
              <th scope="col">{inline(it.trim())}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr>
              {cells(row).map((it) => (
                <td>{inline(it.trim())}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function Code({ text, language }: { text: string; language: string }): JSX.Element {
  return (
    <pre tabIndex={0} aria-label={language || texts.chat.code}>
      <code>{visible(text)}</code>
    </pre>
  );
}

/** One of: code, a link or an image, bold, italics, an address. Each alternative is bounded. */
const INLINE =
  /(`{1,3})([^`]{1,4000})\1|!?\[([^\[\]]{0,1000})\]\(([^()\s]{1,2000})(?: "[^"]{0,200}")?\)|\*\*([^*\n]{1,2000})\*\*|(?<![\w*])\*([^*\s][^*\n]{0,2000})\*|(?<!\w)_([^_\s][^_\n]{0,2000})_(?!\w)|(https?:\/\/[^\s<>()"'`\]]{1,2000})/g;

function inline(text: string): ComponentChildren[] {
  const out: ComponentChildren[] = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    const [whole, , code, label, target, bold, italic, underlined, bare] = match;
    out.push(...visible(text.slice(end, match.index)));
    end = match.index + whole.length;
    if (code !== undefined) {
      out.push(<code>{visible(code)}</code>);
    } else if (target !== undefined) {
      out.push(link(target, label ?? "", whole));
    } else if (bold !== undefined) {
      out.push(<strong>{visible(bold)}</strong>);
    } else if (bare !== undefined) {
      const address = bare.replace(/[.,;:!?]+$/, "");
      end -= bare.length - address.length;
      out.push(link(address, address, address));
    } else {
      out.push(<em>{visible(italic ?? underlined ?? "")}</em>);
    }
  }
  out.push(...visible(text.slice(end)));
  return out;
}

function link(target: string, label: string, source: string): ComponentChildren {
  const url = safeUrl(target);
  if (!url) {
    return visible(source);
  }
  const where = url.protocol === "mailto:" ? url.pathname : url.host;
  return (
    <>
      <a href={url.href} target="_blank" rel="noopener noreferrer nofollow">
        {visible(label === "" ? url.href : label)}
      </a>
      {label.includes(where) ? null : <span class="muted"> ({visible(where)})</span>}
    </>
  );
}

/** An address that may be followed. */
export function safeUrl(target: string): URL | undefined {
  if (!/^(https?:\/\/|mailto:)/i.test(target) || !URL.canParse(target)) {
    return undefined;
  }
  const url = new URL(target);
  return ["https:", "http:", "mailto:"].includes(url.protocol) && url.username === "" ? url : undefined;
}

/** Characters that change the order of others, or hide: Unicode's Bidi_Control, and some without a width. */
const HIDDEN = /[\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\u{e0000}-\u{e007f}]/u;

/** Text in which hidden characters are named. */
export function visible(text: string): ComponentChildren[] {
  if (!HIDDEN.test(text)) {
    return text === "" ? [] : [text];
  }
  return Array.from(text.matchAll(new RegExp(`(${HIDDEN.source})|[^]`, "gu")), ([character, hidden]) =>
    hidden === undefined ? (
      character
    ) : (
      <span class="hidden-character">
        U+{(hidden.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}
      </span>
    ),
  );
}
