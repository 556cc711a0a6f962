// Pictures of every page in both themes, of a server that has something to show: docs/screenshots/PAGE-THEME.png. `make screenshots`.
import { mkdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { launch, open, until, World } from './harness.mjs';

const target = join(resolve(dirname(fileURLToPath(import.meta.url)), '../..'), 'docs/screenshots');
mkdirSync(target, { recursive: true });
const world = await World.make();
const browser = await launch();
try {
  const encode = `i=0; while [ $i -lt 95 ]; do i=$((i+1)); printf '\\033[32mframe\\033[0m=%5d fps=\\033[1m48\\033[0m size=%6dkB time=00:00:%02d speed=\\033[36m1.6x\\033[0m\\n' $((i*24)) $((i*310)) $((i%60)); echo "progress $i segment $((i/10+1)) of 10" >&3; [ $i -lt 40 ] || sleep 0.5; done`;
  await world.worker({ transcode_v1: encode, thumbnail_v1: 'sleep 0.2; echo made >out/made.txt', report_v1: 'echo "cannot read table orders: connection to db-3 refused" >&2; exit 3' }, 3);
  await world.worker({ thumbnail_v1: 'sleep 0.3; printf "a,b\\n1,2\\n" >out/made.csv' }, 2);
  for (let i = 0; i < 12; i++)
    await world.submit('report_v1', { max_attempts: 1, queue: 'reports', labels: { customer: String(i % 5) } });
  for (let i = 0; i < 60; i++)
    await world.submit('thumbnail_v1', { queue: 'pictures', labels: { film: String(i % 9) } });
  const films = [];
  for (let i = 0; i < 6; i++)
    films.push(await world.submit('transcode_v1', { queue: 'video', labels: { customer: String(i), film: 'harbour' }, payload: { crf: 23, preset: 'slow' } }));
  await world.submit('speech_v1', { queue: 'speech' });
  await world.reached(films[0], 'running');
  const pages = { overview: '/', queues: '/queues', jobs: '/jobs', job: `/jobs/${films[0]}`, 'dead-letters': '/dead-letters', workers: '/workers', alerts: '/alerts' };
  const watcher = await open(browser, world, '/');
  await until('something was done', async () => (await world.get('/v1/jobs?status=success&limit=20')).jobs.length >= 20);
  await watcher.waitForTimeout(Number(process.env.WATCH_MS ?? 15_000)); // the charts show what the tab has seen
  for (const theme of ['light', 'dark']) {
    await watcher.evaluate((t) => {
      localStorage.setItem('haul-theme', t);
      document.documentElement.dataset.theme = t;
    }, theme);
    for (const [name, path] of Object.entries(pages)) {
      const link = watcher.locator(`nav a[href="${path}"]`);
      if (await link.count()) {
        await link.click(); // within the app, so that it keeps what it has seen
      } else {
        await watcher.locator('nav a[href="/jobs"]').click();
        await watcher.locator(`a[href="${path}"]`).click();
      }
      await watcher.waitForTimeout(1500);
      await watcher.screenshot({ path: join(target, `${name}-${theme}.png`) });
    }
  }
} finally {
  await browser.close();
  await world.end();
}
