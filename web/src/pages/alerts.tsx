// Alerts: what fires, and what would.
import { duration } from '../format';
import { useAlerts, useSlis } from '../feed';
import type { Alert } from '../types';
import { Empty, Failure, Time } from '../ui/bits';
import { Objectives } from './objectives';

export function FiringAlerts({ alerts }: { alerts: Alert[] }) {
  const firing = alerts.filter((a) => a.state === 'firing');
  if (!firing.length)
    return <p class="callout good">No alert fires.</p>;
  return (
    <section class="callout bad" aria-label="Firing alerts" role="alert">
      <h2>{firing.length === 1 ? 'One alert fires' : `${firing.length} alerts fire`}</h2>
      <ul>{firing.map((a) => <li key={a.name}><strong>{a.name}</strong>: {a.text} {a.since && <>since <Time at={a.since} /></>}</li>)}</ul>
      <p><a href="/alerts">All alerts</a></p>
    </section>
  );
}

const CLASSES = { ok: 'success', pending: 'pending', firing: 'failed', resolved: 'cancelled' };

export function AlertsPage() {
  const alerts = useAlerts(), slis = useSlis();
  return (
    <div class="page">
      <h1>Alerts</h1>
      <Failure data={alerts} />
      {alerts.value === null && <Empty>This server is too old to have alerts.</Empty>}
      {alerts.value?.alerts.length === 0 && <Empty>All alerts are turned off in the server's configuration.</Empty>}
      {alerts.value && alerts.value.alerts.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label="alerts, one a row">
          <table>
            <thead><tr><th scope="col">Alert</th><th scope="col">State</th><th scope="col" class="number">Value</th><th scope="col" class="number">Fires above</th><th scope="col" class="number">Clears at</th><th scope="col" class="number">For</th><th scope="col">Since</th><th scope="col">Fired last</th><th scope="col">Says</th></tr></thead>
            <tbody>{alerts.value.alerts.map((a) => (
              <tr key={a.name}>
                <td>{a.name}</td><td><span class={`badge ${CLASSES[a.state]}`}>{a.state}</span> <span class="faint">{a.severity}</span></td>
                <td class="number">{a.value === null ? '–' : Number(a.value.toFixed(4))}</td><td class="number">{Number(a.above.toFixed(4))}</td><td class="number">{Number(a.clear_at.toFixed(4))}</td>
                <td class="number">{duration(a.for_s)}</td><td><Time at={a.since} /></td><td><Time at={a.fired_at} /></td><td class="clip news" title={a.text}>{a.text}</td>
              </tr>
            ))}</tbody>
          </table>
        </div>
      )}
      {slis.value && <Objectives all={slis.value.objectives} />}
    </div>
  );
}
