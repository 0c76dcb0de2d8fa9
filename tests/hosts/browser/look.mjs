// Open pages in Chromium and print, as JSON, what a reader's browser would make of each.
// node look.mjs CHROMIUM MODULES PAGE… [--quick]
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [chromium, modules, ...rest] = process.argv.slice(2);
const quick = rest.includes('--quick');
const pages = rest.filter((word) => word !== '--quick');
const require = createRequire(`${modules}/`);
const puppeteer = require('puppeteer-core');
const axe = quick ? '' : readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const SETTINGS = [[1280, 'light'], [1280, 'dark'], [390, 'light'], [390, 'dark']];
const WIDTHS = [1280, 768, 390, 320];

function texts() {
  // pairs of texts of one picture that lie upon each other, and the smallest size of a text as it is seen
  const overlaps = [];
  let least = 99;
  const cut = [];
  for (const svg of document.querySelectorAll('figure svg')) {
    const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    const frame = svg.getBoundingClientRect();
    const boxes = [...svg.querySelectorAll('text')].map((text) => {
      least = Math.min(least, parseFloat(getComputedStyle(text).fontSize) * scale);
      return { text: text.textContent, box: text.getBoundingClientRect() };
    }).filter(({ box }) => box.width > 0);
    const id = svg.closest('figure').id;
    for (const { text, box } of boxes) {
      if (box.left < frame.left - 2 || box.right > frame.right + 2) cut.push(`${id}: ${text}`);
    }
    boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b) => {
      const wide = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
      const high = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
      // lines of one text touch: a box is higher than its letters
      if (wide > 2 && high > 0.35 * Math.min(a.box.height, b.box.height)) overlaps.push(`${id}: ${a.text} / ${b.text}`);
    }));
  }
  for (const node of document.querySelectorAll('main *, header *')) {
    if (!node.closest('svg, math') && [...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) && node.checkVisibility()) {
      least = Math.min(least, parseFloat(getComputedStyle(node).fontSize));
    }
  }
  return { overlaps, least, cut };
}

async function open(browser, address, seen, { script = true } = {}) {
  const page = await browser.newPage();
  await page.setJavaScriptEnabled(script);
  page.on('request', (request) => { if (!request.url().startsWith('file:') && !request.url().startsWith('data:')) seen.requests.push(request.url()); });
  page.on('dialog', (dialog) => { seen.dialogs.push(dialog.message()); dialog.dismiss(); });
  page.on('console', (message) => seen.console.push(message.text()));
  page.on('pageerror', (error) => seen.console.push(String(error)));
  await page.setViewport({ width: 1280, height: 900 });
  await page.goto(address);
  return page;
}

async function look(browser, file) {
  const address = pathToFileURL(file).href;
  const seen = { file, requests: [], dialogs: [], console: [] };
  const start = Date.now();
  let page = await open(browser, address, seen);
  seen.load = Date.now() - start;
  Object.assign(seen, await page.evaluate(() => {
    const ids = [...document.querySelectorAll('[id]')].map((node) => node.id);
    return {
      scripts: document.querySelectorAll('script').length,
      images: document.querySelectorAll('img, image').length,
      handlers: [...document.querySelectorAll('*')].flatMap((node) => [...node.attributes]).filter((a) => a.name.startsWith('on') || a.name === 'style').length,
      duplicates: ids.length - new Set(ids).size,
      figures: document.querySelectorAll('figure').length,
      drawings: document.querySelectorAll('figure svg').length,
      text: document.body.textContent,
    };
  }));
  seen.overflow = {};
  seen.texts = {};
  for (const width of WIDTHS) {
    await page.setViewport({ width, height: 900 });
    seen.overflow[width] = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    seen.texts[width] = await page.evaluate(texts);
  }
  await page.setViewport({ width: 1280, height: 900 });
  // columns of which one ends far above the other, and cards with a gap between their parts
  seen.halves = await page.evaluate(() => [...document.querySelectorAll('.band')].filter((band) => {
    const ends = [...band.children].map((column) => column.lastElementChild.getBoundingClientRect().bottom);
    return ends.length !== 2 || Math.abs(ends[0] - ends[1]) > 0.3 * band.getBoundingClientRect().height;
  }).map((band) => band.closest('section').id));
  seen.gaps = await page.evaluate(() => [...document.querySelectorAll('.column > .card')].filter((card) => {
    const boxes = [...card.children].map((part) => part.getBoundingClientRect());
    const below = card.getBoundingClientRect().bottom - boxes.at(-1).bottom;
    return below > 32 || boxes.slice(1).some((box, i) => box.top - boxes[i].bottom > 16);
  }).map((card) => card.id));
  const option = await page.evaluate(() => document.querySelector('#finder option')?.value);
  if (option !== undefined) {
    await page.evaluate((value) => {
      const field = document.querySelector('#finder input');
      field.value = value;
      field.dispatchEvent(new Event('input', { bubbles: true }));
    }, option);
    seen.lit = await page.evaluate(() => ({
      pictures: new Set([...document.querySelectorAll('.on')].map((mark) => mark.closest('figure').id)).size,
      told: document.querySelector('#finder output').textContent,
      hidden: document.querySelector('#finder').hidden,
    }));
  }
  seen.axe = [];
  if (!quick) {
    const pdf = await page.pdf({ preferCSSPageSize: true });
    seen.sheets = (Buffer.from(pdf).toString('latin1').match(/\/Type\s*\/Page\b(?!s)/g) || []).length;
    await page.close();
    page = await open(browser, address, { ...seen, console: [] });
    for (const [width, scheme] of SETTINGS) {
      await page.setViewport({ width, height: 900 });
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
      await page.evaluate(() => document.querySelectorAll('details').forEach((node) => { node.open = true; }));
      await page.evaluate(axe);
      const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
      const found = await page.evaluate((values) => window.axe.run(document, { runOnly: values }), tags);
      for (const fault of found.violations) {
        seen.axe.push(`${width} ${scheme} ${fault.id}: ${fault.nodes.length}: ${fault.nodes[0].html.slice(0, 160)} ${fault.nodes[0].failureSummary.slice(0, 200)}`);
      }
    }
  }
  await page.close();
  const still = await open(browser, address, { requests: [], dialogs: [], console: [] }, { script: false });
  seen.still = await still.evaluate(() => document.body.textContent).catch(() => null);
  await still.close();
  return seen;
}

const browser = await puppeteer.launch({ executablePath: chromium, args: ['--no-sandbox'] });
const found = [];
for (const file of pages) found.push(await look(browser, file));
await browser.close();
console.log(JSON.stringify(found));
