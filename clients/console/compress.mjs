// After the build: the style sheet in the page, the second page, and each file's compressed variants, which the function
// compiles in.

import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const DIST = fileURLToPath(new URL("dist", import.meta.url));
/** The largest that all scripts and styles may be, in bytes of gzip. */
const BUDGET = 60_000;

// Addresses are relative, since the gateway may be below a path: the page is at /console, without a slash,
// and the request for a token at /console/approve.
const page = styled(readFileSync(join(DIST, "index.html"), "utf8"));
writeFileSync(join(DIST, "approve.html"), page);
writeFileSync(join(DIST, "index.html"), page.replaceAll('"./assets/', '"./console/assets/'));

/** The page with its style sheet inside, so that the first paint waits for nothing else. The function permits it by digest. */
function styled(html) {
  const [link, name] = /<link rel="stylesheet"[^>]* href="\.\/(assets\/[^"]+\.css)">/.exec(html) ?? [];
  if (link === undefined) {
    throw new Error("the page has no style sheet");
  }
  const style = readFileSync(join(DIST, name), "utf8").trim();
  if (/<\/style|url\(|\r/i.test(style)) {
    throw new Error("the style sheet can't stand in the page");
  }
  rmSync(join(DIST, name));
  return html.replace(link, () => `<style>${style}</style>`);
}

let total = 0;
for (const entry of readdirSync(DIST, { recursive: true, withFileTypes: true })) {
  const path = join(entry.parentPath, entry.name);
  if (!entry.isFile() || /\.(br|gz)$/.test(entry.name)) {
    continue;
  }
  const plain = readFileSync(path);
  const gzip = gzipSync(plain, { level: 9 });
  writeFileSync(`${path}.gz`, gzip);
  writeFileSync(
    `${path}.br`,
    brotliCompressSync(plain, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }),
  );
  // The page has the styles.
  if (entry.name.endsWith(".js") || entry.name === "index.html") {
    total += gzip.length;
  }
}
console.log(`scripts and styles: ${total} bytes of gzip, at most ${BUDGET}`);
if (total > BUDGET) {
  process.exitCode = 1;
}
