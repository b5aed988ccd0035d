// What is asked of the server, as any client of OpenAI's API asks it. Addresses are relative to the page's.

const KEY = "adapterhub.key";

/** The API key lives as long as the tab. */
export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

/** What the server refuses, in its own words. */
export class Refusal extends Error {
  constructor(error, status = 0) {
    super(error.message);
    this.status = status;
    this.code = error.code ?? "";
  }
}

async function ask(path, options = {}) {
  const headers = { "content-type": "application/json" };
  if (key.get()) headers.authorization = `Bearer ${key.get()}`;
  const response = await fetch(path, { ...options, headers, cache: "no-store" }).catch((error) => {
    throw error instanceof TypeError ? new Error(`the server cannot be reached (${error.message})`) : error;
  });
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  throw new Refusal(told?.error ?? { message: `${path}: HTTP status ${response.status}` }, response.status);
}

/** The base's card, and those of its adapters. */
export async function models() {
  const { data } = await (await ask("v1/models")).json();
  const base = data.find((card) => card.parent === null);
  return { base, adapters: data.filter((card) => card !== base) };
}

/** The events of a stream, as objects. Throws a Refusal, and an AbortError when `signal` ends it. */
export async function* stream(path, body, signal) {
  const response = await ask(path, { method: "POST", body: JSON.stringify(body), signal });
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new Refusal(event.error);
    yield event;
  }
  throw new Error("the connection ended before the answer did");
}

/** The data of server-sent events, however the network cuts them. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let left = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (left + value).split("\n\n");
      left = blocks.pop();
      for (const block of blocks) if (block.startsWith("data: ")) yield block.slice("data: ".length);
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
