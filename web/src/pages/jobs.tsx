// Jobs: the filters are in the address; pages come by cursor; what changes is shown where it is.
import { useEffect, useRef, useState } from 'preact/hooks';
import { get, post, query } from '../api';
import { useTopic } from '../events';
import { clock, count, duration, seconds } from '../format';
import { now, useData, useThrottled } from '../live';
import { go, here, withQuery } from '../router';
import { type BulkAnswer, type JobSummary, type Page, STATUSES } from '../types';
import { Bar, Empty, Failure, JobLink, StatusBadge, Time } from '../ui/bits';
import { ask, attempt, say } from '../ui/dialog';
import { Windowed } from '../ui/windowed';

const PAGE = 200;
const AT_ONCE = 1000; // what one bulk request may name
const POLL_MS = 2000;
const EMPTY_MOST = 100; // pages in a row without a job that a search for text goes through by itself
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const FILTERS = ['status', 'task_type', 'queue', 'created_after', 'created_before', 'fingerprint', 'text'] as const;

/** The API's filter, of what the address says. */
function filterOf(q: URLSearchParams): Record<string, string | string[]> {
  const f: Record<string, string | string[]> = { label: q.getAll('label') };
  for (const name of FILTERS)
    f[name] = q.get(name) ?? '';
  return f;
}

