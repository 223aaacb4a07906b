// Calls to Marquee's API, and what the page needs of its answers.
import { lines } from "./lines";
import { accessToken, forget } from "./session";

export interface Movie {
  name: string;
  title: string;
  type?: string;
  year?: number;
  endYear?: number;
  ongoing?: boolean;
  runtimeMinutes?: number;
  genres?: string[];
  directors?: { person: string }[];
  writers?: { person: string; note?: string }[];
  actors?: { person: string }[];
  plot?: string;
  languages?: string[];
  countries?: string[];
  awards?: { text: string };
  contentRating?: string;
  boxOfficeUsd?: number;
  externalRatings?: { source: string; value: string }[];
  stale?: boolean;
}

export interface Score {
  name: string;
  votes: number;
  mean?: number;
  weighted?: number;
  histogram: number[];
  rank?: number;
}

export interface Entry {
  rank: number;
  movie: string;
  title: string;
  year?: number;
  genres: string[];
  votes: number;
  mean?: number;
  weighted?: number;
  boxOfficeUsd?: number;
}

export interface Rating {
  name: string;
  movie: string;
  score: number;
  state: string;
  updateTime: string;
}

/** What went wrong, in words for people. `reason` is for programs, "" if the API was not reached. */
export class CallError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly reason: string,
    readonly retryAfterS: number,
  ) {
    super(message);
  }
}

interface Options {
  method?: string;
  body?: unknown;
  signal?: AbortSignal;
  signedIn?: boolean;
  /** Not from a cache on the way. */
  fresh?: boolean;
}

const DEADLINE_MS = 15_000;

type Values = Record<string, string | number | undefined>;

/** `path?a=1&b=2`, without what is empty. */
export function withQuery(path: string, values: Values): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) if (value) query.set(name, String(value));
  return query.size ? `${path}?${query}` : path;
}

/** One call, answered with JSON. Throws a CallError, or an AbortError if `signal` ended it. */
export async function call<T>(path: string, options: Options = {}): Promise<T> {
  const deadline = AbortSignal.timeout(DEADLINE_MS);
  const signal = options.signal ? AbortSignal.any([options.signal, deadline]) : deadline;
  const answer = await ask(path, options, signal);
  return (await answer.json()) as T;
}

async function ask(path: string, options: Options, signal: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = {};
  if (options.body !== undefined) headers["content-type"] = "application/json";
  if (options.fresh) headers["cache-control"] = "no-cache";
  if (options.signedIn) headers.authorization = `Bearer ${await accessToken()}`;
  let answer: Response;
  try {
    answer = await fetch(path, {
      method: options.method ?? "GET",
      headers,
      body: options.body === undefined ? undefined : JSON.stringify(options.body),
      signal,
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    const late = (error as Error).name === "TimeoutError";
    const what = late ? "Marquee did not answer in time." : "Marquee can't be reached.";
    throw new CallError(`${what} Check your connection and try again.`, 0, "", 0);
  }
  if (!answer.ok) throw await failure(answer, options.signedIn ?? false);
  return answer;
}

async function failure(answer: Response, signedIn: boolean): Promise<CallError> {
  const body = await answer.json().catch(() => ({}));
  const error = body.error ?? {};
  const reason = error.details?.find((each: { reason?: string }) => each.reason)?.reason ?? "";
  const retryAfterS = Number(answer.headers.get("retry-after")) || 0;
  let message = sentence(error.message ?? `Marquee answered with the status ${answer.status}.`);
  if (answer.status === 401 && signedIn) {
    message = "Your sign-in has ended. Sign in again to go on.";
    forget(message);
  } else if (reason === "TOKEN_NOT_ACCEPTED" && signedIn) {
    message = "This Marquee does not accept your token. Sign in with another one.";
    forget(message);
  } else if (answer.status === 429) {
    message = `That was more than one person may ask for at once. Wait ${seconds(retryAfterS || 1)} and try again.`;
  } else if (answer.status >= 500) {
    message = `Marquee can't do this right now: ${message} Try again in ${seconds(retryAfterS || 5)}.`;
  }
  return new CallError(message, answer.status, reason, retryAfterS);
}

function sentence(text: string): string {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

function seconds(count: number): string {
  return count === 1 ? "one second" : `${count} seconds`;
}

/** Follows a movie's score, over any number of streams, until `signal` ends it. */
export async function watchScore(
  movie: string,
  signal: AbortSignal,
  seen: (score: Score) => void,
  live: (yes: boolean) => void,
): Promise<void> {
  let waitMs = 1000;
  while (!signal.aborted) {
    try {
      const answer = await ask(`/v1/${movie}/score:watch`, { signal }, signal);
      live(true);
      for await (const line of lines(answer)) {
        const score = JSON.parse(line);
        if (!score.name) break; // the stream ended with an error
        seen(score);
        waitMs = 1000;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof CallError && [400, 404].includes(error.status)) throw error;
      live(false);
      // Whatever is wrong with the stream, the score itself may still be had.
      await call<Score>(`/v1/${movie}/score`, { signal }).then(seen, () => undefined);
    }
    await new Promise((resolve) => setTimeout(resolve, waitMs * (0.5 + Math.random())));
    waitMs = Math.min(waitMs * 2, 30_000);
  }
}

/** The titles of movies, by name; those that can't be had are left out. */
export async function titles(names: string[], signal: AbortSignal): Promise<Map<string, Movie>> {
  const found = new Map<string, Movie>();
  for (let at = 0; at < names.length; at += 100) {
    const query = new URLSearchParams([["readMask", "name,title,year"]]);
    for (const name of names.slice(at, at + 100)) query.append("names", name);
    const { movies } = await call<{ movies?: Movie[] }>(`/v1/movies:batchGet?${query}`, { signal });
    for (const movie of movies ?? []) found.set(movie.name, movie);
  }
  return found;
}
