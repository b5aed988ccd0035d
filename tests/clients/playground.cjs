// Uses the playground in headless Chromium as a person would, and prints, as JSON, what came of it.
// node playground.cjs URL SCREENSHOT '{"key", "adapters", "other", "prompt", "system", "kind", "tokens", "stop"}'
const { source } = require("axe-core");
const chromium = require("@sparticuz/chromium");
const puppeteer = require("puppeteer-core");

const WIDTHS = [1440, 820, 375];
const OFFLINE = ["--disable-background-networking", "--disable-component-update", "--disable-quic", "--disable-sync"];
const WAIT = { timeout: 60_000 };

async function fill(page, id, text) {
  await page.$eval(`#${id}`, (field) => (field.value = ""));
  await page.type(`#${id}`, text);
}

/** By the keyboard alone. */
async function pick(page, name) {
  const box = await page.waitForSelector(`#adapters input[value="${name}"]`, WAIT);
  await box.focus();
  await page.keyboard.press("Space");
}

async function run(page, asked) {
  for (const name of asked.adapters) await pick(page, name);
  for (const name of asked.others ?? []) {
    await fill(page, "other", name);
    await page.keyboard.press("Enter");
  }
  if (asked.kind) await page.click(`input[value=${asked.kind}]`);
  if (asked.system) await fill(page, "system", asked.system);
  if (asked.tokens) await fill(page, "tokens", String(asked.tokens));
  await fill(page, "prompt", asked.prompt);
  await page.keyboard.down("Control");
  await page.keyboard.press("Enter");
  await page.keyboard.up("Control");
  if (asked.stop) {
    await page.waitForSelector(".column[data-state=streaming]", WAIT);
    await page.click("#stop");
  }
  await page.waitForFunction(() => document.body.dataset.running === "false", WAIT);
}

function seen() {
  const text = (element) => element?.textContent ?? "";
  return {
    status: text(document.querySelector("#status")),
    together: text(document.querySelector("#together")),
    connections: text(document.querySelector("#connections")),
    refusal: text(document.querySelector("#refusal")),
    adapters: [...document.querySelectorAll("#adapters input")].map((box) => box.value),
    columns: [...document.querySelectorAll(".column")].map((column) => ({
      model: column.dataset.model,
      state: column.dataset.state,
      text: text(column.querySelector(".output")),
      note: text(column.querySelector(".note")),
      facts: Object.fromEntries([...column.querySelectorAll(".facts div")].map((fact) => [fact.className, text(fact.lastChild)])),
    })),
    spans: [...document.querySelectorAll("#timeline li")].map((row) => ({
      model: row.dataset.model,
      told: text(row.querySelector(".said")),
      bar: row.querySelector(".bar").getBoundingClientRect().width,
    })),
    kept: { session: { ...sessionStorage }, local: { ...localStorage }, cookie: document.cookie, url: location.href },
  };
}

/** At every width, light and dark: what sticks out, and what axe finds. */
async function looks(page, screenshot) {
  const views = {};
  for (const scheme of ["light", "dark"]) {
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    for (const width of WIDTHS) {
      await page.setViewport({ width, height: 900 });
      const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
      views[`${scheme} ${width}`] = {
        background: await page.evaluate(() => getComputedStyle(document.body).backgroundColor),
        overflow: await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth),
        passes: found.passes.length,
        violations: found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`),
      };
      await page.screenshot({ path: `${screenshot}-${scheme}-${width}.png`, fullPage: true });
    }
  }
  return views;
}

async function main(url, screenshot, asked) {
  const browser = await puppeteer.launch({
    executablePath: await chromium.executablePath(),
    headless: "shell",
    args: ["--no-sandbox", "--disable-gpu", "--no-first-run", ...OFFLINE],
  });
  try {
    const page = await browser.newPage();
    const complaints = [];
    const requests = [];
    page.on("console", (message) => complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("request", (request) => requests.push(request.url()));
    await page.setViewport({ width: WIDTHS[0], height: 900 });
    await page.goto(url, { waitUntil: "networkidle0" });
    await page.evaluate(source);
    const before = await page.evaluate(seen);
    if (screenshot) await page.screenshot({ path: `${screenshot}-before.png`, fullPage: true });
    if (asked.key) {
      await page.type("#key", asked.key);
      await page.keyboard.press("Enter");
    }
    await run(page, asked);
    const after = await page.evaluate(seen);
    const views = screenshot ? await looks(page, screenshot) : {};
    console.log(JSON.stringify({ complaints, requests, before, after, views }));
  } finally {
    await browser.close();
  }
}

const [url, screenshot, asked] = process.argv.slice(2);
main(url, screenshot, JSON.parse(asked)).catch((error) => {
  console.error(error);
  process.exit(1);
});
