// The server's event stream (GET /v1/events): one for the whole page, because browsers allow six connections to a host. Its topics are those
// of the views that are shown. Where it is absent or breaks, `streaming` says so and the pages poll as they would without it.
import { signal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';

export const streaming = signal(false);

type Handler = (event: string, data: any) => void;
interface Sub { topic: () => string; on: Handler }

const NAMES = ['reset', 'job', 'left', 'log', 'log_end', 'counts', 'workers', 'slis', 'alerts'];
const AGAIN_MS = 10_000;
const subs = new Set<Sub>();
let source: EventSource | null = null;
let timer = 0;

function close(): void {
  source?.close();
  source = null;
  streaming.value = false;
}

function open(): void {
  clearTimeout(timer);
  close();
  const topics = [...new Set([...subs].map((s) => s.topic()))].filter(Boolean);
  if (!topics.length || document.hidden)
    return;
  const mine = (source = new EventSource(`/v1/events?${topics.join('&')}`));
  mine.onopen = () => (streaming.value = true);
  mine.onerror = () => {
    streaming.value = false;
    if (mine.readyState === EventSource.CLOSED && source === mine) // refused: it does not try again by itself
      timer = window.setTimeout(open, AGAIN_MS);
  };
  for (const name of NAMES)
    mine.addEventListener(name, (e) => {
      const data = JSON.parse((e as MessageEvent).data);
      for (const s of [...subs])
        s.on(name, data);
    });
}

function soon(): void { // views come and go together
  clearTimeout(timer);
  timer = window.setTimeout(open, 30);
}

document.addEventListener('visibilitychange', () => (document.hidden ? close() : soon())); // an unseen page costs nobody anything
addEventListener('pagehide', close);

/** Hears of `topic` (part of the stream's query; '' for none) while the view is shown. It is asked again whenever the stream is made anew. */
export function useTopic(key: string, topic: () => string, on: Handler): void {
  const latest = useRef({ topic, on });
  latest.current = { topic, on };
  useEffect(() => {
    const sub: Sub = { topic: () => latest.current.topic(), on: (event, data) => latest.current.on(event, data) };
    subs.add(sub);
    soon();
    return () => {
      subs.delete(sub);
      soon();
    };
  }, [key]);
}
