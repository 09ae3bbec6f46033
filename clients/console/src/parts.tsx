/** Parts that several views share. */

import { signal, useSignal, type Signal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";

import { GatewayError } from "./api.js";
import { exactMoney, money, percent } from "./format.js";
import { share } from "./money.js";
import { address } from "./router.js";
import { texts } from "./texts.js";

/** An answer that is on its way, here, or refused. */
export type Loaded<T> =
  | { readonly state: "loading"; readonly value?: T | undefined }
  | { readonly state: "done"; readonly value: T }
  | { readonly state: "failed"; readonly error: unknown };

/** Loads when `inputs` change, and whenever `reload` is called. */
export function useLoaded<T>(
  load: (signal: AbortSignal) => Promise<T>,
  inputs: readonly unknown[],
): { readonly loaded: Signal<Loaded<T>>; readonly reload: () => void } {
  const loaded = useSignal<Loaded<T>>({ state: "loading" });
  const round = useSignal(0);
  useEffect(() => {
    const controller = new AbortController();
    const before = loaded.peek();
    loaded.value = { state: "loading", value: before.state === "done" ? before.value : undefined };
    load(controller.signal).then(
      (value) => {
        if (!controller.signal.aborted) {
          loaded.value = { state: "done", value };
        }
      },
      (error: unknown) => {
        if (!controller.signal.aborted) {
          loaded.value = { state: "failed", error };
        }
      },
    );
    return () => controller.abort();
  }, [...inputs, round.value]);
  return {
    loaded,
    reload: () => {
      round.value += 1;
    },
  };
}

/** Shows what was loaded; while it is loaded anew, what was there before. */
export function Show<T>({
  of,
  retry,
  children,
}: {
  of: Loaded<T>;
  retry: () => void;
  children: (value: T) => ComponentChildren;
}): JSX.Element {
  if (of.state === "failed") {
    return (
      <>
        <Failure error={of.error} />
        <button type="button" onClick={retry}>
          {texts.common.retry}
        </button>
      </>
    );
  }
  if (of.value === undefined) {
    return (
      <p class="muted" role="status">
        {texts.common.loading}
      </p>
    );
  }
  return <>{children(of.value)}</>;
}

/** An error: the gateway's sentence, its reason, and what to do. */
export function Failure({ error }: { error: unknown }): JSX.Element | null {
  if (error === undefined || (error instanceof DOMException && error.name === "AbortError")) {
    return null;
  }
  if (!(error instanceof GatewayError)) {
    const message = error instanceof TypeError ? texts.errors.unreachable : messageOf(error);
    return (
      <div class="failure" role="alert">
        <p>{message}</p>
      </div>
    );
  }
  const hint = texts.errors.hints[error.reason];
  return (
    <div class="failure" role="alert">
      <p>{error.message}</p>
      {hint ? <p>{hint.view ? <a href={address(hint.view)}>{hint.text}</a> : hint.text}</p> : null}
      <p class="small">
        {error.reason === "" ? null : <code>{error.reason}</code>}{" "}
        {error.requestId === "" ? null : texts.errors.request(error.requestId)}
      </p>
    </div>
  );
}

const messageOf = (error: unknown): string =>
  error instanceof Error && error.message !== "" ? error.message : texts.errors.unexpected;

/** Whether money is shown with every digit, everywhere. */
export const everyDigit = signal(false);

export function EveryDigit(): JSX.Element {
  return (
    <label class="switch small muted">
      <input
        type="checkbox"
        checked={everyDigit.value}
        onChange={(event) => (everyDigit.value = event.currentTarget.checked)}
      />{" "}
      {texts.common.everyDigit}
    </label>
  );
}

/** Money as people read it, or with every digit. */
export const moneyText = (value: string): string => (everyDigit.value ? exactMoney(value) : money(value));

/** Money; a pointer shows every digit, too. */
export function Money({ value }: { value: string | null | undefined }): JSX.Element {
  if (value === null || value === undefined) {
    return <span class="muted">{texts.requests.unknown}</span>;
  }
  return (
    <span class="money" title={exactMoney(value)}>
      {moneyText(value)}
    </span>
  );
}

/** A bar of something that has an end. */
export function Bar({
  label,
  part,
  whole,
  note,
}: {
  label: ComponentChildren;
  part: string;
  whole: string;
  note?: string | undefined;
}): JSX.Element {
  const full = share(part, whole);
  const level = full >= 1 ? "over" : full >= 0.8 ? "near" : "fine";
  return (
    <div class="bar">
      <div class="bar-head">
        <span>{label}</span>
        <span title={`${exactMoney(part)} / ${exactMoney(whole)}`}>
          {texts.common.of(moneyText(part), moneyText(whole))}
        </span>
      </div>
      <svg class={`track ${level}`} viewBox="0 0 100 4" preserveAspectRatio="none" role="img" aria-label={percent(full)}>
        <rect class="rest" width="100" height="4" />
        <rect class="part" width={full * 100} height="4" />
      </svg>
      {note ? <p class="small muted">{note}</p> : null}
    </div>
  );
}

export function Copy({ text, label = texts.common.copy }: { text: string; label?: string }): JSX.Element {
  const copied = useSignal(false);
  return (
    <button
      type="button"
      onClick={() => {
        void navigator.clipboard.writeText(text).then(() => {
          copied.value = true;
          setTimeout(() => {
            copied.value = false;
          }, 2000);
        });
      }}
    >
      <span aria-live="polite">{copied.value ? texts.common.copied : label}</span>
    </button>
  );
}

export function Field({
  label,
  hint,
  children,
}: {
  label: string;
  hint?: string | undefined;
  children: (ids: { id: string; "aria-describedby"?: string }) => ComponentChildren;
}): JSX.Element {
  const id = useId();
  const hintId = `${id}-hint`;
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children(hint ? { id, "aria-describedby": hintId } : { id })}
      {hint ? (
        <p class="small muted" id={hintId}>
          {hint}
        </p>
      ) : null}
    </div>
  );
}

