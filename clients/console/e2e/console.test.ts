import { spawn } from "node:child_process";
import { createDecipheriv, createECDH, createHash, hkdfSync, randomUUID } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

import { AxeBuilder } from "@axe-core/playwright";
import type { Browser, BrowserContextOptions, Locator, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { VIEWS } from "../src/views.js";
import { PASSPHRASE, ask, choose, firstSteps, makeIdentity, restoreWith } from "./steps.js";
import {
  GATEWAY,
  LLMGW,
  Person,
  WORK,
  chat,
  chatBody,
  launch,
  run,
  saved,
  until,
  user,
  type User,
} from "./world.js";

let browser: Browser;
beforeAll(async () => {
  browser = await launch("chromium");
});
afterAll(async () => {
  await browser.close();
});

const visit = (work: (person: Person) => Promise<void>, options?: BrowserContextOptions) =>
  Person.visit(browser, work, options);

/** A token's text, out of the dialog that shows it once. */
async function secretOf(page: Page): Promise<string> {
  const secret = page.getByRole("dialog").locator("code.did");
  await secret.waitFor();
  return (await secret.textContent()) ?? "";
}

describe.concurrent("the console", () => {
  it("takes a newcomer from the address to an answer and a token in minutes", () =>
    visit(async (person) => {
      const { page } = person;
      const times: Record<string, number> = {};
      const begun = performance.now();
      const step = async (name: string) => {
        times[name] = Math.round(performance.now() - begun);
        await person.picture(`start-${Object.keys(times).length}-${name}`);
      };
      await page.goto(GATEWAY);
      await page.getByRole("heading", { name: "Begin here" }).waitFor();
      expect(page.url()).toBe(`${GATEWAY}/console`);
      await step("opened");

      await makeIdentity(page);
      await page.getByRole("heading", { name: "OpenRouter key" }).waitFor();
      await page.getByText("Save your backup:").waitFor();
      await page.getByRole("button", { name: "Save the backup file" }).first().click();
      await until(() => page.getByText("Save your backup:").count(), 0);
      await page.getByText("No key yet.").waitFor();
      await step("identity");

      await page.getByLabel("OpenRouter key").fill("sk-or-v1-of-a-newcomer-000000000000");
      await page.getByRole("button", { name: "Store the key" }).click();
      await page.getByText("Connected. The gateway has your key.").waitFor();
      await step("key");

      await page.getByRole("link", { name: "Chat now" }).click();
      await ask(page, "Say hello");
      await page.getByText("Hello! This answer came through the gateway").waitFor();
      await page.getByText("once the stream had ended.").waitFor();
      await step("answer");
      await page.getByText("Cost $0.000123").waitFor();
      expect(await page.getByTitle("$0.0001234").count()).toBeGreaterThan(0);
      await person.picture("chat");

      await page.getByRole("link", { name: "Tokens" }).click();
      await page.getByText("No tokens yet.").waitFor();
      await page.getByRole("button", { name: "Make a token" }).click();
      await page.getByLabel("What it is for").fill("curl");
      await page.getByLabel("Budget, US dollars").fill("5");
      await page.getByRole("button", { name: "Make the token" }).click();
      await secretOf(page);
      await step("token");
      await page.getByRole("button", { name: "Copy" }).last().click();
      const command = await page.evaluate(() => navigator.clipboard.readText());
      const { stdout } = await run("bash", ["-c", command]);
      expect(JSON.parse(stdout)).toMatchObject({ choices: [{ message: { role: "assistant" } }] });
      times["curl"] = Math.round(performance.now() - begun);
      console.log(`the first minutes, in milliseconds: ${JSON.stringify(times)}`);
      expect(times["curl"]).toBeLessThan(120_000);
    }));

  it("serves its files as browsers keep them, and nothing that could run elsewhere", async () => {
    const page = await fetch(`${GATEWAY}/console`, { headers: { "accept-encoding": "br" } });
    expect(page.headers.get("content-encoding")).toBe("br");
    expect(page.headers.get("cache-control")).toBe("no-cache");
    const html = await page.text();
    expect(html).not.toMatch(/<script(?![^>]* src=)| style=| on[a-z]+=/);
    const [style, ...others] = [...html.matchAll(/<style>([^]*?)<\/style>/g)].map((it) => it[1] ?? "");
    expect(others).toEqual([]);
    const digest = createHash("sha256").update(style ?? "").digest("base64");
    const etag = page.headers.get("etag") ?? "";
    const again = await fetch(`${GATEWAY}/console`, {
      headers: { "if-none-match": etag, "accept-encoding": "br" },
    });
    expect([again.status, await again.text()]).toEqual([304, ""]);
    const script = /\.\/console\/(assets\/[^"]+\.js)/.exec(html)?.[1] ?? "";
    const asset = await fetch(`${GATEWAY}/console/${script}`, { method: "HEAD" });
    expect(asset.headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
    expect(asset.headers.get("content-type")).toBe("text/javascript; charset=utf-8");
    for (const response of [page, again, asset, await fetch(`${GATEWAY}/console/none`)]) {
      const policy = response.headers.get("content-security-policy");
      expect(policy).toContain(
        `default-src 'none'; script-src 'self'; style-src 'self' 'sha256-${digest}'; img-src`,
      );
      expect(policy).toContain("require-trusted-types-for 'script'");
      expect(response.headers.get("x-content-type-options")).toBe("nosniff");
    }
    const banner = await fetch(GATEWAY, { headers: { accept: "application/json" } });
    expect(await banner.json()).toMatchObject({ service: "LLM Gateway" });
    const owner = await user();
    const answer = await owner.fetch(`${GATEWAY}/api/v1/openrouter/models`);
    expect(answer.headers.get("content-security-policy")).toBe("sandbox; default-src 'none'");
    expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
  });

  it("paints the page from its first response alone", () =>
    visit(async (person) => {
      const { page } = person;
      let release = () => {};
      const released = new Promise<void>((resolve) => (release = resolve));
      await page.route("**/console/assets/**", async (route) => {
        await released;
        await route.continue();
      });
      await page.goto(`${GATEWAY}/console`, { waitUntil: "commit" });
      const painted = () =>
        page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0);
      await until(async () => (await painted()) > 0, true);
      // Nothing but the page itself has arrived, and it looks as it should.
      const seen = await page.evaluate(() => {
        const style = (name: string) => getComputedStyle(document.querySelector(name) ?? document.body);
        return {
          others: performance.getEntriesByType("resource").length,
          paper: style("body").backgroundColor,
          header: style("header.top").backgroundColor,
          weight: style(".brand").fontWeight,
        };
      });
      expect(seen).toEqual({ others: 0, paper: "rgb(250, 250, 248)", header: "rgb(255, 255, 255)", weight: "700" });
      await person.picture("first-paint");
      console.log(`the first contentful paint, in milliseconds: ${Math.round(await painted())}`);
      release();
      await page.getByRole("heading", { name: "Begin here" }).waitFor();
    }));

  it("has P-256 keys where a browser lacks Ed25519", () => firstSteps(browser, "P-256"));

  it("needs no pointer", () =>
    visit(async (person) => {
      const { page } = person;
      const { keyboard } = page;
      /** Goes to an element with the tabulator. */
      const reach = async (target: Locator) => {
        for (let step = 0; step < 80; step += 1) {
          if (await target.evaluate((it) => it === document.activeElement)) {
            return;
          }
          await keyboard.press("Tab");
        }
        throw new Error(`not reached: ${target}`);
      };
      await person.open();
      await page.getByRole("heading", { name: "Begin here" }).waitFor();
      const skip = page.getByRole("link", { name: "Skip to content" });
      await reach(skip);
      expect((await skip.boundingBox())?.x).toBeGreaterThanOrEqual(0);
      await keyboard.press("Enter");
      await keyboard.press("Tab");
      const passphrase = page.getByLabel("Passphrase", { exact: true });
      expect(await passphrase.evaluate((it) => it === document.activeElement)).toBe(true);
      await keyboard.type(PASSPHRASE);
      await keyboard.press("Tab");
      await keyboard.type(PASSPHRASE);
      await keyboard.press("Enter");
      await reach(page.getByLabel("OpenRouter key"));
      await keyboard.type("sk-or-v1-by-keyboard-00000000000000000");
      await keyboard.press("Enter");
      await page.getByText("Connected. The gateway has your key.").waitFor();
      await reach(page.getByRole("link", { name: "Tokens", exact: true }));
      await keyboard.press("Enter");
      const make = page.getByRole("button", { name: "Make a token" });
      await reach(make);
      await keyboard.press("Enter");
      await reach(page.getByLabel("What it is for"));
      await keyboard.type("by keyboard");
      await keyboard.press("Enter");
      expect(await secretOf(page)).toMatch(/^sk-lgw-/);
      await keyboard.press("Escape");
      await until(() => page.getByRole("dialog").count(), 0);
      await reach(page.locator("li.card").getByRole("button", { name: "Revoke" }));
      await keyboard.press("Enter");
      await reach(page.getByRole("dialog").getByRole("button", { name: "Revoke" }));
      await keyboard.press("Enter");
      await page.getByText("No tokens yet.").waitFor();
      await reach(page.getByRole("link", { name: "Chat", exact: true }));
      await keyboard.press("Enter");
      await reach(page.getByLabel("Message"));
      await keyboard.type("Say hello");
      await keyboard.press("Enter");
      await page.getByText("once the stream had ended.").waitFor();
      await page.getByText("Cost $").waitFor();
      await reach(page.getByRole("link", { name: "Requests", exact: true }));
      await keyboard.press("Enter");
      await reach(page.locator("table.requests tbody").getByRole("button"));
      await keyboard.press("Enter");
      await page.getByRole("dialog").getByText("generation id", { exact: true }).waitFor();
      await keyboard.press("Escape");
      await until(() => page.getByRole("dialog").count(), 0);
    }));

  it("shows what the operator lets the account spend", () =>
    visit(async (person) => {
      const { page } = person;
      const owner = await user();
      const operator = (...args: string[]) => run(LLMGW, ["admin", "did", ...args]);
      await chat(owner, "openai/gpt-4o-mini");
      await operator("set-budgets", owner.did, "0.000001/day", "5/month", "--time-zone", "Europe/Berlin");
      await person.restore(owner);
      await person.open("home");
      const budgets = page.locator("section").filter({ has: page.getByRole("heading", { name: "Budgets" }) });
      const bar = (name: string) => budgets.locator(".bar").filter({ hasText: name });
      await bar("Your account, a day").getByTitle("$0.0000007434 / $0.000001").waitFor();
      await bar("Your account, a day").getByText("$0.000000257 left, resets").waitFor();
      await bar("Your account, a month").getByText("of $5").waitFor();
      expect(await bar("Your account, a day").getByRole("img").getAttribute("aria-label")).toBe("74%");
      await page.getByRole("link", { name: "Chat" }).click();
      await ask(page, "Too much");
      const alert = page.getByRole("alert");
      await alert.getByText("budget_reached").waitFor();
      await alert.getByRole("link", { name: "Raise the budget, or wait until it resets." }).click();
      await operator("set-budgets", owner.did, "none");
      await operator("set-limit", owner.did, "2");
      await page.reload();
      await bar("Your account").getByText("$2.00 left").waitFor();
      expect(await budgets.locator(".bar").count()).toBe(1);
    }));

  it("keeps an identity from everybody else, and restores it from its backup", async () => {
    let file = "";
    let did = "";
    await visit(async ({ page, context }) => {
      await page.goto(`${GATEWAY}/console`);
      await page.getByLabel("Passphrase", { exact: true }).first().fill("short");
      await page.getByRole("button", { name: "Make it, and save the backup" }).click();
      await page.getByText("The passphrase needs at least 10 characters.").waitFor();
      file = await makeIdentity(page);
      did = (JSON.parse(file) as { did: string }).did;
      await page.getByRole("link", { name: "Identity", exact: true }).click();
      await page.getByText(did).waitFor();
      await page.getByLabel("Your DID as a QR code").waitFor();
      // No script can read the key.
      const exported = await page.evaluate(async () => {
        const open = indexedDB.open("llm-gateway");
        await new Promise((resolve) => (open.onsuccess = resolve));
        const all = open.result.transaction("identities").objectStore("identities").getAll();
        await new Promise((resolve) => (all.onsuccess = resolve));
        const { pair } = all.result[0] as { pair: CryptoKeyPair };
        return crypto.subtle.exportKey("pkcs8", pair.privateKey).then(
          () => "exported",
          () => "refused",
        );
      });
      expect(exported).toBe("refused");
      const other = await context.newPage();
      await other.goto(`${GATEWAY}/console#/identity`);
      await other.getByText(did).waitFor();
      await page.getByRole("button", { name: "Sign out" }).click();
      await page.getByText("This deletes the key and all conversations").waitFor();
      await page.getByText("The backup was never saved.").waitFor();
      await page.getByRole("button", { name: "Delete from this browser" }).click();
      await page.getByRole("heading", { name: "Make an identity" }).waitFor();
      expect(await page.getByText(did).count()).toBe(0);
    });
    await visit(async (person) => {
      const { page } = person;
      await person.open();
      await page.getByRole("heading", { name: "Begin here" }).waitFor();
      expect(await page.content()).not.toContain(did);
      await choose(page, { name: "backup.json", mimeType: "application/json", buffer: Buffer.from(file) });
      await restoreWith(page, "a wrong passphrase");
      await page.getByText("The passphrase is wrong, or the file was changed.").waitFor();
      await restoreWith(page, PASSPHRASE);
      await page.getByText("No key yet.").waitFor();
      // A second identity beside it.
      const second = await user();
      await page.goto(`${GATEWAY}/console#/identity`);
      await page.getByText("Add another identity").click();
      await page.getByLabel("Backup file").setInputFiles({
        name: "identity.json",
        mimeType: "application/json",
        buffer: Buffer.from(second.file),
      });
      await page.getByRole("button", { name: "Restore" }).click();
      await page.getByRole("button", { name: "Use this one" }).click();
      await until(() => page.locator(".identity code.did").textContent(), did);
    });
  });

  it("takes the identity that llmgw made", async () => {
    const path = join(WORK, `identity-${randomUUID()}.json`);
    await run(LLMGW, ["--identity", path, "identity", "new"]);
    const file = readFileSync(path, "utf8");
    const { did } = JSON.parse(file) as { did: string };
    await visit(async (person) => {
      await person.restore({ did, file, fetch });
      await person.page.getByText("No key yet.").waitFor();
    });
  });

  it("offers the demo identity on this machine", () =>
    visit(async (person) => {
      const { page } = person;
      await person.open();
      await page.getByRole("button", { name: "Use the demo identity" }).click();
      await page.getByRole("heading", { name: "OpenRouter key" }).waitFor();
      await page.getByRole("link", { name: "Identity", exact: true }).click();
      // That of the first test of RFC 8032, which `cargo xtask dev` gives an account.
      await page.getByText("did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw").waitFor();
      await page.getByText("saved", { exact: true }).waitFor();
    }));

  it("exchanges encrypted backups with llmgw", async () => {
    const passphrase = join(WORK, `passphrase-${randomUUID()}`);
    writeFileSync(passphrase, `${PASSPHRASE}\n`);
    const [made, kept, exported] = ["made", "kept", "exported"].map((it) => join(WORK, `${it}-${randomUUID()}.json`)) as [
      string,
      string,
      string,
    ];
    const llmgw = (...args: string[]) => run(LLMGW, ["--identity", kept, ...args]);
    await visit(async ({ page }) => {
      await page.goto(`${GATEWAY}/console`);
      writeFileSync(made, await makeIdentity(page));
    });
    await llmgw("identity", "import", made, "--passphrase-file", passphrase);
    const { did } = JSON.parse(readFileSync(made, "utf8")) as { did: string };
    expect(JSON.parse(readFileSync(kept, "utf8"))).toMatchObject({ did });
    // It signs.
    const { stdout } = await llmgw("usage", "--gateway", GATEWAY, "--json");
    expect(JSON.parse(stdout)).toMatchObject({ total_requests: 0 });
    await llmgw("identity", "export", exported, "--encrypted", "--passphrase-file", passphrase);
    await visit(async (person) => {
      const { page } = person;
      await person.open("identity");
      await choose(page, exported);
      await restoreWith(page, PASSPHRASE);
      await page.getByText("No key yet.").waitFor();
      await page.goto(`${GATEWAY}/console#/identity`);
      await page.getByText(did).waitFor();
    });
  });

  it("connects an OpenRouter account, and revokes its key", () =>
    visit(async (person) => {
      const { page } = person;
      await person.restore(await user({ withKey: false }));
      let challenge: string | null = null;
      await page.route("https://openrouter.ai/**", async (route) => {
        const url = new URL(route.request().url());
        if (url.pathname === "/auth") {
          challenge = url.searchParams.get("code_challenge");
          expect(url.searchParams.get("code_challenge_method")).toBe("S256");
          const callback = url.searchParams.get("callback_url") ?? "";
          await route.fulfill({ contentType: "text/html", body: `<a href="${callback}?code=abc">back</a>` });
        } else {
          const { code, code_verifier } = route.request().postDataJSON() as Record<string, string>;
          expect(code).toBe("abc");
          expect(createHash("sha256").update(code_verifier ?? "").digest("base64url")).toBe(challenge);
          await route.fulfill({
            json: { key: "sk-or-v1-made-by-pkce-0000000000000000" },
            headers: { "access-control-allow-origin": "*" },
          });
        }
      });
      await page.getByRole("button", { name: "Connect with OpenRouter" }).click();
      await page.getByRole("link", { name: "back" }).click();
      await page.getByText("Connected. The gateway has your key.").waitFor();
      await page.getByText("your own account").waitFor();
      expect(page.url()).toBe(`${GATEWAY}/console#/key`);
      // It is replaced.
      const hash = await page.locator("dd code.did").textContent();
      await page.getByText("Replace the key").first().click();
      await page.getByLabel("OpenRouter key").fill("sk-or-v1-another-00000000000000000000");
      await page.getByRole("button", { name: "Replace the key" }).click();
      await until(async () => (await page.locator("dd code.did").textContent()) !== hash, true);
      await page.getByRole("button", { name: "Revoke the key" }).click();
      await page.getByText("Requests with it are refused from now on").waitFor();
      await page.getByRole("dialog").getByRole("button", { name: "Revoke the key" }).click();
      await page.getByText("No key yet.").waitFor();
      // Refusals are the gateway's own sentences.
      await page.getByRole("button", { name: "Ask the gateway for a key" }).click();
      await page.getByRole("alert").getByText("provisioning_not_allowed").waitFor();
      await page.getByRole("link", { name: "Chat" }).click();
      await ask(page, "Hello?");
      await page.getByRole("alert").getByText("no_key_for_did").waitFor();
      await page.getByRole("link", { name: "Connect an OpenRouter account first." }).click();
      await page.getByText("No key yet.").waitFor();
    }));

  it("makes, edits, pauses, rotates and revokes tokens", () =>
    visit(async (person) => {
      const { page } = person;
      const owner = await user();
      await person.restore(owner);
      await person.open("tokens");
      await page.getByRole("button", { name: "Make a token" }).click();
      await page.getByLabel("What it is for").fill("Open WebUI");
      await page.getByLabel("Expires").selectOption("never");
      await page.getByRole("button", { name: "Make the token" }).click();
      await page.getByText("A token needs an expiry or a budget.").waitFor();
      await page.getByLabel("Budget, US dollars").fill("0.000001");
      await page.getByLabel("For each").selectOption("month");
      await page.getByLabel("Models").fill("openai/*");
      await page.getByRole("button", { name: "Make the token" }).click();
      const secret = await secretOf(page);
      expect(secret).toMatch(/^sk-lgw-[0-9A-Za-z]{49}$/);
      const programs = page.getByLabel("App");
      const names = await programs.locator("option").allTextContents();
      expect(names).toHaveLength(13);
      for (const name of names) {
        await programs.selectOption(name);
        const text = (await page.getByRole("dialog").locator("pre").textContent()) ?? "";
        expect(text).toContain(secret);
        expect(text).toContain(`${GATEWAY}/api/v1/openrouter`);
      }
      await person.picture("token");
      await page.getByRole("button", { name: "Done" }).click();
      const use = async (model: string, token = secret) =>
        (
          await fetch(`${GATEWAY}/api/v1/openrouter/chat/completions`, {
            method: "POST",
            headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
            body: chatBody(model),
          })
        ).status;
      expect(await use("anthropic/claude-opus-5")).toBe(403);
      const card = page.locator("li.card");
      await card.getByText("openai/*").waitFor();
      await card.getByText("never expires").waitFor();

      await card.getByRole("button", { name: "Edit" }).click();
      await page.getByLabel("Budget, US dollars").fill("3");
      await page.getByRole("button", { name: "Save" }).click();
      await card.getByText("of $3").waitFor();
      await card.getByText("resets").waitFor();
      expect(await use("openai/gpt-4o-mini")).toBe(200);
      expect(await page.content()).not.toContain(secret);

      await card.getByRole("button", { name: "Pause" }).click();
      await card.getByText("paused").waitFor();
      expect(await use("openai/gpt-4o-mini")).toBe(403);
      await card.getByRole("button", { name: "Resume" }).click();
      await card.getByText("live").waitFor();

      await card.getByRole("button", { name: "New secret" }).click();
      await page.getByRole("dialog").getByRole("button", { name: "New secret" }).click();
      const rotated = await secretOf(page);
      expect(rotated).not.toBe(secret);
      expect(await use("openai/gpt-4o-mini")).toBe(401);
      expect(await use("openai/gpt-4o-mini", rotated)).toBe(200);
      await page.getByRole("button", { name: "Done" }).click();

      await card.getByRole("link").click();
      await until(() => page.locator("table.requests tbody tr").count(), 2);
      await page.goBack();
      await card.getByRole("button", { name: "Revoke" }).click();
      await page.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
      await page.getByText("No tokens yet.").waitFor();
      await page.getByLabel("Show ended tokens").check();
      await card.getByText("revoked").waitFor();
      expect(await use("openai/gpt-4o-mini", rotated)).toBe(401);
    }));

  it("lists requests with filters in the address, all that the books say, and a file", () =>
    visit(async (person) => {
      const { page } = person;
      const owner = await user();
      // More than a page.
      await Promise.all(
        Array.from({ length: 54 }, (_, index) =>
          chat(owner, index < 3 ? "a/rare" : "a/common", { "x-gateway-tag": `t${index % 2}` }),
        ),
      );
      await person.restore(owner);
      await person.open("requests");
      const rows = page.locator("table.requests tbody tr");
      await rows.first().waitFor();
      await page.getByText("That is all.").scrollIntoViewIfNeeded().catch(() => undefined);
      await page.mouse.wheel(0, 20_000);
      await until(() => rows.count(), 54);
      await page.getByText("That is all.").waitFor();
      await page.getByText("Filters", { exact: true }).click();
      await page.getByLabel("Model").fill("a/rare");
      await page.getByLabel("Model").press("Enter");
      await until(() => rows.count(), 3);
      expect(page.url()).toContain("#/requests?model=a%2Frare");
      await page.reload();
      await until(() => rows.count(), 3);
      await rows.first().getByRole("button").click();
      const drawer = page.getByRole("dialog");
      await drawer.getByText("$0.0000007434").first().waitFor();
      for (const name of ["generation id", "first byte ms", "cost state", "path", "tag"]) {
        await drawer.getByText(name, { exact: true }).waitFor();
      }
      await page.keyboard.press("Escape");
      await page.getByRole("button", { name: "Clear the filters" }).click();
      await until(async () => (await rows.count()) > 3, true);
      const file = await saved(page, () => page.getByRole("button", { name: "Download as CSV" }).click());
      const lines = file.trim().split("\r\n");
      expect(lines).toHaveLength(55);
      await page.getByLabel("Status").selectOption("failed");
      await page.getByText("No request matches.").waitFor();

      await person.open("home");
      await page.locator(".tile").filter({ hasText: "Today" }).getByTitle("$0.0000401436").waitFor();
      // Without a pointer, too.
      await page.getByLabel("Show every digit of money").check();
      await page.locator(".tile").filter({ hasText: "Today" }).getByText("$0.0000401436").waitFor();
      await page.getByText("As a table").click();
      await page.getByRole("group", { name: "Spend by day" }).getByText("$0.0000379134").waitFor();
      await page.getByRole("link", { name: "a/rare" }).click();
      await until(() => rows.count(), 3);
      await person.open("home");
      // Too many models for one answer: the days remain.
      await page.route(/usage\?group_by=day%2Cmodel/, (route) =>
        route.fulfill({
          status: 400,
          json: { error: { code: 400, message: "too many groups", metadata: { reason: "invalid_parameter" } } },
        }),
      );
      await page.getByLabel("Period").selectOption("90");
      await page.getByRole("rowheader", { name: "any model" }).waitFor();
      await page.locator(".tile").filter({ hasText: "Today" }).getByText("$0.0000401436").waitFor();
      await page.unroute(/usage\?group_by=day%2Cmodel/);
      await page.getByLabel("Period").selectOption("7");
      await page.getByLabel("Time zone").selectOption("Pacific/Auckland");
      await page.locator(".tile").filter({ hasText: "Requests" }).getByText("54").waitFor();
    }));

  it("shows a model's answer as text, whatever is in it", () =>
    visit(async (person) => {
      const { page } = person;
      await person.restore(await user());
      await person.open("chat");
      const hostile = [
        "<img src=x onerror=alert(1)><script>alert(2)</script>",
        "[click](javascript:alert(3)) ![pic](https://tracker.example/p.png) [bank](https://evil.example/)",
        "[x](data:text/html,<script>alert(4)</script>) <a href='javascript:alert(5)'>a</a>",
        "user \u202Egnp.exe\u202C and \u2066hidden\u2069",
        "| a | b |\n|---|---|\n| <b>c</b> | d |",
        "- one\n- two\n  - three",
        "```html\n<iframe src='javascript:alert(6)'></iframe>\n```",
        `${"*".repeat(5000)}${"[".repeat(5000)}${"> ".repeat(500)}`,
      ].join("\n\n");
      let dialogs = 0;
      let foreign = 0;
      page.on("dialog", (it) => {
        dialogs += 1;
        void it.dismiss();
      });
      page.on("request", (it) => {
        foreign += it.url().startsWith(GATEWAY) ? 0 : 1;
      });
      await page.route("**/chat/completions", (route) => {
        const events = (hostile.match(/[^]{1,40}/gu) ?? []).map(
          (content) => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`,
        );
        return route.fulfill({
          contentType: "text/event-stream",
          headers: { "x-gateway-request-id": "" },
          body: `${events.join("")}data: [DONE]\n\n`,
        });
      });
      await ask(page, "Be nasty");
      const answer = page.locator(".turn.assistant .markdown");
      await answer.getByText("<iframe src='javascript:alert(6)'>").waitFor();
      await answer.getByText("<img src=x onerror=alert(1)>").waitFor();
      expect(await answer.locator("img, script, iframe, b, [onerror], style").count()).toBe(0);
      const links = await answer.locator("a").evaluateAll((all) => all.map((it) => it.getAttribute("href")));
      expect(links).toEqual(["https://tracker.example/p.png", "https://evil.example/"]);
      await answer.getByText("(evil.example)").waitFor();
      await answer.getByText("U+202E").waitFor();
      expect(await answer.textContent()).not.toMatch(/[\u202a-\u202e\u2066-\u2069]/);
      await answer.getByRole("cell", { name: "<b>c</b>" }).waitFor();
      expect(await answer.locator("ul ul li").textContent()).toBe("three");
      expect([dialogs, foreign]).toEqual([0, 0]);
    }));

  it("stops an answer, goes on with a conversation, and forgets it", () =>
    visit(async (person) => {
      const { page } = person;
      await person.restore(await user());
      await person.open("chat");
      await page.getByText("$0.15 in, $0.60 out").or(page.getByText(/in, .* out/)).first().waitFor();
      await ask(page, "Say hello slowly");
      await page.getByText("Hello!").waitFor();
      // Not clicked: it moves while the answer grows.
      await page.getByRole("button", { name: "Stop" }).press("Enter");
      await page.getByText("You stopped this answer").waitFor();
      // With the keyboard alone.
      await page.getByLabel("Message").focus();
      await page.keyboard.type("And again");
      await page.keyboard.press("Enter");
      // The stand-in reads the whole conversation.
      await page.getByText("once the stream had ended.").waitFor();
      await page.getByText(/This conversation: \$/).waitFor();
      // It is kept once the next one can be sent.
      await page.getByRole("button", { name: "Send" }).waitFor();
      await page.reload();
      await page.getByRole("button", { name: /^Say hello slowly/ }).click();
      await page.getByText("once the stream had ended.").waitFor();
      await page.getByRole("button", { name: "Delete: Say hello slowly" }).click();
      await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
      await page.getByText("Ask something.").waitFor();
      expect(await page.getByRole("button", { name: /^Say hello slowly/ }).count()).toBe(0);
    }));

  it("finds out later what an answer cost", () =>
    visit(async (person) => {
      const { page } = person;
      await person.restore(await user());
      await person.open("chat");
      await page.route("**/api/v1/usage/requests?*", (route) => route.fulfill({ status: 429, json: {} }));
      await ask(page, "Say hello");
      await page.getByText("once the stream had ended.").waitFor();
      await page.getByText("Cost not known yet").waitFor();
      await page.unroute("**/api/v1/usage/requests?*");
      await page.reload();
      await page.getByRole("button", { name: /^Say hello/ }).click();
      await page.getByText("Cost $0.000123").waitFor();
      await page.reload();
      await page.route("**/api/v1/usage/requests?*", (route) => route.fulfill({ status: 429, json: {} }));
      await page.getByRole("button", { name: /^Say hello/ }).click();
      await page.getByText("Cost $0.000123").waitFor();
    }));

  it("tells whether the gateway is well", () =>
    visit(async (person) => {
      const { page } = person;
      await person.open("health");
      await page.getByText("The gateway is well.").waitFor();
      await page.getByRole("row", { name: /Database up/ }).waitFor();
      await page.getByRole("row", { name: /OpenRouter up/ }).waitFor();
      await page.getByText("agrees with the gateway's").waitFor();
      await page.getByText(GATEWAY, { exact: true }).waitFor();
      // A clock that is wrong is told; requests are signed with the gateway's time.
      await person.restore(await user());
      await page.clock.setFixedTime(Date.now() + 600_000);
      await page.getByRole("link", { name: "Home" }).click();
      await page.getByText("Nothing spent yet.").waitFor();
      await page.getByRole("link", { name: "Health" }).click();
      await page.getByText(/differs from the gateway's by (59\d|60\d)/).waitFor();
    }));

  it("gives a program a token that only that program can open", async () => {
    const owner = await user();
    const program = createECDH("prime256v1");
    const key = program.generateKeys();
    const state = "state-of-a-program-0001";
    const open = (sealed: string): string => {
      const bytes = Buffer.from(sealed, "base64url");
      const [point, nonce, rest] = [bytes.subarray(0, 65), bytes.subarray(65, 77), bytes.subarray(77)];
      const aes = hkdfSync(
        "sha256",
        program.computeSecret(point),
        Buffer.concat([point, key]),
        "llm-gateway-approval:1",
        32,
      );
      const decipher = createDecipheriv("aes-256-gcm", Buffer.from(aes), nonce);
      decipher.setAAD(Buffer.from(state));
      decipher.setAuthTag(rest.subarray(-16));
      return Buffer.concat([decipher.update(rest.subarray(0, -16)), decipher.final()]).toString();
    };
    const received: URL[] = [];
    const server = createServer((request, response) => {
      received.push(new URL(request.url ?? "", "http://127.0.0.1"));
      response.setHeader("content-type", "text/html").end("<link rel=icon href=data:,><p>Go back to the program.");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const callback = `http://127.0.0.1:${(server.address() as AddressInfo).port}/callback`;
    const link = (changes: Record<string, string>) =>
      `${GATEWAY}/console/approve#${new URLSearchParams({ v: "1", name: "my agent", key: key.toString("base64url"), state, budget: "2/day", models: "openai/*", expires: "30d", ...changes })}`;
    await visit(async (person) => {
      const { page } = person;
      await person.restore(owner);
      await page.goto(link({ callback }));
      await page.getByText('"my agent" wants to use models').waitFor();
      expect(await page.getByLabel("Budget, US dollars").inputValue()).toBe("2");
      expect(await page.getByLabel("Models").inputValue()).toBe("openai/*");
      await person.picture("approve");
      await page.getByLabel("Budget, US dollars").fill("1");
      await page.getByRole("button", { name: "Approve" }).click();
      await page.getByText("Go back to the program.").waitFor();
      const answer = received.find((it) => it.pathname === "/callback")?.searchParams;
      expect(answer?.get("state")).toBe(state);
      const token = open(answer?.get("sealed") ?? "");
      expect(token).toMatch(/^sk-lgw-/);
      const made = (await (await owner.fetch(`${GATEWAY}/api/v1/tokens`)).json()) as {
        data: { name: string; budgets: { amount: string }[] }[];
      };
      expect(made.data[0]).toMatchObject({ name: "my agent", budgets: [{ amount: "1" }] });
      expect(page.url()).not.toContain(token);

      await page.goto(link({ name: "by hand" }));
      await page.getByRole("button", { name: "Approve" }).click();
      const code = page.locator("pre.code");
      await code.waitFor();
      expect(open((await code.textContent()) ?? "")).toMatch(/^sk-lgw-/);

      await page.goto("about:blank");
      received.length = 0;
      await page.goto(link({ callback }));
      await page.getByRole("button", { name: "Refuse" }).click();
      await page.getByText("Go back to the program.").waitFor();
      expect(received[0]?.search).toBe(`?state=${state}&error=access_denied`);

      for (const [changes, sentence] of [
        [{ callback: "http://example.com:80/" }, "would send a token to another computer"],
        [{ key: "AAAA" }, "asks for nothing that can be approved"],
      ] as const) {
        await page.goto("about:blank");
        await page.goto(link(changes));
        await page.getByText(sentence).waitFor();
        expect(await page.getByRole("button", { name: "Approve" }).count()).toBe(0);
      }
    });
    server.close();
  });

  it("approves llmgw, here and elsewhere", () =>
    visit(async (person) => {
      const { page } = person;
      await person.restore(await user());
      const login = (how: string, name: string) => {
        const child = spawn(LLMGW, ["login", how, "--gateway", GATEWAY, "--name", name, "--budget", "1/day"]);
        let [out, told] = ["", ""];
        child.stdout.on("data", (it: Buffer) => (out += it.toString()));
        child.stderr.on("data", (it: Buffer) => (told += it.toString()));
        const ended = new Promise<string>((resolve) => child.on("exit", (code) => resolve(`${code} ${out}`)));
        const link = async () => {
          await until(async () => told.includes("/console/approve#") && told.includes("\n", told.indexOf("#")), true);
          return /http\S+approve#\S+/.exec(told)?.[0] ?? "";
        };
        return { child, ended, link };
      };
      const here = login("--browser", "llmgw here");
      await page.goto(await here.link());
      await page.getByText('"llmgw here" wants to use models').waitFor();
      await page.getByRole("button", { name: "Approve" }).click();
      await page.getByText("Done. Return to the terminal.").waitFor();
      expect(await here.ended).toMatch(/^0 sk-lgw-[0-9A-Za-z]{49}\n$/);

      const elsewhere = login("--headless", "llmgw elsewhere");
      await page.goto(await elsewhere.link());
      await page.getByRole("button", { name: "Approve" }).click();
      const code = page.locator("pre.code");
      await code.waitFor();
      elsewhere.child.stdin.end(`${await code.textContent()}\n`);
      const token = (await elsewhere.ended).replace(/^0 /, "").trim();
      const answer = await fetch(`${GATEWAY}/api/v1/openrouter/key`, { headers: { authorization: `Bearer ${token}` } });
      expect(await answer.json()).toMatchObject({ data: { limit: 1 } });

      const refused = login("--browser", "llmgw refused");
      await page.goto(await refused.link());
      await page.getByRole("button", { name: "Refuse" }).click();
      await page.getByText("Done. Return to the terminal.").waitFor();
      expect(await refused.ended).toBe("1 ");
    }));

  for (const colorScheme of ["light", "dark"] as const) {
    it(`is open to everybody, in ${colorScheme}`, async () => {
      const owner = await shown;
      await visit(
        async (person) => {
          const { page } = person;
          const check = async (name: string) => {
            const { violations } = await new AxeBuilder({ page }).analyze();
            expect(violations.map((it) => `${name}: ${it.id} ${it.nodes[0]?.html}`)).toEqual([]);
          };
          await person.open();
          await page.getByRole("heading", { name: "Begin here" }).waitFor();
          await check("begin");
          await person.restore(owner);
          for (const view of VIEWS) {
            await person.open(view);
            await person.settled(view);
            await check(view);
            await person.picture(`${view}-${colorScheme}`);
          }
          await person.open("tokens");
          await page.getByRole("button", { name: "Make a token" }).click();
          await check("dialog");
          await page.keyboard.press("Escape");
          // From a phone to a wall, nothing is cut off; colours change no sizes.
          for (const width of colorScheme === "light" ? [320, 3840] : []) {
            await page.setViewportSize({ width, height: 900 });
            for (const view of VIEWS) {
              await person.open(view);
              await person.settled(view);
              const over = await page.evaluate(
                () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
              );
              expect(over, `${view} at ${width}`).toBe(0);
              await person.picture(`${view}-${width}`);
            }
          }
        },
        { colorScheme },
      );
    });
  }
});

/** Somebody with something to show in every view. */
const shown: Promise<User> = (async () => {
  const owner = await user();
  const token = (body: object) =>
    owner.fetch(`${GATEWAY}/api/v1/tokens`, { method: "POST", body: JSON.stringify(body) });
  await token({ name: "Open WebUI", budgets: [{ period: "day", amount: "0.00001", time_zone: "Europe/Berlin" }] });
  await run(LLMGW, ["admin", "did", "set-budgets", owner.did, "1/day", "0.1/month", "--time-zone", "Europe/Berlin"]);
  await token({ name: "n8n", models: ["openai/*", "*:free"], expires_at: "2099-01-01T00:00:00Z" });
  await Promise.all(
    ["openai/gpt-4o-mini", "anthropic/claude-sonnet-5", "google/gemini-3-flash", "openai/gpt-4o-mini"].map((it) =>
      chat(owner, it, { "x-title": "tests" }),
    ),
  );
  writeFileSync(join(WORK, "shown.json"), owner.file);
  return owner;
})();
