"use strict";
// Draws the plots of a page. Series and their tones come from the data files; this script handles
// the choice of axes, the legend, the keyboard and the colour scheme.
(() => {
  const root = document.documentElement;
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const tone = (n) => colour(n < 0 ? "--muted" : `--s${n}`);
  const faint = (n, share) => {
    const hex = tone(n);
    const part = (i) => parseInt(hex.slice(i, i + 2), 16);
    return `rgba(${part(1)}, ${part(3)}, ${part(5)}, ${share})`;
  };
  const number = (v) => v == null ? "—" : Math.abs(v) >= 1000 ? Math.round(v).toLocaleString("en") : String(+v.toPrecision(4));
  const brief = (v) => Math.abs(v) >= 1e6 ? `${+(v / 1e6).toPrecision(3)}M` : Math.abs(v) >= 1e4 ? `${+(v / 1e3).toPrecision(3)}k` : String(+v.toPrecision(6));

  // Puts series with different x values on one common x axis.
  const aligned = (plot, axis) => {
    const all = new Set();
    for (const s of plot.series) for (const x of s.x[axis]) all.add(x);
    const xs = Float64Array.from(all).sort();
    const at = new Map(Array.from(xs, (x, i) => [x, i]));
    const spread = (s, values) => {
      const row = new Array(xs.length).fill(undefined);
      s.x[axis].forEach((x, i) => { row[at.get(x)] = values[i]; });
      return row;
    };
    const data = [Array.from(xs)];
    const bounds = [];
    for (const s of plot.series) {
      data.push(spread(s, s.y));
      bounds.push(s.low ? [spread(s, s.low), spread(s, s.high)] : null);
    }
    return { data, bounds };
  };

  const range = (plot, values) => {
    if (plot.unit) return [0, 100];
    let low = Infinity, high = -Infinity;
    for (const s of plot.series) {
      for (const list of [s.y, s.low ?? [], s.high ?? []]) {
        for (const v of list) if (v != null) { low = Math.min(low, v); high = Math.max(high, v); }
      }
    }
    if (low > high) return [0, 1];
    const room = (high - low || 1) * 0.06;
    return [low - room, high + room];
  };

  // Intervals, drawn below the lines: bands for lines, bars for points.
  const bounds = (plot, state) => (u) => {
    const ctx = u.ctx;
    ctx.save();
    ctx.beginPath();
    ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    ctx.clip();
    plot.series.forEach((s, n) => {
      const both = state.bounds[n];
      if (!both || !u.series[n + 1].show) return;
      const xs = u.data[0], [low, high] = both;
      const x = (i) => u.valToPos(xs[i], "x", true), y = (v) => u.valToPos(v, "y", true);
      const known = xs.map((_, i) => i).filter((i) => low[i] != null && high[i] != null);
      if (s.form === "points") {
        ctx.strokeStyle = faint(s.tone, 0.55);
        ctx.lineWidth = 2 * devicePixelRatio;
        for (const i of known) {
          const cap = 4 * devicePixelRatio;
          ctx.beginPath();
          ctx.moveTo(x(i), y(low[i])); ctx.lineTo(x(i), y(high[i]));
          for (const v of [low[i], high[i]]) { ctx.moveTo(x(i) - cap, y(v)); ctx.lineTo(x(i) + cap, y(v)); }
          ctx.stroke();
        }
      } else if (known.length) {
        ctx.fillStyle = faint(s.tone, 0.13);
        ctx.beginPath();
        known.forEach((i, k) => k ? ctx.lineTo(x(i), y(high[i])) : ctx.moveTo(x(i), y(high[i])));
        known.reverse().forEach((i) => ctx.lineTo(x(i), y(low[i])));
        ctx.closePath();
        ctx.fill();
      }
    });
    ctx.restore();
  };

  const series = (s) => ({
    label: s.label,
    spanGaps: true,
    stroke: () => s.form === "ghost" ? faint(s.tone, 0.28) : s.tone < 0 ? tone(-1) : tone(s.tone),
    width: s.form === "strong" ? 2.6 : s.form === "ghost" ? 1 : 1.6,
    points: {
      show: s.form === "points" || s.y.length < 2,
      size: 9,
      fill: () => tone(s.tone),
    },
  });

  const draw = (figure, plot) => {
    const canvas = figure.querySelector(".canvas");
    const read = figure.querySelector(".read");
    const state = { axis: Object.keys(plot.axes)[0], bounds: [], line: 0, at: null };
    const named = plot.series.map((s, n) => n).filter((n) => plot.series[n].label);
    let u = null;

    const say = (n, i) => {
      if (n == null || i == null || u.data[n + 1][i] == null) { read.textContent = "\u00a0"; return; }
      const both = state.bounds[n];
      const ends = both && both[0][i] != null ? ` (${number(both[0][i])} to ${number(both[1][i])})` : "";
      read.textContent = `${plot.series[n].label || "one seed"}: ${number(u.data[n + 1][i])}${ends} at ${number(u.data[0][i])} ${plot.axes[state.axis]}`;
    };
    const axis = (label, extra) => ({
      label, labelSize: 22, labelFont: "12px system-ui, sans-serif", font: "12px system-ui, sans-serif",
      stroke: () => colour("--soft"), grid: { stroke: () => colour("--line"), width: 1 },
      ticks: { stroke: () => colour("--line"), width: 1 }, values: (_, v) => v.map((n) => n == null ? "" : brief(n)), ...extra,
    });
    const make = () => {
      const table = aligned(plot, state.axis);
      state.bounds = table.bounds;
      const shown = u ? u.series.slice(1).map((s) => s.show) : null;
      u?.destroy();
      const [low, high] = range(plot);
      u = new uPlot({
        width: canvas.clientWidth, height: canvas.clientHeight,
        scales: { x: { time: false, range: (_, a, b) => a === b ? [a - 1, b + 1] : plot.series.some((s) => s.form === "points") ? [a - (b - a) * 0.05, b + (b - a) * 0.05] : [a, b] }, y: { range: [low, high] } },
        legend: { show: false },
        cursor: {
          drag: { x: false, y: false }, focus: { prox: 24 },
          points: { size: 9, fill: (v, n) => n ? tone(plot.series[n - 1].tone) : "" },
        },
        focus: { alpha: plot.series.length > 1 ? 0.35 : 1 },
        axes: [axis(plot.axes[state.axis], { size: 30 }), axis(plot.y, { size: 46 })],
        series: [{}, ...plot.series.map(series)],
        hooks: {
          drawAxes: [bounds(plot, state)],
          setSeries: [(v, n) => { state.focused = n ? n - 1 : null; }],
          setCursor: [(v) => {
            if (state.keys) return;
            const n = state.focused ?? (named.length === 1 ? named[0] : null);
            say(n, n == null ? null : v.cursor.idxs?.[n + 1] ?? v.cursor.idx);
          }],
        },
      }, table.data, canvas);
      if (shown) shown.forEach((show, n) => { if (!show) u.setSeries(n + 1, { show }); });
    };

    const go = (step, other) => {
      if (!named.length) return;
      if (other) state.line = (state.line + other + named.length) % named.length;
      const n = named[state.line];
      const known = u.data[n + 1].map((v, i) => v == null ? -1 : i).filter((i) => i >= 0);
      if (!known.length) return;
      const now = known.indexOf(state.at);
      state.at = now < 0 ? (step < 0 ? known.at(-1) : known[0]) : known[Math.max(0, Math.min(known.length - 1, now + step))];
      state.keys = true;
      u.setSeries(n + 1, { focus: true });
      u.setCursor({ left: u.valToPos(u.data[0][state.at], "x"), top: u.valToPos(u.data[n + 1][state.at], "y") });
      state.keys = false;
      say(n, state.at);
    };
    canvas.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], Home: [-1e9, 0], End: [1e9, 0] };
      if (!(event.key in moves)) return;
      event.preventDefault();
      go(...moves[event.key]);
    });
    for (const button of figure.querySelectorAll("[data-axis]")) {
      button.addEventListener("click", () => {
        state.axis = button.dataset.axis;
        for (const b of figure.querySelectorAll("[data-axis]")) b.setAttribute("aria-pressed", String(b === button));
        make();
      });
    }
    const keys = figure.querySelector(".keys");
    const muted = named.filter((n) => plot.series[n].tone < 0).length > 4; // prompts that led nowhere are too many to name
    for (const n of named.filter((n) => plot.series[n].tone >= 0 || !muted).slice(0, 16)) {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      const dot = document.createElement("span");
      dot.className = `dot t${plot.series[n].tone}`;
      button.append(dot, plot.series[n].label);
      button.addEventListener("click", () => {
        const show = !u.series[n + 1].show;
        u.setSeries(n + 1, { show });
        button.setAttribute("aria-pressed", String(show));
      });
      const item = document.createElement("li");
      item.append(button);
      keys.append(item);
    }
    make();
    new ResizeObserver(() => u.setSize({ width: canvas.clientWidth, height: canvas.clientHeight })).observe(canvas);
    addEventListener("theme", () => u.redraw(false, true));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => u.redraw(false, true));
  };

  const plots = (globalThis.given?.board ?? globalThis.given?.run)?.plots ?? {};
  for (const figure of document.querySelectorAll("[data-plot]")) {
    const plot = plots[figure.dataset.plot];
    if (plot) draw(figure, plot);
  }
})();
