// Queues and their task types: how much waits and for how long, who could take it, pause and resume.
import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { get, post } from '../api';
import { count, duration, rate } from '../format';
import { useStats, useWorkers } from '../feed';
import { useData } from '../live';
import type { QueueStats, Worker } from '../types';
import { Empty, Failure, Time } from '../ui/bits';
import { ask, attempt, say } from '../ui/dialog';

interface Paused { queue: string; paused_at: string | null; paused_by: string | null; paused_reason: string | null }

const serving = (workers: Worker[], q: QueueStats): number => workers.filter((w) => w.state === 'live' && q.task_type in w.handlers).length;
const filter = (q: QueueStats, status: string): string => `/jobs?status=${status}&queue=${encodeURIComponent(q.queue)}&task_type=${encodeURIComponent(q.task_type)}`;

const perMin = (n: number | null | undefined): string => (typeof n === 'number' ? rate(n) : '–');

const usePaused = () => useData<Paused[]>('paused', async (signal) => (await get<{ queues: Paused[] }>('/v1/queues', signal)).queues.filter((q) => q.paused_at), 5000);

/** A queue may be paused before its first job. */
const without = (queue: string): QueueStats => ({ project: '', queue, task_type: '–', pending: 0, running: 0, success: 0, failed: 0, cancelled: 0, ready: 0, oldest_ready_age_s: 0 });

export function QueuesPage() {
  const stats = useStats(), workers = useWorkers(), paused = usePaused();
  const reason = useSignal('');
  const listed = stats.value?.queues ?? [];
  const unlisted = (paused.value ?? []).filter((p) => !listed.some((q) => q.queue === p.queue)).map((p) => without(p.queue));
  const rows = [...listed, ...unlisted].sort((a, b) => a.queue.localeCompare(b.queue) || a.task_type.localeCompare(b.task_type));
  const names = stats.value?.paused.join(' ');
  useEffect(() => paused.again(), [names]); // the stream said so
  const turn = async (queue: string, verb: 'pause' | 'resume'): Promise<void> => {
    reason.value = '';
    const sure = verb === 'pause'
      ? await ask(`Pause the queue ${queue}?`, <>
        <p>What runs goes on; nothing else of it is started until it is resumed.</p>
        <label>Why <input maxLength={200} onInput={(e) => (reason.value = e.currentTarget.value.trim())} /></label>
      </>, 'Pause the queue')
      : await ask(`Resume the queue ${queue}?`, <p>Workers begin with what waits in it at once.</p>, 'Resume the queue', false);
    if (!sure)
      return;
    const body = verb === 'pause' ? { by: 'dashboard', ...(reason.value && { reason: reason.value }) } : {};
    if (await attempt(() => post(`/v1/queues/${encodeURIComponent(queue)}/${verb}`, body))) {
      say(verb === 'pause' ? `${queue} is paused.` : `${queue} goes on.`);
      paused.again();
    }
  };
  return (
    <div class="page">
      <h1>Queues and task types</h1>
      <Failure data={stats} />
      {stats.value && !rows.length && <Empty>No job was submitted yet.</Empty>}
      {rows.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label="queues, one a row">
          <table>
            <thead><tr><th scope="col">Queue</th><th scope="col">Type</th><th scope="col" class="number">Waiting</th><th scope="col" class="number">Ready</th><th scope="col" class="number">Oldest ready</th>
              <th scope="col" class="number">Running</th><th scope="col" class="number">Succeeded</th><th scope="col" class="number">Dead letters</th><th scope="col" class="number" title="submitted, per minute, over the last 5 minutes">In / min</th><th scope="col" class="number" title="succeeded, per minute, over the last 5 minutes">Done / min</th><th scope="col" class="number" title="failed, per minute, over the last 5 minutes">Failed / min</th><th scope="col" class="number">Workers</th>{paused.value && <th scope="col">State</th>}</tr></thead>
            <tbody>{rows.map((q, i) => {
              const n = serving(workers.value?.workers ?? [], q);
              const first = i === 0 || rows[i - 1].queue !== q.queue;
              const pause = paused.value?.find((p) => p.queue === q.queue);
              return (
                <tr key={`${q.queue}/${q.task_type}`}>
                  <td class="clip" title={q.queue}><a href={`/jobs?queue=${encodeURIComponent(q.queue)}`}>{q.queue}</a></td>
                  <td class="clip" title={q.task_type}>{q.task_type}</td>
                  <td class="number"><a href={filter(q, 'pending')}>{count(q.pending)}</a></td>
                  <td class="number">{q.ready === null ? '–' : count(q.ready)}</td>
                  <td class="number">{q.ready ? duration(q.oldest_ready_age_s ?? 0) : '–'}</td>
                  <td class="number"><a href={filter(q, 'running')}>{count(q.running)}</a></td>
                  <td class="number">{count(q.success)}</td>
                  <td class="number">{q.failed ? <a href={`/dead-letters?task_type=${encodeURIComponent(q.task_type)}`}>{count(q.failed)}</a> : 0}</td>
                  <td class="number">{perMin(q.submitted_per_min)}</td>
                  <td class="number">{perMin(q.succeeded_per_min)}</td>
                  <td class="number">{perMin(q.failed_per_min)}</td>
                  <td class="number">{workers.value ? <span class={n ? '' : 'warn'}>{n || 'none'}</span> : '–'}</td>
                  {paused.value && (
                    <td>{first && (pause
                      ? <><span class="badge pending" title={[pause.paused_by, pause.paused_reason].filter(Boolean).join(': ')}>paused</span> <Time at={pause.paused_at} /> {pause.paused_reason && <span class="clip">{pause.paused_reason} </span>}<button type="button" onClick={() => turn(q.queue, 'resume')} aria-label={`Resume ${q.queue}`}>Resume</button></>
                      : <button type="button" onClick={() => turn(q.queue, 'pause')} aria-label={`Pause ${q.queue}`}>Pause</button>)}</td>
                  )}
                </tr>
              );
            })}</tbody>
          </table>
        </div>
      )}
    </div>
  );
}
