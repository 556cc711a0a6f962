// One job: how it goes, why it waits or failed, what every attempt did and said, what came of it.
import { useState } from 'preact/hooks';
import { discard, get, Problem, post } from '../api';
import { useTopic } from '../events';
import { bytes, clock, duration, percent, relative, seconds, shellQuoted } from '../format';
import { now, useData } from '../live';
import { go } from '../router';
import type { Attempt, Job, Output } from '../types';
import { Bar, Copy, Fact, Failure, StatusBadge, Time } from '../ui/bits';
import { ask, attempt as tryIt, say } from '../ui/dialog';
import { Files } from '../ui/files';
import { LogView } from '../ui/log';
import { Usage } from '../ui/usage';

const POLL_MS = 1000, ATTEMPTS_MS = 2000, EXPLAIN_MS = 3000;
const ended = (job: Job): boolean => !['pending', 'running'].includes(job.status);

const OUTCOMES: Record<string, string> = {
  success: 'it succeeded', error: 'its program failed', timeout: 'it ran longer than its time limit allows', stalled: 'it reported no progress for too long',
  oom: 'it needed more memory than it may have', signal: 'a signal ended it', lost: 'its worker was lost', interrupted: 'its worker handed it back',
  cancelled: 'it was cancelled', unconfirmed: 'the claim was never confirmed', expired: 'it was not started before its deadline',
};

interface Explain { reason: string; text: string; position: number | null; position_exact: boolean; until: string | null; likely_start_at: string | null; run_p50_s: number | null }

/** Linear, from what this attempt did since it began. */
function timeLeft(job: Job): string | null {
  const p = job.progress;
  if (job.status !== 'running' || !p || !job.started_at || p.percent <= 0 || p.percent >= 100)
    return null;
  const passed = seconds(job.started_at, p.at);
  const left = (passed / p.percent) * (100 - p.percent) - (now.value - Date.parse(p.at)) / 1000;
  return passed > 2 ? (left > 0 ? `about ${duration(left)} left` : 'nearly done') : null;
}

function Why({ job }: { job: Job }) {
  const explain = useData(`${job.job_id}/explain`, async (signal) => {
    try {
      return await get<Explain>(`/v1/jobs/${job.job_id}/explain`, signal);
    } catch (e) {
      if (e instanceof Problem && e.status === 404) // a server that cannot explain
        return null;
      throw e;
    }
  }, EXPLAIN_MS);
  const x = explain.value;
  return (
    <section aria-label="Why it waits" class="callout">
      <h2>Why it waits</h2>
      <p>{x?.text ?? job.waiting_reason ?? '…'}</p>
      {x && (
        <p class="faint">
          {x.position !== null && `Position ${x.position_exact ? '' : 'at least '}${x.position}. `}
          {x.until && `Not before ${clock(x.until)} (${relative(x.until, now.value)}). `}
          {x.likely_start_at && `Likely to start ${relative(x.likely_start_at, now.value)}.`}
        </p>
      )}
    </section>
  );
}

function Cause({ job }: { job: Job }) {
  return (
    <section aria-label="Why it failed" class="callout bad">
      <h2>Why it failed</h2>
      <p>{OUTCOMES[job.outcome ?? ''] ?? job.outcome}, in attempt {job.attempt}.</p>
      {job.error_log && <pre class="error" tabIndex={0} aria-label="error log">{job.error_log}</pre>}
      {job.fingerprint && <p><a href={`/jobs?status=failed&fingerprint=${job.fingerprint}`}>All jobs that failed of this</a></p>}
    </section>
  );
}

