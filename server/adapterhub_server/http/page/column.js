// One answer: its text as it comes, and its figures.

import { make } from "./dom.js";

const HUES = [212, 24, 150, 285, 48, 185, 335, 95, 5];
const FACTS = { rate: "tokens/s", first: "first token", tokens: "tokens", reason: "ended by", digest: "digest" };
const seconds = (value) => (value < 10 ? `${value.toFixed(2)} s` : `${value.toFixed(1)} s`);

/** `sha256:` and as much of a digest as tells adapters apart. */
export const short = (digest) => digest.replace("sha256:", "").slice(0, 12);

export class Column {
  /** Of what `name` answers, the base's if `isBase`; `number` counts columns and chooses the colour. */
  constructor(name, number, { isBase = false, method = "" } = {}) {
    this.name = name;
    this.isBase = isBase;
    this.hue = HUES[number % HUES.length];
    this.state = "waiting";
    /** Of the engine, when the answer has ended: its first and its last, and how many of them. */
    this.steps = null;
    this.tokens = 0;
    this.began = performance.now();
    const title = `answer-${number}`;
    this.output = make("div", { class: "output", role: "region", "aria-label": `Answer of ${name}`, tabindex: "0" });
    this.note = make("p", { class: "soft note" }, "waiting for its first token …");
    this.facts = Object.fromEntries(Object.keys(FACTS).map((fact) => [fact, make("dd", {}, "–")]));
    const facts = Object.entries(FACTS).map(([fact, label]) =>
      make("div", { class: fact }, make("dt", {}, label), this.facts[fact]),
    );
    const kind = make("span", { class: "tag" }, isBase ? "base" : method || "adapter");
    this.element = make(
      "article",
      { class: "column", "aria-labelledby": title, "aria-busy": "true", "data-model": name },
      make("h2", { id: title }, name, " ", kind),
      this.note,
      this.output,
      make("dl", { class: "facts" }, ...facts),
    );
    this.element.style.setProperty("--hue", this.hue);
    this.#set("waiting");
  }

  /** An event of the stream. */
  take(event) {
    const [choice] = event.choices;
    if (choice) this.#add(choice.delta?.content ?? choice.text ?? "", choice.token_ids?.length ?? 0);
    if (choice?.finish_reason) this.facts.reason.textContent = choice.finish_reason;
    if (event.adapterhub) this.#end(event.adapterhub);
  }

  /** It will not end by itself: `error` is why, or it was stopped. */
  fail(error) {
    if (error.name === "AbortError") {
      this.note.textContent = this.tokens ? "stopped" : "stopped before its first token";
      this.#set("stopped");
      return;
    }
    const told = [error.status, error.code].filter(Boolean).join(" ");
    this.note.replaceChildren(make("span", { class: "error", role: "alert" }, error.message), told ? ` (${told})` : "");
    this.#set("failed");
  }

  #add(text, tokens) {
    const now = performance.now();
    if (!this.tokens && tokens) {
      this.firstAt = now;
      this.firstTokens = tokens;
      this.note.textContent = "";
      this.facts.first.textContent = seconds((now - this.began) / 1000);
      this.#set("streaming");
    }
    this.tokens += tokens;
    const isAtEnd = this.output.scrollHeight - this.output.scrollTop - this.output.clientHeight < 24;
    this.output.append(text);
    if (isAtEnd) this.output.scrollTop = this.output.scrollHeight;
    this.facts.tokens.textContent = String(this.tokens);
    this.#rate(this.tokens - this.firstTokens, (now - this.firstAt) / 1000);
  }

  /** What the server measured stands in the place of what was measured here. */
  #end({ timings, steps, digest, adapter, route }) {
    const first = timings.before_engine + timings.first_token;
    this.#rate(this.tokens - 1, timings.total - first);
    this.facts.first.textContent = seconds(first);
    this.facts.digest.textContent = digest ? short(digest) : "–";
    this.facts.digest.title = digest;
    this.steps = steps;
    const routed = adapter !== (this.isBase ? "" : this.name) || route.by === "fallback";
    this.note.textContent = routed ? `answered by ${adapter || "the base"}: ${route.by} ${route.name}`.trim() : "";
    this.#set("ended");
  }

  #rate(tokens, time) {
    if (tokens > 0 && time > 0) this.facts.rate.textContent = (tokens / time).toFixed(1);
  }

  #set(state) {
    this.state = state;
    this.element.dataset.state = state;
    this.element.setAttribute("aria-busy", String(state === "waiting" || state === "streaming"));
    this.note.hidden = !this.note.textContent;
  }
}
