/** This browser's memory: identities and conversations, in IndexedDB. */

import type { Keys } from "./keys.js";

/** An identity as it is kept. The private key is a `CryptoKey` that cannot be exported. */
export interface StoredIdentity extends Keys {
  readonly createdAt: number;
  /** The encrypted file, kept until its owner has saved it. */
  readonly backup?: string | undefined;
  readonly saved: boolean;
}

export interface Turn {
  readonly role: "user" | "assistant";
  readonly content: string;
  /** The request that gave the answer, for its cost in the books. */
  readonly requestId?: string | undefined;
  readonly cost?: string | undefined;
  readonly failure?: string | undefined;
}

export interface Conversation {
  readonly id: string;
  readonly did: string;
  readonly model: string;
  readonly turns: readonly Turn[];
  readonly updatedAt: number;
}

const NAME = "llm-gateway";
let opened: Promise<IDBDatabase> | undefined;

function open(): Promise<IDBDatabase> {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("identities", { keyPath: "did" });
      request.result.createObjectStore("conversations", { keyPath: "id" }).createIndex("did", "did");
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("no database"));
  });
  return opened;
}

async function run<T>(
  store: string,
  mode: IDBTransactionMode,
  work: (store: IDBObjectStore) => IDBRequest<T>,
): Promise<T> {
  const database = await open();
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(store, mode);
    const request = work(transaction.objectStore(store));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = () => reject(transaction.error ?? new Error("aborted"));
  });
}

export const allIdentities = (): Promise<StoredIdentity[]> =>
  run("identities", "readonly", (store) => store.getAll() as IDBRequest<StoredIdentity[]>);

export const saveIdentity = (identity: StoredIdentity): Promise<IDBValidKey> =>
  run("identities", "readwrite", (store) => store.put(identity));

/** Deletes an identity with its conversations. */
export async function deleteIdentity(did: string): Promise<void> {
  for (const { id } of await conversationsOf(did)) {
    await deleteConversation(id);
  }
  await run("identities", "readwrite", (store) => store.delete(did));
}

export async function conversationsOf(did: string): Promise<Conversation[]> {
  const found = await run(
    "conversations",
    "readonly",
    (store) => store.index("did").getAll(did) as IDBRequest<Conversation[]>,
  );
  return found.sort((a, b) => b.updatedAt - a.updatedAt);
}

export const saveConversation = (conversation: Conversation): Promise<IDBValidKey> =>
  run("conversations", "readwrite", (store) => store.put(conversation));

/** Changes a conversation that is kept, in one transaction: an answer that ends meanwhile is not lost. */
export async function changeConversation(id: string, change: (kept: Conversation) => Conversation): Promise<void> {
  const database = await open();
  return new Promise((resolve, reject) => {
    const transaction = database.transaction("conversations", "readwrite");
    const store = transaction.objectStore("conversations");
    const found = store.get(id) as IDBRequest<Conversation | undefined>;
    found.onsuccess = () => {
      if (found.result !== undefined) {
        store.put(change(found.result));
      }
    };
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error("aborted"));
  });
}

export const deleteConversation = (id: string): Promise<undefined> =>
  run("conversations", "readwrite", (store) => store.delete(id));
