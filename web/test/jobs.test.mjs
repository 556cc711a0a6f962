// The pages Jobs and Job: what they show, each action, what comes live, and that no string of a job is ever more than text.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { calm, HOSTILE, launch, open, seriousFindings, unharmed, until, World } from './harness.mjs';

const PIXEL = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAIAAAACUFjqAAAAFklEQVR42mM4ceI/HsQwKj1I5AcYdQ0AfpDHOecAAAAASUVORK5CYII=', 'base64');
const SLOW = `trap 'exit 0' TERM; i=0
while [ ! -e "$HAUL_WEB_GO/$HAUL_JOB_ID" ]; do i=$((i+1)); [ $i -gt 60 ] && i=60; printf '\\033[32mgreen %s\\033[0m plain\\n' $i; echo "progress $i step $i" >&3; sleep 0.2; done
cp in/picture.png out/ 2>/dev/null; printf 'first line\\nsecond <b>line</b>\\n' > out/words.txt; echo 'progress 100 done' >&3`;
let world, browser;

before(async () => {
  world = await World.make('server: {heartbeat: 1s}\n');
  process.env.HAUL_WEB_GO = world.folder; // a job ends when a file with its id appears here
  const go = SLOW.replace('$HAUL_WEB_GO', world.folder);
  await world.worker({
    slow_v1: go, quick_v1: 'echo hello', bad_v1: 'echo "no such codec: $HAUL_JOB_ID" >&2; exit 3',
    loud_v1: 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo "line $i of a long log"; done; echo needle; printf "bad \\377 \\000 bytes\\rover\\n"',
  }, 4);
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await world?.end();
});

const rows = (page) => page.locator('.windowed tbody tr:not([aria-hidden])');
const yes = (page, name) => page.locator('dialog').getByRole('button', { name }).click();

test('a job goes from pending to success before the eyes of its reader', async () => {
  const { writeFileSync } = await import('node:fs');
  const { ref } = await world.blob(PIXEL);
  const id = await world.submit('slow_v1', { inputs: [{ name: 'picture.png', ref }], labels: { customer: '7' }, payload: { crf: 23 } });
  const page = await open(browser, world, `/jobs/${id}`);
  await page.locator('.title .badge.running').waitFor();
  await page.getByText(/^step \d+$/).waitFor(); // progress
  await page.locator('.line .fg2', { hasText: 'green' }).first().waitFor(); // its colour
  const before = await page.locator('.line').last().textContent();
  await until('the log grows by itself', async () => (await page.locator('.line').last().textContent()) !== before);
  assert.match(await page.locator('.facts').textContent(), /customer=7/);
  writeFileSync(`${world.folder}/${id}`, '');
  await page.locator('.title .badge.success').waitFor();
  await page.locator('.files', { hasText: 'words.txt' }).waitFor();
  await page.locator('li', { hasText: 'words.txt' }).getByRole('button', { name: 'Show' }).click();
  await page.getByText('second <b>line</b>').waitFor();
  const picture = page.locator('li', { hasText: 'picture.png' });
  await picture.last().getByRole('button', { name: 'Show' }).click();
  await until('the picture is decoded', () => page.locator('img.preview').last().evaluate((i) => i.naturalWidth === 10));
  const [download] = await Promise.all([page.waitForEvent('download'), page.locator('li', { hasText: 'words.txt' }).getByRole('link', { name: 'Download' }).click()]);
  assert.equal(download.suggestedFilename(), 'words.txt');
  calm(page);
  await page.context().close();
});

test('what its program uses is drawn while it runs, in both themes, and said in words', async () => {
  const { writeFileSync } = await import('node:fs');
  const id = await world.submit('slow_v1');
  const page = await open(browser, world, `/jobs/${id}`);
  const charts = page.getByLabel('CPU and memory', { exact: true });
  await charts.getByRole('img', { name: /^CPUs busy: most now \d/ }).waitFor();
  const memory = charts.getByRole('img', { name: /^Memory: .*mean now [\d.]+ (B|[KMG]iB), least/ });
  await memory.waitFor();
  await until('it is drawn further by itself', async () => (await world.get(`/v1/jobs/${id}/attempts/1/usage`)).points.length > 2);
  for (const colorScheme of ['dark', 'light']) {
    await page.emulateMedia({ colorScheme });
    await until('both are drawn', async () => (await charts.locator('canvas').count()) === 2);
    assert.deepEqual(await seriousFindings(page), []);
  }
  writeFileSync(`${world.folder}/${id}`, '');
  await page.locator('.title .badge.success').waitFor();
  await charts.getByText('As a table').first().click();
  await charts.locator('tbody tr').nth(2).waitFor(); // all of it is kept
  await page.context().close();
  const other = await open(browser, world, `/jobs/${await world.submit('quick_v1')}`);
  await other.getByText('Nothing was measured').waitFor();
  await other.context().close();
});

