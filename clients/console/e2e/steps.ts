/** What people do in the page, in any browser. */

import { randomUUID } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import type { Browser, Page } from "playwright-core";
import { expect } from "vitest";

import type { Algorithm } from "../src/keys.js";
import { GATEWAY, LLMGW, Person, WORK, run, saved, until } from "./world.js";

export const PASSPHRASE = "four unrelated words here";

export async function makeIdentity(page: Page): Promise<string> {
  await page.getByLabel("Passphrase", { exact: true }).first().fill(PASSPHRASE);
  await page.getByLabel("The passphrase again").fill(PASSPHRASE);
  return saved(page, () => page.getByRole("button", { name: "Make it, and save the backup" }).click());
}

/** Chooses a backup; its passphrase is asked for once the file has been read. */
export async function choose(page: Page, backup: Parameters<ReturnType<Page["locator"]>["setInputFiles"]>[0]): Promise<void> {
  // The page's own form comes with it, and has a passphrase, too.
  await page.getByLabel("Backup file").waitFor({ state: "attached" });
  const passphrases = page.getByLabel("Passphrase", { exact: true });
  const before = await passphrases.count();
  await page.getByLabel("Backup file").setInputFiles(backup);
  await until(() => passphrases.count(), before + 1);
}

export async function restoreWith(page: Page, passphrase: string): Promise<void> {
  await page.getByLabel("Passphrase", { exact: true }).last().fill(passphrase);
  await page.getByRole("button", { name: "Restore" }).click();
}

export async function ask(page: Page, text: string): Promise<void> {
  await page.getByLabel("Message").fill(text);
  await page.getByRole("button", { name: "Send" }).click();
}

/** Takes Ed25519 from a browser, as those before 2025 were without it. */
function withoutEd25519(): void {
  if (!globalThis.isSecureContext) {
    // An empty page, before the console's.
    return;
  }
  const { prototype } = SubtleCrypto;
  for (const name of ["generateKey", "importKey"] as const) {
    const original = prototype[name] as (...args: unknown[]) => Promise<unknown>;
    Object.defineProperty(prototype, name, {
      value(this: SubtleCrypto, ...args: unknown[]) {
        return JSON.stringify(args).includes("Ed25519")
          ? Promise.reject(new DOMException("no such algorithm", "NotSupportedError"))
          : original.apply(this, args);
      },
    });
  }
}

/** The beginning of each algorithm's DIDs. */
const DIDS: Readonly<Record<Algorithm, string>> = { Ed25519: "did:key:z6Mk", "P-256": "did:key:zDn" };

/**
 * From nothing to an answer and its cost, with a key of an algorithm; then the backup signs with `llmgw`, and restores
 * the account in a browser that knew nothing of it.
 */
export async function firstSteps(browser: Browser, algorithm: Algorithm): Promise<void> {
  const backup = join(WORK, `first-steps-${randomUUID()}.json`);
  let did = "";
  await Person.visit(browser, async ({ page, context }) => {
    if (algorithm !== "Ed25519") {
      await context.addInitScript(withoutEd25519);
    }
    await page.goto(`${GATEWAY}/console`);
    writeFileSync(backup, await makeIdentity(page));
    const file = JSON.parse(readFileSync(backup, "utf8")) as { did: string; algorithm: string };
    did = file.did;
    expect([file.algorithm, did.startsWith(DIDS[algorithm])]).toEqual([algorithm, true]);
    await page.getByLabel("OpenRouter key").fill("sk-or-v1-of-the-first-steps-0000000000");
    await page.getByRole("button", { name: "Store the key" }).click();
    await page.getByText("Connected. The gateway has your key.").waitFor();
    await page.getByRole("link", { name: "Chat now" }).click();
    await ask(page, "Say hello");
    await page.getByText("once the stream had ended.").waitFor();
    await page.getByText("Cost $0.000123").waitFor();
    await page.getByRole("link", { name: "Identity", exact: true }).click();
    await page.getByText(did).waitFor();
    await page.getByText(algorithm, { exact: true }).waitFor();
  });
  const [kept, passphrase] = [`${backup}.kept`, `${backup}.passphrase`];
  writeFileSync(passphrase, `${PASSPHRASE}\n`);
  const llmgw = (...args: string[]) => run(LLMGW, ["--identity", kept, ...args]);
  await llmgw("identity", "import", backup, "--passphrase-file", passphrase);
  const { stdout } = await llmgw("usage", "--gateway", GATEWAY, "--json");
  expect(JSON.parse(stdout)).toMatchObject({ total_requests: 1 });
  await Person.visit(browser, async (person) => {
    const { page } = person;
    await person.open("identity");
    expect(await page.content()).not.toContain(did);
    await choose(page, backup);
    await restoreWith(page, PASSPHRASE);
    await page.getByText("your own account").waitFor();
    await page.getByRole("link", { name: "Home" }).click();
    await page.locator(".tile").filter({ hasText: "Today" }).getByTitle("$0.0001234").waitFor();
    await page.getByRole("link", { name: "Identity", exact: true }).click();
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("button", { name: "Delete from this browser" }).click();
    await page.getByRole("heading", { name: "Make an identity" }).waitFor();
    expect(await page.getByText(did).count()).toBe(0);
  });
}
