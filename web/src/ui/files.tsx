// Inputs and outputs: downloaded, and shown in the page where a browser can: pictures, video, sound, text.
import { useEffect, useState } from 'preact/hooks';
import { request } from '../api';
import { bytes } from '../format';
import { Failure } from './bits';
import { useData } from '../live';

const KINDS: [string, RegExp][] = [
  ['picture', /\.(png|jpe?g|gif|webp|avif|bmp|ico)$/i],
  ['video', /\.(mp4|m4v|webm|mov|mkv|ogv)$/i],
  ['sound', /\.(mp3|m4a|ogg|opus|wav|flac)$/i],
  ['text', /\.(txt|log|md|json|jsonl|ndjson|csv|tsv|ya?ml|xml|html?|svg|srt|vtt|ini|toml|sh|py|c|h|js|ts|sql)$/i],
];
const TEXT_MAX = 64 * 1024;

export interface File { name: string; url: string; size?: number; sha256?: string }

const kindOf = (name: string): string | undefined => KINDS.find(([, r]) => r.test(name))?.[0];

function TextPreview({ file }: { file: File }) {
  const text = useData(file.url, async (signal) => {
    const answer = await request('GET', file.url, file.size === 0 ? { signal } : { signal, headers: { Range: `bytes=0-${TEXT_MAX - 1}` } });
    return new TextDecoder().decode(await answer.arrayBuffer());
  }, 0);
  return (
    <>
      <Failure data={text} />
      {text.value !== undefined && <pre class="preview" tabIndex={0} aria-label={`begin of ${file.name}`}>{text.value}</pre>}
      {file.size !== undefined && file.size > TEXT_MAX && <p class="faint">The first {bytes(TEXT_MAX)} of {bytes(file.size)}.</p>}
    </>
  );
}

function Preview({ file, kind }: { file: File; kind: string }) {
  const [broken, setBroken] = useState(false);
  useEffect(() => setBroken(false), [file.url]);
  if (broken)
    return <p class="faint">This browser cannot show {file.name}; download it.</p>;
  const fail = (): void => setBroken(true);
  if (kind === 'picture')
    return <img class="preview" src={file.url} alt={file.name} onError={fail} />;
  if (kind === 'video')
    return <video class="preview" src={file.url} controls preload="metadata" aria-label={file.name} onError={fail} />;
  if (kind === 'sound')
    return <audio src={file.url} controls preload="metadata" aria-label={file.name} onError={fail} />;
  return <TextPreview file={file} />;
}

function Row({ file }: { file: File }) {
  const [open, setOpen] = useState(false);
  const kind = kindOf(file.name);
  return (
    <li>
      <div class="file">
        <span class="clip" title={file.name}>{file.name}</span>
        {file.size !== undefined && <span class="faint">{bytes(file.size)}</span>}
        {kind && <button type="button" aria-expanded={open} onClick={() => setOpen(!open)}>{open ? 'Hide' : 'Show'}</button>}
        <a class="button" href={`${file.url}?name=${encodeURIComponent(file.name)}`} download={file.name}>Download</a>
      </div>
      {file.sha256 && <span class="faint hash">sha256 {file.sha256}</span>}
      {open && kind && <Preview file={file} kind={kind} />}
    </li>
  );
}

export function Files({ files, none }: { files: File[]; none: string }) {
  if (!files.length)
    return <p class="faint">{none}</p>;
  return <ul class="files">{files.map((f) => <Row key={f.name} file={f} />)}</ul>;
}
