// Overview, queues, dead letters, workers, alerts; what holds for every page: live and polling, a server that goes and comes back, keyboard,
// phone, both themes, a screen reader's needs.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { calm, HOSTILE, launch, open, seriousFindings, unharmed, until, World } from './harness.mjs';

const PAGES = { '/': 'Overview', '/queues': 'Queues and task types', '/jobs': 'Jobs', '/dead-letters': 'Dead letters', '/workers': 'Workers', '/alerts': 'Alerts' };
let world, browser;

before(async () => {
  world = await World.make();
  await world.worker({ quick_v1: 'echo hello', bad_v1: `echo "no such codec: x" >&2; exit 3`, hostile_v1: `printf '%s\\n' '${HOSTILE[0]}' >&2; exit 4`, long_v1: "trap 'exit 0' TERM; while :; do sleep 0.2; done" }, 3);
  const failed = await Promise.all(Array.from({ length: 6 }, () => world.submit('bad_v1', { max_attempts: 1 })));
  failed.push(await world.submit('hostile_v1', { max_attempts: 1 }));
  await Promise.all(failed.map((id) => world.reached(id, 'failed')));
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await world?.end();
});

const tile = (page, name) => page.locator('.tile', { hasText: name }).locator('dd').first();
const yes = (page, name) => page.locator('dialog').getByRole('button', { name }).click();

test('the overview tells how it stands, and goes on telling', async () => {
  const page = await open(browser, world);
  await until('dead letters are counted', async () => (await tile(page, 'Dead letters').textContent()) === '7');
  const before = Number(await tile(page, 'Succeeded').textContent());
  await world.reached(await world.submit('quick_v1'), 'success');
  await until('a success is counted without a reload', async () => Number(await tile(page, 'Succeeded').textContent()) === before + 1);
  await world.submit('nobody_v1');
  await until('one waits', async () => (await tile(page, 'Waiting').textContent()) === '1');
  await until('the chart is said in words', async () => /waiting now 1/.test(await page.getByRole('img', { name: /^Waiting and running/ }).getAttribute('aria-label')));
  await page.getByText('As a table').first().click();
  await page.locator('.chart table tbody tr').first().waitFor();
  await page.locator('.u-wrap canvas').first().waitFor();
  await page.locator('.tile', { hasText: 'Waiting' }).locator('a').click();
  await page.waitForURL('**/jobs?status=pending');
  calm(page);
  await page.context().close();
});

test('queues show what waits and who could take it', async () => {
  const page = await open(browser, world, '/queues');
  const row = page.locator('tbody tr', { hasText: 'nobody_v1' });
  await row.getByText('none').waitFor();
  await unharmed(page);
  const heads = await page.locator('thead th').allTextContents();
  const cell = async (type, head) => Number(await page.locator('tbody tr', { hasText: type }).locator('td').nth(heads.indexOf(head)).textContent());
  assert.ok(await cell('bad_v1', 'In / min') >= 1.2); // six failed a moment ago
  assert.equal(await cell('bad_v1', 'Failed / min'), await cell('bad_v1', 'In / min'));
  assert.equal(await cell('bad_v1', 'Done / min'), 0);
  assert.ok(await cell('quick_v1', 'Done / min') > 0);
  const bad = page.getByRole('button', { name: 'Pause bad_v1' });
  await bad.click();
  await yes(page, 'Leave as it is');
  assert.deepEqual((await world.get('/v1/stats')).paused, []);
  await bad.click();
  await page.locator('dialog input').fill(`the disk is full ${HOSTILE[0]}`.slice(0, 200));
  await yes(page, 'Pause the queue');
  const paused = page.locator('tbody tr', { hasText: 'bad_v1' });
  await paused.getByText('the disk is full').waitFor();
  assert.equal((await world.get('/v1/queues/bad_v1')).paused_by, 'dashboard');
  await unharmed(page);
  await page.getByRole('button', { name: 'Resume bad_v1' }).click();
  await yes(page, 'Resume the queue');
  await bad.waitFor();
  assert.equal((await world.get('/v1/queues/bad_v1')).paused_at, null);
  await world.post('/v1/queues/later_v1/pause', {}); // by somebody else, before its first job
  await page.getByRole('button', { name: 'Resume later_v1' }).waitFor();
  await world.post('/v1/queues/later_v1/resume');
  await page.getByRole('button', { name: 'Resume later_v1' }).waitFor({ state: 'detached' });
  await row.getByRole('link', { name: '1', exact: true }).click();
  await page.waitForURL('**/jobs?status=pending&queue=nobody_v1&task_type=nobody_v1');
  await page.locator('.badge.pending').first().waitFor();
  calm(page);
  await page.context().close();
});

