// The frame round the pages: navigation, which page is shown, what the server says of itself.
import './app.css';
import { signal } from '@preact/signals';
import { render } from 'preact';
import { useEffect, useErrorBoundary } from 'preact/hooks';
import { streaming } from './events';
import { useRecorder } from './feed';
import { reachable } from './live';
import { AlertsPage } from './pages/alerts';
import { DeadPage } from './pages/dead';
import { JobPage } from './pages/job';
import { JobsPage } from './pages/jobs';
import { OverviewPage } from './pages/overview';
import { QueuesPage } from './pages/queues';
import { WorkersPage } from './pages/workers';
import { here, onClick } from './router';
import { Dialogs } from './ui/dialog';

const PAGES = [
  { path: '/', name: 'Overview', view: OverviewPage },
  { path: '/queues', name: 'Queues', view: QueuesPage },
  { path: '/jobs', name: 'Jobs', view: JobsPage },
  { path: '/dead-letters', name: 'Dead letters', view: DeadPage },
  { path: '/workers', name: 'Workers', view: WorkersPage },
  { path: '/alerts', name: 'Alerts', view: AlertsPage },
];

type Theme = 'auto' | 'light' | 'dark';
const THEMES: Theme[] = ['auto', 'light', 'dark'];

function storedTheme(): Theme {
  try {
    const t = localStorage.getItem('haul-theme') as Theme;
    return THEMES.includes(t) ? t : 'auto';
  } catch {
    return 'auto';
  }
}

const theme = signal<Theme>(storedTheme());
theme.subscribe((t) => {
  document.documentElement.dataset.theme = t;
  try {
    localStorage.setItem('haul-theme', t);
  } catch {
    // a browser that keeps nothing
  }
});

function Connection() {
  const state = !reachable.value ? 'offline' : streaming.value ? 'live' : 'polling';
  const words = { offline: 'server not reachable, trying again', live: 'live', polling: 'polling' };
  return <span class={`connection ${state}`} role="status" aria-live="polite">{words[state]}</span>;
}

function Recorder() {
  useRecorder();
  return null;
}

/** A mistake of ours in one page leaves the others usable. */
function Guarded() {
  const [error, reset] = useErrorBoundary();
  const { path } = here.value;
  useEffect(() => reset(), [path]);
  if (error)
    return <div class="page"><p class="failure" role="alert">This page cannot be shown: {String(error)} <button type="button" onClick={reset}>Try again</button></p></div>;
  return <Page />;
}

function Page() {
  const { path } = here.value;
  const job = /^\/jobs\/([^/]+)$/.exec(path);
  if (job)
    return <JobPage key={job[1]} id={decodeURIComponent(job[1])} />;
  const page = PAGES.find((p) => p.path === path) ?? PAGES[0];
  return <page.view />;
}

function App() {
  const { path } = here.value;
  const current = PAGES.find((p) => p.path === path || (p.path !== '/' && path.startsWith(`${p.path}/`)));
  useEffect(() => {
    document.addEventListener('click', onClick);
    return () => document.removeEventListener('click', onClick);
  }, []);
  useEffect(() => {
    document.title = current ? `${current.name} – haul` : 'haul';
  }, [current]);
  return (
    <>
      <a class="skip" href="#main">Skip to the content</a>
      <header>
        <a class="brand" href="/">haul</a>
        <nav aria-label="Pages">
          {PAGES.map((p) => <a key={p.path} href={p.path} aria-current={p === current ? 'page' : undefined}>{p.name}</a>)}
        </nav>
        <Connection />
        <button type="button" class="theme" onClick={() => (theme.value = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length])}>
          theme: {theme.value}
        </button>
      </header>
      <main id="main" tabIndex={-1}><Guarded /></main>
      <Recorder />
      <Dialogs />
    </>
  );
}

render(<App />, document.getElementById('app')!);