function Timeline({ job, attempts, chosen, choose }: { job: Job; attempts: Attempt[]; chosen: number; choose: (n: number) => void }) {
  const from = Date.parse(job.created_at);
  const to = Math.max(job.finished_at ? Date.parse(job.finished_at) : now.value, from + 1);
  const at = (t: string): number => ((Date.parse(t) - from) / (to - from)) * 100;
  return (
    <section aria-label="Attempts">
      <h2>Attempts</h2>
      <div class="scroll" tabIndex={0} role="region" aria-label="attempts, one a row">
        <table class="attempts">
          <thead><tr><th scope="col">No.</th><th scope="col">Outcome</th><th scope="col">Worker</th><th scope="col" class="number">Began</th><th scope="col" class="number">Took</th>
            <th scope="col" class="number">CPU</th><th scope="col" class="number">Memory, most</th><th scope="col" class="number">In / out</th><th scope="col">From submission to end</th></tr></thead>
          <tbody>
            {attempts.map((a) => {
              const end = a.ended_at ? at(a.ended_at) : 100;
              return (
                <tr key={a.attempt} class={a.attempt === chosen ? 'chosen' : ''}>
                  <td><button type="button" aria-pressed={a.attempt === chosen} aria-label={`log of attempt ${a.attempt}`} onClick={() => choose(a.attempt)}>{a.attempt}</button></td>
                  <td title={a.error ?? undefined}><span class={`badge ${a.outcome === 'success' ? 'success' : a.outcome ? 'failed' : 'running'}`}>{a.outcome ?? 'running'}</span>
                    {a.exit_code !== null && a.exit_code !== 0 && <span class="faint"> exit {a.exit_code}</span>}{a.signal !== null && <span class="faint"> signal {a.signal}</span>}</td>
                  <td class="clip" title={`${a.worker_id}, handler ${a.handler_version}`}>{a.worker_name || a.worker_id}</td>
                  <td class="number"><Time at={a.started_at} /></td>
                  <td class="number">{duration(Math.max(a.ended_at ? seconds(a.started_at, a.ended_at) : (now.value - Date.parse(a.started_at)) / 1000, 0))}</td>
                  <td class="number">{duration(a.cpu_s)}</td>
                  <td class="number">{bytes(a.peak_memory_bytes)}</td>
                  <td class="number">{bytes(a.bytes_in)} / {bytes(a.bytes_out)}{a.redone ? <span class="faint"> {percent(a.redone)} again</span> : null}</td>
                  <td class="span"><svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
                    <rect x={at(a.started_at)} y="1" width={Math.max(end - at(a.started_at), 1)} height="8" class={a.outcome === 'success' ? 'good' : a.outcome ? 'bad' : 'now'} />
                  </svg></td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
      {attempts.find((a) => a.attempt === chosen)?.error && <pre class="error" tabIndex={0} aria-label={`error of attempt ${chosen}`}>{attempts.find((a) => a.attempt === chosen)!.error}</pre>}
    </section>
  );
}

/** The submission that would make this job again. */
function asCurl(job: Job): string {
  const body: Record<string, unknown> = { task_type: job.task_type, queue: job.queue, priority: job.priority };
  if (job.payload_ref)
    body.payload_ref = job.payload_ref;
  else if (job.payload !== null)
    body.payload = job.payload;
  if (job.inputs.length)
    body.inputs = job.inputs;
  if (Object.keys(job.labels).length)
    body.labels = job.labels;
  return `curl -X POST ${shellQuoted(`${location.origin}/v1/jobs`)} -H 'Content-Type: application/json' -d ${shellQuoted(JSON.stringify(body))}`;
}

/** Of `00-TRACE-SPAN-FLAGS`. */
const traceId = (job: Job): string | undefined => job.traceparent?.split('-')[1];

function Actions({ job, again }: { job: Job; again: () => void }) {
  const trace = traceId(job);
  const act = async (verb: 'cancel' | 'retry'): Promise<void> => {
    const sure = verb === 'cancel'
      ? await ask('Cancel this job?', <p>{job.status === 'running' ? 'Its program is stopped; what it did so far is lost.' : 'It will not be run.'}</p>, 'Cancel the job')
      : await ask('Retry this job?', <p>It waits for a worker again, and its budgets start anew.</p>, 'Retry the job', false);
    if (sure && (await tryIt(() => post(`/v1/jobs/${job.job_id}/${verb}`)))) {
      say(verb === 'cancel' ? 'Cancelled, or being stopped by its worker.' : 'Pending again.');
      again();
    }
  };
  const remove = async (): Promise<void> => {
    if (await ask('Discard this job?', <p>Its story, log and outputs go with it. This cannot be undone.</p>, 'Discard the job'))
      if (await tryIt(() => discard(job.job_id))) {
        say('Discarded.');
        go('/jobs');
      }
  };
  return (
    <div class="buttons">
      {(job.status === 'failed' || job.status === 'cancelled') && <button type="button" class="primary" onClick={() => act('retry')}>Retry</button>}
      {!ended(job) && !job.cancel_requested_at && <button type="button" class="danger" onClick={() => act('cancel')}>Cancel</button>}
      {ended(job) && <button type="button" class="danger" onClick={remove}>Discard</button>}
      <Copy text={() => asCurl(job)}>Copy as curl</Copy>
      <Copy text={() => job.job_id}>Copy id</Copy>
      {trace && <Copy text={() => trace}>Copy trace id</Copy>}
      <a class="button" href={`/v1/jobs/${job.job_id}`} target="_blank" rel="noreferrer">JSON</a>
    </div>
  );
}

function Facts({ job }: { job: Job }) {
  const labels = Object.entries(job.labels), trace = traceId(job);
  const ran = job.started_at ? seconds(job.started_at, job.finished_at) : null;
  return (
    <dl class="facts">
      <Fact name="Type"><a href={`/jobs?task_type=${encodeURIComponent(job.task_type)}`}>{job.task_type}</a></Fact>
      <Fact name="Queue"><a href={`/jobs?queue=${encodeURIComponent(job.queue)}`}>{job.queue}</a></Fact>
      <Fact name="Priority">{job.priority}</Fact>
      <Fact name="Created"><Time at={job.created_at} /></Fact>
      <Fact name="Started"><Time at={job.started_at} never="not yet" /></Fact>
      <Fact name="Finished"><Time at={job.finished_at} never="not yet" /></Fact>
      {ran !== null && job.status !== 'pending' && <Fact name="Ran">{duration(Math.max(ran, 0))}</Fact>}
      <Fact name="Attempt">{job.attempt} ({job.retries} of {job.max_attempts - 1} retries)</Fact>
      {job.interruptions + job.losses > 0 && <Fact name="Interrupted, lost">{job.interruptions}, {job.losses}</Fact>}
      {job.timeout_s !== null && <Fact name="Time limit">{duration(job.timeout_s)}</Fact>}
      {job.start_deadline_at && <Fact name="Start deadline"><Time at={job.start_deadline_at} /></Fact>}
      {job.dedup_key && <Fact name="Key"><span class="break">{job.dedup_key}</span></Fact>}
      {trace && <Fact name="Trace"><span class="id break">{trace}</span></Fact>}
      {job.checkpoint && <Fact name="Checkpoint">{job.checkpoint.percent === null ? '' : `at ${job.checkpoint.percent} %, `}{job.checkpoint.files} files, {bytes(job.checkpoint.bytes)}, <Time at={job.checkpoint.at} /></Fact>}
      {labels.length > 0 && <Fact name="Labels">{labels.map(([k, v]) => <a key={k} class="label" href={`/jobs?label=${encodeURIComponent(`${k}=${v}`)}`}>{v ? `${k}=${v}` : k}</a>)}</Fact>}
    </dl>
  );
}

function Payload({ job }: { job: Job }) {
  const blob = job.payload_ref?.startsWith('blob:') ? `/v1/blobs/${job.payload_ref.slice(5)}` : null;
  return (
    <details open={job.payload !== null && JSON.stringify(job.payload).length < 2000}>
      <summary>Payload</summary>
      {job.payload_ref ? <p class="break">{blob ? <a href={blob} download="payload">{job.payload_ref}</a> : job.payload_ref}</p>
        : <pre class="preview" tabIndex={0} aria-label="payload">{JSON.stringify(job.payload, null, 2)}</pre>}
    </details>
  );
}

export function JobPage({ id }: { id: string }) {
  const [done, setDone] = useState(false);
  const [picked, setPicked] = useState(0);
  const job = useData(id, async (signal) => {
    const j = await get<Job>(`/v1/jobs/${encodeURIComponent(id)}`, signal);
    setDone(ended(j));
    return j;
  }, done ? 5 * POLL_MS : POLL_MS, true);
  const version = job.value?.version ?? 0;
  const attempts = useData(`${id}/${job.value?.attempt}/${job.value?.status}`, async (signal) =>
    (job.value ? (await get<{ attempts: Attempt[] }>(`/v1/jobs/${encodeURIComponent(id)}/attempts`, signal)).attempts : []), done ? 0 : ATTEMPTS_MS);
  const outputs = useData(`${id}/outputs/${job.value?.status}`, async (signal) =>
    (job.value?.status === 'success' ? (await get<{ outputs: Output[] }>(`/v1/jobs/${encodeURIComponent(id)}/outputs`, signal)).outputs : []), 0);
  useTopic(id, () => `job=${encodeURIComponent(id)}`, (event, data) => {
    if (event === 'reset' || (event === 'left' && data.job_id === id) || (event === 'job' && data.job_id === id && data.version > version))
      job.again();
  });

  const j = job.value;
  if (!j || job.error?.status === 404)
    return (
      <div class="page">
        <h1>Job <span class="id">{id}</span></h1>
        {job.error?.status === 404 ? <p class="failure" role="alert">There is no such job: it was discarded, its retention is over, or it never was.</p> : <Failure data={job} />}
        <p><a href="/jobs">All jobs</a></p>
      </div>
    );
  const all = attempts.value ?? [];
  const chosen = all.find((a) => a.attempt === picked) ?? all.at(-1);
  const left = timeLeft(j);
  return (
    <div class="page">
      <div class="title">
        <h1>Job <span class="id">{j.job_id}</span></h1>
        <StatusBadge status={j.status} job={j} />
      </div>
      <Failure data={job} />
      <Actions job={j} again={job.again} />
      {j.status === 'running' && j.progress && (
        <section aria-label="Progress" class="progress">
          <Bar progress={j.progress} label="progress" />
          <span>{left}</span>
          <span class="clip">{j.progress.message}</span>
        </section>
      )}
      {j.status === 'pending' && <Why job={j} />}
      {j.status === 'failed' && <Cause job={j} />}
      <Facts job={j} />
      {all.length > 0 && <Timeline job={j} attempts={all} chosen={chosen?.attempt ?? 0} choose={setPicked} />}
      {chosen && <Usage key={`${id}/usage/${chosen.attempt}`} jobId={j.job_id} attempt={chosen} live={j.status === 'running' && chosen.attempt === j.attempt} />}
      {chosen && (
        <section aria-label="Log">
          <h2>Log of attempt {chosen.attempt}</h2>
          <LogView key={`${id}/${chosen.attempt}`} jobId={j.job_id} attempt={chosen} live={j.status === 'running' && chosen.attempt === j.attempt} />
        </section>
      )}
      <section aria-label="Files" class="columns">
        <div><h2>Inputs</h2><Files none="None." files={j.inputs.filter((i) => i.ref.startsWith('blob:')).map((i) => ({ name: i.name, url: `/v1/blobs/${i.ref.slice(5)}` }))} /></div>
        <div><h2>Outputs</h2><Files none={j.status === 'success' ? 'None.' : 'None yet.'} files={outputs.value ?? []} /></div>
      </section>
      <Payload job={j} />
    </div>
  );
}
