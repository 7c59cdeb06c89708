(() => {
  "use strict";
  const body = document.body, refresh = Number(body.dataset.refresh) * 1000, written = Number(body.dataset.at) * 1000;
  const key = "ablate:" + location.pathname;
  const storage = {
    read() { try { return JSON.parse(sessionStorage.getItem(key)) || {}; } catch { return {}; } },
    write(value) { try { sessionStorage.setItem(key, JSON.stringify(value)); } catch { /* private window */ } },
  };
  const kept = storage.read();
  for (const fold of document.querySelectorAll("details[id]")) {
    if ((kept.open || []).includes(fold.id)) fold.open = true;
  }
  if (kept.focus) {
    const target = document.getElementById(kept.focus);
    if (target) (target.querySelector("summary") || target).focus({ preventScroll: true });
  }
  if (kept.scroll) scrollTo(0, kept.scroll);

  let paused = Boolean(kept.paused);
  const keep = () => {
    const focused = document.activeElement && document.activeElement.closest("[id]");
    storage.write({
      open: [...document.querySelectorAll("details[open][id]")].map((fold) => fold.id),
      focus: focused && focused !== body ? focused.id : "", scroll: scrollY, paused,
    });
  };
  const pause = document.getElementById("pause");
  const label = () => {
    pause.textContent = paused ? "Resume" : "Pause";
    pause.setAttribute("aria-pressed", String(paused));
  };
  if (pause) {
    pause.hidden = false;
    label();
    pause.addEventListener("click", () => { paused = !paused; keep(); label(); });
  }

  const span = (seconds) => seconds < 90 ? `${Math.round(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
  const age = document.getElementById("age"), stale = document.getElementById("stale");
  const showAge = () => {
    const seconds = Math.max(0, (Date.now() - written) / 1000);
    if (!refresh) return;
    age.textContent = `(${span(seconds)} ago)`;
    const old = seconds > Math.max(60, 10 * refresh / 1000);
    stale.hidden = !old;
    if (old && !stale.textContent) stale.textContent = "This page is no longer updated. `ablate watch DIR --html` updates it again.";
  };
  showAge();
  setInterval(showAge, 1000);
  if (refresh) {
    setInterval(() => {
      if (paused || document.hidden || String(getSelection())) return;
      keep();
      location.reload();
    }, refresh);
  }
})();
