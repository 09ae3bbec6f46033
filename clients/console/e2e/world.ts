/** The browser, the gateway's users, and what no page may do. */

import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

import { Identity, createSigningFetch, type Fetch } from "llmgw-auth";
import {
  chromium,
  firefox,
  type Browser,
  type BrowserContext,
  type BrowserContextOptions,
  type Page,
} from "playwright-core";
import { expect } from "vitest";

import { texts } from "../src/texts.js";
import type { View } from "../src/views.js";

const variable = (name: string): string => {
  const value = process.env[name];
  if (!value) {
    throw new Error(`${name} is not set; \`cargo xtask test console\` sets it`);
  }
  return value;
};

export const GATEWAY = variable("GATEWAY");
export const LLMGW = variable("LLMGW");
export const WORK = variable("WORK");
const SCREENSHOTS = variable("SCREENSHOTS");
const DOWNLOADS = join(WORK, "downloads");

export const run = promisify(execFile);

export async function launch(name: "chromium" | "firefox"): Promise<Browser> {
  mkdirSync(SCREENSHOTS, { recursive: true });
  switch (name) {
    case "chromium":
      return chromium.launch({ executablePath: variable("CHROMIUM"), args: ["--no-sandbox"] });
    case "firefox":
      mkdirSync(DOWNLOADS, { recursive: true });
      return firefox.launch({
        executablePath: variable("FIREFOX"),
        // A Firefox without Playwright's patches.
        channel: "moz-firefox",
        downloadsPath: DOWNLOADS,
      });
  }
}

/** What the page saves as a file when `act` is done. In Firefox not for two pages at once. */
export async function saved(page: Page, act: () => Promise<void>): Promise<string> {
  if (page.context().browser()?.browserType().name() !== "firefox") {
    const [download] = await Promise.all([page.waitForEvent("download"), act()]);
    return readFileSync(await download.path(), "utf8");
  }
  // Playwright hears nothing of this one's downloads.
  const files = () => readdirSync(DOWNLOADS).filter((it) => statSync(join(DOWNLOADS, it)).size > 0);
  const before = files();
  const added = () => files().find((it) => !before.includes(it) && !it.endsWith(".part"));
  await act();
  await until(async () => added() !== undefined, true);
  return readFileSync(join(DOWNLOADS, added() ?? ""), "utf8");
}

/** Refusals that a test provokes are the browser's, not the page's. */
const PROVOKED = /^Failed to load resource: the server responded with a status of 4/;

/** A person's browser: an empty memory, and a list of what went wrong in it. */
export class Person {
  readonly wrong: string[] = [];

  private constructor(
    readonly context: BrowserContext,
    readonly page: Page,
  ) {}

  /** A visit; fails where the page logged an error or broke its policy. */
  static async visit(
    browser: Browser,
    work: (person: Person) => Promise<void>,
    options: BrowserContextOptions = {},
  ): Promise<void> {
    const person = await Person.arrive(browser, options);
    await work(person);
    await person.context.close();
    expect(person.wrong).toEqual([]);
  }

  private static async arrive(browser: Browser, options: BrowserContextOptions): Promise<Person> {
    const context = await browser.newContext({
      locale: "en-US",
      timezoneId: "Europe/Berlin",
      viewport: { width: 1280, height: 800 },
      ...options,
    });
    if (browser.browserType().name() === "chromium") {
      await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: GATEWAY });
    }
    await context.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", ({ effectiveDirective, blockedURI }) => {
        console.error(`the policy refuses ${effectiveDirective} ${blockedURI}`);
      });
    });
    // A busy machine is no fault of the page.
    context.setDefaultTimeout(45_000);
    const page = await context.newPage();
    const person = new Person(context, page);
    context.on("page", (it) => person.watch(it));
    person.watch(page);
    return person;
  }

  private watch(page: Page): void {
    page.on("pageerror", (error) => this.wrong.push(String(error)));
    page.on("console", (message) => {
      // A program's own page, at the end of an approval, is gone before its icon is asked for.
      const { url } = message.location();
      const isOurs = url === "" || url.startsWith(GATEWAY);
      if (isOurs && ["error", "warning"].includes(message.type()) && !PROVOKED.test(message.text())) {
        this.wrong.push(message.text());
      }
    });
  }

  async open(view = ""): Promise<void> {
    await this.page.goto(`${GATEWAY}/console${view === "" ? "" : `#/${view}`}`);
  }

  /** Waits until a view has everything that it asked for. */
  async settled(view: View): Promise<void> {
    const { heading } = texts[view];
    await this.page.getByRole("heading", { level: 1, name: heading }).waitFor();
    await until(() => this.page.getByText(texts.common.loading, { exact: true }).count(), 0);
  }

  /** Restores an identity from llmgw's plain file. */
  async restore(user: User): Promise<void> {
    await this.open("identity");
    await this.page.getByLabel("Backup file").setInputFiles({
      name: "identity.json",
      mimeType: "application/json",
      buffer: Buffer.from(user.file),
    });
    await this.page.getByRole("button", { name: "Restore" }).click();
    await this.page.getByRole("heading", { name: "OpenRouter key" }).waitFor();
  }

  async picture(name: string): Promise<void> {
    await this.page.screenshot({ path: join(SCREENSHOTS, `${name}.png`) });
  }
}

/** Waits for a value; not `expect.poll`, which does not know tests that run side by side. */
export async function until<T>(read: () => Promise<T>, wanted: T): Promise<void> {
  const end = performance.now() + 45_000;
  let found = await read();
  while (found !== wanted && performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    found = await read();
  }
  expect(found).toBe(wanted);
}

/** Somebody with an identity of their own, outside of the browser. */
export interface User {
  readonly did: string;
  /** llmgw's identity file. */
  readonly file: string;
  readonly fetch: Fetch;
}

export async function user({ withKey = true } = {}): Promise<User> {
  const seed = randomBytes(32);
  const identity = await Identity.fromSeed(seed);
  const fetch = createSigningFetch({ identity, audience: GATEWAY });
  if (withKey) {
    const body = JSON.stringify({ api_key: `sk-or-v1-${randomBytes(24).toString("hex")}`, key_name: "test" });
    expect((await fetch(`${GATEWAY}/api/v1/keys`, { method: "PUT", body })).status).toBe(200);
  }
  return {
    did: identity.did,
    file: JSON.stringify({ did: identity.did, secret_key_seed: seed.toString("base64url") }),
    fetch,
  };
}

export const chatBody = (model: string, stream = false): string =>
  JSON.stringify({ model, stream, messages: [{ role: "user", content: "Anything" }] });

export async function chat(user: User, model: string, headers: Record<string, string> = {}): Promise<void> {
  const answer = await user.fetch(`${GATEWAY}/api/v1/openrouter/chat/completions`, {
    method: "POST",
    body: chatBody(model),
    headers: { "content-type": "application/json", ...headers },
  });
  expect(answer.status).toBe(200);
  await answer.text();
}
