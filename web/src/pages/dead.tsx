// Dead letters: failed jobs by cause; retry or discard a cause at a pace, after a look at what that will be.
import { useState } from 'preact/hooks';
import { get, post, query } from '../api';
import { count, relative } from '../format';
import { now, useData } from '../live';
import { go, here, withQuery } from '../router';
import type { Group, Redrive } from '../types';
import { Bar, Empty, Failure, JobLink, Time } from '../ui/bits';
import { ask, attempt, say } from '../ui/dialog';

const PAGE = 50;
const PREVIEW_MS = 15_000, LOOK_MS = 200;
type Action = Redrive['action'];

/** Counts on the server what it would take. */
async function preview(action: Action, filter: Record<string, string>): Promise<number> {
  let r = await post<Redrive>('/v1/redrives', { action, filter, dry_run: true });
  for (const end = Date.now() + PREVIEW_MS; r.state === 'running' && Date.now() < end;) {
    await new Promise((done) => setTimeout(done, LOOK_MS));
    r = await get<Redrive>(`/v1/redrives/${r.redrive_id}`);
  }
  return r.matched ?? r.done;
}

/** A key of its own, so that a lost answer can be asked for again without a second redrive. crypto.randomUUID wants HTTPS. */
function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');
}

function Pace({ rate }: { rate: { value: string } }) {
  return (
    <label>At a pace of (empty: as fast as there is room)
      <input placeholder="2/s, 100/m, 1000/h" pattern="[0-9]+/[smh]" defaultValue="" onInput={(e) => (rate.value = e.currentTarget.value.trim())} />
    </label>
  );
}

async function redrive(action: Action, filter: Record<string, string>, what: string): Promise<boolean> {
  let n = 0;
  if (!(await attempt(async () => { n = await preview(action, filter); })))
    return false;
  if (!n) {
    say('Nothing matches any more.');
    return false;
  }
  const jobs = n === 1 ? '1 job' : `${count(n)} jobs`;
  const verb = action === 'retry' ? 'Retry' : 'Discard';
  const rate = { value: '' };
  const body = (
    <>
      <p>{action === 'retry' ? `${jobs} of ${what} will wait for a worker again, with new budgets. One that fails again stays failed.` : `${jobs} of ${what} will be gone, with story, log and checkpoint. This cannot be undone.`}</p>
      <Pace rate={rate} />
    </>
  );
  if (!(await ask(`${verb} ${jobs}?`, body, `${verb} ${jobs}`, action === 'discard')))
    return false;
  const done = await attempt(() => post('/v1/redrives', { action, filter, ...(rate.value ? { rate: rate.value } : {}) }, { 'Idempotency-Key': newKey() }));
  if (done)
    say(action === 'retry' ? 'The server retries them, little by little.' : 'The server discards them, little by little.');
  return done;
}

function GroupRow({ group, act }: { group: Group; act: (action: Action) => void }) {
  const [first, ...rest] = (group.error_log ?? group.outcome).split('\n');
  return (
    <li class="group">
      <div class="title">
        <h2><span class="badge failed">{count(group.jobs)}</span> {group.task_type} <span class="faint">{group.outcome}</span></h2>
        <div class="buttons">
          <button type="button" onClick={() => act('retry')} aria-label={`Retry ${group.fingerprint}`}>Retry…</button>
          <button type="button" class="danger" onClick={() => act('discard')} aria-label={`Discard ${group.fingerprint}`}>Discard…</button>
        </div>
      </div>
      {rest.length ? <details><summary class="cause">{first}</summary><pre class="error" tabIndex={0} aria-label="error log">{rest.join('\n')}</pre></details> : <p class="cause">{first}</p>}
      <p class="faint">First <Time at={group.first_failed_at} />, last <Time at={group.last_failed_at} />. Example: <JobLink id={group.job_id} />. <a href={`/jobs?status=failed&fingerprint=${group.fingerprint}`}>All of this cause</a> <span class="id">{group.fingerprint}</span></p>
    </li>
  );
}

