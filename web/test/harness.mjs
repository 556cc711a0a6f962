// A real server and a real worker, each on a private folder and a free port, and Debian's Chromium. HAUL_BIN names the binary, CHROMIUM the browser.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const top = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const HAUL = resolve(process.env.HAUL_BIN ?? join(top, 'build/haul'));
const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const READY = /haul server listening on (http:\/\/\S+)/;
const PATIENCE = 60_000;
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
  '--disable-sync', '--disable-dev-shm-usage'];

export async function until(what, look) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const value = await look();
    if (value)
      return value;
    if (Date.now() > end)
      throw new Error(`did not happen: ${what}`);
    await new Promise((r) => setTimeout(r, 50));
  }
}

function start(args, env) {
  const child = spawn(HAUL, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  const run = { child, said: '', over: new Promise((r) => child.once('exit', r)) };
  child.stdout.on('data', (d) => (run.said += d));
  child.stderr.on('data', (d) => (run.said += d));
  return run;
}

async function stop(run) {
  if (run && run.child.exitCode === null && run.child.signalCode === null) {
    run.child.kill('SIGTERM');
    const late = setTimeout(() => run.child.kill('SIGKILL'), 15_000);
    await run.over;
    clearTimeout(late);
  }
}

export class World {
  folder = mkdtempSync(join(tmpdir(), 'haul-web-'));
  workers = [];
  env = { HOME: this.folder, XDG_STATE_HOME: this.folder, HAUL_SERVER: '' };

  static async make(config = '') {
    if (!existsSync(HAUL))
      throw new Error(`${HAUL} is not built: run make`);
    const w = new World();
    writeFileSync(join(w.folder, 'haul.yaml'), config);
    await w.startServer('127.0.0.1:0');
    return w;
  }

  async startServer(listen = this.url.replace('http://', '')) {
    this.server = start(['server', '--listen', listen, '--data', join(this.folder, 'data'), '--config', join(this.folder, 'haul.yaml')], this.env);
    const found = await until('the server listens', () => {
      if (this.server.child.exitCode !== null)
        throw new Error(`the server ended: ${this.server.said}`);
      return READY.exec(this.server.said);
    });
    this.url = found[1].replace(/\/$/, '');
  }

  stopServer() {
    return stop(this.server);
  }

  /** handlers: task type to shell text */
  async worker(handlers, slots = 2) {
    const n = this.workers.length;
    const file = join(this.folder, `handlers${n}.yaml`);
    const entries = Object.entries(handlers).map(([type, text]) => [type, { command: ['/bin/sh', '-c', text], version: '1', isolation: 'none' }]);
    writeFileSync(file, JSON.stringify({ handlers: Object.fromEntries(entries) })); // JSON is YAML
    const state = join(this.folder, `worker${n}`);
    this.workers.push({ run: start(['worker', '--server', this.url, '--handlers', file, '--slots', String(slots), '--state', state], this.env), state });
    await until('the worker polls', async () => (await this.get('/v1/workers')).workers.length > n);
  }

  async call(method, path, body, headers = { 'Content-Type': 'application/json' }) {
    const raw = typeof body === 'string' || body instanceof Uint8Array;
    const answer = await fetch(this.url + path, { method, headers: body === undefined ? {} : headers, body: body === undefined || raw ? body : JSON.stringify(body) });
    if (!answer.ok)
      throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer.status === 204 ? null : answer.json();
  }
  get(path) { return this.call('GET', path); }
  post(path, body = {}) { return this.call('POST', path, body); }

  async submit(task_type, fields = {}) {
    return (await this.post('/v1/jobs', { task_type, ...fields })).job_id;
  }
  blob(bytes) {
    return this.call('POST', '/v1/blobs', bytes, { 'Content-Type': 'application/octet-stream' });
  }
  job(id) {
    return this.get(`/v1/jobs/${id}`);
  }
  reached(id, ...statuses) {
    return until(`job ${id} is ${statuses}`, async () => {
      const job = await this.job(id);
      return statuses.includes(job.status) && job;
    });
  }

  async end() {
    // running jobs are cancelled first, so that no handler outlives the test
    for (const status of ['pending', 'running'])
      for (const j of (await this.get(`/v1/jobs?status=${status}&limit=1000`).catch(() => ({ jobs: [] }))).jobs)
        await this.post(`/v1/jobs/${j.job_id}/cancel`).catch(() => {});
    await until('nothing runs', async () => (await this.get('/v1/jobs?status=running').catch(() => ({ jobs: [] }))).jobs.length === 0);
    for (const w of this.workers)
      await stop(w.run);
    await stop(this.server);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export const launch = () =>
  chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args: FLAGS });

/** A page of its own context, which `before` may prepare; whatever the browser complains of (errors, the policy) fails the test that calls `calm`.
 * Nothing moves in it: axe would judge colours half way from one theme to the other. */
export async function open(browser, world, path = '/', { before = async () => {}, ...options } = {}) {
  const context = await browser.newContext({ baseURL: world.url, viewport: { width: 1280, height: 860 }, reducedMotion: 'reduce', ...options });
  context.setDefaultTimeout(PATIENCE / 2);
  const page = await context.newPage();
  page.complaints = [];
  page.on('pageerror', (e) => page.complaints.push(e.stack ?? String(e)));
  page.on('console', (m) => {
    // what the network could not fetch is the page's business to show
    if ((m.type() === 'error' || m.type() === 'warning') && !m.text().startsWith('Failed to load resource'))
      page.complaints.push(m.text());
  });
  page.on('request', (r) => {
    if (!r.url().startsWith(world.url) && !r.url().startsWith('blob:'))
      page.complaints.push(`asked elsewhere: ${r.url()}`);
  });
  await before(page);
  await page.goto(path);
  return page;
}

export function calm(page) {
  if (page.complaints.length)
    throw new Error(`the browser complains: ${page.complaints.join('\n')}`);
}

/** Strings that would do something if any of them were taken for markup, code, a path or a terminal's command. */
export const HOSTILE = [
  '<script>window.pwned=1</script>', '<img src=x onerror="window.pwned=1">', '"><svg onload=window.pwned=1>', "' onmouseover='window.pwned=1", 'javascript:window.pwned=1',
  '{{constructor.constructor("window.pwned=1")()}}', '</textarea></title></script><script>window.pwned=1</script>', '<iframe srcdoc="<script>parent.pwned=1</script>">',
  '<a href="javascript:window.pwned=1">x</a>', '&lt;b&gt;&#x3c;script&#x3e;', '\u202etxt.exe', '__proto__', '<style>*{display:none}</style>', '<base href="//evil.example/">',
];

export async function unharmed(page) {
  const found = await page.evaluate(() => ({ pwned: window.pwned, strange: [...document.querySelectorAll('script:not([src]), iframe, base, style, img[onerror], svg[onload], [onmouseover], a[href^="javascript:"]')].map((e) => e.outerHTML) }));
  if (found.pwned || found.strange.length)
    throw new Error(`a string became markup: ${JSON.stringify(found)}`);
}

/** What axe-core finds that is serious or worse. It is put in by the debugger's hand, which the policy does not bind. */
export async function seriousFindings(page) {
  await page.evaluate(axeSource);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  return found.violations.filter((v) => ['serious', 'critical'].includes(v.impact)).map((v) => `${v.id}: ${v.nodes.map((n) => `${n.target} ${n.failureSummary}`).join(' | ')}`);
}
