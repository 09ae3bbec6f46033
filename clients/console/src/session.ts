/** The session's state: the gateway, the identities of this browser, and the one in use. */

import { computed, signal } from "@preact/signals";

import { allIdentities, deleteIdentity, saveIdentity, type StoredIdentity } from "./database.js";

export interface Gateway {
  /** The base URL of this page's gateway, without a trailing slash. */
  readonly base: string;
  /** What is signed for. */
  readonly audience: string;
  readonly version: string;
}

export const identities = signal<readonly StoredIdentity[] | undefined>(undefined);
const inUse = signal<string | undefined>(undefined);
export const current = computed(() => {
  const all = identities.value ?? [];
  return all.find((it) => it.did === inUse.value) ?? all[0];
});
export const notice = signal<string | undefined>(undefined);

const IN_USE = "llm-gateway.identity";

/** The gateway's base URL, from the page's address. */
export const base = location.origin + location.pathname.replace(/\/console(\/.*)?$/, "");
/** Whether everything here is this machine's own, as with `cargo xtask dev`. */
export const isLocal = ["127.0.0.1", "localhost", "[::1]"].includes(location.hostname);

let loaded: Promise<Gateway> | undefined;

/** The gateway's configuration, asked for once. */
export function gateway(): Promise<Gateway> {
  loaded ??= (async () => {
    const response = await fetch(`${base}/console/config.json`);
    if (!response.ok) {
      loaded = undefined;
      throw new Error(`config.json: ${response.status}`);
    }
    const { audiences, version } = (await response.json()) as { audiences: string[]; version: string };
    return { base, audience: audiences.find((it) => it === base) ?? audiences[0] ?? base, version };
  })();
  return loaded;
}

export async function loadIdentities(): Promise<void> {
  inUse.value = localStorage.getItem(IN_USE) ?? undefined;
  const all = await allIdentities();
  identities.value = all.sort((a, b) => a.createdAt - b.createdAt);
}

export function use(did: string): void {
  localStorage.setItem(IN_USE, did);
  inUse.value = did;
}

/** Keeps an identity, and asks the browser not to forget it. */
export async function keep(identity: StoredIdentity): Promise<void> {
  await saveIdentity(identity);
  // Firefox asks its user, who need not answer.
  void navigator.storage?.persist?.().catch(() => false);
  await loadIdentities();
  use(identity.did);
}

export async function markSaved(identity: StoredIdentity): Promise<void> {
  await saveIdentity({ ...identity, saved: true });
  await loadIdentities();
}

export async function forget(did: string): Promise<void> {
  await deleteIdentity(did);
  localStorage.removeItem(IN_USE);
  await loadIdentities();
}
