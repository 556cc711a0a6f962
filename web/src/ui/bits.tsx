// Small pieces that every page uses.
import type { ComponentChildren } from 'preact';
import type { Data } from '../live';
import { now } from '../live';
import type { JobSummary, Progress, Status } from '../types';
import { clock, relative } from '../format';
import { say } from './dialog';

/** What a status is called: `failed` is the dead-letter queue, `pending` says more when it is not due. */
export function StatusBadge({ status, job }: { status: Status; job?: JobSummary }) {
  let word: string = status;
  if (job && status === 'pending' && Date.parse(job.run_at) > now.value)
    word = job.retries > 0 ? 'backing off' : 'scheduled';
  if (job && status === 'running' && job.cancel_requested_at)
    word = 'cancelling';
  return <span class={`badge ${status}`}>{word}</span>;
}

export function Time({ at, never = '–' }: { at: string | null | undefined; never?: string }) {
  return at ? <time dateTime={at} title={clock(at)}>{relative(at, now.value)}</time> : <span class="faint">{never}</span>;
}

export const shortId = (id: string): string => `${id.slice(0, 8)}…${id.slice(-6)}`;

export function JobLink({ id }: { id: string }) {
  return <a class="id" href={`/jobs/${id}`} title={id}>{shortId(id)}</a>;
}

export function Bar({ progress, label }: { progress: Progress | null; label: string }) {
  if (!progress)
    return null;
  return (
    <span class="bar">
      <progress max={100} value={progress.percent} aria-label={label} />
      <span>{progress.percent.toFixed(progress.percent % 1 ? 1 : 0)} %</span>
    </span>
  );
}

export function Failure({ data }: { data: Pick<Data<unknown>, 'error' | 'again'> }) {
  const e = data.error;
  if (!e)
    return null;
  return (
    <p class="failure" role="alert">
      {e.message}{e.requestId && <span class="faint"> (request {e.requestId})</span>} <button type="button" onClick={data.again}>Try again</button>
    </p>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}

export function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return <div class="fact"><dt>{name}</dt><dd>{children}</dd></div>;
}

/** `navigator.clipboard` is missing on plain HTTP. */
async function copy(text: string): Promise<boolean> {
  if (navigator.clipboard)
    return navigator.clipboard.writeText(text).then(() => true, () => false);
  const box = document.createElement('textarea');
  box.value = text;
  box.setAttribute('readonly', '');
  box.className = 'offscreen';
  document.body.append(box);
  box.select();
  const done = document.execCommand('copy');
  box.remove();
  return done;
}

export function Copy({ text, children }: { text: () => string; children: ComponentChildren }) {
  return (
    <button type="button" onClick={async () => say((await copy(text())) ? 'Copied.' : 'The browser did not let us copy.')}>{children}</button>
  );
}
