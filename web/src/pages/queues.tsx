// Queues and their task types: how much waits and for how long, who could take it, pause and resume.
import { get, post, Problem } from '../api';
import { count, duration } from '../format';
import { useStats, useWorkers } from '../feed';
import { useData } from '../live';
import type { QueueStats, Worker } from '../types';
import { Empty, Failure, Time } from '../ui/bits';
import { ask, attempt, say } from '../ui/dialog';

interface Paused { queue: string; paused_at: string | null }

const serving = (workers: Worker[], q: QueueStats): number => workers.filter((w) => w.state === 'live' && q.task_type in w.handlers).length;
const filter = (q: QueueStats, status: string): string => `/jobs?status=${status}&queue=${encodeURIComponent(q.queue)}&task_type=${encodeURIComponent(q.task_type)}`;

/** null: this server cannot pause. */
const usePaused = () => useData<Paused[] | null>('paused', async (signal) => {
  try {
    return (await get<{ queues: Paused[] }>('/v1/queues', signal)).queues.filter((q) => q.paused_at);
  } catch (e) {
    if (e instanceof Problem && e.status === 404)
      return null;
    throw e;
  }
}, 5000);

export function QueuesPage() {
  const stats = useStats(), workers = useWorkers(), paused = usePaused();
  const rows = [...(stats.value?.queues ?? [])].sort((a, b) => a.queue.localeCompare(b.queue) || a.task_type.localeCompare(b.task_type));
  const pausedAt = (queue: string): string | null | undefined => paused.value?.find((p) => p.queue === queue)?.paused_at;
  const turn = async (queue: string, verb: 'pause' | 'resume'): Promise<void> => {
    if (verb === 'pause' && !(await ask(`Pause the queue ${queue}?`, <p>What runs goes on; nothing else of it is started until it is resumed.</p>, 'Pause the queue')))
      return;
    if (await attempt(() => post(`/v1/queues/${encodeURIComponent(queue)}/${verb}`))) {
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
              <th scope="col" class="number">Running</th><th scope="col" class="number">Succeeded</th><th scope="col" class="number">Dead letters</th><th scope="col" class="number">Workers</th>{paused.value && <th scope="col">State</th>}</tr></thead>
            <tbody>{rows.map((q, i) => {
              const n = serving(workers.value?.workers ?? [], q);
              const first = i === 0 || rows[i - 1].queue !== q.queue;
              const at = pausedAt(q.queue);
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
                  <td class="number">{workers.value ? <span class={n ? '' : 'warn'}>{n || 'none'}</span> : '–'}</td>
                  {paused.value && (
                    <td>{first && (at
                      ? <><span class="badge pending">paused</span> <Time at={at} /> <button type="button" onClick={() => turn(q.queue, 'resume')} aria-label={`Resume ${q.queue}`}>Resume</button></>
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