test('the trace that a job is part of is shown and copied', async () => {
  const trace = '4bf92f3577b34da6a3ce929d0e0e4736';
  const id = await world.submit('nobody_v1', { traceparent: `00-${trace}-00f067aa0ba902b7-01` });
  const page = await open(browser, world, `/jobs/${id}`);
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.locator('.fact', { hasText: 'Trace' }).getByText(trace, { exact: true }).waitFor();
  await page.getByRole('button', { name: 'Copy trace id' }).click();
  await page.getByText('Copied.').waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), trace);
  assert.deepEqual(await seriousFindings(page), []);
  await page.goto(`/jobs/${await world.submit('nobody_v1')}`); // of none
  await page.getByRole('button', { name: 'Copy id' }).waitFor();
  assert.equal(await page.getByText(/trace/i).count(), 0);
  calm(page);
  await page.context().close();
});

test('a long log begins at its end, is searched, loaded whole and downloaded', async () => {
  const id = await world.submit('loud_v1');
  await world.reached(id, 'success');
  const page = await open(browser, world, `/jobs/${id}`);
  await page.locator('.line', { hasText: 'needle' }).waitFor();
  await page.locator('.line', { hasText: 'over' }).waitFor(); // what a carriage return leaves
  assert.ok((await page.locator('.line').count()) < 300, 'only what is in sight is in the document');
  await page.getByLabel('Search').fill('line 1 of');
  await page.getByText('nothing found').waitFor();
  await page.getByRole('button', { name: /^Load all of/ }).click();
  await page.getByText(/line 1 of 1$/).waitFor();
  await page.getByLabel('Search').press('Enter');
  await page.locator('.line.found', { hasText: 'line 1 of a long log' }).waitFor();
  const [download] = await Promise.all([page.waitForEvent('download'), page.locator('.log-tools').getByRole('link', { name: 'Download' }).click()]);
  assert.match(download.suggestedFilename(), /^[0-9a-f-]{36}-1\.log$/);
  calm(page);
  await page.context().close();
});

test('why it waits, why it failed, retry, cancel, discard: each asks first', async () => {
  const failed = await world.submit('bad_v1', { max_attempts: 1 });
  await world.reached(failed, 'failed');
  const page = await open(browser, world, `/jobs/${failed}`);
  await page.getByRole('region', { name: 'Why it failed' }).getByText('its program failed, in attempt 1').waitFor();
  await page.getByLabel('error log').getByText('no such codec').waitFor();
  await page.getByRole('button', { name: 'Retry' }).click();
  await page.keyboard.press('Escape'); // no
  assert.equal((await world.job(failed)).attempt, 1);
  await page.getByRole('button', { name: 'Retry' }).click();
  await yes(page, 'Retry the job');
  await until('it ran again', async () => (await world.job(failed)).attempt === 2);
  await world.reached(failed, 'failed');
  await page.locator('.attempts tbody tr').nth(1).waitFor();
  await page.getByRole('button', { name: 'Discard' }).click();
  await yes(page, 'Leave as it is');
  await page.getByRole('button', { name: 'Discard' }).click();
  await yes(page, 'Discard the job');
  await until('it is gone', () => world.job(failed).then(() => false, () => true));
  await page.goto(`/jobs/${failed}`);
  await page.getByText('There is no such job').waitFor();

  const waiting = await world.submit('nobody_v1');
  await page.goto(`/jobs/${waiting}`);
  await page.getByRole('region', { name: 'Why it waits' }).getByText(/worker/).waitFor();
  await page.getByRole('button', { name: 'Cancel' }).click();
  await yes(page, 'Cancel the job');
  await page.locator('.title .badge.cancelled').waitFor();
  calm(page);
  await page.context().close();
});

