// What several pages show and the stream brings whole: counts, workers, objectives, alerts. A part that a server does not have is null.
import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { get, Problem } from './api';
import { useTopic } from './events';
import { type Data, now, useData } from './live';
import type { Alerts, Slis, Stats, Worker } from './types';

function useFeed<T>(name: string, path: string, everyMs: number): Data<T | null> {
  const data = useData<T | null>(name, async (signal) => {
    try {
      return await get<T>(path, signal);
    } catch (e) {
      if (e instanceof Problem && e.status === 404)
        return null;
      throw e;
    }
  }, everyMs, true);
  // asked for only once the server is known to have it: an unknown topic would cost the whole stream
  const there = data.value !== undefined && data.value !== null;
  useTopic(`${name}/${there}`, () => (there ? `${name}=1` : ''), (event, value) => {
    if (event !== name)
      return;
    if (value.more) // too many for an event
      data.again();
    else
      data.set({ ...data.value, ...value }); // an event leaves out what changes all the time
  });
  return data;
}

export const useStats = (): Data<Stats | null> => useFeed('counts', '/v1/stats', 2000);
export const useWorkers = (): Data<{ workers: Worker[] } | null> => useFeed('workers', '/v1/workers', 3000);
export const useSlis = (): Data<Slis | null> => useFeed('slis', '/v1/slis', 2000);
export const useAlerts = (): Data<Alerts | null> => useFeed('alerts', '/v1/alerts', 5000);

export interface Sums { pending: number; running: number; success: number; failed: number; cancelled: number; ready: number; oldest: number }

export function sums(stats: Stats): Sums {
  const s: Sums = { pending: 0, running: 0, success: 0, failed: 0, cancelled: 0, ready: 0, oldest: 0 };
  for (const q of stats.queues) {
    for (const k of ['pending', 'running', 'success', 'failed', 'cancelled'] as const)
      s[k] += q[k];
    s.ready += q.ready ?? 0;
    s.oldest = Math.max(s.oldest, q.oldest_ready_age_s ?? 0);
  }
  return s;
}

export interface Point { at: number; depth: number; running: number; ended: number; failed: number; start: number | null; completion: number | null }

/** Of the last hour that this tab has seen: for the charts. */
export const history = signal<Point[]>([]);
const KEPT = 1800;

function remember(s: Sums, slis: Slis | null | undefined): void {
  const at = Date.now() / 1000;
  const last = history.peek().at(-1);
  if (last && at - last.at < 1.9)
    return;
  history.value = [...history.peek().slice(1 - KEPT), {
    at, depth: s.pending, running: s.running, ended: s.success + s.failed + s.cancelled, failed: s.failed,
    start: slis?.all.job_start_latency_p95_s ?? null, completion: slis?.all.job_completion_latency_p99_s ?? null,
  }];
}

/** Goes on while any page is shown; also while nothing changes, which is a line, too. */
export function useRecorder(): void {
  const stats = useStats(), slis = useSlis();
  const tick = now.value;
  useEffect(() => {
    if (stats.value)
      remember(sums(stats.value), slis.value);
  }, [tick, stats.value]);
}
