// Open the dialog of one metadata key of an asset in Dagster's UI and print, as JSON, the images in it.
// node dialog.mjs CHROMIUM MODULES ADDRESS KEY
import { createRequire } from 'node:module';

const [chromium, modules, address, key] = process.argv.slice(2);
const puppeteer = createRequire(`${modules}/`)('puppeteer-core');

const browser = await puppeteer.launch({ executablePath: chromium, args: ['--no-sandbox'] });
try {
  const page = await browser.newPage();
  await page.setViewport({ width: 1400, height: 1800 });
  await page.goto(address, { waitUntil: 'domcontentloaded' });
  const link = await page.waitForFunction((name) => {
    const row = [...document.querySelectorAll('tr')].find((tr) => tr.cells[0]?.innerText.trim() === name);
    return row && [...row.querySelectorAll('*')].find((node) => !node.children.length && node.innerText?.includes('Show Markdown'));
  }, { timeout: 90000 }, key);
  await link.asElement().click();
  await page.waitForFunction(() => {
    const images = [...document.querySelectorAll('img[src^="data:"]')];
    return images.length > 0 && images.every((image) => image.complete);
  }, { timeout: 60000 });
  const images = await page.evaluate(() => [...document.querySelectorAll('img[src^="data:"]')].map((image) => ({
    alternative: image.alt, width: image.naturalWidth, height: image.naturalHeight,
  })));
  console.log(JSON.stringify(images));
} finally {
  await browser.close();
}
