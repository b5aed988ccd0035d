// Which answers were in the same steps of the engine. Each step is one batch.

import { byId, make } from "./dom.js";

const length = ({ first, last }) => last - first + 1;
const hasGaps = (steps) => steps.count < length(steps);
const count = (number) => (number === 1 ? "1 step" : `${number} steps`);
const list = (names) => (names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`);

/** How many steps all of these spans have. */
export function shared(spans) {
  const first = Math.max(...spans.map((span) => span.first));
  const last = Math.min(...spans.map((span) => span.last));
  return Math.max(0, last - first + 1);
}

/** In how many of its steps an answer ran beside which others. An answer that was put off was not in all of its span. */
export function beside(column, others) {
  const names = new Map();
  for (const other of others) {
    const steps = shared([column.steps, other.steps]);
    const isMost = steps > 0 && (hasGaps(column.steps) || hasGaps(other.steps));
    const words = steps ? `${isMost ? "up to " : ""}${steps}` : "none";
    names.set(words, [...(names.get(words) ?? []), other.name]);
  }
  const told = [...names].map(([words, of]) => `in ${words} beside ${list(of)}`);
  return `${count(column.steps.count)}${told.length ? `; ${told.join(", ")}` : ""}`;
}

/** Draw the spans of the answers that have ended. */
export function draw(columns) {
  const ended = columns.filter((column) => column.steps?.last);
  byId("batches").hidden = !ended.length;
  if (!ended.length) return;
  const first = Math.min(...ended.map((column) => column.steps.first));
  const last = Math.max(...ended.map((column) => column.steps.last));
  byId("together").textContent = together(ended);
  byId("axis-first").textContent = `step ${first}`;
  byId("axis-last").textContent = `step ${last}`;
  byId("timeline").replaceChildren(...ended.map((column) => row(column, ended, { first, last })));
}

function together(ended) {
  if (ended.length < 2) return "One answer has ended.";
  const steps = shared(ended.map((column) => column.steps));
  if (!steps) return `No step had all ${ended.length} that ended in it.`;
  const most = ended.some((column) => hasGaps(column.steps)) ? "up to " : "";
  return `In ${most}${count(steps)}, all ${ended.length} that ended were rows of one batch.`;
}

function row(column, ended, span) {
  const bar = make("span", { class: "bar" });
  bar.style.setProperty("--hue", column.hue);
  bar.style.left = `${((column.steps.first - span.first) / length(span)) * 100}%`;
  bar.style.width = `${(length(column.steps) / length(span)) * 100}%`;
  const others = ended.filter((other) => other !== column);
  return make(
    "li",
    { "data-model": column.name },
    make("span", { class: "who" }, column.name),
    make("span", { class: "track", "aria-hidden": "true" }, bar),
    make("span", { class: "soft said" }, beside(column, others)),
  );
}
