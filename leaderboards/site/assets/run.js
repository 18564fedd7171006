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

  // A link to a prompt opens the sections around it.
  const open = () => {
    const aim = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let at = aim; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (aim) aim.scrollIntoView();
  };
  addEventListener("hashchange", open);
  open();
})();
