// Workers: who lives, with how many slots, what runs where; drain and resume.
import { get, post } from '../api';
import { bytes, count } from '../format';
import { useWorkers } from '../feed';
import { useData } from '../live';
import type { JobSummary, Page, Worker } from '../types';
import { Bar, Empty, Failure, JobLink, Time } from '../ui/bits';
import { ask, attempt, say } from '../ui/dialog';

const RUNNING = 500; // that are looked at

async function turn(worker: Worker): Promise<void> {
  const name = worker.name || worker.worker_id, drained = worker.drained_at !== null;
  const sure = drained
    ? await ask(`Give jobs to ${name} again?`, <p>It begins with what waits at once.</p>, 'Resume the worker', false)
    : await ask(`Drain ${name}?`, <p>What runs there goes on; it is given no more jobs until it is resumed, also when it is restarted.</p>, 'Drain the worker');
  if (sure && await attempt(() => post(`/v1/workers/${worker.worker_id}/${drained ? 'resume' : 'drain'}`, drained ? {} : { by: 'dashboard' })))
    say(drained ? `${name} gets jobs again.` : `${name} gets no more jobs.`);
}

function Card({ worker, jobs }: { worker: Worker; jobs: JobSummary[] }) {
  const handlers = Object.entries(worker.handlers);
  return (
    <li class={`worker ${worker.state}`}>
      <div class="title">
        <h2>{worker.name || worker.worker_id}</h2>
        <span class={`badge ${worker.state === 'live' ? 'success' : worker.state === 'gone' ? '' : 'pending'}`}>{worker.state}</span>
        {(worker.state !== 'gone' || worker.drained_at) && <button type="button" aria-label={`${worker.drained_at ? 'Resume' : 'Drain'} ${worker.name || worker.worker_id}`} onClick={() => void turn(worker)}>{worker.drained_at ? 'Resume' : 'Drain'}</button>}
      </div>
      <dl class="facts bare">
        <div class="fact"><dt>Slots</dt><dd><meter min={0} max={Math.max(worker.slots_total, 1)} value={worker.slots_busy} aria-label="busy slots" /> {worker.slots_busy} of {worker.slots_total}</dd></div>
        {worker.load && (
          <>
            <div class="fact"><dt>CPU of its host</dt><dd><meter min={0} max={worker.load.cpus} value={worker.load.cpu} aria-label="busy CPUs" /> {worker.load.cpu.toFixed(1)} of {worker.load.cpus}</dd></div>
            <div class="fact"><dt>Memory of its host</dt><dd><meter min={0} max={worker.load.memory_total_bytes} value={worker.load.memory_bytes} aria-label="used memory" /> {bytes(worker.load.memory_bytes)} of {bytes(worker.load.memory_total_bytes)}</dd></div>
          </>
        )}
        <div class="fact"><dt>Last contact</dt><dd><Time at={worker.last_seen} /></dd></div>
        {worker.drained_at && <div class="fact"><dt>Drained</dt><dd><Time at={worker.drained_at} />{worker.drained_by && ` by ${worker.drained_by}`}</dd></div>}
        <div class="fact"><dt>Host</dt><dd>{worker.host || '–'}</dd></div>
        <div class="fact"><dt>Version</dt><dd>{worker.version || '–'}</dd></div>
        <div class="fact"><dt>Isolation</dt><dd>{worker.isolation || '–'}</dd></div>
        <div class="fact"><dt>Known since</dt><dd><Time at={worker.first_seen} /></dd></div>
      </dl>
      <p class="faint break">{handlers.map(([type, version]) => `${type} (${version})`).join(', ')}</p>
      {jobs.length > 0 && (
        <ul class="runs" aria-label={`running on ${worker.name || worker.worker_id}`}>{jobs.map((j) => (
          <li key={j.job_id}><JobLink id={j.job_id} /> <span class="clip">{j.task_type}</span> <Bar progress={j.progress} label={`progress of ${j.job_id}`} /> <Time at={j.started_at} /></li>
        ))}</ul>
      )}
    </li>
  );
}

export function WorkersPage() {
  const workers = useWorkers();
  const running = useData('running', (signal) => get<Page>(`/v1/jobs?status=running&limit=${RUNNING}`, signal), 3000);
  const all = [...(workers.value?.workers ?? [])].sort((a, b) => Number(a.state === 'gone') - Number(b.state === 'gone') || (a.name ?? '').localeCompare(b.name ?? ''));
  const live = all.filter((w) => w.state !== 'gone');
  const jobsOf = (w: Worker): JobSummary[] => (running.value?.jobs ?? []).filter((j) => j.owner_id === w.worker_id);
  return (
    <div class="page">
      <div class="title"><h1>Workers</h1><span class="faint">{count(live.length)} live, {live.reduce((n, w) => n + w.slots_busy, 0)} of {live.reduce((n, w) => n + w.slots_total, 0)} slots busy</span></div>
      <Failure data={workers} />
      {workers.value && !all.length && <Empty>No worker has asked for work yet: <code>haul worker --handlers handlers.yaml</code></Empty>}
      <ul class="workers">{all.map((w) => <Card key={w.worker_id} worker={w} jobs={jobsOf(w)} />)}</ul>
      <p class="faint">A drained worker stays and is given nothing. To end one, where it runs: <code>haul worker stop</code>.</p>
    </div>
  );
}
