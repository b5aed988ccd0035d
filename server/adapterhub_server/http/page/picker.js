// The adapters to pick from.

import { byId, make, tell } from "./dom.js";

const MOST = 8;
const CONNECTIONS = 6; // of a browser to one server over HTTP/1.1
const MANY = 8;

export class Picker {
  constructor() {
    this.methods = new Map();
    byId("adapters").addEventListener("change", () => this.#update());
    byId("find").addEventListener("input", () => this.#find());
    byId("add").addEventListener("click", () => this.#addOther());
    byId("other").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      this.#addOther();
    });
  }

  /** Names of the picked, in the order of the list. */
  get picked() {
    return this.#boxes().filter((box) => box.checked).map((box) => box.value);
  }

  /** Show the server's adapters; what was picked stays so. */
  show(cards) {
    const picked = this.picked;
    this.methods = new Map(cards.map((card) => [card.id, card.adapterhub.method]));
    const others = picked.filter((name) => !this.methods.has(name));
    byId("adapters").replaceChildren(
      ...cards.map((card) => this.#item(card.id, card.adapterhub.method, picked.includes(card.id))),
      ...others.map((name) => this.#item(name, "", true)),
    );
    byId("finding").hidden = cards.length <= MANY;
    this.#update();
  }

  #boxes() {
    return [...byId("adapters").querySelectorAll("input")];
  }

  #item(name, method, checked) {
    const box = make("input", { type: "checkbox", value: name, checked });
    const tag = method ? make("span", { class: "tag" }, method) : "";
    return make("li", {}, make("label", {}, box, make("span", { class: "name" }, name), tag));
  }

  #addOther() {
    const name = byId("other").value.trim();
    if (!name || this.picked.length >= MOST) return;
    const known = this.#boxes().find((box) => box.value === name);
    if (known) known.checked = true;
    else byId("adapters").append(this.#item(name, "", true));
    byId("other").value = "";
    this.#update();
  }

  #find() {
    const words = byId("find").value.toLowerCase();
    for (const box of this.#boxes()) {
      box.closest("li").hidden = !box.checked && !box.value.toLowerCase().includes(words);
    }
  }

  #update() {
    const boxes = this.#boxes();
    const number = this.picked.length;
    for (const box of boxes) box.disabled = !box.checked && number >= MOST;
    byId("add").disabled = number >= MOST;
    byId("none").hidden = boxes.length > 0;
    byId("limit").textContent = number ? `${number} of at most ${MOST}, beside the base.` : `Up to ${MOST}, beside the base.`;
    const late = number + 1 - CONNECTIONS;
    const begin = late === 1 ? "1 begins when another has ended" : `${late} begin when others have ended`;
    const most = `Browsers open ${CONNECTIONS} connections to a server: of ${number + 1} answers, ${begin}.`;
    tell(byId("connections"), late > 0 ? most : "");
  }
}
