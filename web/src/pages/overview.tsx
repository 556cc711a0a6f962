// Overview: is all well? Numbers first, then how they went, then what to look at.
import type { ComponentChildren } from 'preact';
import { count, duration, percent } from '../format';
import { history, type Point, sums, useAlerts, useSlis, useStats, useWorkers } from '../feed';
import { Failure } from '../ui/bits';
import { Chart } from '../ui/chart';
import { FiringAlerts } from './alerts';
import { Objectives } from './objectives';
import { Receivers } from './receivers';

function Tile({ name, value, note, href, bad }: { name: string; value: ComponentChildren; note?: ComponentChildren; href?: string; bad?: boolean }) {
  return (
    <div class="tile">
      <dt>{name}</dt>
      <dd class={bad ? 'bad' : ''}>{href ? <a href={href}>{value}</a> : value}</dd>
      {note && <dd class="note-line">{note}</dd>}
    </div>
  );
}

/** Of what this tab has seen in the last `s` seconds; null: nothing ended. */
function seen(points: Point[], s: number): { perS: number; success: number | null } | null {
  const last = points.at(-1);
  const first = last && points.find((p) => p.at >= last.at - s);
  if (!last || !first || last.at - first.at < 1)
    return null;
  const ended = Math.max(last.ended - first.ended, 0), failed = Math.max(last.failed - first.failed, 0);
  return { perS: ended / (last.at - first.at), success: ended ? Math.max(1 - failed / ended, 0) : null };
}

const rate = (perS: number): string => (perS >= 1 || perS === 0 ? `${perS >= 100 ? count(Math.round(perS)) : perS.toFixed(perS ? 1 : 0)}/s` : `${(perS * 60).toFixed(1)}/min`);
const share = (v: number | null | undefined): string => (v === null || v === undefined ? '–' : percent(v));
const time = (v: number | null | undefined): string => (v === null || v === undefined ? '–' : duration(v));

export function OverviewPage() {
  const stats = useStats(), slis = useSlis(), alerts = useAlerts(), workers = useWorkers();
  const s = stats.value ? sums(stats.value) : null;
  const points = history.value;
  const minute = seen(points, 60), five = seen(points, 300);
  const all = slis.value?.all;
  const live = workers.value?.workers.filter((w) => w.state !== 'gone') ?? [];
  const slots = live.reduce((n, w) => n + w.slots_total, 0), busy = live.reduce((n, w) => n + w.slots_busy, 0);
  const times = points.map((p) => p.at);
  const perSecond = points.map((p, i) => {
    const before = points[Math.max(i - 5, 0)];
    return p.at > before.at ? Math.max(p.ended - before.ended, 0) / (p.at - before.at) : null;
  });
  const rate1 = all?.job_success_rate_1m ?? minute?.success, rate5 = all?.job_success_rate_5m ?? five?.success;
  const own = all ? undefined : 'as this tab has seen it';
  return (
    <div class="page">
      <div class="title"><h1>Overview</h1>{stats.value && <span class="faint">haul {stats.value.server.version}{stats.value.server.uptime_s !== undefined && `, up ${duration(stats.value.server.uptime_s)}`}</span>}</div>
      <Failure data={stats} />
      {alerts.value && <FiringAlerts alerts={alerts.value.alerts} />}
      {alerts.value && <Receivers all={alerts.value.receivers ?? []} sending={alerts.value.sending ?? false} again={alerts.again} />}
      {s && (
        <dl class="tiles">
          <Tile name="Waiting" value={count(s.pending)} href="/jobs?status=pending" note={s.oldest ? `oldest ready ${duration(s.oldest)}` : `${count(s.ready)} ready`} />
          <Tile name="Running" value={count(s.running)} href="/jobs?status=running" note={workers.value ? `${busy} of ${slots} slots` : undefined} />
          <Tile name="Dead letters" value={count(s.failed)} href="/dead-letters" bad={s.failed > 0} />
          <Tile name="Throughput" value={all ? rate(all.finished_per_s) : minute ? rate(minute.perS) : '–'} note={own ?? 'finished, last minute'} />
          <Tile name="Success, 1 min" value={share(rate1)} bad={rate1 !== null && rate1 !== undefined && rate1 < 0.97} note={own} />
          <Tile name="Success, 5 min" value={share(rate5)} bad={rate5 !== null && rate5 !== undefined && rate5 < 0.97} note={own} />
          {all && <Tile name="Start latency p95" value={time(all.job_start_latency_p95_s)} note="last 5 min" />}
          {all && <Tile name="Completion p99" value={time(all.job_completion_latency_p99_s)} note="last 5 min" />}
          <Tile name="Workers" value={workers.value ? count(live.length) : '–'} href="/workers" bad={workers.value !== undefined && !live.length && s.pending > 0} />
          <Tile name="Succeeded" value={count(s.success)} href="/jobs?status=success" note="in all" />
        </dl>
      )}
      <div class="charts">
        <Chart title="Waiting and running" times={times} show={(v) => count(Math.round(v))}
          lines={[{ name: 'waiting', colour: 'wait', values: points.map((p) => p.depth) }, { name: 'running', colour: 'run', values: points.map((p) => p.running) }]} />
        <Chart title="Jobs finished a second" times={times} show={(v) => v.toFixed(v < 10 ? 1 : 0)} lines={[{ name: 'finished', colour: 'good', values: perSecond }]} />
        {all && (
          <Chart title="Latency" times={times} show={duration}
            lines={[{ name: 'start p95', colour: 'run', values: points.map((p) => p.start) }, { name: 'completion p99', colour: 'bad', values: points.map((p) => p.completion) }]} />
        )}
      </div>
      {slis.value && <Objectives all={slis.value.objectives} />}
    </div>
  );
}
