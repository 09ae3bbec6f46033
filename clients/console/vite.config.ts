import { fileURLToPath } from "node:url";

import { defineConfig } from "vitest/config";

export default defineConfig({
  base: "./",
  // The signer is the package for everybody, not a copy.
  resolve: {
    alias: { "llmgw-auth": fileURLToPath(new URL("../typescript/src/index.ts", import.meta.url)) },
  },
  esbuild: { jsx: "automatic", jsxImportSource: "preact" },
  build: {
    target: "es2022",
    // The page has one script and one style sheet; the polyfill would be an inline script.
    modulePreload: false,
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    reportCompressedSize: false,
  },
  test: { environment: "node", include: ["**/*.test.ts"], testTimeout: 180_000 },
});
