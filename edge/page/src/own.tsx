// One's own ratings, and signing in.
import { useEffect, useState } from "preact/hooks";
import { useLocation } from "preact-iso";

import { call, titles, withQuery } from "./api";
import type { Movie, Rating } from "./api";
import { Heading, SignedOut, Trouble, film, useLoaded, useUser } from "./parts";
import { begin, brought, finish, forget, provider, returning, subject, useToken } from "./session";

interface Line {
  rating: Rating;
  movie?: Movie;
}

interface Page {
  lines: Line[];
  next: string;
}

async function loadPage(token: string, signal: AbortSignal): Promise<Page> {
  const path = withQuery("/v1/users/me/ratings", { pageSize: 50, pageToken: token });
  const page = await call<{ ratings?: Rating[]; nextPageToken: string }>(path, { signedIn: true, signal });
  const ratings = (page.ratings ?? []).filter((each) => each.state !== "STATE_DELETED");
  const movies = await titles(ratings.map((each) => each.movie), signal);
  return { lines: ratings.map((rating) => ({ rating, movie: movies.get(rating.movie) })), next: page.nextPageToken };
}

export function OwnRatings() {
  const user = useUser();
  if (!user) {
    return (
      <>
        <Heading title="My ratings">My ratings</Heading>
        <SignedOut back="/ratings" to="to see what you have rated." />
      </>
    );
  }
  return (
    <>
      <Heading title="My ratings">My ratings</Heading>
      <p>Signed in as <strong>{user}</strong>. <button type="button" onClick={() => forget()}>Sign out</button></p>
      <Ratings key={user} />
    </>
  );
}

function Ratings() {
  const [token, setToken] = useState("");
  const [before, setBefore] = useState<Line[]>([]);
  const page = useLoaded(token, (signal) => loadPage(token, signal));
  const shown = page.loading ? before : [...before, ...(page.value?.lines ?? [])];
  const next = page.value?.next;
  const showMore = () => {
    setBefore(shown);
    setToken(next!);
  };
  return (
    <>
      {shown.length > 0 && (
        <ol class="chart">
          {shown.map(({ rating, movie }) => (
            <li key={rating.movie}>
              <span class="what">
                <a href={film(rating.movie)}>{movie?.title ?? rating.movie}</a>
                {movie?.year && <span class="quiet"> {movie.year}</span>}
              </span>
              <span class="said">
                <strong>{rating.score}</strong>
                <span class="quiet">{new Date(rating.updateTime).toLocaleDateString()}</span>
              </span>
            </li>
          ))}
        </ol>
      )}
      {page.error && <Trouble error={page.error} again={page.again} />}
      {page.loading && <p role="status">Loading your ratings…</p>}
      {!page.loading && !page.error && !shown.length && <p role="status">You have not rated any film yet.</p>}
      {next && !page.loading && <button type="button" onClick={showMore}>Show more</button>}
    </>
  );
}

export function SignIn() {
  const { query, route } = useLocation();
  // A path of this page, and no other address.
  const back = /^\/(?!\/)/.test(query.back ?? "") ? query.back! : "/ratings";
  return (
    <>
      <Heading title="Sign in">Sign in</Heading>
      {provider?.clientId ? <AtProvider back={back} go={route} /> : <ByToken back={back} go={route} />}
    </>
  );
}

interface Way {
  back: string;
  go: (path: string, replace?: boolean) => void;
}

function AtProvider({ back, go }: Way) {
  const [busy, setBusy] = useState(returning());
  const [error, setError] = useState<Error>();
  const wait = (work: Promise<void>) => {
    setBusy(true);
    setError(undefined);
    work.catch((failed) => {
      setError(failed);
      setBusy(false);
    });
  };
  useEffect(() => {
    if (returning()) wait(finish(provider!).then((path) => go(path, true)));
  }, []);
  return (
    <>
      <p>You sign in at {new URL(provider!.issuer).host}; Marquee does not see your password.</p>
      <button type="button" disabled={busy} onClick={() => wait(begin(provider!, back))}>
        {busy ? "One moment…" : "Sign in"}
      </button>
      {error && <Trouble error={error} />}
    </>
  );
}

function ByToken({ back, go }: Way) {
  // Never signed in by a link alone: one sees as whom, and presses the button.
  const [token, setToken] = useState(provider ? "" : brought);
  const [error, setError] = useState<Error>();
  const name = subject(token);
  const submit = (event: Event) => {
    event.preventDefault();
    try {
      useToken(token);
      go(back, true);
    } catch (failed) {
      setError(failed as Error);
    }
  };
  return (
    <form class="stacked" onSubmit={submit}>
      {provider ? (
        <p>
          Nobody has set up how to sign in here yet (<code>MARQUEE_OIDC_CLIENT_ID</code>). With an access token of{" "}
          {new URL(provider.issuer).host} you can go on: paste it here.
        </p>
      ) : (
        <p>
          This Marquee is for development: it has no accounts. On the machine that it runs on,{" "}
          <code>marquee token --user alice --link</code> prints a link that brings a token here. Or paste one.
        </p>
      )}
      <label for="token">Token</label>
      <textarea
        id="token"
        rows={5}
        autocomplete="off"
        spellcheck={false}
        required
        value={token}
        onInput={(event) => setToken(event.currentTarget.value)}
      />
      <button type="submit">{name ? `Sign in as ${name}` : "Sign in"}</button>
      {error && <Trouble error={error} />}
    </form>
  );
}
