import { useSignal } from "@preact/signals";
import type { JSX } from "preact";

import { answered, readRequest, seal, type Request } from "../approval.js";
import { Copy, Failure, useWork } from "../parts.js";
import { ScopeFields } from "../scope.js";
import { base, current } from "../session.js";
import { texts } from "../texts.js";
import { Begin } from "./identity.js";
import { makeToken } from "./tokens.js";

const t = texts.approve;

export function ApproveView({ fragment }: { fragment: string }): JSX.Element {
  const request = readRequest(fragment);
  return (
    <>
      <h1>{t.heading}</h1>
      {request === "broken" ? (
        <p class="failure">{t.broken}</p>
      ) : request === "foreign callback" ? (
        <p class="failure">{t.brokenCallback}</p>
      ) : current.value ? (
        <Decision request={request} />
      ) : (
        <>
          <p class="lead">{t.asks(request.scope.name)}</p>
          <p>{t.identityFirst}</p>
          <Begin />
        </>
      )}
      <p>
        <a href={`${base}/console`}>{t.home}</a>
      </p>
    </>
  );
}

type Outcome = { readonly what: "refused" | "sent" } | { readonly what: "code"; readonly code: string };

function Decision({ request }: { request: Request }): JSX.Element {
  const scope = useSignal(request.scope);
  const outcome = useSignal<Outcome | undefined>(undefined);
  const work = useWork();
  const { callback, state } = request;
  const approve = async () => {
    const { token } = await makeToken(scope.value);
    const sealed = await seal(token, request);
    if (callback === undefined) {
      outcome.value = { what: "code", code: sealed };
    } else {
      outcome.value = { what: "sent" };
      location.replace(answered(callback, state, { sealed }));
    }
  };
  const refuse = () => {
    outcome.value = { what: "refused" };
    if (callback !== undefined) {
      location.replace(answered(callback, state, { error: "access_denied" }));
    }
  };
  if (outcome.value?.what === "code") {
    return (
      <section class="card">
        <h2>{t.code}</h2>
        <p>{t.codeLead}</p>
        <pre class="code" tabIndex={0} aria-label={t.code}>
          {outcome.value.code}
        </pre>
        <Copy text={outcome.value.code} />
      </section>
    );
  }
  if (outcome.value) {
    return <p role="status">{outcome.value.what === "sent" ? t.done : t.refused}</p>;
  }
  return (
    <form
      class="card"
      onSubmit={(event) => {
        event.preventDefault();
        void work.run(approve);
      }}
    >
      <p class="lead">{t.asks(request.scope.name)}</p>
      <p>{t.lead}</p>
      <ScopeFields scope={scope} />
      <p class="small muted">{callback === undefined ? t.byHand : t.goesTo(new URL(callback).host)}</p>
      <p class="small muted">{t.self}</p>
      <Failure error={work.error.value} />
      <div class="actions">
        <button type="submit" class="primary" disabled={work.busy.value}>
          {t.allow}
        </button>
        <button type="button" onClick={refuse}>
          {t.refuse}
        </button>
      </div>
    </form>
  );
}
