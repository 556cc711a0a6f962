// What keeps the pages up to date: they poll while they are seen; where the server has its event stream, events say when to look.
import { signal } from '@preact/signals';
import { useEffect, useRef, useState } from 'preact/hooks';
import { Problem } from './api';
import { streaming } from './events';

/** Of the last answer to anything. */
export const reachable = signal(true);
/** At most every `ms`, and once more behind the last call. */
export function useThrottled(fn: () => void, ms: number): () => void {
  const latest = useRef(fn);
  latest.current = fn;
  const timer = useRef(0);
  const last = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  return () => {
    clearTimeout(timer.current);
    const run = (): void => {
      last.current = Date.now();
      latest.current();
    };
    timer.current = window.setTimeout(run, Math.max(last.current + ms - Date.now(), 0));
  };
}

/** Ticks once a second, for ages and times left. */
export const now = signal(Date.now());
setInterval(() => {
  if (!document.hidden)
    now.value = Date.now();
}, 1000);

const SELDOM_MS = 30_000; // while events tell what is new

export interface Data<T> {
  value: T | undefined;
  error: Problem | undefined;
  again: () => void;
  set: (value: T) => void; // the stream brought it
}

/**
 * Loads, and loads again every `everyMs` while the page is seen (0: once). Another `key` begins anew. A failed load keeps what was there,
 * and is tried again, ever more seldom up to half a minute. `streamed`: events tell of it, too, so that polling is seldom while there are any.
 */
export function useData<T>(key: string, load: (signal: AbortSignal) => Promise<T>, everyMs: number, streamed = false): Data<T> {
  const [state, setState] = useState<{ key: string; value?: T; error?: Problem }>({ key });
  const loader = useRef(load);
  loader.current = load;
  const kick = useRef<() => void>(() => {});
  const every = useRef(everyMs);
  every.current = everyMs;

  useEffect(() => {
    const stop = new AbortController();
    let timer = 0, failures = 0, busy = false, asked = false;
    const turn = async (): Promise<void> => {
      clearTimeout(timer);
      if (busy) {
        asked = true;
        return;
      }
      busy = true;
      asked = false;
      try {
        const value = await loader.current(stop.signal);
        if (stop.signal.aborted)
          return;
        failures = 0;
        reachable.value = true;
        setState({ key, value });
      } catch (e) {
        if (stop.signal.aborted)
          return;
        failures++;
        const error = e instanceof Problem ? e : new Problem(-1, String(e));
        if (error.status === 0)
          reachable.value = false;
        setState((old) => ({ key, value: old.key === key ? old.value : undefined, error }));
      } finally {
        busy = false;
      }
      const wait = failures ? Math.min(1000 * 2 ** (failures - 1), 30_000) : streamed && streaming.value && every.current ? SELDOM_MS : every.current;
      if (asked)
        turn();
      else if (wait && !document.hidden)
        timer = window.setTimeout(turn, wait);
    };
    const seen = (): void => {
      if (!document.hidden)
        turn();
    };
    const unwatch = streamed ? streaming.subscribe(() => void turn()) : (void turn(), () => {}); // it began: what was missed? It broke: poll
    kick.current = turn;
    document.addEventListener('visibilitychange', seen);
    addEventListener('online', seen);
    return () => {
      unwatch();
      stop.abort();
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', seen);
      removeEventListener('online', seen);
    };
  }, [key, everyMs > 0]);

  const current = state.key === key ? state : { key };
  return { value: current.value, error: current.error, again: () => kick.current(), set: (value) => setState({ key, value }) };
}
