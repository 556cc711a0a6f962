// Questions before anything is destroyed, and short messages afterwards.
import { signal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

interface Question { title: string; body: ComponentChildren; yes: string; danger: boolean; answer: (yes: boolean) => void }
interface Note { id: number; text: string; bad: boolean }

const question = signal<Question | null>(null);
const notes = signal<Note[]>([]);
let lastNote = 0;
const NOTE_MS = 6000;

/** True when the user said so. Escape and the first button mean no. */
export function ask(title: string, body: ComponentChildren, yes: string, danger = true): Promise<boolean> {
  question.peek()?.answer(false);
  return new Promise((answer) => (question.value = { title, body, yes, danger, answer }));
}

export function say(text: string, bad = false): void {
  const id = ++lastNote;
  notes.value = [...notes.value.slice(-3), { id, text, bad }];
  setTimeout(() => (notes.value = notes.value.filter((n) => n.id !== id)), bad ? 2 * NOTE_MS : NOTE_MS);
}

/** Runs it and tells of its failure. */
export async function attempt(what: () => Promise<unknown>): Promise<boolean> {
  try {
    await what();
    return true;
  } catch (e) {
    say(e instanceof Error ? e.message : String(e), true);
    return false;
  }
}

function Ask({ q }: { q: Question }) {
  const box = useRef<HTMLDialogElement>(null);
  const end = (yes: boolean): void => {
    question.value = null;
    q.answer(yes);
  };
  useEffect(() => {
    const dialog = box.current!;
    dialog.showModal();
    return () => dialog.close(); // gives the focus back
  }, []);
  return (
    <dialog ref={box} aria-labelledby="ask-title" onCancel={(e) => { e.preventDefault(); end(false); }}>
      <h2 id="ask-title">{q.title}</h2>
      <div class="ask-body">{q.body}</div>
      <div class="buttons">
        <button type="button" autofocus onClick={() => end(false)}>Leave as it is</button>
        <button type="button" class={q.danger ? 'danger' : 'primary'} onClick={() => end(true)}>{q.yes}</button>
      </div>
    </dialog>
  );
}

export function Dialogs() {
  const q = question.value;
  return (
    <>
      {q && <Ask key={q.title} q={q} />}
      <div class="notes" role="status" aria-live="polite">
        {notes.value.map((n) => <p key={n.id} class={n.bad ? 'note bad' : 'note'}>{n.text}</p>)}
      </div>
    </>
  );
}