test('a job that somebody discards while it is watched is said to be gone', async () => {
  const id = await world.submit('bad_v1', { max_attempts: 1, queue: 'watched' });
  await world.reached(id, 'failed');
  const page = await open(browser, world, `/jobs/${id}`);
  const list = await open(browser, world, '/jobs?queue=watched');
  await page.locator('.title .badge.failed').waitFor();
  await page.locator('.line').first().waitFor(); // its log is open, too
  await rows(list).first().waitFor();
  await world.call('DELETE', `/v1/jobs/${id}`);
  await page.getByText('There is no such job').waitFor();
  await list.getByText('No job fits').waitFor();
  await unharmed(page);
  await page.context().close();
  await list.context().close();
});

test('filters stand in the address, ids are found, the way back works', async () => {
  await Promise.all([world.submit('quick_v1', { labels: { film: '1' } }), world.submit('quick_v1', { labels: { film: '2' } })]);
  const page = await open(browser, world, '/jobs?label=film%3D2');
  await rows(page).first().waitFor();
  assert.equal(await rows(page).count(), 1);
  await page.getByLabel('Labels').fill('film');
  await page.getByLabel('Labels').press('Enter');
  await until('both are shown', async () => (await rows(page).count()) === 2);
  assert.equal(new URL(page.url()).search, '?label=film');
  await page.getByLabel('Task type').fill('no_such_type');
  await page.getByLabel('Task type').press('Enter');
  await page.getByText('No job fits').waitFor();
  await page.getByRole('button', { name: 'Clear' }).click();
  await rows(page).first().waitFor();
  const id = await rows(page).first().locator('a').getAttribute('title');
  await page.getByLabel('Find by id').fill('nonsense');
  await page.getByRole('button', { name: 'Open' }).click();
  await page.getByText('A job id looks like').waitFor();
  await page.getByLabel('Find by id').fill(id);
  await page.getByRole('button', { name: 'Open' }).click();
  await page.getByRole('heading', { name: `Job ${id}` }).waitFor();
  await page.goBack();
  await page.getByRole('heading', { name: 'Jobs' }).waitFor();
  await page.goto('/jobs?label=%3D');
  await page.getByRole('alert').getByText('label').waitFor(); // the server's own words
  calm(page);
  await page.context().close();
});

test('text is looked for, page by page and by itself', async () => {
  const told = `it is ${HOSTILE[0]}`.slice(0, 60);
  const key = await world.submit('nobody_v1', { dedup_key: 'Order 50%_4711', labels: { note: told } });
  const page = await open(browser, world, '/jobs');
  const box = page.getByRole('searchbox', { name: 'Text' });
  await box.fill('order 50%_');
  await box.press('Enter');
  await until('only it is shown', async () => (await rows(page).count()) === 1);
  assert.equal(await rows(page).first().locator('a').getAttribute('title'), key);
  assert.equal(new URL(page.url()).searchParams.get('text'), 'order 50%_');
  await box.fill(told);
  await box.press('Enter');
  await until('only it is shown', async () => (await rows(page).count()) === 1);
  await unharmed(page);
  // A server with so much that most pages end without a find.
  const pages = { '': ['01936d5e-7a2b-7000-8000-000000000003'], '01936d5e-7a2b-7000-8000-000000000003': ['01936d5e-0000-7000-8000-000000000002'], '01936d5e-0000-7000-8000-000000000002': [] };
  const job = await world.job(key);
  await page.route('**/v1/jobs?*', (route) => {
    const cursor = new URL(route.request().url()).searchParams.get('cursor') ?? '';
    const next = pages[cursor]?.[0] ?? null;
    return route.fulfill({ json: { jobs: next ? [] : [job], next_cursor: next } });
  });
  await box.fill('far back');
  await box.press('Enter');
  await page.getByRole('status').filter({ hasText: /^searched back to 2024-11-2/ }).or(rows(page).first()).first().waitFor();
  await until('it is found on the last page', async () => (await rows(page).count()) === 1);
  await page.unroute('**/v1/jobs?*');
  await page.route('**/v1/jobs?*', (route) => { // it never ends: each page leads a little further back
    const cursor = new URL(route.request().url()).searchParams.get('cursor');
    const at = cursor ? parseInt(cursor.slice(-12), 16) - 1 : 0xffffff;
    return route.fulfill({ json: { jobs: [], next_cursor: `01936d5e-7a2b-7000-8000-${at.toString(16).padStart(12, '0')}` } });
  });
  await box.fill('for ever');
  await box.press('Enter');
  await page.getByRole('button', { name: 'Search further back' }).click(); // it rests, and goes on when asked
  await page.getByRole('status').filter({ hasText: 'searched back to 2024-11-27' }).waitFor();
  await page.getByRole('button', { name: 'Search further back' }).waitFor();
  assert.deepEqual(await seriousFindings(page), []);
  calm(page);
  await page.context().close();
});