function Redrives({ all, again }: { all: Redrive[]; again: () => void }) {
  const real = all.filter((r) => !r.dry_run).slice(0, 10);
  if (!real.length)
    return null;
  const cancel = async (r: Redrive): Promise<void> => {
    if (await ask('Stop this redrive?', <p>What was done by then stays so.</p>, 'Stop it'))
      if (await attempt(() => post(`/v1/redrives/${r.redrive_id}/cancel`)))
        again();
  };
  return (
    <section aria-label="Redrives">
      <h2>Under way, and lately</h2>
      <ul class="redrives">{real.map((r) => (
        <li key={r.redrive_id}>
          <span class={`badge ${r.state === 'running' ? 'running' : r.state === 'done' ? 'success' : ''}`}>{r.state}</span>
          <span>{r.action} {r.filter.task_type ?? ''} <span class="id">{r.filter.fingerprint ?? 'all that match'}</span>{r.rate && ` at ${r.rate}`}</span>
          {r.state === 'running' && r.matched ? <Bar progress={{ percent: Math.min((100 * r.done) / r.matched, 100), message: null, at: r.created_at }} label="progress of the redrive" /> : null}
          <span>{count(r.done)}{r.matched !== null && ` of ${count(r.matched)}`}{r.skipped > 0 && `, ${count(r.skipped)} were no longer failed`}</span>
          <span class="faint">{relative(r.created_at, now.value)}</span>
          {r.state === 'running' && <button type="button" onClick={() => cancel(r)}>Stop</button>}
        </li>
      ))}</ul>
    </section>
  );
}

/** By itself: what is typed must not be drawn over by what the page loads meanwhile. */
function TypeFilter() {
  return (
    <label>Task type
      <input value={here.value.query.get('task_type') ?? ''} onChange={(e) => go(withQuery({ task_type: e.currentTarget.value.trim() }), true)} />
    </label>
  );
}

export function DeadPage() {
  const type = here.value.query.get('task_type') ?? '';
  const [pages, setPages] = useState(1);
  const groups = useData(`${type}/${pages}`, async (signal) => {
    const found: Group[] = [];
    let cursor: string | null = null, complete = true;
    for (let i = 0; i < pages && (i === 0 || cursor); i++) {
      const page: { groups: Group[]; next_cursor: string | null; complete: boolean } = await get(`/v1/dlq${query({ task_type: type, limit: PAGE, cursor })}`, signal);
      found.push(...page.groups.filter((g) => !found.some((f) => f.fingerprint === g.fingerprint)));
      cursor = page.next_cursor;
      complete = page.complete;
    }
    return { groups: found, more: cursor !== null, complete };
  }, 3000);
  const redrives = useData('redrives', (signal) => get<{ redrives: Redrive[] }>('/v1/redrives?limit=50', signal), 2000);
  const act = async (action: Action, filter: Record<string, string>, what: string): Promise<void> => {
    if (await redrive(action, filter, what)) {
      groups.again();
      redrives.again();
    }
  };
  const shown = groups.value;
  const everything: Record<string, string> = type ? { task_type: type } : {};
  return (
    <div class="page">
      <div class="title">
        <h1>Dead letters</h1>
        <form class="find" role="search" aria-label="Filter dead letters" onSubmit={(e) => e.preventDefault()}>
          <TypeFilter />
          <button type="button" disabled={!shown?.groups.length} onClick={() => act('retry', everything, type || 'every type')}>Retry all…</button>
          <button type="button" class="danger" disabled={!shown?.groups.length} onClick={() => act('discard', everything, type || 'every type')}>Discard all…</button>
        </form>
      </div>
      <Failure data={groups} />
      <Redrives all={redrives.value?.redrives ?? []} again={redrives.again} />
      {shown && !shown.complete && <p class="faint">Older failures are still being grouped.</p>}
      {shown && !shown.groups.length && <Empty>No job has failed for good{type && ` of type ${type}`}.</Empty>}
      <ul class="groups">{shown?.groups.map((g) => <GroupRow key={g.fingerprint} group={g} act={(action) => act(action, { fingerprint: g.fingerprint }, `${g.task_type}, cause ${g.fingerprint}`)} />)}</ul>
      {shown?.more && <button type="button" onClick={() => setPages(pages + 1)}>More causes</button>}
    </div>
  );
}
