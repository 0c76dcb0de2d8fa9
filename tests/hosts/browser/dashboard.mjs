// Open the dashboard in Chromium, go through models, tables and pictures, and print as JSON what a reader would see.
// node dashboard.mjs CHROMIUM MODULES ADDRESS WORDS MODEL…   (WORDS: what the last part of the page says)
import { createRequire } from 'node:module';

const [chromium, modules, address, words, ...models] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const puppeteer = require('puppeteer-core');

// texts and errors of the page, through the roots of its components, which innerText does not enter
function read() {
  const seen = { text: [], tables: [], errors: 0, images: 0, drawings: 0, busy: 0 };
  const visit = (node) => {
    if (node.nodeType === 3) {
      if (node.data.trim()) seen.text.push(node.data);
      if (node.data.includes('An internal error occurred')) seen.errors += 1;
      return;
    }
    if (node.nodeType === 1) {
      if (['STYLE', 'SCRIPT', 'OPTION'].includes(node.tagName)) return;
      if (node.tagName === 'IMG') seen.images += 1;
      if (node.tagName === 'svg' && node.getAttribute('role') === 'img') seen.drawings += 1;
      if (node.matches('.mo-loader, .animate-spin, [data-status="running"], [data-status="queued"]')) seen.busy += 1;
      if (node.tagName === 'TABLE') seen.tables.push([...node.querySelectorAll('tbody tr')].map((row) => [...row.cells].map((cell) => cell.innerText.trim())));
    }
    if (node.shadowRoot) node.shadowRoot.childNodes.forEach(visit);
    node.childNodes.forEach(visit);
  };
  visit(document.body);
  seen.text = seen.text.join('\n');
  return seen;
}

const browser = await puppeteer.launch({ executablePath: chromium, args: ['--no-sandbox', '--disable-gpu'], headless: true });
const page = await browser.newPage();
const seen = { foreign: [], dialogs: [], faults: [], models: {}, errors: 0 };
page.on('request', (request) => { const { protocol, origin } = new URL(request.url()); if (!['data:', 'blob:'].includes(protocol) && origin !== new URL(address).origin) seen.foreign.push(request.url()); });
page.on('dialog', (dialog) => { seen.dialogs.push(dialog.message()); dialog.dismiss(); });
page.on('pageerror', (error) => seen.faults.push(String(error)));
page.on('console', (message) => { if (message.type() === 'error') seen.faults.push(message.text()); });
await page.setViewport({ width: 1280, height: 1800 });
await page.goto(address);

// what is seen once it is whole, is no longer as it was, and has been the same for a second
async function settled(different = '') {
  let before = '';
  for (let turn = 0, same = 0; turn < 240; turn += 1) {
    await new Promise((resolve) => { setTimeout(resolve, 250); });
    const now = await page.evaluate(read);
    // what says so goes away after some seconds
    seen.errors = Math.max(seen.errors, now.errors);
    const text = JSON.stringify([now.text, now.tables]);
    same = text === before && text !== different && !now.busy && now.text.includes(words) ? same + 1 : 0;
    if (same >= 4) return { ...now, key: text };
    before = text;
  }
  throw new Error(`the page does not settle: ${before.slice(0, 500)}`);
}

// the lists to choose from: model, table, picture
const lists = () => page.$$('>>> select');
let now = await settled();
seen.first = now;
for (const model of models) {
  const [list] = await lists();
  const value = await list.evaluate((node, name) => [...node.options].find((option) => option.text === name)?.value, model);
  await list.select(value);
  now = await settled(now.key);
  const result = { ...now, everyTable: {} };
  const [, tables] = await lists();
  for (const { text, chosen } of await tables.evaluate((node) => [...node.options].map((o) => ({ text: o.text, chosen: o.value })).slice(0, 4))) {
    const [, again] = await lists();
    if (await again.evaluate((node) => node.value) !== chosen) { await again.select(chosen); now = await settled(now.key); }
    result.everyTable[text] = now.tables[0]?.length ?? 0;
  }
  seen.models[model] = result;
}
process.stdout.write(JSON.stringify(seen), () => browser.close());