/** RFC 3339 from what <input type=datetime-local> gives, and back. */
const toWire = (local: string): string => (local ? new Date(local).toISOString() : '');
function toLocal(wire: string | null): string {
  const d = new Date(wire ?? '');
  return Number.isNaN(d.getTime()) ? '' : new Date(d.getTime() - d.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

function Filters() {
  const q = here.value.query;
  const set = (name: string, value: string | string[]): void => go(withQuery({ [name]: value }), true);
  const text = (name: string, label: string, hint: string) => (
    <label>{label}
      <input value={q.get(name) ?? ''} placeholder={hint} onChange={(e) => set(name, e.currentTarget.value.trim())} />
    </label>
  );
  return (
    <form class="filters" role="search" aria-label="Filter jobs" onSubmit={(e) => e.preventDefault()}>
      <label>Status
        <select value={q.get('status') ?? ''} onChange={(e) => set('status', e.currentTarget.value)}>
          <option value="">any</option>
          {STATUSES.map((s) => <option key={s} value={s}>{s}</option>)}
        </select>
      </label>
      <label>Text
        <input type="search" value={q.get('text') ?? ''} maxLength={200} placeholder="in key, labels, errors" onChange={(e) => set('text', e.currentTarget.value.trim())} />
      </label>
      {text('task_type', 'Task type', 'transcode_v1')}
      {text('queue', 'Queue', 'video')}
      <label>Labels
        <input value={q.getAll('label').join(' ')} placeholder="customer=7 draft" onChange={(e) => set('label', e.currentTarget.value.split(/\s+/).slice(0, 8))} />
      </label>
      <label>Created after
        <input type="datetime-local" value={toLocal(q.get('created_after'))} onChange={(e) => set('created_after', toWire(e.currentTarget.value))} />
      </label>
      <label>Created before
        <input type="datetime-local" value={toLocal(q.get('created_before'))} onChange={(e) => set('created_before', toWire(e.currentTarget.value))} />
      </label>
      {q.get('fingerprint') && (
        <label>Cause
          <input value={q.get('fingerprint')!} onChange={(e) => set('fingerprint', e.currentTarget.value.trim())} />
        </label>
      )}
      <button type="button" onClick={() => go(here.peek().path)}>Clear</button>
    </form>
  );
}

function FindById() {
  const open = (form: HTMLFormElement): void => {
    const id = (new FormData(form).get('id') as string).trim();
    if (UUID.test(id))
      go(`/jobs/${id.toLowerCase()}`);
    else
      say('A job id looks like 01936d5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f.', true);
  };
  return (
    <form class="find" role="search" aria-label="Find a job" onSubmit={(e) => { e.preventDefault(); open(e.currentTarget); }}>
      <label>Find by id <input name="id" placeholder="01936d5e-…" spellcheck={false} autocomplete="off" /></label>
      <button type="submit">Open</button>
    </form>
  );
}

/** When the job of an id was made (UUIDv7). */
const madeAt = (id: string): string => new Date(parseInt(id.replace('-', '').slice(0, 12), 16)).toISOString();

/** The first page is loaded again and again; what it covers replaces what was there, what lies behind it stays. */
function merged(fresh: Page, older: JobSummary[]): JobSummary[] {
  const { jobs, next_cursor } = fresh;
  return next_cursor ? [...jobs, ...older.filter((j) => j.job_id < next_cursor)] : jobs;
}

function useJobs(filter: Record<string, string | string[]>) {
  const key = query(filter);
  const [rows, setRows] = useState<JobSummary[]>([]);
  const [cursor, setCursor] = useState<string | null>(null); // where the rows go on; null: that is all
  const [loading, setLoading] = useState(false);
  const generation = useRef(0);
  const paged = useRef(false);
  const empty = useRef(0); // pages in a row in which there was nothing
  const first = useData(key, (signal) => get<Page>(`/v1/jobs${query({ ...filter, limit: PAGE })}`, signal), filter.text ? 0 : POLL_MS, !filter.text);
  const again = useThrottled(() => { // it may have been called for before words were searched for: that list goes on where it is
    if (!filter.text)
      first.again();
  }, 1000);

  useEffect(() => {
    generation.current++;
    paged.current = false;
    empty.current = 0;
    setRows([]);
    setCursor(null);
    setLoading(false);
  }, [key]);
  useEffect(() => {
    if (!first.value)
      return;
    const fresh = first.value;
    setRows((old) => merged(fresh, old));
    if (!paged.current || !fresh.next_cursor)
      setCursor(fresh.next_cursor);
  }, [first.value]);
  useTopic(key, () => `jobs=1${query({ status: filter.status, task_type: filter.task_type, queue: filter.queue, label: filter.label }).replace('?', '&')}`,
    (event, data) => {
      if (event === 'job')
        setRows((old) => old.map((j) => (j.job_id === data.job_id ? { ...j, ...data } : j)));
      else if (event === 'left')
        setRows((old) => old.filter((j) => j.job_id !== data.job_id));
      if (event === 'job' || event === 'left' || event === 'reset')
        again();
    });

  const more = async (asked = false): Promise<void> => {
    if (!cursor || loading || (!asked && empty.current >= EMPTY_MOST))
      return;
    const mine = generation.current;
    setLoading(true);
    await attempt(async () => {
      const page = await get<Page>(`/v1/jobs${query({ ...filter, limit: PAGE, cursor })}`);
      if (mine !== generation.current)
        return;
      paged.current = true;
      empty.current = page.jobs.length || asked ? 0 : empty.current + 1;
      setRows((old) => {
        const known = new Set(old.map((j) => j.job_id));
        return [...old, ...page.jobs.filter((j) => !known.has(j.job_id))];
      });
      setCursor(page.next_cursor);
    });
    if (mine === generation.current)
      setLoading(false);
  };
  return { first, rows, cursor, loading, more, resting: cursor !== null && empty.current >= EMPTY_MOST };
}

const ACTS = {
  cancel: { fits: (j: JobSummary) => j.status === 'pending' || j.status === 'running', verb: 'Cancel', done: 'cancelled', danger: true },
  retry: { fits: (j: JobSummary) => j.status === 'failed' || j.status === 'cancelled', verb: 'Retry', done: 'pending again', danger: false },
  discard: { fits: (j: JobSummary) => !['pending', 'running'].includes(j.status), verb: 'Discard', done: 'discarded', danger: true },
};
type Act = keyof typeof ACTS;

async function bulk(act: Act, jobs: JobSummary[]): Promise<void> {
  const { verb, done, danger } = ACTS[act];
  const n = jobs.length === 1 ? '1 job' : `${count(jobs.length)} jobs`;
  const types = [...new Set(jobs.map((j) => j.task_type))];
  const body = <p>{n} of {types.length > 3 ? `${types.length} types` : types.join(', ')}.{act === 'discard' && ' Their story, log and outputs go with them. This cannot be undone.'}</p>;
  if (!(await ask(`${verb} ${n}?`, body, `${verb} ${n}`, danger)))
    return;
  let good = 0;
  const problems: string[] = [];
  await attempt(async () => {
    for (let at = 0; at < jobs.length; at += AT_ONCE) {
      const answer = await post<BulkAnswer>(`/v1/jobs:${act}`, { job_ids: jobs.slice(at, at + AT_ONCE).map((j) => j.job_id) });
      good += answer.done;
      problems.push(...answer.results.flatMap((r) => (r.problem ? [r.problem.detail] : [])));
    }
  });
  say(`${count(good)} ${done}${problems.length ? `; ${count(problems.length)} not: ${problems[0]}` : ''}`, problems.length > 0);
}

function Row({ job }: { job: JobSummary }) {
  const took = job.started_at && job.status !== 'pending' ? (job.finished_at ? seconds(job.started_at, job.finished_at) : (now.value - Date.parse(job.started_at)) / 1000) : null;
  const labels = Object.entries(job.labels).map(([k, v]) => (v ? `${k}=${v}` : k)).join(' ');
  return (
    <>
      <td><JobLink id={job.job_id} /></td>
      <td><StatusBadge status={job.status} job={job} /></td>
      <td class="clip" title={job.task_type}>{job.task_type}</td>
      <td class="clip wide" title={job.queue}>{job.queue}</td>
      <td class="clip wide" title={labels}>{labels}</td>
      <td class="clip news" title={job.error_log ?? job.progress?.message ?? undefined}>
        {job.status === 'running' ? <Bar progress={job.progress} label={`progress of ${job.job_id}`} /> : job.status === 'failed' ? job.error_log : ''}
      </td>
      <td class="number wide">{job.attempt || ''}</td>
      <td class="number">{took === null ? '' : duration(Math.max(took, 0))}</td>
      <td class="number"><Time at={job.created_at} /></td>
    </>
  );
}

export function JobsPage() {
  const filter = filterOf(here.value.query);
  const { first, rows, cursor, loading, more, resting } = useJobs(filter);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const key = query(filter);
  useEffect(() => setChosen(new Set()), [key]);
  const picked = rows.filter((j) => chosen.has(j.job_id));
  const choose = (id: string, on: boolean): void => {
    const next = new Set(chosen);
    next[on ? 'add' : 'delete'](id);
    setChosen(next);
  };
  const act = async (name: Act): Promise<void> => {
    await bulk(name, picked.filter(ACTS[name].fits));
    setChosen(new Set());
    first.again();
  };
  return (
    <div class="page tall">
      <div class="title"><h1>Jobs</h1><FindById /></div>
      <Filters />
      <div class="bulk" role="toolbar" aria-label="Chosen jobs">
        <span aria-live="polite">{picked.length ? `${count(picked.length)} chosen` : `${count(rows.length)}${cursor ? '+' : ''} jobs`}</span>
        {(Object.keys(ACTS) as Act[]).map((name) => {
          const n = picked.filter(ACTS[name].fits).length;
          return <button key={name} type="button" class={ACTS[name].danger ? 'danger' : ''} disabled={!n} onClick={() => act(name)}>{ACTS[name].verb}{n ? ` ${count(n)}` : ''}</button>;
        })}
        {loading && !filter.text && <span class="faint">loading…</span>}
        {filter.text && cursor && <span class="faint" role="status">searched back to {clock(madeAt(cursor))}</span>}
        {filter.text && cursor && resting && <button type="button" onClick={() => more(true)}>Search further back</button>}
      </div>
      <Failure data={first} />
      {first.value && !rows.length && !cursor && <Empty>No job fits. <a href="/jobs">All jobs</a></Empty>}
      <Windowed
        label="Jobs, newest first" columns={10} rows={rows} more={cursor !== null} behind={loading ? null : cursor} onEnd={more} id={(j) => j.job_id}
        rowClass={(j) => (chosen.has(j.job_id) ? 'chosen' : '')}
        head={<>
          <th class="check"><input type="checkbox" aria-label="choose all that are loaded" checked={rows.length > 0 && picked.length === rows.length}
            onChange={(e) => setChosen(new Set(e.currentTarget.checked ? rows.map((j) => j.job_id) : []))} /></th>
          <th scope="col">Id</th><th scope="col">Status</th><th scope="col">Type</th><th scope="col" class="wide">Queue</th><th scope="col" class="wide">Labels</th>
          <th scope="col" class="news">Progress or failure</th><th scope="col" class="number wide">Attempt</th><th scope="col" class="number">Took</th><th scope="col" class="number">Created</th>
        </>}
        row={(job) => <>
          <td class="check"><input type="checkbox" aria-label={`choose job ${job.job_id}`} checked={chosen.has(job.job_id)} onChange={(e) => choose(job.job_id, e.currentTarget.checked)} /></td>
          <Row job={job} />
        </>}
      />
    </div>
  );
}
