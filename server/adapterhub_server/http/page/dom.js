// Elements, made of texts that are never markup.

export const byId = (id) => document.getElementById(id);

/** An element with attributes and children; a child may be a text. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** Show a text in an element that is hidden while it has none. */
export function tell(element, text) {
  element.textContent = text;
  element.hidden = !text;
}
