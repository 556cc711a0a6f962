// Requests to this page's own server, and its problem documents (RFC 9457) as errors that can be read out.
export class Problem extends Error {
  constructor(readonly status: number, detail: string, readonly field?: string, readonly requestId?: string) {
    super(detail);
  }
}

const PATIENCE_MS = 20_000;

async function refuse(answer: Response): Promise<never> {
  let body: { detail?: string; field?: string; request_id?: string } = {};
  try {
    body = await answer.json();
  } catch {
    // a proxy's own error page, or nothing
  }
  const detail = body.detail ?? `the server answered ${answer.status} ${answer.statusText}`;
  throw new Problem(answer.status, body.field ? `${body.field}: ${detail}` : detail, body.field, body.request_id);
}

export async function request(method: string, path: string, init: { body?: unknown; headers?: Record<string, string>; signal?: AbortSignal; patienceMs?: number } = {}): Promise<Response> {
  const headers: Record<string, string> = { ...init.headers };
  if (init.body !== undefined)
    headers['Content-Type'] = 'application/json';
  const limit = AbortSignal.timeout(init.patienceMs ?? PATIENCE_MS);
  let answer: Response;
  try {
    answer = await fetch(path, {
      method, headers, cache: 'no-store',
      body: init.body === undefined ? undefined : JSON.stringify(init.body),
      signal: init.signal ? AbortSignal.any([init.signal, limit]) : limit,
    });
  } catch (e) {
    if (init.signal?.aborted)
      throw e;
    throw new Problem(0, 'the server cannot be reached');
  }
  return answer.ok ? answer : refuse(answer);
}

export const get = async <T>(path: string, signal?: AbortSignal): Promise<T> => (await request('GET', path, { signal })).json();

export async function post<T>(path: string, body: unknown = {}, headers?: Record<string, string>): Promise<T> {
  return (await request('POST', path, { body, headers })).json();
}

export const discard = (jobId: string): Promise<Response> => request('DELETE', `/v1/jobs/${jobId}`);

/** One or many values of each name; empty ones are left out. */
export function query(values: Record<string, string | number | string[] | null | undefined>): string {
  const q = new URLSearchParams();
  for (const [name, value] of Object.entries(values))
    for (const v of Array.isArray(value) ? value : [value])
      if (v !== null && v !== undefined && v !== '')
        q.append(name, String(v));
  const text = q.toString();
  return text ? `?${text}` : '';
}
