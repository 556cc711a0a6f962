// A line chart, which is a picture to those who see it and a sentence and a table to those who do not.
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { clock } from '../format';

export interface Line { name: string; colour: string; values: (number | null)[] } // colour: a CSS variable's name

interface Props { title: string; times: number[]; lines: Line[]; show: (value: number) => string }

const HEIGHT = 150;
const SPAN_S = 120; // at least so much time is shown
const ROWS = 12; // of the table

function spoken({ title, lines, show, times }: Props): string {
  if (!times.length)
    return `${title}: nothing was measured yet.`;
  return `${title}: ${lines.map((l) => {
    const known = l.values.filter((v): v is number => v !== null);
    return known.length ? `${l.name} now ${show(known.at(-1)!)}, least ${show(Math.min(...known))}, most ${show(Math.max(...known))}` : `${l.name} not known`;
  }).join('; ')}.`;
}

export function Chart(props: Props) {
  const { title, times, lines, show } = props;
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const data = [times, ...lines.map((l) => l.values)] as uPlot.AlignedData;
  const latest = useRef(data);
  latest.current = data;
  useEffect(() => {
    const make = (): void => {
      plot.current?.destroy();
      const style = getComputedStyle(box.current!);
      const ink = style.color;
      const axis = { stroke: ink, grid: { stroke: style.borderTopColor, width: 1 }, ticks: { show: false } };
      const colour = (name: string): string => {
        const probe = document.createElement('span');
        probe.style.color = `var(--${name})`;
        box.current!.append(probe);
        const value = getComputedStyle(probe).color;
        probe.remove();
        return value;
      };
      plot.current = new uPlot({
        width: Math.max(box.current!.clientWidth, 200), height: HEIGHT, legend: { show: false }, cursor: { y: false },
        scales: { x: { range: (_u, min, max) => [Math.min(min, max - SPAN_S), max] }, y: { range: (_u, _min, max) => [0, max > 0 ? max * 1.1 : 1] } },
        axes: [{ ...axis, size: 26, space: 90, values: (_u, ticks) => ticks.map((t) => clock(new Date(t * 1000).toISOString()).slice(11)) }, { ...axis, size: 56, values: (_u, ticks) => ticks.map(show) }],
        series: [{}, ...lines.map((l) => ({ label: l.name, stroke: colour(l.colour), width: 2, points: { show: false } }))],
      }, latest.current, box.current!);
    };
    make();
    const size = new ResizeObserver(() => plot.current?.setSize({ width: Math.max(box.current!.clientWidth, 200), height: HEIGHT }));
    size.observe(box.current!);
    const theme = new MutationObserver(make);
    theme.observe(document.documentElement, { attributes: true, attributeFilter: ['data-theme'] });
    const dark = matchMedia('(prefers-color-scheme: dark)');
    dark.addEventListener('change', make);
    return () => {
      size.disconnect();
      theme.disconnect();
      dark.removeEventListener('change', make);
      plot.current?.destroy();
      plot.current = null;
    };
  }, []);
  useEffect(() => plot.current?.setData(data), [times.at(-1), times.length]);

  const step = Math.max(Math.floor(times.length / ROWS), 1);
  const picked = times.map((_, i) => i).filter((i) => i % step === 0).slice(-ROWS);
  return (
    <figure class="chart">
      <figcaption>{title} <span class="legend">{lines.map((l) => <span key={l.name} class={`key ${l.colour}`}>{l.name}</span>)}</span></figcaption>
      <div ref={box} class="plot" role="img" aria-label={spoken(props)} />
      <details>
        <summary>As a table</summary>
        <table>
          <thead><tr><th scope="col">Time</th>{lines.map((l) => <th key={l.name} scope="col" class="number">{l.name}</th>)}</tr></thead>
          <tbody>{picked.map((i) => (
            <tr key={times[i]}><td>{clock(new Date(times[i] * 1000).toISOString())}</td>{lines.map((l) => <td key={l.name} class="number">{l.values[i] === null ? '–' : show(l.values[i]!)}</td>)}</tr>
          ))}</tbody>
        </table>
      </details>
    </figure>
  );
}
