"use strict";
// Sorting, filters and pages of a leaderboard. Texts are only ever set as text.
(() => {
  const { page, columns, rows } = globalThis.given.board;
  const [CELLS, KEYS, POSITIONS, SEEDS, WARNINGS, METHOD, PROVISIONAL, TONE] = [0, 1, 2, 3, 4, 5, 6, 7];
  const table = document.getElementById("board");
  const body = table.tBodies[0];
  const filters = document.getElementById("filters");
  const [earlier, later, where] = ["earlier", "later", "where"].map((id) => document.getElementById(id));
  let sorted = rows.map((_, i) => i), from = 0, column = 0, order = "ascending", sorting = "";

  const element = (name, className, ...inside) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    made.append(...inside);
    return made;
  };
  const folded = (summary, className, items) => {
    const list = element("ul", "", ...items.map((item) => element("li", "", ...item)));
    return element("details", "", element("summary", className, summary), list);
  };
  const svg = (row) => {
    const space = "http://www.w3.org/2000/svg";
    const made = document.createElementNS(space, "svg");
    made.setAttribute("class", `forest t${row[TONE]}`);
    made.setAttribute("viewBox", "0 0 100 16");
    made.setAttribute("preserveAspectRatio", "none");
    made.setAttribute("aria-hidden", "true");
    const [a, b, c, d, e] = row[POSITIONS];
    const path = (name, d) => {
      const line = document.createElementNS(space, "path");
      line.setAttribute("class", name);
      line.setAttribute("d", d);
      made.append(line);
    };
    path("rail", "M0 8H100");
    if (a !== null && e !== null) path("seeds", `M${a} 8H${e}`);
    if (b !== null && d !== null) path("tasks", `M${b} 8H${d}`);
    if (c !== null) path("middle", `M${c} 2V14`);
    return made;
  };
  const cells = {
    interval: (row, text) => {
      const [items, seeds] = text.split(" | ");
      return [svg(row), element("span", "told", element("span", "", `items ${items}`), " ", element("span", "", `seeds ${seeds}`))];
    },
    seeds: (row, text) => {
      const head = (scope, ...inside) => { const made = element("th", "", ...inside); made.scope = scope; return made; };
      const lines = row[SEEDS].map(([seed, value, id]) => {
        const link = element("a", "", String(seed));
        link.href = `../runs/${id}.html`;
        return element("tr", "", head("row", link), element("td", "", value));
      });
      const heads = element("thead", "", element("tr", "", head("col", "seed"), head("col", "score")));
      return [element("details", "", element("summary", "", text), element("table", "", heads, element("tbody", "", ...lines)))];
    },
    notes: (row) => {
      const found = [];
      if (row[PROVISIONAL]) found.push(element("span", "badge", "provisional"));
      const count = row[WARNINGS].length;
      if (count) found.push(folded(`${count} warning${count > 1 ? "s" : ""}`, "badge warn", row[WARNINGS].map((w) => [w])));
      return found;
    },
  };
  const line = (row) => element("tr", "", ...columns.map(([name, kind], i) => {
    const text = row[CELLS][i];
    if (name === "method") {
      const dot = element("span", `dot t${row[TONE]}`);
      dot.setAttribute("aria-hidden", "true");
      const head = element("th", "c-method k-text", dot, text);
      head.scope = "row";
      return head;
    }
    return element("td", `c-${name} k-${kind}`, ...(cells[kind]?.(row, text) ?? [text]));
  }));

  const show = () => {
    body.replaceChildren(...sorted.slice(from, from + page).map((i) => line(rows[i])));
    const end = Math.min(from + page, sorted.length);
    const all = sorted.length.toLocaleString("en");
    where.textContent = `${sorted.length ? `${(from + 1).toLocaleString("en")}–${end.toLocaleString("en")} of ${all}` : "no row matches"}${sorting}`;
    earlier.disabled = from === 0;
    later.disabled = end >= sorted.length;
  };
  const compare = (a, b) => typeof a === "string" ? a.localeCompare(b, "en") : a - b;
  const arrange = () => {
    const form = new FormData(filters);
    const find = form.get("find").trim().toLowerCase(), method = form.get("method");
    const fits = (row) =>
      (!method || row[METHOD] === method) && (!form.has("firm") || !row[PROVISIONAL]) &&
      (!form.has("clean") || !row[WARNINGS].length) && (!find || row[CELLS][1].toLowerCase().includes(find));
    const sign = order === "ascending" ? 1 : -1;
    sorted = rows.map((_, i) => i).filter((i) => fits(rows[i])).sort((i, j) => {
      const a = rows[i][KEYS][column], b = rows[j][KEYS][column];
      if (a === null || b === null) return (a === null) - (b === null) || i - j; // unknown values come last
      return sign * compare(a, b) || i - j;
    });
    from = 0;
    show();
  };

  for (const button of table.tHead.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      const wanted = Number(button.dataset.column);
      const other = { ascending: "descending", descending: "ascending" };
      order = wanted === column ? other[order] : columns[wanted][2];
      column = wanted;
      for (const head of table.tHead.querySelectorAll("th")) head.removeAttribute("aria-sort");
      button.closest("th").setAttribute("aria-sort", order);
      sorting = `, by ${button.textContent.trim()}, ${order}`;
      arrange();
    });
  }
  const turn = (step) => {
    from += step * page;
    show();
    if (table.getBoundingClientRect().top < 0) filters.scrollIntoView();
  };
  earlier.addEventListener("click", () => turn(-1));
  later.addEventListener("click", () => turn(1));
  filters.addEventListener("input", arrange);
  filters.addEventListener("submit", (event) => event.preventDefault());
  // After "back", a browser may restore the filters.
  if (new FormData(filters).get("find") || new FormData(filters).get("method") || filters.querySelector(":checked:not(option)")) arrange();
})();