test('a cause is retried at a pace and discarded, after a look at what that will be', async () => {
  const page = await open(browser, world, '/dead-letters');
  const group = page.locator('.group', { hasText: 'bad_v1' });
  await group.getByText('no such codec').or(group.getByText('exit status 3')).first().waitFor();
  await page.locator('.group', { hasText: 'hostile_v1' }).waitFor();
  await unharmed(page);
  await group.getByRole('button', { name: /^Retry/ }).click();
  await page.getByRole('heading', { name: 'Retry 6 jobs?' }).waitFor(); // counted by the server
  await yes(page, 'Leave as it is');
  await group.getByRole('button', { name: /^Retry/ }).click();
  await page.locator('dialog input').fill('100/s');
  await yes(page, 'Retry 6 jobs');
  await page.locator('.redrives', { hasText: 'at 100/s' }).getByText('6 of 6').waitFor();
  await until('each ran again', async () => (await world.get('/v1/jobs?task_type=bad_v1')).jobs.every((j) => j.attempt === 2 && j.status === 'failed'));
  await group.getByRole('button', { name: /^Discard/ }).click();
  await yes(page, 'Discard 6 jobs');
  await until('they are gone', async () => (await world.get('/v1/jobs?task_type=bad_v1')).jobs.length === 0);
  await until('so is the cause', async () => (await group.count()) === 0);
  calm(page);
  await page.context().close();
});

test('a redrive under way is stopped', async () => {
  const ids = await Promise.all(Array.from({ length: 3 }, () => world.submit('bad_v1', { max_attempts: 1 })));
  await Promise.all(ids.map((id) => world.reached(id, 'failed')));
  await world.post('/v1/redrives', { action: 'retry', filter: { task_type: 'bad_v1' }, rate: '1/h' });
  const page = await open(browser, world, '/dead-letters?task_type=bad_v1');
  await page.getByRole('button', { name: 'Stop' }).waitFor();
  await page.getByLabel('Task type').fill('half a wo'); // what is typed stays while the page is loaded again
  for (let i = 0; i < 2; i++)
    await page.waitForResponse('**/v1/redrives?*');
  assert.equal(await page.getByLabel('Task type').inputValue(), 'half a wo');
  await page.getByLabel('Task type').fill('bad_v1');
  await page.getByRole('button', { name: 'Stop' }).click();
  await yes(page, 'Stop it');
  await page.locator('.redrives', { hasText: 'cancelled' }).waitFor();
  calm(page);
  await page.context().close();
});

test('workers show their slots and what runs there', async () => {
  await until('its host is measured', async () => (await world.reached(await world.submit('quick_v1'), 'success')) && (await world.get('/v1/workers')).workers[0].load);
  const id = await world.submit('long_v1');
  await world.reached(id, 'running');
  const page = await open(browser, world, '/workers');
  await page.locator('.worker', { hasText: 'long_v1' }).locator(`.runs a[title="${id}"]`).waitFor();
  await page.getByText(/1 live, \d of 3 slots busy/).waitFor();
  await page.getByRole('meter', { name: 'busy CPUs' }).waitFor();
  await page.getByRole('meter', { name: 'used memory' }).waitFor();
  await world.post(`/v1/jobs/${id}/cancel`);
  await until('it is gone from there', async () => (await page.locator('.runs').count()) === 0);
  calm(page);
  await page.context().close();
});

test('a worker is drained and resumed, when it was meant', async () => {
  const page = await open(browser, world, '/workers');
  const drain = page.getByRole('button', { name: /^Drain / }), resume = page.getByRole('button', { name: /^Resume / });
  const state = async () => (await world.get('/v1/workers')).workers[0];
  await drain.click();
  await yes(page, 'Leave as it is');
  assert.equal((await state()).drained_at, null);
  await drain.click();
  await yes(page, 'Drain the worker');
  await resume.waitFor();
  await page.locator('.worker .badge', { hasText: /drain(ed|ing)/ }).waitFor();
  assert.equal((await state()).drained_by, 'dashboard');
  const id = await world.submit('quick_v1');
  const job = await open(browser, world, `/jobs/${id}`);
  await job.getByText(`is drained; resume one or start another: ${(await state()).name}`).waitFor();
  await job.context().close();
  await resume.click();
  await yes(page, 'Resume the worker');
  await drain.waitFor();
  await world.reached(id, 'success');
  calm(page);
  await page.context().close();
});

