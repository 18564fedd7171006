"use strict";
// Transcripts: filters, search, pages. Text of models and environments is only ever set as text.
(() => {
  const run = globalThis.given.run;
  const PAGE = 20;
  const place = document.getElementById("episodes");
  const filters = document.getElementById("transcript-filters");
  const [earlier, later, where] = ["earlier", "later", "where"].map((id) => document.getElementById(id));
  let chosen = [], from = 0;
  // The transcript of a test episode from the run directory, or else its outcome in the entry.
  const tests = run.outcomes.map((o, i) => run.transcripts?.[i] ?? {
    ...o, turns: o.reply === null ? [] : [o.reply].flat().map((reply) => ["", reply]), feedback: "", hash: "", round: null, prompt: "",
  });
  const kinds = { test: tests, training: run.training ?? [] };

  const element = (name, className, ...inside) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    made.append(...inside);
    return made;
  };
  const right = (e) => e.success === true || (e.success === null && e.reward !== null && e.reward >= 1);
  const graded = (e) => {
    if (e.status === "unscored") return ["unscored", "warn"];
    const word = e.success === null ? "graded" : right(e) ? "correct" : "incorrect";
    const cut = e.status === "truncated" ? ", truncated" : "";
    return [`${word}${cut} · reward ${+e.reward.toPrecision(4)}`, right(e) ? "right" : e.success === false ? "wrong" : ""];
  };
  const transcript = (e) => {
    const list = element("dl", "transcript");
    for (const [observation, completion] of e.turns) {
      if (observation) list.append(element("dt", "", "environment"), element("dd", "", observation));
      list.append(element("dt", "", "agent"), element("dd", "reply", completion || "(empty)"));
    }
    if (!e.turns.length) list.append(element("dt", "", "the completion was not kept"));
    if (e.feedback) list.append(element("dt", "", "feedback"), element("dd", "", e.feedback));
    if (e.hash) list.append(element("dt", "", "SHA-256 of the task's text"), element("dd", "", e.hash));
    if (e.prompt) list.append(element("dt", "", "system prompt"), element("dd", "", e.prompt));
    return list;
  };
  const episode = (e) => {
    const [word, kind] = graded(e);
    const begin = e.turns.length ? (e.turns[0][0] || e.turns[0][1]) : "";
    const summary = element("summary", "",
      element("span", `badge ${kind}`, word),
      element("b", "", `${e.round === null ? "" : `round ${e.round + 1} · `}${e.task}`),
      element("span", "quiet", `sample ${e.sample} · ${e.tokens.toLocaleString("en")} tokens`),
      element("span", "first", begin.slice(0, 160)));
    const made = element("details", "", summary);
    made.addEventListener("toggle", () => { if (made.open && !made.querySelector("dl")) made.append(transcript(e)); });
    return made;
  };
  const show = () => {
    place.replaceChildren(...chosen.slice(from, from + PAGE).map(episode));
    const end = Math.min(from + PAGE, chosen.length);
    where.textContent = chosen.length ? `${from + 1}–${end} of ${chosen.length.toLocaleString("en")}` : "no episode matches";
    earlier.disabled = from === 0;
    later.disabled = end >= chosen.length;
  };
  const choose = () => {
    const form = new FormData(filters);
    const find = form.get("find").trim().toLowerCase(), outcome = form.get("outcome");
    const fits = (e) =>
      (!outcome || (outcome === "right" ? right(e) : outcome === "wrong" ? e.status !== "unscored" && !right(e) : e.status === outcome)) &&
      (!find || e.task.toLowerCase().includes(find) || e.turns.some((turn) => turn.some((text) => text.toLowerCase().includes(find))));
    chosen = kinds[form.get("kind")].filter(fits);
    from = 0;
    show();
  };
  filters.addEventListener("input", choose);
  filters.addEventListener("submit", (event) => event.preventDefault());
  earlier.addEventListener("click", () => { from -= PAGE; show(); });
  later.addEventListener("click", () => { from += PAGE; show(); });
  choose();

  // The prompt of a circle of the tree: shown while it is pointed at, kept after a click.
  const preview = document.getElementById("preview");
  if (preview) {
    const [title, body, close] = ["title", "body", "close"].map((name) => document.getElementById(`preview-${name}`));
    let pinned = null;
    const show = (node) => {
      const member = document.getElementById(decodeURIComponent(node.getAttribute("href").slice(1)));
      if (!member) return false;
      title.replaceChildren(...member.querySelector("summary").cloneNode(true).childNodes);
      body.replaceChildren(...[...member.children].slice(1).map((child) => child.cloneNode(true)));
      preview.hidden = false;
      return true;
    };
    const leave = () => { if (pinned) show(pinned); else preview.hidden = true; };
    const pin = (node) => {
      pinned?.classList.remove("pinned");
      pinned = node;
      node?.classList.add("pinned");
      leave();
    };
    for (const node of document.querySelectorAll(".tree .node")) {
      node.addEventListener("mouseenter", () => show(node));
      node.addEventListener("mouseleave", leave);
      node.addEventListener("focus", () => show(node));
      node.addEventListener("blur", leave);
      node.addEventListener("click", (event) => {
        if (!document.getElementById(decodeURIComponent(node.getAttribute("href").slice(1)))) return;
        event.preventDefault();
        pin(node === pinned ? null : node);
      });
    }
    close.addEventListener("click", () => pin(null));
    preview.parentElement.addEventListener("keydown", (event) => { if (event.key === "Escape") pin(null); });
  }

  // A link to a prompt opens the sections around it; a link to a task shows its transcripts.
  const open = () => {
    if (location.hash.startsWith("#task=")) {
      filters.find.value = decodeURIComponent(location.hash.slice(6));
      choose();
      place.querySelector("details")?.setAttribute("open", "");
      filters.scrollIntoView();
      return;
    }
    const aim = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let at = aim; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (aim) aim.scrollIntoView();
  };
  addEventListener("hashchange", open);
  open();
})();
