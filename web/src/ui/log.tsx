// A log: coloured as its program meant it, followed, searched, downloaded. Lines have one height, so that a million of them are no burden.
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { pieces, stripped } from '../ansi';
import { useTopic } from '../events';
import { bytes, count } from '../format';
import { useData } from '../live';
import { LogText, TAIL } from '../log';
import type { Attempt } from '../types';
import { attempt as tryIt } from './dialog';

const LINE = 18;
const AROUND = 30;
const LONG = 4000; // characters of a line that are shown
const POLL_MS = 700;

function Line({ text, mark }: { text: string; mark: boolean }) {
  const cut = text.length > LONG ? text.slice(0, LONG) : text;
  return (
    <div class={mark ? 'line found' : 'line'}>
      {pieces(cut).map((p, i) => <span key={i} class={p.classes} style={{ color: p.fg, backgroundColor: p.bg }}>{p.text}</span>)}
      {cut !== text && <span class="faint"> … {count(text.length - LONG)} more characters: download the log for them</span>}
    </div>
  );
}

/** The text grows in place: `version` tells of it. */
function useLog(jobId: string, attempt: Attempt, live: boolean) {
  const [from, setFrom] = useState(() => Math.max(attempt.log_bytes - TAIL, 0));
  const log = useMemo(() => new LogText(attempt.attempt, from), [attempt.attempt, from]);
  const [version, setVersion] = useState(0);
  const changed = (): void => setVersion((v) => v + 1);
  const key = `${jobId}/${attempt.attempt}/${from}`;
  const poll = useData(`${key}/${live}`, async (signal) => {
    if (await log.fetchMore(jobId, signal))
      changed();
    return true;
  }, live ? POLL_MS : 0, true);
  useTopic(live ? key : '', () => (live ? `log=${jobId}&log_attempt=${log.attempt}&log_offset=${log.next}` : ''), (event, data) => {
    if (!live || data.job_id !== jobId || data.attempt !== log.attempt)
      return;
    if (event === 'log') {
      if (data.offset - data.cut === log.next) {
        if (data.cut)
          log.addCut(data.cut);
        log.add(data.text, data.next_offset);
        changed();
      } else if (data.next_offset > log.next) {
        poll.again();
      }
    } else if (event === 'log_end' && data.next_offset > log.next) {
      poll.again();
    }
  });
  return { log, version, poll, from, all: () => setFrom(0) };
}

export function LogView({ jobId, attempt, live }: { jobId: string; attempt: Attempt; live: boolean }) {
  const { log, version, poll, from, all } = useLog(jobId, attempt, live);
  const [follow, setFollow] = useState(true);
  const [wanted, setWanted] = useState('');
  const [at, setAt] = useState(0);
  const [seen, setSeen] = useState({ from: 0, to: 60 });
  const box = useRef<HTMLDivElement>(null);

  const lines = log.lines.at(-1) === '' ? log.lines.length - 1 : log.lines.length;
  const hits = useMemo(() => {
    if (!wanted)
      return [];
    const small = wanted.toLowerCase();
    return log.lines.flatMap((l, i) => (stripped(l).toLowerCase().includes(small) ? [i] : []));
  }, [wanted, version, log]);

  const look = (): void => {
    const b = box.current;
    if (!b)
      return;
    const top = Math.max(Math.floor(b.scrollTop / LINE) - AROUND, 0);
    const bottom = Math.ceil((b.scrollTop + b.clientHeight) / LINE) + AROUND;
    setSeen((old) => (old.from === top && old.to === bottom ? old : { from: top, to: bottom }));
  };
  const goTo = (i: number): void => {
    if (!hits.length)
      return;
    const hit = (i + hits.length) % hits.length;
    setAt(hit);
    setFollow(false);
    box.current?.scrollTo({ top: Math.max(hits[hit] * LINE - box.current.clientHeight / 2, 0) });
  };
  useLayoutEffect(() => {
    if (follow && box.current)
      box.current.scrollTop = box.current.scrollHeight;
    look();
  }, [version, follow, lines]);
  useEffect(() => setAt(0), [wanted]);

  const top = Math.min(seen.from, lines);
  const shown = log.lines.slice(top, Math.min(seen.to, lines));
  const scrolled = (): void => {
    const b = box.current!;
    if (follow && b.scrollTop + b.clientHeight < b.scrollHeight - 3 * LINE)
      setFollow(false);
    look();
  };
  return (
    <div class="log">
      <div class="log-tools" role="toolbar" aria-label="Log">
        <label>Search <input type="search" value={wanted} onInput={(e) => setWanted(e.currentTarget.value)}
          onKeyDown={(e) => { if (e.key === 'Enter') goTo(at + (e.shiftKey ? -1 : 1)); }} /></label>
        {wanted && <span role="status">{hits.length ? `line ${count(at + 1)} of ${count(hits.length)}` : 'nothing found'}</span>}
        {hits.length > 0 && <><button type="button" onClick={() => goTo(at - 1)}>Previous</button><button type="button" onClick={() => goTo(at + 1)}>Next</button></>}
        <label class="inline"><input type="checkbox" checked={follow} onChange={(e) => setFollow(e.currentTarget.checked)} /> Follow</label>
        {from > 0 && <button type="button" onClick={() => { setFollow(false); all(); }}>Load all of {bytes(attempt.log_bytes)}</button>}
        <a class="button" href={`/v1/jobs/${jobId}/log?attempt=${attempt.attempt}`} download={`${jobId}-${attempt.attempt}.log`}>Download</a>
        <button type="button" onClick={() => tryIt(async () => box.current?.requestFullscreen())}>Full screen</button>
      </div>
      {poll.error && <p class="failure" role="alert">{poll.error.message}</p>}
      <div class="log-text" ref={box} onScroll={scrolled} tabIndex={0} role="log" aria-live="off" aria-label={`log of attempt ${attempt.attempt}`}>
        <div style={{ height: `${lines * LINE}px` }}>
          <div style={{ transform: `translateY(${top * LINE}px)` }}>
            {shown.map((l, i) => <Line key={top + i} text={l} mark={hits.length > 0 && hits[at] === top + i} />)}
          </div>
        </div>
        {!lines && poll.value && <p class="faint">{live ? 'Nothing was written yet.' : 'Nothing was written.'}</p>}
      </div>
    </div>
  );
}