test('receivers of alerts: how each fares, and a test that is meant', async () => {
  const told = (text, ...more) => ({ command: ['/bin/sh', '-c', text, ...more], alerts: ['queue_depth'] });
  const other = await World.make(JSON.stringify({
    alerts: { every: '1s', queue_depth: { above: 0, for: '0s' } },
    alert_receivers: { pager: told('exit 0'), broken: told('printf %s "$1"; exit 1', 'sh', HOSTILE[0] + HOSTILE[1]) },
  }));
  try {
    await other.submit('nobody_v1');
    const page = await open(browser, other);
    const row = (name) => page.getByRole('region', { name: 'receivers, one a row' }).locator('tbody tr', { hasText: name });
    const cell = async (name, n) => row(name).locator('td').nth(n).textContent();
    await until('one was told', async () => / ago|now/.test(await cell('pager', 2)));
    await until('the other one was not, and why is said', async () => (await cell('broken', 3)).includes(HOSTILE[0]));
    await until('a message waits for it', async () => /^1 again /.test(await cell('broken', 4)));
    assert.deepEqual([await cell('pager', 1), await cell('pager', 3), await cell('pager', 4)], ['command /bin/sh', 'never', '0']);
    assert.equal(await cell('broken', 2), 'never');
    const sent = async () => (await other.get('/v1/alerts')).receivers.map((r) => r.sent + r.failed);
    await page.getByRole('button', { name: 'Send test to pager' }).click();
    await page.locator('dialog').getByText('/bin/sh gets one message').waitFor();
    const before = (await sent())[0];
    await yes(page, 'Leave as it is');
    assert.equal((await sent())[0], before);
    await page.getByRole('button', { name: 'Send test to pager' }).click();
    await yes(page, 'Send it');
    await row('pager').getByRole('status').getByText(/^taken in /).waitFor();
    await page.getByRole('button', { name: 'Send test to broken' }).click();
    await yes(page, 'Send it');
    await row('broken').getByRole('status').getByText('not taken').waitFor();
    assert.ok((await row('broken').getByRole('status').textContent()).includes(HOSTILE[1]));
    await unharmed(page);
    for (const [colorScheme, width] of [['dark', 390], ['light', 1280]]) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 800 });
      assert.deepEqual(await seriousFindings(page), []);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `wider than ${width}`);
    }
    calm(page);
    await page.context().close();
  } finally {
    await other.end();
  }
});

test('without the event stream it polls', async () => {
  const page = await open(browser, world, 'about:blank');
  await page.route('**/v1/events?*', (r) => r.fulfill({ status: 404, body: '' }));
  await page.goto('/');
  await page.locator('.connection.polling').waitFor();
  const before = await until('counts are there', async () => (await tile(page, 'Succeeded').count()) && (await tile(page, 'Succeeded').textContent()));
  await world.reached(await world.submit('quick_v1'), 'success');
  await until('a success is counted all the same', async () => Number(await tile(page, 'Succeeded').textContent()) === Number(before) + 1);
  await page.context().close();
});

test('a server that goes and comes back is found again', async () => {
  const page = await open(browser, world, '/jobs?task_type=quick_v1');
  await page.locator('.windowed tbody tr').first().waitFor();
  const rows = await page.locator('.windowed tbody tr').count();
  await world.stopServer();
  await page.locator('.connection.offline').waitFor();
  assert.equal(await page.locator('.windowed tbody tr').count(), rows, 'what was known stays');
  await world.startServer();
  await world.submit('quick_v1');
  await until('the new job comes', async () => (await page.locator('.windowed tbody tr').count()) === rows + 1);
  await page.locator('.connection.live, .connection.polling').waitFor();
  await page.context().close();
});

test('by keyboard alone: to the content, to a job, to a question and out of it', async () => {
  const id = await world.submit('nobody_v1', { queue: 'keys' });
  const page = await open(browser, world, '/jobs?queue=keys');
  await page.locator(`a[title="${id}"]`).waitFor();
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to the content');
  await page.keyboard.press('Enter');
  const reach = async (what, matches) => {
    for (let i = 0; i < 40; i++) {
      if (await page.evaluate(matches, id))
        return;
      await page.keyboard.press('Tab');
    }
    assert.fail(`Tab does not reach ${what}`);
  };
  await reach('the job', (wanted) => document.activeElement.title === wanted);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: `Job ${id}` }).waitFor();
  await reach('Cancel', () => document.activeElement.textContent === 'Cancel');
  await page.keyboard.press('Enter');
  await page.locator('dialog[open]').waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Leave as it is', 'the harmless answer has the focus');
  await page.keyboard.press('Escape');
  await page.locator('dialog[open]').waitFor({ state: 'detached' });
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Cancel', 'the focus is back');
  await page.keyboard.press('Enter');
  await page.locator('dialog[open]').waitFor();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await world.reached(id, 'cancelled');
  calm(page);
  await page.context().close();
});

test('the theme is the system\'s, or the one chosen, and is remembered', async () => {
  const page = await open(browser, world, '/alerts', { colorScheme: 'dark' });
  const dark = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor === 'rgb(18, 22, 29)');
  await page.getByRole('heading', { name: 'Alerts' }).waitFor();
  assert.ok(await dark());
  await page.getByRole('button', { name: 'theme: auto' }).click();
  assert.ok(!(await dark()));
  await page.reload();
  await page.getByRole('button', { name: 'theme: light' }).click();
  assert.ok(await dark());
  calm(page);
  await page.context().close();
});

test('every page: axe finds nothing serious and nothing is wider than a phone, light and wide, dark and narrow', async () => {
  for (const [colorScheme, width] of [['light', 1280], ['dark', 390]]) {
    const page = await open(browser, world, '/', { colorScheme, viewport: { width, height: 800 } });
    for (const [path, title] of Object.entries(PAGES)) {
      await page.locator(`nav a[href="${path}"]`).click();
      await page.getByRole('heading', { name: title, exact: true }).waitFor();
      await page.locator('.tile, tbody tr, .group, .worker, .empty').first().waitFor();
      assert.deepEqual(await seriousFindings(page), [], `${path} ${colorScheme} ${width}`);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${path} is wider than ${width}`);
    }
    calm(page);
    await page.context().close();
  }
});
