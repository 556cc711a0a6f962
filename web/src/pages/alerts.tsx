// Alerts: what fires, and what would.
import { duration } from '../format';
import { useAlerts } from '../feed';
import type { Alert } from '../types';
import { Empty, Failure, Time } from '../ui/bits';

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

const CLASSES = { ok: 'success', pending: 'pending', firing: 'failed' };

export function AlertsPage() {
  const alerts = useAlerts();
  return (
    <div class="page">
      <h1>Alerts</h1>
      <Failure data={alerts} />
      {alerts.value === null && <Empty>This server has no alerts of its own. Prometheus can: docs/metrics.md.</Empty>}
      {alerts.value && (
        <div class="scroll" tabIndex={0} role="region" aria-label="alerts, one a row">
          <table>
            <thead><tr><th scope="col">Alert</th><th scope="col">State</th><th scope="col" class="number">Value</th><th scope="col" class="number">Fires above</th><th scope="col" class="number">Clears at</th><th scope="col" class="number">For</th><th scope="col">Since</th><th scope="col">Says</th></tr></thead>
            <tbody>{alerts.value.alerts.map((a) => (
              <tr key={a.name}>
                <td>{a.name}</td><td><span class={`badge ${CLASSES[a.state]}`}>{a.state}</span> <span class="faint">{a.severity}</span></td>
                <td class="number">{a.value === null ? '–' : Number(a.value.toFixed(4))}</td><td class="number">{a.above}</td><td class="number">{a.clear_at}</td>
                <td class="number">{duration(a.for_s)}</td><td><Time at={a.since} /></td><td class="clip news" title={a.text}>{a.text}</td>
              </tr>
            ))}</tbody>
          </table>
        </div>
      )}
    </div>
  );
}
