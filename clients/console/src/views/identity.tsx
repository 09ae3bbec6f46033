import { useSignal, type Signal } from "@preact/signals";
import type { JSX } from "preact";
import { qrPath } from "../qr.js";

import { encrypt, isEncrypted, restore } from "../backup.js";
import type { StoredIdentity } from "../database.js";
import { dateText } from "../format.js";
import { demoKeys, generated } from "../keys.js";
import { Confirm, Copy, Failure, Field, saveFile, useWork } from "../parts.js";
import { current, forget, identities, isLocal, keep, markSaved, use } from "../session.js";
import { texts } from "../texts.js";

const t = texts.identity;
const LEAST_PASSPHRASE = 10;

export function IdentityView(): JSX.Element {
  const identity = current.value;
  const others = (identities.value ?? []).filter((it) => it.did !== identity?.did);
  return (
    <>
      <h1>{t.heading}</h1>
      <p class="lead">{t.lead}</p>
      {identity ? <Current identity={identity} key={identity.did} /> : null}
      {others.length > 0 ? (
        <section class="card">
          <h2>{t.others}</h2>
          <ul class="plain">
            {others.map((it) => (
              <li class="row" key={it.did}>
                <code class="did">{it.did}</code>
                <button type="button" onClick={() => use(it.did)}>
                  {t.use}
                </button>
              </li>
            ))}
          </ul>
        </section>
      ) : null}
      {identity ? (
        <details class="card">
          <summary>{t.another}</summary>
          <Begin />
        </details>
      ) : (
        <Begin />
      )}
    </>
  );
}

function Current({ identity }: { identity: StoredIdentity }): JSX.Element {
  const leaving = useSignal(false);
  return (
    <section class="card identity">
      <div>
        <h2>{t.did}</h2>
        <p class="row">
          <code class="did">{identity.did}</code>
          <Copy text={identity.did} />
        </p>
        <dl class="facts">
          <dt>{t.algorithm}</dt>
          <dd>{identity.algorithm}</dd>
          <dt>{t.since}</dt>
          <dd>{dateText(identity.createdAt)}</dd>
          <dt>{t.backup}</dt>
          <dd>{identity.saved ? t.saved : <strong>{t.notSaved}</strong>}</dd>
        </dl>
        {identity.backup === undefined ? <p class="muted">{t.noBackup}</p> : null}
        <div class="actions">
          {identity.backup === undefined ? null : <SaveBackup identity={identity} />}
          <button type="button" class="quiet" onClick={() => (leaving.value = true)}>
            {t.signOut}
          </button>
        </div>
      </div>
      <Qr text={identity.did} />
      {leaving.value ? (
        <Confirm
          heading={t.signOutHeading}
          lead={t.signOutLead}
          action={t.signOutAction}
          onConfirm={() => forget(identity.did)}
          onClose={() => (leaving.value = false)}
        >
          {identity.saved ? null : <p class="failure">{t.signOutUnsaved}</p>}
        </Confirm>
      ) : null}
    </section>
  );
}

function Qr({ text }: { text: string }): JSX.Element {
  const { size, path } = qrPath(text);
  return (
    <svg class="qr" viewBox={`-2 -2 ${size + 4} ${size + 4}`} role="img" aria-label={t.qr}>
      <rect x="-2" y="-2" width={size + 4} height={size + 4} fill="white" />
      <path d={path} fill="black" />
    </svg>
  );
}

function download(identity: StoredIdentity): void {
  const name = `llm-gateway-identity-${identity.did.slice(-8)}.json`;
  saveFile(name, identity.backup ?? "", "application/json");
}

function SaveBackup({ identity }: { identity: StoredIdentity }): JSX.Element {
  return (
    <button
      type="button"
      class={identity.saved ? "" : "primary"}
      onClick={() => {
        download(identity);
        void markSaved(identity);
      }}
    >
      {t.save}
    </button>
  );
}

/** Shown above every view until the backup of the identity in use was saved. */
export function BackupReminder(): JSX.Element | null {
  const identity = current.value;
  if (!identity || identity.saved) {
    return null;
  }
  return (
    <aside class="reminder" aria-label={t.backup}>
      <p>{t.saveNow}</p>
      <SaveBackup identity={identity} />
    </aside>
  );
}

