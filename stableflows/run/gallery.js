"use strict";
// All text is read from the page and written as text: nothing here makes markup of it.
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const one = (selector, within = document) => within.querySelector(selector);
const articles = all("article");

// ---- filter ----
const filter = one("form.filter");
if (filter) {
  const text = one("#text"), count = one("output", filter), none = one("#none");
  const apply = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const status = new FormData(filter).get("status") || "";
    let shown = 0;
    for (const article of articles) {
      const content = article.textContent.toLowerCase();
      const fits = (!status || article.dataset.status === status) && words.every((word) => content.includes(word));
      article.hidden = !fits;
      shown += fits;
    }
    none.hidden = shown > 0;
    count.textContent = shown === articles.length ? "" : `${shown} of ${articles.length} entries`;
  };
  filter.hidden = false;
  filter.addEventListener("input", apply);
  filter.addEventListener("submit", (event) => event.preventDefault());
  // A browser may keep what was typed when the page is loaded again.
  apply();
}

// ---- viewer ----
const viewer = one("#viewer"), image = one(".stage img", viewer), words = one(".words", viewer);
let figures = [], at = 0, step = 0;

const stepsOf = (figure) => {
  const steps = all(".steps a", figure);
  return steps.length ? steps : [one(".shown", figure)];
};

const show = () => {
  const figure = figures[at], steps = stepsOf(figure), link = steps[step];
  image.src = link.href;
  const word = link.dataset.word || "";
  image.alt = [one(".shown img", figure).alt, word].filter(Boolean).join(", ");
  one(".file", viewer).href = link.href;
  one(".place", viewer).textContent = `${at + 1} of ${figures.length}`;
  one(".heading", viewer).textContent = one("h2", figure.closest("article")).textContent;
  one(".caption", viewer).textContent = link.dataset.caption ?? one(".caption", figure).textContent;
  words.replaceChildren(...(steps.length < 2 ? [] : steps.map((other, number) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = other.dataset.word;
    button.setAttribute("aria-pressed", String(number === step));
    button.addEventListener("click", () => { step = number; show(); one("[aria-pressed=true]", words).focus(); });
    return button;
  })));
  one(".before", viewer).disabled = one(".after", viewer).disabled = figures.length < 2;
  for (const near of [at + 1, at - 1]) {
    if (figures[near]) new Image().src = stepsOf(figures[near]).at(-1).href;
  }
};

const move = (by) => {
  at = (at + by + figures.length) % figures.length;
  step = stepsOf(figures[at]).length - 1;
  show();
};

const turn = (by) => {
  const last = stepsOf(figures[at]).length - 1, next = Math.min(last, Math.max(0, step + by));
  if (next !== step) { step = next; show(); }
};

document.addEventListener("click", (event) => {
  const link = event.target.closest("figure a");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  const figure = link.closest("figure");
  figures = all("article:not([hidden]) figure");
  at = figures.indexOf(figure);
  const steps = stepsOf(figure);
  step = steps.includes(link) ? steps.indexOf(link) : steps.length - 1;
  show();
  viewer.showModal();
  viewer.focus();
});

const keys = {
  ArrowLeft: () => move(-1), ArrowRight: () => move(1),
  ArrowUp: () => turn(-1), ArrowDown: () => turn(1),
  Home: () => { at = 0; move(0); }, End: () => { at = figures.length - 1; move(0); },
};
viewer.addEventListener("keydown", (event) => {
  if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
});
one(".before", viewer).addEventListener("click", () => move(-1));
one(".after", viewer).addEventListener("click", () => move(1));
one(".close", viewer).addEventListener("click", () => viewer.close());
one(".stage", viewer).addEventListener("click", (event) => { if (event.target !== image) viewer.close(); });
viewer.addEventListener("close", () => {
  image.removeAttribute("src");
  one(".shown", figures[at]).focus();
});

// A thumb moved across the picture turns the page.
let touch = null;
viewer.addEventListener("touchstart", (event) => {
  touch = event.touches.length === 1 ? event.touches[0] : null;
}, { passive: true });
viewer.addEventListener("touchend", (event) => {
  if (!touch) return;
  const end = event.changedTouches[0], x = end.clientX - touch.clientX, y = end.clientY - touch.clientY;
  if (Math.abs(x) > 50 && Math.abs(x) > 2 * Math.abs(y)) move(x < 0 ? 1 : -1);
  touch = null;
}, { passive: true });
