// The page: what is there to pick, and a run of what was asked.

import { key, models, stream } from "./api.js";
import { draw } from "./batches.js";
import { Column, short } from "./column.js";
import { byId, tell } from "./dom.js";
import { Picker } from "./picker.js";

const picker = new Picker();
let base = null;
let running = null;

async function load() {
  try {
    const found = await models();
    base = found.base;
    const { digest, quantization } = base.adapterhub;
    byId("serving").textContent = `${base.id}, ${quantization === "none" ? "not quantized" : quantization}, ${short(digest)}`;
    byId("serving").title = digest;
    picker.show(found.adapters);
    tell(byId("refusal"), "");
  } catch (error) {
    base = null;
    byId("serving").textContent = "";
    tell(byId("refusal"), error.message);
    if (error.status === 401) {
      byId("access").open = true;
      byId("key").focus();
    }
  }
  byId("run").disabled = !base || Boolean(running);
}

const kind = () => byId("ask").elements.kind.value;

/** The path, and what is asked of every model. */
function question() {
  const common = {
    stream: true,
    stream_options: { include_usage: true },
    return_token_ids: true,
    temperature: byId("temperature").valueAsNumber,
    max_tokens: byId("tokens").valueAsNumber,
    ...(byId("seed").value && { seed: byId("seed").valueAsNumber }),
  };
  const prompt = byId("prompt").value;
  if (kind() === "raw") return ["v1/completions", { ...common, prompt }];
  const system = byId("system").value;
  const messages = [...(system ? [{ role: "system", content: system }] : []), { role: "user", content: prompt }];
  return ["v1/chat/completions", { ...common, messages }];
}

async function answer(column, path, body, signal) {
  try {
    for await (const event of stream(path, { ...body, model: column.name }, signal)) column.take(event);
  } catch (error) {
    column.fail(error);
  }
}

async function run() {
  if (!base || running || !byId("ask").reportValidity()) return;
  running = new AbortController();
  const [path, body] = question();
  const columns = [new Column(base.id, 0, { isBase: true })];
  for (const name of picker.picked) columns.push(new Column(name, columns.length, { method: picker.methods.get(name) }));
  byId("columns").replaceChildren(...columns.map((column) => column.element));
  draw([]);
  setRunning(true);
  const top = byId("columns").getBoundingClientRect().top;
  if (top > innerHeight / 2) byId("columns").scrollIntoView(); // below the form, where there is no room beside it
  say(`Running ${columns.length === 1 ? "1 answer" : `${columns.length} answers`} …`);
  await Promise.all(
    columns.map(async (column) => {
      await answer(column, path, body, running.signal);
      draw(columns);
    }),
  );
  running = null;
  setRunning(false);
  say(summary(columns));
  await load(); // what was added may be known by now, and another is resident
}

function summary(columns) {
  const of = (state) => columns.filter((column) => column.state === state).length;
  const parts = [`${of("ended")} of ${columns.length} ended`];
  if (of("stopped")) parts.push(`${of("stopped")} stopped`);
  if (of("failed")) parts.push(`${of("failed")} failed`);
  return `${parts.join(", ")}.`;
}

const say = (text) => (byId("status").textContent = text);

function setRunning(is) {
  byId("run").disabled = is;
  byId("stop").disabled = !is;
  document.body.dataset.running = String(is);
}

function showKind() {
  byId("system-field").hidden = kind() === "raw";
  byId("prompt-label").textContent = kind() === "raw" ? "Text to go on with" : "Question";
}

byId("key").value = key.get();
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key.set(byId("key").value.trim());
  load();
});
byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
byId("ask").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    run();
  }
});
byId("ask").addEventListener("change", showKind);
byId("stop").addEventListener("click", () => running?.abort());
showKind(); // the browser may have kept what was chosen before a reload
load();
