// A line of a log as pieces of text with the look that its escape sequences ask for. Everything else a terminal would do is left out.
export interface Piece { text: string; classes: string; fg?: string; bg?: string }

interface Look { fg: string; bg: string; flags: Set<string> }

const plain = (): Look => ({ fg: '', bg: '', flags: new Set() });
const FLAGS: Record<number, string> = { 1: 'bold', 2: 'dim', 3: 'italic', 4: 'underline', 7: 'inverse', 9: 'struck' };
const ENDS: Record<number, string[]> = { 22: ['bold', 'dim'], 23: ['italic'], 24: ['underline'], 27: ['inverse'], 29: ['struck'] };

function cube(n: number): string {
  if (n < 16)
    return String(n);
  if (n > 231) {
    const g = (n - 232) * 10 + 8;
    return `rgb(${g},${g},${g})`;
  }
  const level = (v: number): number => (v ? v * 40 + 55 : 0);
  n -= 16;
  return `rgb(${level(Math.floor(n / 36))},${level(Math.floor(n / 6) % 6)},${level(n % 6)})`;
}

const byte = (n: number | undefined): number => Math.min(Math.max(n ?? 0, 0), 255);

function apply(look: Look, codes: number[]): void {
  for (let i = 0; i < codes.length; i++) {
    const c = codes[i];
    if (c === 0) {
      Object.assign(look, plain());
    } else if (FLAGS[c]) {
      look.flags.add(FLAGS[c]);
    } else if (ENDS[c]) {
      ENDS[c].forEach((f) => look.flags.delete(f));
    } else if (c === 38 || c === 48) {
      const side = c === 38 ? 'fg' : 'bg';
      if (codes[i + 1] === 5) {
        look[side] = cube(byte(codes[i + 2]));
        i += 2;
      } else if (codes[i + 1] === 2) {
        look[side] = `rgb(${byte(codes[i + 2])},${byte(codes[i + 3])},${byte(codes[i + 4])})`;
        i += 4;
      }
    } else if (c === 39) {
      look.fg = '';
    } else if (c === 49) {
      look.bg = '';
    } else if ((c >= 30 && c <= 37) || (c >= 90 && c <= 97)) {
      look.fg = String(c >= 90 ? c - 82 : c - 30);
    } else if ((c >= 40 && c <= 47) || (c >= 100 && c <= 107)) {
      look.bg = String(c >= 100 ? c - 92 : c - 40);
    }
  }
}

function piece(text: string, look: Look): Piece {
  const classes = [...look.flags];
  const p: Piece = { text, classes: '' };
  for (const side of ['fg', 'bg'] as const)
    if (look[side].startsWith('rgb'))
      p[side] = look[side];
    else if (look[side])
      classes.push(`${side}${look[side]}`);
  p.classes = classes.join(' ');
  return p;
}

// CSI, OSC (up to BEL or ST), and two-character escapes
const ESCAPE = /\x1b\[([0-9;:?<=>]*)[ -/]*([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?/g;

/** Control characters are made visible: none of them may move or hide anything. */
const visible = (text: string): string =>
  text.replace(/[\x00-\x08\x0b-\x1f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0))).replace(/[\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g, '\ufffd');

/** What a carriage return would have left on a terminal: its line's last say. */
function lastSay(line: string): string {
  const kept = line.replace(/\r+$/, '');
  return kept.slice(kept.lastIndexOf('\r') + 1);
}

export function pieces(line: string): Piece[] {
  const found: Piece[] = [];
  const look = plain();
  const text = lastSay(line);
  let at = 0;
  const take = (end: number): void => {
    if (end > at)
      found.push(piece(visible(text.slice(at, end)), look));
  };
  for (const m of text.matchAll(ESCAPE)) {
    take(m.index);
    at = m.index + m[0].length;
    if (m[2] === 'm')
      apply(look, m[1].split(/[;:]/).map((n) => Number(n) || 0));
  }
  take(text.length);
  return found;
}

export const stripped = (line: string): string => visible(lastSay(line).replace(ESCAPE, ''));
