// Where we are is the address bar's to say: path and query, so that every view can be sent to somebody.
import { signal } from '@preact/signals';

const read = (): { path: string; query: URLSearchParams } => ({ path: location.pathname, query: new URLSearchParams(location.search) });

export const here = signal(read());

addEventListener('popstate', () => (here.value = read()));

export function go(to: string, replace = false): void {
  if (to !== location.pathname + location.search)
    history[replace ? 'replaceState' : 'pushState'](null, '', to);
  here.value = read();
}

/** Links to our own pages change the page in place; with a modifier, and all others, they do what links do. */
export function onClick(e: MouseEvent): void {
  const a = (e.target as Element).closest('a');
  if (!a || e.defaultPrevented || e.button || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey)
    return;
  if (a.origin !== location.origin || a.target || a.hasAttribute('download') || a.pathname.startsWith('/v1/') || a.hash)
    return;
  e.preventDefault();
  const moved = a.pathname !== location.pathname;
  go(a.pathname + a.search);
  if (moved) {
    scrollTo(0, 0);
    document.getElementById('main')?.focus();
  }
}

/** The page's query with some of it replaced; null takes a name out. */
export function withQuery(changes: Record<string, string | string[] | null>): string {
  const q = new URLSearchParams(here.peek().query);
  for (const [name, value] of Object.entries(changes)) {
    q.delete(name);
    for (const v of Array.isArray(value) ? value : [value])
      if (v)
        q.append(name, v);
  }
  const text = q.toString();
  return here.peek().path + (text ? `?${text}` : '');
}
