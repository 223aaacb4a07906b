// One film: its facts, what people think of it as they vote, and one's own rating.
import { useEffect, useState } from "preact/hooks";

import { CallError, call, watchScore } from "./api";
import type { Movie, Rating, Score } from "./api";
import { Heading, SignedOut, Trouble, count, dollars, oneDigit, useLoaded, useUser, votes } from "./parts";

const SCORES = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

export function Film({ id }: { id?: string }) {
  const name = `movies/${id}`;
  const movie = useLoaded(name, (signal) => call<Movie>(`/v1/${name}`, { signal }));
  if (movie.error) {
    const missing = movie.error instanceof CallError && movie.error.status === 404;
    return (
      <>
        <Heading title="Film">{missing ? "No such film" : "Film"}</Heading>
        <Trouble error={movie.error} again={missing ? undefined : movie.again} />
      </>
    );
  }
  if (!movie.value) return <p role="status">Loading the film…</p>;
  const { title, year, plot, stale } = movie.value;
  return (
    <article>
      <Heading title={title}>{title} {year && <span class="quiet">{year}</span>}</Heading>
      <div class="columns">
        <div>
          <Watched name={name} />
          <Own name={name} />
        </div>
        <section aria-labelledby="facts">
          <h2 id="facts">About it</h2>
          {plot && <p>{plot}</p>}
          <dl>{facts(movie.value).map(([term, said]) => <div key={term}><dt>{term}</dt><dd>{said}</dd></div>)}</dl>
          {stale && <p class="quiet">These facts may be out of date.</p>}
        </section>
      </div>
    </article>
  );
}

function facts(movie: Movie): [string, string][] {
  const people = (list?: { person: string }[]) => [...new Set((list ?? []).map((each) => each.person))].join(", ");
  const all: [string, string | undefined][] = [
    ["Genres", movie.genres?.join(", ")],
    ["Director", people(movie.directors)],
    ["Writers", people(movie.writers)],
    ["Actors", people(movie.actors)],
    ["Length", movie.runtimeMinutes ? `${movie.runtimeMinutes} minutes` : ""],
    ["Years", movie.type === "MOVIE_TYPE_SERIES" ? `${movie.year}–${movie.ongoing ? "" : (movie.endYear ?? "")}` : ""],
    ["Rated", movie.contentRating],
    ["Languages", movie.languages?.join(", ")],
    ["Countries", movie.countries?.join(", ")],
    ["Awards", movie.awards?.text],
    ["Box office", movie.boxOfficeUsd ? dollars(movie.boxOfficeUsd) : ""],
    ...(movie.externalRatings ?? []).map((each): [string, string] => [each.source, each.value]),
  ];
  return all.filter((each): each is [string, string] => Boolean(each[1]));
}

function Watched({ name }: { name: string }) {
  const [score, setScore] = useState<Score>();
  const [live, setLive] = useState(true);
  const [error, setError] = useState<Error>();
  useEffect(() => {
    const abort = new AbortController();
    watchScore(name, abort.signal, setScore, setLive).catch(setError);
    return () => abort.abort();
  }, [name]);
  return (
    <section aria-labelledby="score">
      <h2 id="score">What people think</h2>
      {error && <Trouble error={error} />}
      {!score && !error && <p role="status">{live ? "Loading the votes…" : "The votes can't be had now; trying again…"}</p>}
      {score && <Votes score={score} />}
      {score && <p class="quiet">{live ? "Live: changes as people vote." : "Not live now; trying again…"}</p>}
    </section>
  );
}

function Votes({ score }: { score: Score }) {
  const most = Math.max(1, ...score.histogram);
  if (!score.votes) return <p>Nobody has rated this film yet.</p>;
  return (
    <>
      <p class="score">
        {score.mean !== undefined && <><strong>{oneDigit(score.mean)}</strong> of 10 · </>}<span id="votes">{votes(score.votes)}</span>
        {score.rank && <> · place {count(score.rank)} of all</>}
      </p>
      <table class="histogram">
        <caption class="hidden">How many gave each score</caption>
        <thead class="hidden"><tr><th scope="col">Score</th><th scope="col">Votes</th></tr></thead>
        <tbody>
          {[...SCORES].reverse().map((each) => {
            const number = score.histogram[each - 1] ?? 0;
            return (
              <tr key={each}>
                <th scope="row">{each}</th>
                <td>
                  <span class="bar" style={{ width: `${(80 * number) / most}%` }} />
                  <span>{count(number)}</span>
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </>
  );
}

function Own({ name }: { name: string }) {
  const user = useUser();
  return (
    <section aria-labelledby="own">
      <h2 id="own">Your rating</h2>
      {user ? <Stars key={user} name={name} /> : <SignedOut back={`/films/${name.slice(7)}`} to="to rate this film." />}
    </section>
  );
}

function Stars({ name }: { name: string }) {
  const path = `/v1/users/me/ratings/${name.slice("movies/".length)}`;
  const [given, setGiven] = useState<number>();
  const [said, setSaid] = useState("");
  const [error, setError] = useState<Error>();
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    const abort = new AbortController();
    call<Rating>(path, { signedIn: true, signal: abort.signal }).then(
      (rating) => setGiven(rating.score),
      (failed) => {
        if (abort.signal.aborted || (failed instanceof CallError && failed.status === 404)) return;
        setError(failed);
      },
    );
    return () => abort.abort();
  }, [path]);
  const send = async (score: number) => {
    if (busy) return;
    setBusy(true);
    setError(undefined);
    setSaid("");
    const requestId = crypto.randomUUID?.(); // only on https and on the own machine
    try {
      if (score) {
        await call(path, { method: "PUT", body: { score, requestId }, signedIn: true });
      } else {
        await call(path, { method: "DELETE", signedIn: true });
      }
      setGiven(score || undefined);
      setSaid(score ? `You gave it ${score} of 10.` : "Your rating is deleted.");
    } catch (failed) {
      setError(failed as Error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      <div class="stars" role="group" aria-label="Your score, 1 the worst to 10 the best" aria-busy={busy}>
        {SCORES.map((score) => (
          <button
            type="button"
            key={score}
            aria-label={`${score} of 10`}
            aria-pressed={given === score}
            class={given !== undefined && score <= given ? "given" : ""}
            onClick={() => send(score)}
          >
            {score}
          </button>
        ))}
      </div>
      <p role="status">{said || (given ? `You gave it ${given} of 10.` : "1 is the worst, 10 the best.")}</p>
      {given !== undefined && <button type="button" onClick={() => send(0)}>Delete my rating</button>}
      {error && <Trouble error={error} />}
    </>
  );
}
