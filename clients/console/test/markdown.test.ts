import { isValidElement, type ComponentChildren } from "preact";
import { describe, expect, it } from "vitest";

import { Markdown, safeUrl } from "../src/markdown.js";

/** The elements and the text of an answer, components rendered. */
function flat(node: ComponentChildren): string {
  if (Array.isArray(node)) {
    return node.map(flat).join("");
  }
  if (isValidElement(node)) {
    const { type, props } = node as unknown as {
      type: string | ((props: object) => ComponentChildren);
      props: { children?: ComponentChildren; href?: string };
    };
    if (typeof type === "function") {
      return flat(type.name === "" || type.name === "Fragment" ? props.children : type(props));
    }
    return `<${type}${props.href === undefined ? "" : ` ${props.href}`}>${flat(props.children)}</${type}>`;
  }
  return node === null || node === undefined || typeof node === "boolean" ? "" : String(node);
}

const shown = (text: string) => flat(Markdown({ text })).replace(/^<div>|<\/div>$/g, "");

describe("an answer", () => {
  it("is structured", () => {
    for (const [text, expected] of [
      ["a **b** *c* `d`", "<p>a <strong>b</strong> <em>c</em> <code>d</code></p>"],
      ["# A\ntext", "<p>A</p><p>text</p>"],
      ["- a\n- b", "<ul><li>a</li><li>b</li></ul>"],
      ["3. a\n4. b", "<ol><li>a</li><li>b</li></ol>"],
      ["> a\n> b", "<blockquote><p>a\nb</p></blockquote>"],
      ["```js\n# not a heading\n```", "<pre><code># not a heading</code></pre>"],
      ["```\nunfinished", "<pre><code>unfinished</code></pre>"],
      ["2 * 3 * 4, snake_case_name", "<p>2 * 3 * 4, snake_case_name</p>"],
      ["see https://a.example/x.", "<p>see <a https://a.example/x>https://a.example/x</a>.</p>"],
      ["[a](https://b.example/)", "<p><a https://b.example/>a</a><span> (b.example)</span></p>"],
    ] as const) {
      expect(shown(text), text).toBe(expected);
    }
  });

  it("has no address that runs or hides something", () => {
    for (const target of [
      "javascript:alert(1)",
      "JaVaScRiPt:alert(1)",
      "data:text/html,x",
      "vbscript:x",
      "//evil.example",
      "/api/v1/keys",
      "#/tokens",
      "https://good.example@evil.example/",
      "file:///etc/passwd",
      "blob:https://a/b",
    ]) {
      expect(safeUrl(target), target).toBeUndefined();
      expect(shown(`[x](${target})`)).not.toContain("<a");
    }
    expect(safeUrl("mailto:a@b.example")?.href).toBe("mailto:a@b.example");
  });

  it("shows characters that reorder or hide text", () => {
    expect(shown("a\u202eb\u{e0041}")).toBe("<p>a<span>U+202E</span>b<span>U+E0041</span></p>");
    expect(shown("`\u2066`")).toContain("U+2066");
  });

  it("takes no time that grows faster than its length", () => {
    for (const piece of ["*", "_", "[", "](", "`", "> ", "- ", "|", "**a", "[a](", "![", "#", "~~~\n", "\u202e"]) {
      const begun = performance.now();
      shown(piece.repeat(20_000));
      expect(performance.now() - begun, piece).toBeLessThan(2000);
    }
  });
});
