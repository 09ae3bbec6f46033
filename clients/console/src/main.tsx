import { signal, useSignalEffect } from "@preact/signals";
import { render, type JSX } from "preact";

import { returnedCode } from "./connect.js";
import { EveryDigit, Failure } from "./parts.js";
import { address, place } from "./router.js";
import { current, identities, loadIdentities, notice } from "./session.js";
import { texts } from "./texts.js";
import { VIEWS, type View } from "./views.js";
import { ApproveView } from "./views/approve.js";
import { ChatView } from "./views/chat.js";
import { HealthView } from "./views/health.js";
import { HomeView } from "./views/home.js";
import { BackupReminder, Begin, IdentityView } from "./views/identity.js";
import { KeyView } from "./views/key.js";
import { RequestsView } from "./views/requests.js";
import { TokensView } from "./views/tokens.js";

const SHOW_MONEY: readonly View[] = ["home", "chat", "requests", "tokens", "key"];
const isApproval = location.pathname.endsWith("/approve");
/** A program's request. */
const fragment = location.hash.slice(1);
if (isApproval) {
  // Another request, opened in the same tab.
  addEventListener("hashchange", () => location.reload());
}
const code = signal(isApproval ? undefined : returnedCode());
const broken = signal<unknown>(undefined);

function App(): JSX.Element {
  useSignalEffect(() => {
    const name = isApproval ? texts.approve.heading : texts.views[place.value.view];
    document.title = `${name} · ${texts.title}`;
  });
  if (broken.value !== undefined) {
    return <Failure error={broken.value} />;
  }
  if (identities.value === undefined) {
    // As in index.html, so that nothing moves.
    return (
      <header class="top">
        <p class="brand">{texts.title}</p>
      </header>
    );
  }
  return (
    <>
      <a class="skip" href="#main" onClick={skip}>
        {texts.skip}
      </a>
      <header class="top">
        <p class="brand">{texts.title}</p>
        {isApproval ? null : <Navigation />}
      </header>
      <main id="main" tabIndex={-1}>
        {isApproval ? null : <BackupReminder />}
        {notice.value ? (
          <p class="notice" role="status">
            {notice.value}
          </p>
        ) : null}
        {isApproval ? <ApproveView fragment={fragment} /> : <Current />}
        {current.value && SHOW_MONEY.includes(place.value.view) && !isApproval ? <EveryDigit /> : null}
      </main>
    </>
  );
}

function skip(event: Event): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

function Navigation(): JSX.Element {
  return (
    <nav aria-label={texts.title}>
      <ul>
        {VIEWS.map((it) => (
          <li key={it}>
            <a href={address(it)} aria-current={place.value.view === it ? "page" : undefined}>
              {texts.views[it]}
            </a>
          </li>
        ))}
      </ul>
    </nav>
  );
}

function Current(): JSX.Element {
  const { view } = place.value;
  // These two need no identity.
  if (!current.value && view !== "health" && view !== "identity") {
    return <Welcome />;
  }
  return shown(view);
}

function shown(view: View): JSX.Element {
  switch (view) {
    case "home":
      return <HomeView />;
    case "chat":
      return <ChatView />;
    case "requests":
      return <RequestsView />;
    case "tokens":
      return <TokensView />;
    case "key":
      return <KeyView code={code} />;
    case "identity":
      return <IdentityView />;
    case "health":
      return <HealthView />;
  }
}

function Welcome(): JSX.Element {
  const t = texts.start;
  return (
    <>
      <h1>{t.heading}</h1>
      <p class="lead">{t.lead}</p>
      <ol class="steps">
        {t.steps.map((it) => (
          <li key={it}>{it}</li>
        ))}
      </ol>
      <Begin />
    </>
  );
}

/** Who has just made the first identity goes on with the key. */
let had: number | undefined;
identities.subscribe((all) => {
  if (had === 0 && all?.length === 1 && !isApproval) {
    location.hash = address("key");
  }
  had = all?.length;
});
place.subscribe(() => {
  notice.value = undefined;
});

const app = document.getElementById("app");
if (app) {
  app.textContent = "";
  render(<App />, app);
  loadIdentities().catch((error: unknown) => {
    broken.value = error;
  });
}
