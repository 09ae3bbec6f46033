import { expect, it } from "vitest";

import { joined } from "../src/csv.js";

it("joins every page under one header line", async () => {
  const pages = new Map([
    [undefined, { body: "id,model\r\n1,\"a\"\r\n2,\"b\r\nc\"\r\n", next: "x/1+2" }],
    ["x/1+2", { body: "id,model\r\n3,\"\"\r\n", next: "last" }],
    ["last", { body: "id,model\r\n", next: undefined }],
  ]);
  const asked: (string | undefined)[] = [];
  const text = await joined((cursor) => {
    asked.push(cursor);
    const page = pages.get(cursor);
    const link = page?.next ? `<?${new URLSearchParams({ limit: "2", cursor: page.next })}>; rel="next"` : undefined;
    return Promise.resolve(new Response(page?.body, link ? { headers: { link } } : {}));
  });
  expect(text).toBe('id,model\r\n1,"a"\r\n2,"b\r\nc"\r\n3,""\r\n');
  expect(asked).toEqual([undefined, "x/1+2", "last"]);
});

it("fails as a whole where a page is refused", async () => {
  const pages = [new Response("id\r\n1\r\n", { headers: { link: '<?cursor=2>; rel="next"' } })];
  const ask = () => {
    const page = pages.shift();
    return page ? Promise.resolve(page) : Promise.reject(new Error("refused"));
  };
  await expect(joined(ask)).rejects.toThrow("refused");
});
