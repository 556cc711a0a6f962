// A table of any length: only the rows in sight, and some around them, are in the document. Every row is ROW px high.
import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';

export const ROW = 30;
const AROUND = 12;

interface Props<T> {
  label: string;
  head: ComponentChildren;
  columns: number;
  rows: T[];
  more: boolean; // the end is not known yet
  row: (item: T, index: number) => ComponentChildren; // <td>s
  id: (item: T) => string;
  rowClass?: (item: T) => string;
  onEnd?: () => void; // the last rows are in sight
  behind?: string | null; // where they go on: when it changes and they are in sight still, onEnd is called again
}

export function Windowed<T>({ label, head, columns, rows, more, row, id, rowClass, onEnd, behind }: Props<T>) {
  const box = useRef<HTMLDivElement>(null);
  const [seen, setSeen] = useState({ from: 0, to: 60 });
  const look = (): void => {
    const b = box.current;
    if (!b)
      return;
    const from = Math.max(Math.floor(b.scrollTop / ROW) - AROUND, 0);
    const to = Math.ceil((b.scrollTop + b.clientHeight) / ROW) + AROUND;
    setSeen((old) => (old.from === from && old.to === to ? old : { from, to }));
  };
  useLayoutEffect(look, [rows.length]);
  useEffect(() => {
    const watch = new ResizeObserver(look);
    watch.observe(box.current!);
    return () => watch.disconnect();
  }, []);
  useEffect(() => {
    if (more && seen.to >= rows.length)
      onEnd?.();
  }, [seen.to, rows.length, more, behind]);

  const from = Math.min(seen.from, Math.max(rows.length - 1, 0));
  const shown = rows.slice(from, seen.to);
  const below = Math.max(rows.length - from - shown.length, 0);
  const gap = (n: number) => n > 0 && <tr aria-hidden="true"><td colSpan={columns} class="gap" style={{ height: `${n * ROW}px` }} /></tr>;
  return (
    <div class="windowed" ref={box} onScroll={look} tabIndex={0} role="region" aria-label={label}>
      <table aria-rowcount={more ? -1 : rows.length + 1}>
        <thead><tr aria-rowindex={1}>{head}</tr></thead>
        <tbody>
          {gap(from)}
          {shown.map((item, i) => (
            <tr key={id(item)} aria-rowindex={from + i + 2} class={rowClass?.(item)}>{row(item, from + i)}</tr>
          ))}
          {gap(below)}
        </tbody>
      </table>
    </div>
  );
}
