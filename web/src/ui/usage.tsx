// What an attempt's program used over time, as its worker measured it.
import { get } from '../api';
import { bytes } from '../format';
import { useData } from '../live';
import type { Attempt, UsagePoint } from '../types';
import { Failure } from './bits';
import { Chart } from './chart';

const EVERY_MS = 5000;
const cpus = (v: number): string => v.toFixed(v < 10 ? 2 : 0);

export function Usage({ jobId, attempt, live }: { jobId: string; attempt: Attempt; live: boolean }) {
  const usage = useData(`${jobId}/usage/${attempt.attempt}/${live}`, async (signal) =>
    (await get<{ points: UsagePoint[] }>(`/v1/jobs/${encodeURIComponent(jobId)}/attempts/${attempt.attempt}/usage`, signal)).points, live ? EVERY_MS : 0);
  const points = usage.value ?? [];
  const began = Date.parse(attempt.started_at) / 1000;
  const times = points.map((p) => began + p.at_s);
  const lines = (of: 'cpu' | 'memory_bytes') => [
    { name: 'most', colour: 'wait', values: points.map((p) => p[of].most) },
    { name: 'mean', colour: 'run', values: points.map((p) => p[of].mean) },
  ];
  return (
    <section aria-label="CPU and memory">
      <h2>CPU and memory of attempt {attempt.attempt}</h2>
      <Failure data={usage} />
      {usage.value && !points.length && <p class="faint">{live ? 'Nothing was measured yet: its worker tells with its heartbeats.' : 'Nothing was measured: it ran for less than a second, or its worker could not look.'}</p>}
      {points.length > 0 && (
        <div class="charts">
          <Chart title="CPUs busy" times={times} show={cpus} lines={lines('cpu')} />
          <Chart title="Memory" times={times} show={bytes} lines={lines('memory_bytes')} />
        </div>
      )}
    </section>
  );
}
