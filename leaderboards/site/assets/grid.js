"use strict";
// The grid of rewards. One cell is in the tab order; the arrow keys move it.
(() => {
  const grid = globalThis.given.board.grid;
  const table = document.getElementById("reward-grid");
  if (!grid || !table) return;
  const read = document.getElementById("reward-read");
  const unit = globalThis.given.board.plots.spent.unit;
  const element = (name, className, ...inside) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    made.append(...inside);
    return made;
  };
  const shown = (value) => unit ? (100 * value).toFixed(grid.by === "seed" ? 1 : 0) : String(+value.toPrecision(3));
  const heat = (value) => unit ? `h${Math.max(0, Math.min(10, Math.floor(10 * value)))}` : "";
  const cells = [];
  const cell = (label, column, found, y) => {
    if (!found) return element("td", "none", element("span", "unseen", "not scored"));
    const [value, count, run] = found;
    const link = element("a", "", grid.by === "seed" ? shown(value) : "");
    link.href = `../runs/${run}.html${grid.by === "task" ? `#task=${encodeURIComponent(column)}` : ""}`;
    link.tabIndex = -1;
    const text = `${label}, ${grid.by} ${column}: ${shown(value)}${unit ? " %" : ""}, ${count} outcome${count === 1 ? "" : "s"}`;
    link.setAttribute("aria-label", text);
    const say = () => { read.textContent = text; };
    link.addEventListener("mouseenter", say);
    link.addEventListener("focus", say);
    (cells[y] ??= []).push(link);
    return element("td", heat(value), link);
  };
  const head = (scope, className, text) => {
    const made = element("th", className, text);
    made.scope = scope;
    return made;
  };
  const names = grid.columns.map((name) => head("col", "", grid.by === "seed" ? name : ""));
  table.className = `grid by-${grid.by}`;
  table.append(
    element("thead", "", element("tr", "", head("col", "stick", grid.by === "seed" ? "method" : `method × ${grid.columns.length} tasks`), ...names)),
    element("tbody", "", ...grid.rows.map(([label, found], y) =>
      element("tr", "", head("row", "stick", label), ...found.map((one, x) => cell(label, grid.columns[x], one, y))))),
  );
  const filled = cells.filter(Boolean);
  if (filled.length) filled[0][0].tabIndex = 0;
  table.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -1e9], End: [0, 1e9] };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const y = filled.findIndex((row) => row.includes(event.target));
    if (y < 0) return;
    const x = filled[y].indexOf(event.target), [down, right] = moves[event.key];
    const row = filled[Math.max(0, Math.min(filled.length - 1, y + down))];
    const next = row[Math.max(0, Math.min(row.length - 1, x + right))];
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
})();
