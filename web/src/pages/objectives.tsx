// Objectives: what is promised, how much error budget is left, how fast it burns.
import { duration, percent } from '../format';
import type { Objective } from '../types';

export function Objectives({ all }: { all: Objective[] }) {
  if (!all.length)
    return null;
  const words = { ok: 'kept', slow_burn: 'burns slowly', fast_burn: 'burns fast' };
  return (
    <section aria-label="Objectives">
      <h2>Objectives</h2>
      <div class="scroll" tabIndex={0} role="region" aria-label="objectives, one a row">
        <table>
          <thead><tr><th scope="col">Objective</th><th scope="col">Promise</th><th scope="col">State</th><th scope="col" class="number">Error budget left</th><th scope="col" class="number">Burn, 5 min</th><th scope="col" class="number">Burn, 1 h</th><th scope="col" class="number">Burn, 6 h</th></tr></thead>
          <tbody>{all.map((o) => (
            <tr key={o.name}>
              <td class="clip">{o.name}</td>
              <td>{percent(o.objective)} of {o.task_type ?? 'all jobs'} {o.kind === 'start' ? `start within ${duration(o.within_s ?? 0)}` : 'succeed'}, over {duration(o.window_s)}</td>
              <td><span class={`badge ${o.state === 'ok' ? 'success' : o.state === 'slow_burn' ? 'pending' : 'failed'}`}>{words[o.state]}</span></td>
              <td class="number">{percent(o.budget_left)}</td>
              {[o.burn_5m, o.burn_1h, o.burn_6h].map((burn) => <td class="number">{burn === null ? '–' : burn.toFixed(1)}</td>)}
            </tr>
          ))}</tbody>
        </table>
      </div>
    </section>
  );
}