/** A dialog that is open as long as it is rendered. */
export function Dialog({
  heading,
  onClose,
  drawer = false,
  children,
}: {
  heading: string;
  onClose: () => void;
  drawer?: boolean;
  children: ComponentChildren;
}): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  return (
    <dialog ref={dialog} class={drawer ? "drawer" : ""} aria-labelledby={id} onClose={onClose}>
      <header>
        <h2 id={id}>{heading}</h2>
        <button type="button" class="quiet" aria-label={texts.common.close} onClick={() => dialog.current?.close()}>
          ×
        </button>
      </header>
      {children}
    </dialog>
  );
}

/** Asks before something that can't be undone. */
export function Confirm({
  heading,
  lead,
  action,
  onConfirm,
  onClose,
  children,
}: {
  heading: string;
  lead: string;
  action: string;
  onConfirm: () => Promise<void>;
  onClose: () => void;
  children?: ComponentChildren;
}): JSX.Element {
  const work = useWork();
  return (
    <Dialog heading={heading} onClose={onClose}>
      <p>{lead}</p>
      {children}
      <Failure error={work.error.value} />
      <div class="actions">
        <button
          type="button"
          class="danger"
          disabled={work.busy.value}
          onClick={() =>
            void work.run(async () => {
              await onConfirm();
              onClose();
            })
          }
        >
          {action}
        </button>
        <button type="button" onClick={onClose}>
          {texts.common.cancel}
        </button>
      </div>
    </Dialog>
  );
}

/** Something that a person has started: whether it goes on, and how it failed. */
export function useWork(): {
  readonly busy: Signal<boolean>;
  readonly error: Signal<unknown>;
  readonly run: (work: () => Promise<void>) => Promise<void>;
} {
  const busy = useSignal(false);
  const error = useSignal<unknown>(undefined);
  return {
    busy,
    error,
    run: async (work) => {
      busy.value = true;
      error.value = undefined;
      try {
        await work();
      } catch (cause) {
        error.value = cause;
      } finally {
        busy.value = false;
      }
    },
  };
}

/** Offers a file for saving. */
export function saveFile(name: string, content: string, type: string): void {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
