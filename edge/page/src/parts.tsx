// What several views are made of.
import { useEffect, useRef, useState } from "preact/hooks";

import type { ComponentChildren } from "preact";

import { CallError } from "./api";
import { onChange, user, whyEnded } from "./session";

/** What a call has come to. */
export interface Loaded<T> {
  value?: T;
  error?: Error;
  loading: boolean;
  again: () => void;
}

/** Loads when `key` changes, and again when asked to. What is there stays while the next is loading. */
export function useLoaded<T>(key: string, load: (signal: AbortSignal) => Promise<T>): Loaded<T> {
  const [state, setState] = useState<Omit<Loaded<T>, "again">>({ loading: true });
  const [round, setRound] = useState(0);
  useEffect(() => {
    const abort = new AbortController();
    setState((before) => ({ ...before, error: undefined, loading: true }));
    load(abort.signal).then(
      (value) => !abort.signal.aborted && setState({ value, loading: false }),
      (error) => !abort.signal.aborted && setState({ error, loading: false }),
    );
    return () => abort.abort();
  }, [key, round]);
  return { ...state, again: () => setRound(round + 1) };
}

/** The user's name, or null; renders again when that changes. */
export function useUser(): string | null {
  const [name, setName] = useState(user());
  useEffect(() => onChange(() => setName(user())), []);
  return name;
}

let opened = false;

/** A view's heading, which is where the keyboard and a screen reader go on after a link was followed. */
export function Heading({ children, title }: { children: ComponentChildren; title: string }) {
  const place = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = title ? `${title} – Marquee` : "Marquee";
  }, [title]);
  useEffect(() => {
    const typing = document.activeElement?.id === "query";
    // Who opens an address begins at its top, as everywhere.
    if (opened && !typing) place.current?.focus({ preventScroll: true });
    opened = true;
  }, []);
  return <h1 ref={place} tabIndex={-1}>{children}</h1>;
}

/** What went wrong, and what to do. */
export function Trouble({ error, again }: { error: Error; again?: () => void }) {
  const signIn = error instanceof CallError && [401, 403].includes(error.status);
  return (
    <div class="trouble" role="alert">
      <p>{error.message}</p>
      {signIn && <a href="/sign-in">Sign in</a>}
      {again && !signIn && <button type="button" onClick={again}>Try again</button>}
    </div>
  );
}

/** Asks somebody to sign in, and says why it is necessary again. */
export function SignedOut({ back, to }: { back: string; to: string }) {
  const why = whyEnded();
  return (
    <>
      {why && <div class="trouble" role="alert"><p>{why}</p></div>}
      <p><a href={`/sign-in?back=${back}`}>Sign in</a> {to}</p>
    </>
  );
}

export const film = (name: string) => `/films/${name.slice("movies/".length)}`;
export const count = (number: number) => number.toLocaleString("en");
export const votes = (number: number) => (number === 1 ? "1 vote" : `${count(number)} votes`);
export const dollars = (number: number) => `$${count(number)}`;
export const oneDigit = (number: number) => number.toFixed(1);
