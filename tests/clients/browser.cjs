// Opens a page in headless Chromium and prints, as JSON, what a person would see of it at several widths.
// node browser.cjs FILE SCREENSHOT; the browser is unpacked into TMPDIR.
const { pathToFileURL } = require("node:url");
const chromium = require("@sparticuz/chromium");
const puppeteer = require("puppeteer-core");

const WIDTHS = [1200, 375];
const OFFLINE = ["--disable-background-networking", "--disable-component-update", "--disable-quic", "--disable-sync"];

function seen() {
  const box = (element) => {
    const { width, height } = element.getBoundingClientRect();
    return { width, height };
  };
  const boxes = (selector) => [...document.querySelectorAll(selector)].map(box);
  return {
    title: document.title,
    text: document.body.innerText,
    background: getComputedStyle(document.body).backgroundColor,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    scripts: document.querySelectorAll("script, img, iframe, link").length,
    lines: boxes("#losses .line"),
    dots: boxes("#losses .mark"),
    bars: boxes("#forgetting .bar"),
    sections: [...document.querySelectorAll("section")].map((section) => ({ id: section.id, ...box(section) })),
    smallest: Math.min(...[...document.querySelectorAll("svg text")].map((text) => box(text).height)),
  };
}

async function main(file, screenshot) {
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
    const views = {};
    for (const scheme of ["light", "dark"]) {
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      for (const width of WIDTHS) {
        await page.setViewport({ width, height: 900 });
        await page.goto(pathToFileURL(file).href, { waitUntil: "load" });
        views[`${scheme} ${width}`] = await page.evaluate(seen);
        await page.screenshot({ path: `${screenshot}-${scheme}-${width}.png`, fullPage: true });
      }
    }
    console.log(JSON.stringify({ complaints, requests, views }));
  } finally {
    await browser.close();
  }
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