/** Makes an identity, or restores one. */
export function Begin(): JSX.Element {
  if (!globalThis.isSecureContext) {
    return <p class="failure">{t.insecure}</p>;
  }
  return (
    <div class="columns">
      <Make />
      <div>
        <Restore />
        {isLocal ? <Demo /> : null}
      </div>
    </div>
  );
}

function Passphrase({
  label,
  hint,
  autocomplete,
  text,
}: {
  label: string;
  hint?: string;
  autocomplete: "new-password" | "current-password";
  text: Signal<string>;
}): JSX.Element {
  return (
    <Field label={label} hint={hint}>
      {(ids) => (
        <input
          {...ids}
          type="password"
          autocomplete={autocomplete}
          value={text.value}
          onInput={(event) => (text.value = event.currentTarget.value)}
        />
      )}
    </Field>
  );
}

function Make(): JSX.Element {
  const first = useSignal("");
  const second = useSignal("");
  const work = useWork();
  const submit = async () => {
    if (first.value.length < LEAST_PASSPHRASE) {
      throw new Error(t.tooShort);
    }
    if (first.value !== second.value) {
      throw new Error(t.different);
    }
    let backup = "";
    const keys = await generated(async (did, algorithm, pkcs8) => {
      backup = await encrypt(did, algorithm, pkcs8, first.value);
    });
    const identity = { ...keys, createdAt: Date.now(), backup, saved: false };
    await keep(identity);
    download(identity);
  };
  return (
    <form
      class="card"
      onSubmit={(event) => {
        event.preventDefault();
        void work.run(submit);
      }}
    >
      <h2>{t.make}</h2>
      <p>{t.makeLead}</p>
      <Passphrase label={t.passphrase} hint={t.passphraseHint} autocomplete="new-password" text={first} />
      <Passphrase label={t.again} autocomplete="new-password" text={second} />
      <Failure error={work.error.value} />
      <button type="submit" class="primary" disabled={work.busy.value}>
        {work.busy.value ? t.making : t.create}
      </button>
    </form>
  );
}

function Restore(): JSX.Element {
  const file = useSignal<string | undefined>(undefined);
  const passphrase = useSignal("");
  const work = useWork();
  const needsPassphrase = () => {
    try {
      return file.value !== undefined && isEncrypted(file.value);
    } catch {
      return false;
    }
  };
  const submit = async () => {
    const content = file.value ?? "";
    const keys = await restore(content, passphrase.value);
    const encrypted = isEncrypted(content);
    await keep({
      ...keys,
      createdAt: Date.now(),
      saved: true,
      ...(encrypted ? { backup: content } : {}),
    });
  };
  return (
    <form
      class="card"
      onSubmit={(event) => {
        event.preventDefault();
        void work.run(submit);
      }}
    >
      <h2>{t.restore}</h2>
      <Field label={t.file} hint={t.restoreLead}>
        {(ids) => (
          <input
            {...ids}
            type="file"
            accept="application/json,.json"
            onChange={(event) => {
              const chosen = event.currentTarget.files?.[0];
              void chosen?.text().then((text) => {
                file.value = text;
                work.error.value = undefined;
              });
            }}
          />
        )}
      </Field>
      {needsPassphrase() ? (
        <Passphrase label={t.passphrase} autocomplete="current-password" text={passphrase} />
      ) : null}
      <Failure error={work.error.value} />
      <button type="submit" disabled={work.busy.value || file.value === undefined}>
        {t.restoreAction}
      </button>
    </form>
  );
}

function Demo(): JSX.Element {
  const work = useWork();
  return (
    <section class="card">
      <h2>{t.demo}</h2>
      <p>{t.demoLead}</p>
      <Failure error={work.error.value} />
      <button
        type="button"
        disabled={work.busy.value}
        onClick={() =>
          void work.run(async () => keep({ ...(await demoKeys()), createdAt: Date.now(), saved: true }))
        }
      >
        {t.demo}
      </button>
    </section>
  );
}
