"use strict";
// Loaded before the first paint, so that the other colour scheme never flashes.
(() => {
  const root = document.documentElement;
  const kept = {
    get() { try { return localStorage.getItem("theme"); } catch { return null; } },
    set(value) { try { localStorage.setItem("theme", value); } catch { /* private windows keep nothing */ } },
  };
  const order = ["auto", "light", "dark"];
  const words = { auto: "as the system", light: "light", dark: "dark" };
  let now = order.includes(kept.get()) ? kept.get() : "auto";
  const show = () => {
    if (now === "auto") root.removeAttribute("data-theme");
    else root.setAttribute("data-theme", now);
    const button = document.getElementById("theme");
    if (button) {
      button.setAttribute("aria-label", `Colours: ${words[now]}`);
      button.title = `Colours: ${words[now]}`;
    }
    dispatchEvent(new Event("theme"));
  };
  show();
  addEventListener("DOMContentLoaded", () => {
    show();
    document.getElementById("theme").addEventListener("click", () => {
      now = order[(order.indexOf(now) + 1) % order.length];
      kept.set(now);
      show();
    });
  });
})();
