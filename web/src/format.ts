// Numbers and times as people read them.
const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

export function bytes(n: number): string {
  let i = 0;
  for (; n >= 1024 && i < UNITS.length - 1; i++)
    n /= 1024;
  return `${i && n < 100 ? n.toFixed(1) : Math.round(n)} ${UNITS[i]}`;
}

const count_ = new Intl.NumberFormat('en');
export const count = (n: number): string => count_.format(n);

/** 0.42 -> "0.4", 1234.5 -> "1,235" */
export const rate = (n: number): string => count_.format(Number(n.toFixed(n < 9.95 ? 1 : 0)));

const STEPS: [number, string][] = [[86400, 'd'], [3600, 'h'], [60, 'm'], [1, 's']];

/** 93784 -> "1d 2h": the two largest units. */
export function duration(s: number): string {
  if (!Number.isFinite(s))
    return '–';
  if (s < 0.0005)
    return '0 s';
  if (s < 1)
    return `${Math.round(s * 1000)} ms`;
  if (s < 10)
    return `${s.toFixed(1)} s`;
  let rest = Math.round(s);
  const parts: string[] = [];
  for (const [size, unit] of STEPS) {
    const n = Math.floor(rest / size);
    rest -= n * size;
    if (n || parts.length)
      parts.push(`${n}${unit}`);
  }
  return parts.slice(0, 2).filter((p) => !p.startsWith('0')).join(' ') || '0 s';
}

export const seconds = (from: string, to?: string | null): number => ((to ? Date.parse(to) : Date.now()) - Date.parse(from)) / 1000;

/** "3m ago", "in 2h" */
export function relative(at: string, now = Date.now()): string {
  const s = (now - Date.parse(at)) / 1000;
  if (Math.abs(s) < 1)
    return 'now';
  const text = duration(Math.abs(s) < 60 ? Math.round(Math.abs(s)) : Math.abs(s)).replace('.0 s', ' s');
  return s < 0 ? `in ${text}` : `${text} ago`;
}

export function clock(at: string): string {
  const d = new Date(at);
  const two = (n: number): string => String(n).padStart(2, '0');
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

export const percent = (share: number): string => {
  const p = share * 100;
  return `${p === 100 || p === 0 ? p : p > 99 ? p.toFixed(2) : p.toFixed(1)} %`;
};

/** For a POSIX shell. */
export const shellQuoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
