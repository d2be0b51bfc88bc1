// A headless Chromium (Debian's) for the tests of the status page.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const { SHOTS } = process.env;
export const SECONDS = Number(process.env.SECONDS ?? 8);
export const bounded = { timeout: 60_000 + SECONDS * 1000 };

const CHROMIUM = '/usr/bin/chromium';
const ALONE = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--force-color-profile=srgb',
];

/** A browser whose contexts have profiles of their own: nothing of this machine's. */
export async function launch() {
  assert.equal(spawnSync(CHROMIUM, ['--version']).status, 0, `${CHROMIUM} is not there`);
  return chromium.launch({ executablePath: CHROMIUM, headless: true, args: ALONE });
}

/** A page that keeps what goes wrong in it, and every address it asks for. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.troubles = [];
  page.asked = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) page.troubles.push(message.text());
  });
  page.on('pageerror', (error) => page.troubles.push(String(error)));
  page.on('request', (request) => page.asked.push(request.url()));
  page.on('close', () => context.close());
  await page.goto(`${url}/`);
  return page;
}

export async function shot(page, name, width, height) {
  if (!SHOTS) return;
  await page.setViewportSize({ width, height });
  await page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage: true });
}

/** Runs in the page: texts whose contrast with what lies behind them is below WCAG's AA. */
export function faintTexts() {
  const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = numbers(colour).slice(0, 3).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if ((numbers(colour)[3] ?? 1) === 1) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const faint = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !node.getClientRects().length) continue;
    const pair = [light(getComputedStyle(node).color), light(behind(node))].sort((a, b) => b - a);
    const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (contrast < 4.5) faint.push(`${texts.currentNode.data.trim()}: ${contrast.toFixed(2)}`);
  }
  return faint;
}