test('what is typed and what is searched for stay while jobs come in', async () => {
  const page = await open(browser, world, '/jobs?queue=coming', { before: (p) => p.addInitScript(() => { // counts what the stream says
    const listen = EventSource.prototype.addEventListener;
    window.events = 0;
    EventSource.prototype.addEventListener = function (name, heard) {
      return listen.call(this, name, (e) => { heard(e); window.events += name === 'job'; });
    };
  }) });
  const events = () => page.evaluate(() => window.events);
  const come = async () => {
    const before = await events();
    const id = await world.submit('nobody_v1', { queue: 'coming' });
    await until('the stream tells of it', async () => (await events()) > before);
    return id;
  };
  const box = page.getByRole('searchbox', { name: 'Text' });
  await until('there is a stream', async () => { await world.submit('nobody_v1', { queue: 'coming' }); return (await events()) > 0; });
  await box.fill('half a wo');
  const id = await come();
  await page.locator(`.windowed a[title="${id}"]`).waitFor();
  assert.equal(await box.inputValue(), 'half a wo');
  // The list is loaded again at most once a second: when it is due, words are searched for, and that goes on where it is.
  let searches = 0;
  await page.route('**/v1/jobs?*', (route) => {
    const search = new URL(route.request().url()).searchParams.get('text');
    searches += search !== null;
    return search === null ? route.continue() : route.fulfill({ json: { jobs: [], next_cursor: null } });
  });
  await page.clock.install();
  await come();
  await come();
  await box.fill('nowhere');
  await box.press('Enter');
  await page.getByText('No job fits.').waitFor();
  await page.clock.runFor(5000);
  await page.getByText('No job fits.').waitFor();
  assert.equal(searches, 1);
  calm(page);
  await page.context().close();
});

test('many are cancelled, retried and discarded at once', async () => {
  const jobs = await Promise.all(Array.from({ length: 5 }, () => world.submit('nobody_v1', { queue: 'many' })));
  const page = await open(browser, world, '/jobs?queue=many');
  await rows(page).nth(4).waitFor();
  const act = async (verb, status) => {
    await page.getByLabel('choose all that are loaded').check();
    await page.getByRole('button', { name: `${verb} 5` }).click();
    await yes(page, `${verb} 5 jobs`);
    await until(`all are ${status}`, async () => (await Promise.all(jobs.map((id) => world.job(id)))).every((j) => j.status === status));
    await until(`the page shows it`, async () => (await page.locator(`.windowed .badge.${status}`).count()) === 5);
  };
  await act('Cancel', 'cancelled');
  await act('Retry', 'pending');
  await act('Cancel', 'cancelled');
  await page.getByLabel(`choose job ${jobs[0]}`).check();
  await page.getByRole('button', { name: 'Discard 1' }).click();
  await yes(page, 'Discard 1 job');
  await until('four are left', async () => (await rows(page).count()) === 4);
  calm(page);
  await page.context().close();
});

