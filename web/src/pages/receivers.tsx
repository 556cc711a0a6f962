// Whom alerts are sent to, how that went, and a try of it.
import { useState } from 'preact/hooks';
import { request } from '../api';
import { count, duration } from '../format';
import type { Receiver, ReceiverTest } from '../types';
import { Time } from '../ui/bits';
import { ask, attempt } from '../ui/dialog';

const TEST_MS = 70_000; // the server answers after twice the longest timeout of a receiver

async function send(receiver: Receiver): Promise<ReceiverTest | undefined> {
  let result: ReceiverTest | undefined;
  await attempt(async () => {
    const answer = await request('POST', `/v1/alerts/receivers/${encodeURIComponent(receiver.receiver)}/test`, { body: {}, patienceMs: TEST_MS });
    result = await answer.json();
  });
  return result;
}

function Row({ receiver: r, again }: { receiver: Receiver; again: () => void }) {
  const [busy, setBusy] = useState(false);
  const [result, setResult] = useState<ReceiverTest>();
  const test = async (): Promise<void> => {
    if (busy || !(await ask(`Send a test to ${r.receiver}?`, <p>{r.to} gets one message, which says that it is a test.</p>, 'Send it', false)))
      return;
    setBusy(true);
    setResult(undefined);
    setResult(await send(r));
    setBusy(false);
    again();
  };
  return (
    <tr>
      <td>{r.receiver}</td>
      <td class="clip" title={r.to}>{r.kind} <span class="faint">{r.to}</span></td>
      <td><Time at={r.sent_at} never="never" /></td>
      <td class="reason"><Time at={r.failed_at} never="never" />{r.error !== null && <>: {r.error}</>}</td>
      <td class="number">{r.waiting > 0 ? <strong>{count(r.waiting)}</strong> : 0}{r.next_try_at && <span class="faint"> again <Time at={r.next_try_at} /></span>}</td>
      <td class="reason">
        <button type="button" aria-disabled={busy} aria-label={`Send test to ${r.receiver}`} onClick={() => void test()}>Send test</button>{' '}
        <span role="status">
          {busy && 'Sending…'}
          {result && <><span class={`badge ${result.sent ? 'success' : 'failed'}`}>{result.sent ? 'taken' : 'not taken'}</span> {result.error ?? `in ${duration(result.took_s)}`}</>}
        </span>
      </td>
    </tr>
  );
}

/** Nothing where nobody is told. */
export function Receivers({ all, sending, again }: { all: Receiver[]; sending: boolean; again: () => void }) {
  if (!all.length)
    return null;
  return (
    <section aria-label="Receivers of alerts">
      <h2>Who is told of alerts</h2>
      {!sending && <p class="faint">Another server sends them now; counts are of this one.</p>}
      <div class="scroll" tabIndex={0} role="region" aria-label="receivers, one a row">
        <table>
          <thead><tr><th scope="col">Receiver</th><th scope="col">Kind</th><th scope="col">Last sent</th><th scope="col">Last failure</th><th scope="col" class="number">Waiting</th><th scope="col">Test</th></tr></thead>
          <tbody>{all.map((r) => <Row key={r.receiver} receiver={r} again={again} />)}</tbody>
        </table>
      </div>
    </section>
  );
}
