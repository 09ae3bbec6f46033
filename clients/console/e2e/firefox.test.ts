/** The paths of identity and chat in Firefox, as Debian has it: Playwright drives it by WebDriver BiDi. */

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, it } from "vitest";

import { firstSteps } from "./steps.js";
import { launch } from "./world.js";

let browser: Browser;
beforeAll(async () => {
  browser = await launch("firefox");
}, 60_000);
afterAll(async () => {
  await browser.close();
});

describe("the console in Firefox", () => {
  for (const algorithm of ["Ed25519", "P-256"] as const) {
    it(`leads from a key of ${algorithm} to an answer, and back from its backup`, () =>
      firstSteps(browser, algorithm));
  }
});
