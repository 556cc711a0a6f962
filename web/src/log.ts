// An attempt's log as it is known here: from `start` on, bounded, told by the stream or fetched from an offset. Offsets are the handler's bytes.
import { request } from './api';

export const TAIL = 256 * 1024;      // what is shown at first
const KEPT = 24 * 1024 * 1024;       // characters; more than a server keeps of one log
const CUT = /^\[\.\.\. haul left out (\d+) bytes here \.\.\.\]$/;

const byteLength = (text: string): number => new TextEncoder().encode(text).length;

export class LogText {
  lines: string[] = [''];
  next: number;
  private size = 0;
  private decoder = new TextDecoder();

  constructor(readonly attempt: number, readonly start: number) {
    this.next = start;
  }

  /** Text that begins at `next`; `end` is the offset behind it. */
  add(text: string, end: number): void {
    const parts = text.split('\n');
    this.lines[this.lines.length - 1] += parts[0];
    for (let i = 1; i < parts.length; i++)
      this.lines.push(parts[i]);
    this.size += text.length;
    this.next = end;
    while (this.size > KEPT && this.lines.length > 1)
      this.size -= this.lines.shift()!.length + 1;
  }

  addCut(bytes: number): void {
    this.add(`${this.lines.at(-1) ? '\n' : ''}[... haul left out ${bytes} bytes here ...]\n`, this.next + bytes);
  }

  /** Fetches what is there behind `next`. @return whether there was anything */
  async fetchMore(jobId: string, signal: AbortSignal): Promise<boolean> {
    const answer = await request('GET', `/v1/jobs/${jobId}/log?attempt=${this.attempt}&offset=${this.next}`, { signal });
    const bytes = new Uint8Array(await answer.arrayBuffer());
    if (!bytes.length)
      return false;
    const text = this.decoder.decode(bytes, { stream: true });
    let left = 0; // what a marker's line stands for is not its own length
    for (const line of text.includes('haul left out') ? text.split('\n') : []) {
      const m = CUT.exec(line);
      if (m)
        left += Number(m[1]) - byteLength(line) - 1;
    }
    this.add(text, this.next + bytes.length + left);
    return true;
  }
}