test('ten thousand rows stay usable', async () => {
  for (let at = 0; at < 10; at++)
    await world.post('/v1/jobs:batch', { jobs: Array.from({ length: 1000 }, (_, i) => ({ task_type: 'nobody_v1', queue: 'thousands', labels: { n: String(at * 1000 + i) } })) });
  const page = await open(browser, world, '/jobs?queue=thousands');
  await rows(page).first().waitFor();
  const table = page.getByRole('region', { name: 'Jobs, newest first' });
  await until('the oldest one is reached by scrolling', async () => {
    await table.evaluate((t) => t.scrollTo(0, t.scrollHeight));
    return (await page.getByText('10,000 jobs', { exact: true }).count()) && (await page.getByTitle('n=0', { exact: true }).count());
  });
  assert.ok((await rows(page).count()) < 120, 'only what is in sight is in the document');
  const took = await table.evaluate(async (t) => {
    const began = performance.now();
    for (let i = 0; i < 20; i++) {
      t.scrollTo(0, (t.scrollHeight / 20) * i);
      await new Promise(requestAnimationFrame);
    }
    return performance.now() - began;
  });
  console.log(`# 20 jumps through 10,000 rows: ${took.toFixed(0)} ms`);
  calm(page);
  await page.context().close();
});

test('every string of a job is only text', async () => {
  for (const [i, text] of HOSTILE.entries()) {
    const { ref } = await world.blob(Buffer.from(text));
    const name = `${text.replaceAll('/', '_').slice(0, 60)}.txt`;
    await world.submit('nobody_v1', { queue: 'hostile', labels: { [text.slice(0, 60)]: text }, payload: { [text]: text }, dedup_key: `${i}${text}`, inputs: [{ name, ref }] });
  }
  const { jobs } = await world.get('/v1/jobs?queue=hostile');
  const page = await open(browser, world, '/jobs?queue=hostile');
  await rows(page).nth(HOSTILE.length - 1).waitFor();
  await unharmed(page);
  for (const [i, job] of jobs.entries()) {
    await page.goto(`/jobs/${job.job_id}`);
    await page.locator('.facts').waitFor();
    await page.locator('.files').getByRole('button', { name: 'Show' }).click();
    await page.locator('pre.preview').first().waitFor();
    const text = HOSTILE[HOSTILE.length - 1 - i];
    assert.ok((await page.locator('.facts').textContent()).includes(text), 'shown as it is');
    await unharmed(page);
  }
  // what a worker says: worker name, progress, log, error
  const text = HOSTILE.join(' ');
  await world.submit('played_v1', { max_attempts: 1 });
  const [claim] = (await world.post('/v1/lease', { worker_id: '01936d5e-0000-7123-8456-5a6b7c8d9e0f', poll_id: 'x', name: HOSTILE[0], host: HOSTILE[1], version: HOSTILE[2],
    isolation: 'none', handlers: { played_v1: HOSTILE[3] }, slots: 1, wait: '20s' })).jobs;
  const act = (verb, body, type = 'application/json') => world.call('POST', `/v1/jobs/${claim.job_id}/attempts/1/${verb}`, body, { 'Content-Type': type, 'Haul-Token': claim.token });
  await act('progress', { percent: 5, message: HOSTILE.slice(0, 4).join(' ') });
  await act('log?offset=0', Buffer.from(text), 'application/octet-stream');
  await page.goto(`/jobs/${claim.job_id}`);
  await page.locator('section.progress', { hasText: '<script>' }).waitFor();
  await unharmed(page);
  await page.locator('.line', { hasText: '<iframe' }).waitFor();
  await unharmed(page);
  await act('fail', { outcome: 'error', error_log: text, permanent: true, exit_code: 1 });
  await page.getByRole('region', { name: 'Why it failed' }).getByText('<script>').first().waitFor();
  await unharmed(page);
  calm(page);
  await page.context().close();
});

test('axe finds nothing serious, light and wide, dark and narrow', async () => {
  const id = await world.submit('bad_v1', { max_attempts: 1, labels: { a: 'b' } });
  await world.reached(id, 'failed');
  const list = '/jobs?status=failed&task_type=bad_v1';
  for (const [colorScheme, width] of [['light', 1280], ['dark', 390]])
    for (const path of [list, `/jobs/${id}`]) {
      const page = await open(browser, world, path, { colorScheme, viewport: { width, height: 800 } });
      await page.locator(path === list ? '.windowed tbody tr' : '.log-text .line').first().waitFor();
      assert.deepEqual(await seriousFindings(page), [], `${path} ${colorScheme} ${width}`);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${path} is not wider than the phone`);
      await page.context().close();
    }
});
